//! The options in a script: TOML in a block of comments, in the form of Python's inline script metadata (PEP 723).
//!
//!     # /// wsgi-fpm
//!     # python = "/srv/blog/.venv"
//!     # threads = 2
//!     # ///

use std::path::{Path, PathBuf};

use contract::denied::{Wish, denied};
use settings::sections::RunAs;
use settings::toml::Source;
use settings::{Declaration, Entries, Mistake, Origin, Said};

const BEGIN: &str = "# /// wsgi-fpm";
const END: &str = "# ///";

#[derive(Debug, thiserror::Error)]
#[error("{}{what}", .script.display())]
pub struct BlockError {
    script: PathBuf,
    /// With the line in front, if there is one: `:3: threads: write a number from 1 to 1024`.
    what: String,
}

impl BlockError {
    fn new(script: &Path, what: impl Into<String>) -> Self {
        Self {
            script: script.to_owned(),
            what: what.into(),
        }
    }

    /// Options that can't be as they were said.
    pub fn mistakes(script: &Path, mistakes: &[Mistake]) -> Self {
        let separator = format!("\n{}", script.display());
        Self::new(
            script,
            mistakes.iter().map(line_of).collect::<Vec<_>>().join(&separator),
        )
    }
}

/// Without the script's name, which stands in front.
fn line_of(mistake: &Mistake) -> String {
    let line = mistake.place.line.map(|line| format!(":{line}")).unwrap_or_default();
    let help = mistake
        .help
        .as_ref()
        .map(|help| format!("; {help}"))
        .unwrap_or_default();
    format!("{line}: {}{help}", mistake.title())
}

/// The options in `script`; none if it has no block.
///
/// # Errors
/// It can't be read, or its block can't be understood.
pub fn read(script: &Path) -> Result<Vec<Said>, BlockError> {
    let text = std::fs::read(script).map_err(|error| {
        let why = denied(script, Wish::Read).map_or(format!("it can't be read: {error}"), |denied| denied.to_string());
        BlockError::new(script, format!(": {why}"))
    })?;
    let text = String::from_utf8_lossy(&text);
    let Some((first_line, block)) = find(&text).map_err(|what| BlockError::new(script, what))? else {
        return Ok(Vec::new());
    };
    let origin = Origin::Script { file: script.into() };
    let source = Source {
        text: &block,
        first_line,
        directory: script.parent().unwrap_or(Path::new("/")),
    };
    let table = source
        .parse(&origin)
        .map_err(|mistake| BlockError::mistakes(script, &[*mistake]))?;
    let spoken = source.read(&origin, table.get_ref(), is_known);
    match spoken.mistakes.as_slice() {
        [] => Ok(spoken.said),
        mistakes => Err(BlockError::mistakes(script, mistakes)),
    }
}

/// Everything that `serve` knows, since the same script may be served by it, but which application this is, and by whom it is
/// run: whoever may write to the script must not choose that.
fn is_known(option: &Declaration) -> bool {
    let is_for_it = option.entries.has(Entries::SERVE.or(Entries::SCRIPTS));
    is_for_it && option.key != "app" && option.section != RunAs::TITLE
}

