//! What somebody has said, where, and how layers of it are merged.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::declaration::{Declaration, Entries, Form};
use crate::setting::Setting;
use crate::values::Values;

/// One option, with the values that somebody has given it.
#[derive(Debug, Clone)]
pub struct Said {
    pub option: &'static Declaration,
    /// As they would be typed. For a switch none if it is on, and `false` if it is expressly off.
    pub values: Vec<OsString>,
    pub place: Place,
}

/// Where something was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub origin: Origin,
    /// Of a text: the line, from 1, and where in the text it stands.
    pub line: Option<usize>,
    pub span: Range<usize>,
}

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    CommandLine,
    /// A table of a file: `pool.blog` in `/etc/wsgi-fpm/wsgi-fpm.toml`.
    File {
        file: Arc<Path>,
        table: Arc<str>,
    },
    /// The block of options in a script.
    Script {
        file: Arc<Path>,
    },
}

/// Something that can't be as it was said.
#[derive(Debug, Clone)]
pub struct Mistake {
    pub place: Place,
    /// What it is about, if it is one option.
    pub option: Option<&'static Declaration>,
    pub message: String,
    /// What to do instead.
    pub help: Option<String>,
}

impl Origin {
    /// An option as this user writes it, without the file: `--drain-timeout`, `pool.blog.drain_timeout`.
    fn key(&self, option: &Declaration) -> String {
        match self {
            Self::CommandLine => format!("--{}", option.long()),
            Self::File { table, .. } => format!("{table}.{}", option.key),
            Self::Script { .. } => option.key.to_owned(),
        }
    }

    /// The same with the file: `wsgi-fpm.toml:12: pool.blog.drain_timeout`.
    fn name(&self, option: &Declaration, line: Option<usize>) -> String {
        let key = self.key(option);
        match self.position(line) {
            Some(position) => format!("{position}: {key}"),
            None => key,
        }
    }

    /// `wsgi-fpm.toml:12`.
    fn position(&self, line: Option<usize>) -> Option<String> {
        let file = match self {
            Self::CommandLine => return None,
            Self::File { file, .. } | Self::Script { file } => file.file_name().unwrap_or(file.as_os_str()),
        };
        let line = line.map(|line| format!(":{line}")).unwrap_or_default();
        Some(format!("{}{line}", file.to_string_lossy()))
    }
}

impl Place {
    pub fn command_line() -> Self {
        Self {
            origin: Origin::CommandLine,
            line: None,
            span: 0..0,
        }
    }

    /// Whether somebody has said it: what stands in a file has a line there.
    fn is_said(&self) -> bool {
        self.origin == Origin::CommandLine || self.line.is_some()
    }

    /// `wsgi-fpm.toml:12: pool.blog`, the table that something was said in.
    pub fn table(&self) -> String {
        match (&self.origin, self.origin.position(self.line)) {
            (Origin::File { table, .. }, Some(position)) => format!("{position}: {table}"),
            (_, Some(position)) => position,
            (_, None) => self.to_string(),
        }
    }

    /// What the user calls the option that he has said here.
    pub fn name(&self, option: &Declaration) -> String {
        self.origin.name(option, self.line)
    }
}

/// `/etc/wsgi-fpm/wsgi-fpm.toml:12`, or `the command line`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.origin, self.line) {
            (Origin::CommandLine, _) => f.write_str("the command line"),
            (Origin::File { file, .. } | Origin::Script { file }, Some(line)) => write!(f, "{}:{line}", file.display()),
            (Origin::File { file, .. } | Origin::Script { file }, None) => file.display().fmt(f),
        }
    }
}

/// What has been said of one pool, from the weakest to the strongest voice.
#[derive(Debug, Clone)]
pub struct Layers {
    entry: Entries,
    /// How its user would write what he has not said.
    home: Origin,
    said: BTreeMap<&'static str, Said>,
    /// Of tables that were merged: where the rest of them was said.
    below: BTreeMap<&'static str, Vec<Place>>,
    mistakes: Vec<Mistake>,
}

impl Layers {
    /// Nothing but defaults, as they are for a process that is started in this way.
    pub fn new(entry: Entries) -> Self {
        Self::at(entry, Origin::CommandLine)
    }

    /// The same for somebody who writes his options at `home`.
    pub fn at(entry: Entries, home: Origin) -> Self {
        Self {
            entry,
            home,
            said: BTreeMap::new(),
            below: BTreeMap::new(),
            mistakes: Vec::new(),
        }
    }

