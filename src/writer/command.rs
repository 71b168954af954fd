//! The command line that serves the application, for units and for comments: what was typed, independent of where.

use std::path::{Path, PathBuf};

use settings::sections::{App, Listen, RunAs};
use settings::values::Address;
use settings::{Declaration, Said};

use super::Site;
use super::text::Text;
use super::value::Value;
use crate::config::words::shell_word;
use crate::config::{ConfigError, Pool};

/// What does not stand there as it was typed. A unit says who runs it in its own way.
const OTHERWISE: [&str; 8] = [
    App::app().key,
    App::chdir().key,
    App::python().key,
    App::pythonpath().key,
    Listen::listen().key,
    RunAs::user().key,
    RunAs::group().key,
    RunAs::groups().key,
];

/// Without the program itself.
#[derive(Debug)]
pub struct Command {
    /// Each with its value.
    pub options: Vec<(&'static Declaration, Option<Value>)>,
    /// The option that names a file of secrets, as it was said.
    pub secrets: Option<String>,
    typed: Vec<&'static Declaration>,
    /// The configuration file, if one says everything.
    file: Option<String>,
}

impl Command {
    /// Of a program that serves the pools of this file.
    ///
    /// # Errors
    /// If its path can't stand in a configuration.
    pub fn of_file(path: &Path) -> Result<Self, anyhow::Error> {
        let path = super::absolute(path)?;
        Ok(Self {
            options: Vec::new(),
            secrets: None,
            typed: Vec::new(),
            file: Some(Value::path("--config", &path)?.as_str().to_owned()),
        })
    }

    /// `block`: what the application says of itself.
    ///
    /// # Errors
    /// If a value can't stand in a configuration.
    pub fn new(pool: &Pool, site: &Site, typed: &[Said], block: &[Said]) -> Result<Self, anyhow::Error> {
        let mut all = typed.iter().chain(block);
        let secrets = all.find(|said| said.option.key == App::env_file().key);
        let mut command = Self {
            options: Vec::new(),
            secrets: secrets.map(|said| said.place.name(said.option)),
            typed: typed
                .iter()
                .map(|said| said.option)
                .filter(|option| option.key != App::app().key)
                .collect(),
            file: None,
        };
        let is_typed = |option: &Declaration| typed.iter().any(|said| said.option.key == option.key);
        // These depend on where and by whom the program is started; a script says them for itself.
        let is_said =
            |option: &Declaration| block.iter().any(|said| said.option.key == option.key) && !is_typed(option);
        if !is_said(App::chdir()) {
            command.push(App::chdir(), site.chdir.clone());
        }
        if let Some(python) = python(pool)?.filter(|_| !is_said(App::python())) {
            command.push(App::python(), Value::path(pool.python.name(), &python)?);
        }
        if let Some(said) = typed.iter().find(|said| said.option.key == App::pythonpath().key) {
            for path in &pool.settings.pythonpath {
                command.push(said.option, Value::path(&said.place.name(said.option), path)?);
            }
        }
        for said in typed.iter().filter(|said| !OTHERWISE.contains(&said.option.key)) {
            if said.values.is_empty() {
                command.options.push((said.option, None));
            }
            for value in &said.values {
                command.push(said.option, Value::new(&said.place.name(said.option), value)?);
            }
        }
        for address in site.listen.iter().filter(|_| !is_said(Listen::listen())) {
            let address = match address {
                Address::Unix(path) => Value::path(site.listen.name(), path)?,
                Address::Tcp(_) | Address::Fd(_) | Address::Named(_) => {
                    Value::new(site.listen.name(), address.to_string())?
                }
            };
            command.push(Listen::listen(), address);
        }
        Ok(command)
    }

    fn push(&mut self, option: &'static Declaration, value: Value) {
        self.options.push((option, Some(value)));
    }

    /// The value of an option that was typed.
    pub fn value(&self, option: &Declaration) -> Option<&str> {
        let (_, value) = self.options.iter().find(|(other, _)| other.key == option.key)?;
        value.as_ref().map(Value::as_str)
    }

    /// The options that somebody typed.
    pub fn typed(&self) -> impl Iterator<Item = &'static Declaration> {
        self.typed.iter().copied()
    }

    /// Comment lines that say which application the configuration fits. `group` is the web server's.
    pub fn comment(&self, text: &mut Text, site: &Site, group: &str) {
        text.comment("");
        if let Some(file) = &self.file {
            text.comment("The applications run as");
            text.typed(format_args!("wsgi-fpm serve -c {}", shell_word(file)));
            text.comment(format_args!(
                "and their sockets are for the group of the web server: {} = \"{group}\" in that file.",
                Listen::listen_group().key
            ));
            return;
        }
        let mut line = format!("wsgi-fpm serve {}", shell_word(site.app.as_str()));
        for (option, value) in &self.options {
            line += &format!(" --{}", option.long());
            if let Some(value) = value.as_ref().map(Value::as_str) {
                line.push(separator(value));
                line.push_str(&shell_word(value));
            }
        }
        if site.has_unix_socket() && self.value(Listen::listen_group()).is_none() {
            line += &format!(" --{} {group}", Listen::listen_group().long());
        }
        text.comment("The application has to run as");
        text.typed(line);
        text.comment("and `wsgi-fpm config systemd` with these options writes the unit for it.");
    }
}

/// Between an option and its value: one that begins with a dash would be taken for an option.
pub fn separator(value: &str) -> char {
    if value.starts_with('-') { '=' } else { ' ' }
}

/// What `serve` would take here and would not find from elsewhere: an option that is a relative path, and the active
/// virtual environment.
fn python(pool: &Pool) -> Result<Option<PathBuf>, ConfigError> {
    let active = || std::env::var_os("VIRTUAL_ENV").filter(|directory| !directory.is_empty());
    let Some(named) = pool.python.clone().into_value().or_else(|| active().map(PathBuf::from)) else {
        return Ok(None);
    };
    // A bare name is a command on PATH.
    if named.components().count() == 1 && !Path::new(&named).exists() {
        return Ok(Some(named));
    }
    std::path::absolute(named)
        .map(Some)
        .map_err(|error| ConfigError::CurrentDirectory(pool.settings.chdir.name().to_owned(), error))
}