/// Number of the block's first line, from 1, and its text.
fn find(text: &str) -> Result<Option<(usize, String)>, String> {
    let mut lines = text.lines().enumerate();
    let Some((begin, _)) = lines.by_ref().find(|(_, line)| line.trim_end() == BEGIN) else {
        return Ok(None);
    };
    let mut block = String::new();
    for (number, line) in lines.by_ref() {
        let line = line.trim_end();
        if line == END {
            return match lines.find(|(_, line)| line.trim_end() == BEGIN) {
                Some((second, _)) => Err(format!(":{}: a second block of options", second + 1)),
                None => Ok(Some((begin + 2, block))),
            };
        }
        let content = match line.strip_prefix('#') {
            Some("") => "",
            Some(content) if content.starts_with(' ') => &content[1..],
            _ => {
                return Err(format!(
                    ":{}: every line of the block of options begins with \"# \"",
                    number + 1
                ));
            }
        };
        block.push_str(content);
        block.push('\n');
    }
    Err(format!(
        ":{}: the block of options has no end: a line \"{END}\"",
        begin + 1
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As it would be typed, in the order of the keys.
    fn options(text: &str) -> Result<Vec<String>, String> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join(".venv")).unwrap();
        let script = directory.path().join("app.fcgi");
        std::fs::write(&script, text).unwrap();
        let place = format!("{}/", directory.path().display());
        let said = read(&script).map_err(|error| error.what)?;
        let mut typed = Vec::new();
        for said in said {
            let option = format!("--{}", said.option.long());
            if said.values.is_empty() {
                typed.push(option.clone());
            }
            let values = said
                .values
                .iter()
                .map(|value| value.to_string_lossy().replace(&place, "DIR/"));
            typed.extend(values.map(|value| format!("{option}={value}")));
        }
        Ok(typed)
    }

    #[test]
    fn script_without_a_block_has_no_options() {
        assert_eq!(options("#!/usr/bin/env wsgi-fpm\ndef app(): pass\n"), Ok(vec![]));
        assert_eq!(options(""), Ok(vec![]));
    }

    #[test]
    fn options_are_as_if_they_were_typed() {
        let text = "#!/usr/bin/env wsgi-fpm\n# /// wsgi-fpm\n# threads = 2\n# validate = true\n# access_log = false\n#\n\
                    # request_timeout = \"30s\"\n# env = { A = \"b c\", N = 1 }\n# cgi_variable = [\"X\", \"Y*\"]\n# ///\nimport x\n";
        let expected = [
            "--access-log=false",
            "--cgi-variable=X",
            "--cgi-variable=Y*",
            "--env=A=b c",
            "--env=N=1",
            "--request-timeout=30s",
            "--threads=2",
            "--validate",
        ];
        assert_eq!(options(text).unwrap(), expected);
    }

    #[test]
    fn options_of_serve_may_stand_there_but_not_the_application() {
        let text = |line: &str| format!("# /// wsgi-fpm\n# {line}\n# ///\n");
        assert_eq!(options(&text("listen = \":9000\"")).unwrap(), ["--listen=:9000"]);
        assert_eq!(
            options(&text("app = \"x\"")).unwrap_err(),
            ":2: there is no option \"app\""
        );
        assert_eq!(
            options(&text("thread = 2")).unwrap_err(),
            ":2: there is no option \"thread\"; did you mean threads?"
        );
    }

    #[test]
    fn lines_may_end_as_on_windows() {
        assert_eq!(
            options("# /// wsgi-fpm\r\n# threads = 3\r\n# ///\r\n").unwrap(),
            ["--threads=3"]
        );
    }

    #[test]
    fn paths_begin_at_the_script() {
        let text = |value: &str| format!("# /// wsgi-fpm\n# python = \"{value}\"\n# ///\n");
        assert_eq!(options(&text(".venv")).unwrap(), ["--python=DIR/.venv"]);
        assert_eq!(options(&text("../env")).unwrap(), ["--python=DIR/../env"]);
        assert_eq!(options(&text("/opt/python")).unwrap(), ["--python=/opt/python"]);
        assert_eq!(options(&text("python3.12")).unwrap(), ["--python=python3.12"]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let wrong = |text: &str| options(text).unwrap_err();
        assert_eq!(
            wrong("#!x\n# /// wsgi-fpm\n# threads = 2\n"),
            ":2: the block of options has no end: a line \"# ///\""
        );
        assert_eq!(
            wrong("# /// wsgi-fpm\nthreads = 2\n# ///\n"),
            ":2: every line of the block of options begins with \"# \""
        );
        assert_eq!(
            wrong("# /// wsgi-fpm\n# ///\n\n# /// wsgi-fpm\n# ///\n"),
            ":4: a second block of options"
        );
        let toml = wrong("#!x\n# /// wsgi-fpm\n# threads = 2\n# mount = /app\n# ///\n");
        assert!(toml.starts_with(":4: "), "{toml}");
        assert_eq!(
            wrong("# /// wsgi-fpm\n# mount = { a = 1 }\n# ///\n"),
            ":2: mount: write one value, mount = \"...\"; this is of type table"
        );
    }
}
