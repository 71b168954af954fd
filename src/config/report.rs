//! What is wrong with a configuration, for people: each mistake with the text that it stands in.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use settings::{Mistake, Origin};

/// The texts of the files that were read.
#[derive(Debug, Default, Clone)]
pub struct Texts(BTreeMap<Arc<Path>, Arc<str>>);

impl Texts {
    pub fn add(&mut self, file: Arc<Path>, text: Arc<str>) {
        self.0.insert(file, text);
    }

    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(AsRef::as_ref)
    }
}

/// One thing that can't be.
#[derive(Debug, Clone)]
pub enum Problem {
    /// A file as a whole.
    File {
        path: PathBuf,
        what: String,
    },
    Mistake(Box<Mistake>),
}

/// Everything that is wrong.
#[derive(Debug, Clone)]
pub struct Report {
    problems: Vec<Problem>,
    texts: Texts,
}

impl Report {
    /// # Panics
    /// There is no problem.
    pub fn new(mut problems: Vec<Problem>, texts: Texts) -> Self {
        assert!(!problems.is_empty(), "a report is made when something is wrong");
        // As somebody reads the files from top to bottom.
        problems.sort_by_cached_key(Problem::position);
        Self { problems, texts }
    }

    /// A line each, for a log.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.problems.iter().map(ToString::to_string)
    }

    /// With the texts, for a terminal (`colours`) or a pipe.
    pub fn render(&self, colours: bool) -> String {
        let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
        let problems = self.problems.iter().map(|problem| self.render_one(problem, &renderer));
        problems.collect::<Vec<_>>().join("\n\n")
    }

    fn render_one(&self, problem: &Problem, renderer: &Renderer) -> String {
        let shown = match problem {
            Problem::Mistake(mistake) => self.text_of(mistake).map(|found| (mistake, found)),
            Problem::File { .. } => None,
        };
        let Some((mistake, (path, text))) = shown else {
            return renderer.render(&[Group::with_title(Level::ERROR.primary_title(problem.to_string()))]);
        };
        let span = mistake.place.span.clone();
        let snippet = Snippet::source(text)
            .path(path.to_string_lossy())
            .annotation(AnnotationKind::Primary.span(span.start.min(text.len())..span.end.min(text.len())));
        let mut group = Level::ERROR.primary_title(mistake.title()).element(snippet);
        if let Some(help) = &mistake.help {
            group = group.element(Level::HELP.message(help));
        }
        renderer.render(&[group])
    }

    fn text_of(&self, mistake: &Mistake) -> Option<(&Path, &str)> {
        let Origin::File { file, .. } = &mistake.place.origin else {
            return None;
        };
        let (path, text) = self.texts.0.get_key_value(file)?;
        Some((path, text))
    }
}

impl From<Mistake> for Problem {
    fn from(mistake: Mistake) -> Self {
        Self::Mistake(Box::new(mistake))
    }
}

impl Problem {
    fn position(&self) -> Option<(PathBuf, usize)> {
        match self {
            Self::Mistake(mistake) => match &mistake.place.origin {
                Origin::File { file, .. } | Origin::Script { file } => {
                    Some((file.to_path_buf(), mistake.place.span.start))
                }
                Origin::CommandLine => None,
            },
            Self::File { path, .. } => Some((path.clone(), 0)),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, what } => write!(f, "{}: {what}", path.display()),
            Self::Mistake(mistake) => mistake.fmt(f),
        }
    }
}

/// On one line.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().collect::<Vec<_>>().join("; "))
    }
}

impl std::error::Error for Report {}
