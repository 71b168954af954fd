//! The options in a script: TOML in a block of comments, in the form of Python's inline script metadata (PEP 723).
//!
//!     # /// wsgi-fpm
//!     # python = "/srv/blog/.venv"
//!     # threads = 2
//!     # ///

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use pool::denied::{Wish, denied};
use toml::Value;

const BEGIN: &str = "# /// wsgi-fpm";
const END: &str = "# ///";
/// Keys whose values are paths; relative ones begin at the script's directory.
const PATHS: [&str; 3] = ["python", "chdir", "pythonpath"];
/// Not the script's to say: it is the application.
const FORBIDDEN: [&str; 2] = ["app", "help"];

#[derive(Debug, thiserror::Error)]
#[error("{}, options block: {what}", .script.display())]
pub struct BlockError {
    script: PathBuf,
    what: String,
}

impl BlockError {
    fn new(script: &Path, what: impl Into<String>) -> Self {
        Self {
            script: script.to_owned(),
            what: what.into(),
        }
    }

    /// A value that the option does not take.
    pub fn value(script: &Path, error: String) -> Self {
        Self::new(script, error)
    }
}

/// One key with its values.
#[derive(Debug, PartialEq, Eq)]
pub struct BlockOption {
    pub key: String,
    /// As they would be typed; none for a switch.
    values: Vec<OsString>,
}

impl BlockOption {
    /// The option's long name.
    pub fn long(&self) -> String {
        self.key.replace('_', "-")
    }

    pub fn values(&self) -> &[OsString] {
        &self.values
    }

    /// As on a command line.
    pub fn arguments(&self) -> Vec<OsString> {
        let long = format!("--{}", self.long());
        if self.values.is_empty() {
            return vec![long.into()];
        }
        let typed = |value: &OsString| {
            let mut argument = OsString::from(format!("{long}="));
            argument.push(value);
            argument
        };
        self.values.iter().map(typed).collect()
    }

    /// Whether `command` has such an option.
    pub fn is_of(&self, command: &clap::Command) -> bool {
        self.find_in(command).is_some()
    }

    fn find_in<'a>(&self, command: &'a clap::Command) -> Option<&'a clap::Arg> {
        let long = self.long();
        command
            .get_arguments()
            .find(|argument| argument.get_long() == Some(&long))
            .filter(|_| !FORBIDDEN.contains(&self.key.as_str()) && !self.key.contains('-'))
    }

    /// Checks that `command` has such an option; its id.
    ///
    /// # Errors
    /// It has not, or it takes a value and there is none, or the other way round.
    pub fn check(&self, command: &clap::Command, script: &Path) -> Result<String, BlockError> {
        let Some(argument) = self.find_in(command) else {
            return Err(BlockError::new(
                script,
                format!("there is no option {:?}; docs/options.md lists them", self.key),
            ));
        };
        let takes_value = argument.get_action().takes_values();
        if takes_value && self.values.is_empty() {
            return Err(BlockError::new(script, format!("{} needs a value, not true", self.key)));
        }
        if !takes_value && !self.values.is_empty() {
            return Err(BlockError::new(script, format!("{} is true or false", self.key)));
        }
        Ok(argument.get_id().to_string())
    }
}

/// The options in `script`; none if it has no block.
///
/// # Errors
/// It can't be read, or its block can't be understood.
pub fn read(script: &Path) -> Result<Vec<BlockOption>, BlockError> {
    let text = std::fs::read(script).map_err(|error| {
        let why = denied(script, Wish::Read).map_or(format!("it can't be read: {error}"), |denied| denied.to_string());
        BlockError::new(script, why)
    })?;
    let text = String::from_utf8_lossy(&text);
    let Some((first_line, block)) = find(&text).map_err(|what| BlockError::new(script, what))? else {
        return Ok(Vec::new());
    };
    let table: toml::Table = block.parse().map_err(|error: toml::de::Error| {
        let before = error.span().map_or("", |span| &block[..span.start.min(block.len())]);
        let line = first_line + before.matches('\n').count();
        BlockError::new(script, format!("line {line}: {}", error.message()))
    })?;
    let directory = script.parent().unwrap_or(Path::new("/"));
    let mut options = Vec::new();
    for (key, value) in table {
        let is_path = PATHS.contains(&key.as_str());
        let values = values(&key, value).map_err(|what| BlockError::new(script, what))?;
        let Some(values) = values else { continue };
        let values = values
            .into_iter()
            .map(|value| match is_path {
                true => resolve(directory, &value),
                false => value.into(),
            })
            .collect();
        options.push(BlockOption { key, values });
    }
    Ok(options)
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
                Some((second, _)) => Err(format!("line {}: a second block", second + 1)),
                None => Ok(Some((begin + 2, block))),
            };
        }
        let content = match line.strip_prefix('#') {
            Some("") => "",
            Some(content) if content.starts_with(' ') => &content[1..],
            _ => return Err(format!("line {}: every line of it begins with \"# \"", number + 1)),
        };
        block.push_str(content);
        block.push('\n');
    }
    Err(format!("line {}: it has no end: a line \"{END}\"", begin + 1))
}