    /// Puts a layer on top: what it says counts, and what contradicts it below does not. Tables are merged name by name.
    pub fn put(&mut self, layer: impl IntoIterator<Item = Said>) {
        let mut layer: Vec<Said> = layer.into_iter().collect();
        for said in &mut layer {
            let below = self.said.remove(said.option.key);
            if let (Form::Table, Some(below)) = (said.option.form, below) {
                said.values.splice(0..0, below.values);
                self.below.entry(said.option.key).or_default().push(below.place);
            }
        }
        self.said.retain(|key, _| {
            let contradicts = |new: &Said| new.option.excludes.contains(key);
            !layer.iter().any(contradicts)
        });
        // Within one layer nobody can tell which of two was meant.
        for (number, said) in layer.iter().enumerate() {
            let excluded = |other: &&Said| said.option.excludes.contains(&other.option.key);
            let other = layer[..number].iter().find(excluded);
            if let Some(other) = other.filter(|other| other.is_on() && said.is_on()) {
                let name = match said.place.origin {
                    Origin::CommandLine => format!("--{}", other.option.long()),
                    _ => other.option.key.to_owned(),
                };
                self.mistakes.push(Mistake::of(
                    said,
                    format!("has no meaning together with {name}; leave one out"),
                ));
            }
        }
        self.said.extend(layer.into_iter().map(|said| (said.option.key, said)));
    }

    /// Puts what follows from how the program was started, under the name by which its user would say it.
    ///
    /// # Panics
    /// There is no such option.
    pub fn assume(&mut self, key: &str, value: impl Into<OsString>) {
        let place = Place {
            origin: self.home.clone(),
            line: None,
            span: 0..0,
        };
        self.put([Said {
            option: crate::find(key).expect("options are assumed by their keys"),
            values: vec![value.into()],
            place,
        }]);
    }

    /// What was said of an option; `None` where the default holds.
    pub fn said(&self, key: &str) -> Option<&Said> {
        self.said.get(key)
    }

    /// Whether they come to the same, wherever it was said.
    pub fn say_the_same(&self, others: &Self) -> bool {
        let values = |(key, said): (&&'static str, &Said)| (*key, said.values.clone());
        self.entry == others.entry && self.said.iter().map(values).eq(others.said.iter().map(values))
    }

    /// Everything that was said.
    pub fn all_said(&self) -> impl Iterator<Item = &Said> {
        self.said.values()
    }

    /// Where the value of an option comes from, the strongest voice first; nothing where it is the default.
    pub fn places(&self, key: &str) -> impl Iterator<Item = &Place> {
        let own = self.said.get(key).map(|said| &said.place);
        let below = self.below.get(key).into_iter().flatten().rev();
        own.into_iter().chain(below).filter(|place| place.is_said())
    }

    pub fn entry(&self) -> Entries {
        self.entry
    }

    /// What the user calls this option.
    pub fn name(&self, option: &Declaration) -> String {
        match self.said.get(option.key) {
            Some(said) => said.place.name(option),
            None => self.home.name(option, None),
        }
    }

    /// The value of an option that is declared with this type.
    ///
    /// # Panics
    /// There is no such option, or its own default is none of its values: a test reads all of them.
    pub(crate) fn setting<T: Values>(&mut self, key: &'static str) -> Setting<T> {
        let option = crate::find(key).expect("options are read where they are declared");
        let name = self.name(option);
        if let Some(said) = self.said.get(key) {
            match T::read(&said.values) {
                Ok(value) => return Setting::new(value, name),
                Err(message) => {
                    let mistake = Mistake::of(said, message);
                    self.mistakes.push(mistake);
                }
            }
        }
        let default: Vec<_> = option.default_for(self.entry).map(OsString::from).into_iter().collect();
        Setting::new(T::read(&default).expect("a default is a value"), name)
    }

    pub fn add_mistake(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    /// What can't be as it was said, and has not been taken before.
    pub fn take_mistakes(&mut self) -> Vec<Mistake> {
        std::mem::take(&mut self.mistakes)
    }
}

impl Said {
    /// From the command line.
    pub fn typed(option: &'static Declaration, values: Vec<OsString>) -> Self {
        Self {
            option,
            values,
            place: Place::command_line(),
        }
    }

    /// What was written as `false` is as good as not said, but for what it overrules.
    fn is_on(&self) -> bool {
        !matches!(self.option.form, Form::Switch | Form::SwitchOrValue)
            || self.values.iter().all(|value| value != "false")
    }
}

impl Mistake {
    /// About the value of an option.
    pub fn of(said: &Said, message: impl Into<String>) -> Self {
        Self {
            place: said.place.clone(),
            option: Some(said.option),
            message: message.into(),
            help: None,
        }
    }

    /// About something else that stands at this place.
    pub fn at(place: Place, message: impl Into<String>) -> Self {
        Self {
            place,
            option: None,
            message: message.into(),
            help: None,
        }
    }

    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What is wrong, for a reader who sees the place already: `pool.blog.threads: write a number from 1 to 1024`.
    pub fn title(&self) -> String {
        match self.option {
            Some(option) => format!("{}: {}", self.place.origin.key(option), self.message),
            None => self.message.clone(),
        }
    }
}

/// As one line: where, what is wrong, and what to do.
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(position) = self.place.origin.position(self.place.line) {
            write!(f, "{position}: ")?;
        }
        f.write_str(&self.title())?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}
