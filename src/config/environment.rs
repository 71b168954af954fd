//! The environment of an application: what it inherits, what a file says and what an option says.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use settings::Setting;
use settings::sections::App;
use settings::values::Variable;

use crate::users::{Home, Identity};

/// Where an application's variables come from.
#[derive(Debug, Clone)]
pub struct Environment {
    inherited: Inherited,
    /// What is said of the application's user.
    home: Vec<Variable>,
    /// Names of such variables that are another user's.
    not_his: &'static [&'static str],
    file: Setting<Option<PathBuf>>,
    /// Whose rights are good enough to read the file; this process's own if it is nobody's.
    reader: Identity,
    variables: Vec<Variable>,
}

/// What is taken over from whoever has started the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inherited {
    Everything,
    /// What every program needs, and these; a `*` at the end of a name stands for anything.
    Only(Vec<String>),
}

/// What a program needs to find others, and to write to people in their language and time.
const NEEDED: [&str; 4] = ["PATH", "LANG", "LC_*", "TZ"];
/// What says who somebody is.
const HOME: [&str; 4] = ["HOME", "USER", "LOGNAME", "SHELL"];
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
    /// `identity`: who the application is to be.
    pub fn new(inherited: Inherited, identity: &Identity, app: &App) -> Self {
        let home = match (&identity.user, &inherited) {
            (Some(user), _) => user.account.clone(),
            (None, Inherited::Everything) => None,
            (None, Inherited::Only(_)) => Home::own(),
        };
        let home = home.map(|home| {
            let values = [home.directory, home.name.clone(), home.name, home.shell];
            let named = HOME.into_iter().zip(values);
            named
                .map(|(name, value)| Variable {
                    name: name.to_owned(),
                    value,
                })
                .collect()
        });
        Self {
            inherited,
            home: home.unwrap_or_default(),
            not_his: if identity.user.is_some() { &HOME } else { &[] },
            file: app.env_file.clone(),
            reader: Identity::default(),
            variables: app.env.to_vec(),
        }
    }

    /// The same with a file that the application itself has named: nobody with more rights than its user may read that for it.
    #[must_use]
    pub fn read_by(self, reader: Identity) -> Self {
        Self { reader, ..self }
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
        let mut variables = self.inherited(std::env::vars_os());
        variables.retain(|name, _| !without.iter().chain(self.not_his).any(|left_out| name == *left_out));
        variables.extend(pairs(&self.home));
        if let Some(path) = &*self.file {
            let name = self.file.name().to_owned();
            let text = self.reader.looks(|| std::fs::read(path));
            let text = text.map_err(|error| EnvironmentError::Unreadable {
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
        variables.extend(pairs(&self.variables));
        Ok(variables)
    }

    /// What the application gets of this program's own environment.
    fn inherited(&self, own: impl Iterator<Item = (OsString, OsString)>) -> Variables {
        let is_ours = |name: &OsStr| OURS.iter().any(|ours| name == *ours);
        let is_kept = |name: &OsStr| match &self.inherited {
            Inherited::Everything => true,
            Inherited::Only(kept) => kept
                .iter()
                .map(String::as_str)
                .chain(NEEDED)
                .any(|kept| is_named(name, kept)),
        };
        own.filter(|(name, _)| !is_ours(name) && is_kept(name)).collect()
    }
}

fn is_named(name: &OsStr, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.as_bytes().starts_with(prefix.as_bytes()),
        None => name == pattern,
    }
}

fn pairs(variables: &[Variable]) -> impl Iterator<Item = (OsString, OsString)> {
    variables
        .iter()
        .map(|variable| (variable.name.clone().into(), variable.value.clone().into()))
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

    fn environment(inherited: Inherited, said: &[(&str, &str)]) -> Environment {
        let mut layers = Layers::new(Entries::SERVE);
        layers.put(said.iter().map(|(key, value)| {
            let option = settings::find(key).expect("an option");
            Said::typed(option, vec![(*value).into()])
        }));
        Environment::new(inherited, &Identity::default(), &App::take(&mut layers))
    }

    fn names(inherited: Inherited) -> Vec<OsString> {
        let own = [
            "LANG",
            "LC_TIME",
            "NOTIFY_SOCKET",
            "PATH",
            "SECRET",
            "APP_A",
            "TZ",
            "HOME",
        ];
        let own = own.map(|name| (OsString::from(name), OsString::from("x")));
        let environment = environment(inherited, &[]);
        environment.inherited(own.into_iter()).into_keys().collect()
    }

    #[test]
    fn clean_environment_has_what_every_program_needs_and_what_is_named() {
        let clean = names(Inherited::Only(vec!["APP_*".into()]));
        assert_eq!(clean, ["APP_A", "LANG", "LC_TIME", "PATH", "TZ"]);
    }

    #[test]
    fn what_the_service_manager_says_to_this_program_is_not_passed_on() {
        let all = names(Inherited::Everything);
        assert_eq!(all, ["APP_A", "HOME", "LANG", "LC_TIME", "PATH", "SECRET", "TZ"]);
    }

    #[test]
    fn clean_environment_says_who_its_user_is() {
        let variables = environment(Inherited::Only(Vec::new()), &[]).variables(&[]).unwrap();
        let own = Home::own().unwrap();
        let value = |name: &str| variables[OsStr::new(name)].to_str().unwrap();
        assert_eq!((value("HOME"), value("USER")), (&*own.directory, &*own.name));
        assert_eq!((value("SHELL"), value("LOGNAME")), (&*own.shell, &*own.name));
    }

    #[test]
    fn option_counts_more_than_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "A=file\nB=file\n").unwrap();
        let path = file.path().to_str().unwrap();
        let said = [("env_file", path), ("env", "B=option")];
        let variables = environment(Inherited::Everything, &said).variables(&[]).unwrap();
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
        let environment = environment(Inherited::Everything, &[("env_file", "/nonexistent/x.env")]);
        let error = environment.variables(&[]).unwrap_err().to_string();
        assert!(
            error.starts_with("--env-file: /nonexistent/x.env can't be read: "),
            "{error}"
        );
    }
}