/// A value as it would be typed; `None` for a switch that is off.
fn values(key: &str, value: Value) -> Result<Option<Vec<String>>, String> {
    Ok(match value {
        Value::Boolean(false) => None,
        Value::Boolean(true) => Some(Vec::new()),
        Value::Array(items) if items.is_empty() => None,
        Value::Array(items) => Some(
            items
                .into_iter()
                .map(|item| scalar(key, item))
                .collect::<Result<_, _>>()?,
        ),
        Value::Table(table) if table.is_empty() => None,
        Value::Table(table) if key == "env" => {
            let pair = |(name, value)| Ok::<_, String>(format!("{name}={}", scalar(key, value)?));
            Some(table.into_iter().map(pair).collect::<Result<_, _>>()?)
        }
        value => Some(vec![scalar(key, value)?]),
    })
}

fn scalar(key: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Integer(number) => Ok(number.to_string()),
        value => Err(format!("{key} can't be of type {}", value.type_str())),
    }
}

/// A bare name is a command on PATH, as on a command line: `python = "python3.12"`.
fn resolve(directory: &Path, value: &str) -> OsString {
    let path = directory.join(value);
    if value.contains('/') || path.exists() {
        path.into()
    } else {
        value.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Result<Vec<BlockOption>, String> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join(".venv")).unwrap();
        let script = directory.path().join("app.fcgi");
        std::fs::write(&script, text).unwrap();
        let place = format!("{}/", directory.path().display());
        let mut options = read(&script).map_err(|error| error.what)?;
        for value in options.iter_mut().flat_map(|option| &mut option.values) {
            *value = value.to_string_lossy().replace(&place, "DIR/").into();
        }
        Ok(options)
    }

    fn typed(text: &str) -> Vec<OsString> {
        options(text).unwrap().iter().flat_map(BlockOption::arguments).collect()
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
            "--threads=2",
            "--validate",
            "--request-timeout=30s",
            "--env=A=b c",
            "--env=N=1",
            "--cgi-variable=X",
            "--cgi-variable=Y*",
        ];
        let mut typed = typed(text);
        typed.sort();
        let mut expected = expected.map(OsString::from);
        expected.sort();
        assert_eq!(typed, expected);
    }

    #[test]
    fn lines_may_end_as_on_windows() {
        assert_eq!(typed("# /// wsgi-fpm\r\n# threads = 3\r\n# ///\r\n"), ["--threads=3"]);
    }

    #[test]
    fn paths_begin_at_the_script() {
        let text = |value: &str| format!("# /// wsgi-fpm\n# python = \"{value}\"\n# ///\n");
        assert_eq!(typed(&text(".venv")), ["--python=DIR/.venv"]);
        assert_eq!(typed(&text("../env")), ["--python=DIR/../env"]);
        assert_eq!(typed(&text("/opt/python")), ["--python=/opt/python"]);
        assert_eq!(typed(&text("python3.12")), ["--python=python3.12"]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let wrong = |text: &str| options(text).unwrap_err();
        assert_eq!(
            wrong("#!x\n# /// wsgi-fpm\n# threads = 2\n"),
            "line 2: it has no end: a line \"# ///\""
        );
        assert_eq!(
            wrong("# /// wsgi-fpm\nthreads = 2\n# ///\n"),
            "line 2: every line of it begins with \"# \""
        );
        assert_eq!(
            wrong("# /// wsgi-fpm\n# ///\n\n# /// wsgi-fpm\n# ///\n"),
            "line 4: a second block"
        );
        let toml = wrong("#!x\n# /// wsgi-fpm\n# threads = 2\n# mount = /app\n# ///\n");
        assert!(toml.starts_with("line 4: "), "{toml}");
        assert_eq!(
            wrong("# /// wsgi-fpm\n# mount = { a = 1 }\n# ///\n"),
            "mount can't be of type table"
        );
    }
}
