//! The command line that serves the application, for units and for comments: what was typed, independent of where.

use std::path::{Path, PathBuf};

use settings::Said;
use settings::values::Address;

use super::Site;
use super::text::Text;
use super::value::Value;
use crate::config::words::shell_word;
use crate::config::{ConfigError, Pool};

/// Without the program itself.
#[derive(Debug)]
pub struct Command {
    /// Each with its value.
    pub options: Vec<(String, Option<Value>)>,
    typed: Vec<String>,
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
            typed: Vec::new(),
            file: Some(Value::path("--config", &path)?.as_str().to_owned()),
        })
    }

    /// `block`: what the application says of itself.
    ///
    /// # Errors
    /// If a value can't stand in a configuration.
    pub fn new(pool: &Pool, site: &Site, typed: &[Said], block: &[Said]) -> Result<Self, anyhow::Error> {
        let mut command = Self {
            options: Vec::new(),
            typed: typed
                .iter()
                .filter(|said| said.option.key != "app")
                .map(|said| said.option.long())
                .collect(),
            file: None,
        };
        let is_typed = |key: &str| typed.iter().any(|said| said.option.key == key);
        // These depend on where and by whom the program is started; a script says them for itself.
        let is_said = |key: &str| block.iter().any(|said| said.option.key == key) && !is_typed(key);
        if !is_said("chdir") {
            command.push("chdir", site.chdir.clone());
        }
        if let Some(python) = python(pool)?.filter(|_| !is_said("python")) {
            command.push("python", Value::path(pool.python.name(), &python)?);
        }
        if is_typed("pythonpath") {
            for path in &pool.settings.pythonpath {
                command.push("pythonpath", Value::path("--pythonpath", path)?);
            }
        }
        for said in typed {
            let what = match said.option.key {
                // A unit says who runs it in its own way.
                "app" | "chdir" | "python" | "pythonpath" | "listen" | "user" | "group" | "groups" => continue,
                "env" => "--env",
                "name" => "--name",
                "mount" => "--mount",
                _ => "an option of serve",
            };
            let name = said.option.long();
            if said.values.is_empty() {
                command.options.push((name.clone(), None));
            }
            for value in &said.values {
                command.push(&name, Value::new(what, value)?);
            }
        }
        for address in site.listen.iter().filter(|_| !is_said("listen")) {
            let address = match address {
                Address::Unix(path) => Value::path(site.listen.name(), path)?,
                Address::Tcp(_) | Address::Fd(_) => Value::new(site.listen.name(), address.to_string())?,
            };
            command.push("listen", address);
        }
        Ok(command)
    }

    fn push(&mut self, name: &str, value: Value) {
        self.options.push((name.to_owned(), Some(value)));
    }

    /// The value of an option that was typed.
    pub fn value(&self, name: &str) -> Option<&str> {
        let (_, value) = self.options.iter().find(|(option, _)| option == name)?;
        value.as_ref().map(Value::as_str)
    }

    /// Names of the options that somebody typed.
    pub fn typed(&self) -> impl Iterator<Item = &str> {
        self.typed.iter().map(String::as_str)
    }

    /// Comment lines that say which application the configuration fits. `group` is the web server's.
    pub fn comment(&self, text: &mut Text, site: &Site, group: &str) {
        text.comment("");
        if let Some(file) = &self.file {
            text.comment("The applications run as");
            text.typed(format_args!("wsgi-fpm serve -c {}", shell_word(file)));
            text.comment(format_args!(
                "and their sockets are for the group of the web server: listen_group = \"{group}\" in that file."
            ));
            return;
        }
        let mut line = format!("wsgi-fpm serve {}", shell_word(site.app.as_str()));
        for (name, value) in &self.options {
            line.push_str(" --");
            line.push_str(name);
            if let Some(value) = value.as_ref().map(Value::as_str) {
                line.push(separator(value));
                line.push_str(&shell_word(value));
            }
        }
        if site.has_unix_socket() && self.value("listen-group").is_none() {
            line.push_str(" --listen-group ");
            line.push_str(group);
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
