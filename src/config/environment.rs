//! The environment of an application: what it inherits, what a file says and what an option says.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use settings::Setting;
use settings::sections::App;
use settings::values::Variable;

/// Where an application's variables come from.
#[derive(Debug, Clone)]
pub struct Environment {
    file: Setting<Option<PathBuf>>,
    variables: Vec<Variable>,
}

/// What a service manager says to this program alone.
const OURS: [&str; 7] = [
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "MAINPID",
];

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    #[error("{name}: {} can't be read: {error}", .path.display())]
    Unreadable {
        name: String,
        path: PathBuf,
        error: io::Error,
    },
    #[error("{name}: {}:{line}: write KEY=VALUE, a line each", .path.display())]
    Line { name: String, path: PathBuf, line: usize },
}

/// Names and values.
pub type Variables = BTreeMap<OsString, OsString>;

impl Environment {
    pub fn new(app: &App) -> Self {
        Self {
            file: app.env_file.clone(),
            variables: app.env.to_vec(),
        }
    }

    /// What the options say of a variable.
    pub fn said(&self, name: &str) -> Option<&str> {
        let said = self.variables.iter().rev().find(|variable| variable.name == name);
        said.map(|variable| variable.value.as_str())
    }

    /// All variables of a process that starts now. `without`: names that are not inherited.
    ///
    /// # Errors
    /// The file can't be read, or a line of it can't be understood.
    pub fn variables(&self, without: &[&str]) -> Result<Variables, EnvironmentError> {
        let mut variables = inherited(std::env::vars_os(), without);
        if let Some(path) = &*self.file {
            let name = self.file.name().to_owned();
            let text = std::fs::read(path).map_err(|error| EnvironmentError::Unreadable {
                name: name.clone(),
                path: path.clone(),
                error,
            })?;
            let said = parse(&text).map_err(|line| {
                let path = path.clone();
                EnvironmentError::Line { name, path, line }
            })?;
            variables.extend(said);
        }
        let said = self.variables.iter();
        variables.extend(said.map(|variable| (variable.name.clone().into(), variable.value.clone().into())));
        Ok(variables)
    }
}

/// What the application gets of this program's own environment.
fn inherited(own: impl Iterator<Item = (OsString, OsString)>, without: &[&str]) -> Variables {
    let is_left_out = |name: &OsStr| OURS.iter().chain(without).any(|left_out| name == *left_out);
    own.filter(|(name, _)| !is_left_out(name)).collect()
}

/// Lines of KEY=VALUE, as service managers read them.
///
/// # Errors
/// Number of the first line that is neither that nor empty nor a comment.
fn parse(text: &[u8]) -> Result<Vec<(OsString, OsString)>, usize> {
    let mut variables = Vec::new();
    for (number, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") || line.starts_with(b";") {
            continue;
        }
        // A file that a shell reads, too.
        let line = line.strip_prefix(b"export ").unwrap_or(line).trim_ascii_start();
        let equals = line.iter().position(|&byte| byte == b'=').ok_or(number + 1)?;
        let (name, value) = (line[..equals].trim_ascii_end(), line[equals + 1..].trim_ascii_start());
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        if name.is_empty() || !name.iter().all(is_name) || value.contains(&0) {
            return Err(number + 1);
        }
        let value = unquoted(value).ok_or(number + 1)?;
        variables.push((OsStr::from_bytes(name).into(), OsStr::from_bytes(value).into()));
    }
    Ok(variables)
}

/// Without the quotes around it; `None` if there is only one.
fn unquoted(value: &[u8]) -> Option<&[u8]> {
    match value {
        [quote @ (b'"' | b'\''), inner @ .., last] if quote == last => Some(inner),
        [b'"' | b'\'', ..] => None,
        value => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use settings::{Entries, Layers, Said};

    use super::*;

    fn environment(said: &[(&str, &str)]) -> Environment {
        let mut layers = Layers::new(Entries::SERVE);
        layers.put(said.iter().map(|(key, value)| {
            let option = settings::find(key).expect("an option");
            Said::typed(option, vec![(*value).into()])
        }));
        Environment::new(&App::take(&mut layers))
    }

    #[test]
    fn what_the_service_manager_says_to_this_program_is_not_passed_on() {
        let own = ["LANG", "NOTIFY_SOCKET", "HTTP_PROXY", "SECRET"];
        let own = own.map(|name| (OsString::from(name), OsString::from("x")));
        let names: Vec<_> = inherited(own.into_iter(), &["HTTP_PROXY"]).into_keys().collect();
        assert_eq!(names, ["LANG", "SECRET"]);
    }

    #[test]
    fn option_counts_more_than_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "A=file\nB=file\n").unwrap();
        let path = file.path().to_str().unwrap();
        let variables = environment(&[("env_file", path), ("env", "B=option")])
            .variables(&[])
            .unwrap();
        let value = |name: &str| variables.get(OsStr::new(name)).and_then(|value| value.to_str());
        assert_eq!((value("A"), value("B")), (Some("file"), Some("option")));
    }

    #[test]
    fn lines_are_read_as_service_managers_do() {
        let text = b"# comment\n; another\n\nA=1\n B = two words \nC=\"quoted # \"\nD='x=y'\nexport E=5\r\nF=\n";
        let pairs = parse(text).unwrap();
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(n, v)| format!("{}={}", n.display(), v.display()))
            .collect();
        assert_eq!(pairs, ["A=1", "B=two words", "C=quoted # ", "D=x=y", "E=5", "F="]);
    }

    #[test]
    fn line_that_says_nothing_is_named_by_its_number() {
        assert_eq!(parse(b"A=1\nnonsense\n"), Err(2));
        assert_eq!(parse(b"=1\n"), Err(1));
        assert_eq!(parse(b"\nA B=1\n"), Err(2));
        assert_eq!(parse(b"A=\"1\n"), Err(1));
    }

    #[test]
    fn missing_file_is_named_with_its_option() {
        let environment = environment(&[("env_file", "/nonexistent/x.env")]);
        let error = environment.variables(&[]).unwrap_err().to_string();
        assert!(
            error.starts_with("--env-file: /nonexistent/x.env can't be read: "),
            "{error}"
        );
    }
}
