//! The configuration file as pools that can be started.

use std::collections::BTreeMap;
use std::path::Path;

use contract::log::LogSettings;
use settings::sections::{Listen, Log, Status};
use settings::values::{Address, PoolName};
use settings::{Layers, Mistake};

use super::file::{self, Described};
use super::report::Report;
use super::stamp::FileStamp;
use super::{ConfigError, Pool, log_settings};

/// What a configuration file describes.
#[derive(Debug)]
pub struct Configuration {
    /// The program itself.
    pub server: Layers,
    pub pools: BTreeMap<PoolName, FilePool>,
}

/// A pool that a file describes.
#[derive(Debug, Clone)]
pub struct FilePool {
    name: PoolName,
    layers: Layers,
    /// Of the `env_file`, when the file was read. If it can't be found, the pool says so when it starts.
    env_file: Option<FileStamp>,
}

/// What a pool is made from each time that it starts: accounts, directories and files may have come or gone since.
#[derive(Debug, Clone)]
pub enum Definition {
    /// By a command line, which was looked at already.
    Made(Box<Pool>),
    /// By a table of the file.
    File(Box<FilePool>),
}

/// Reads the file at `path` and what it includes. What only a running system can tell, such as a user that does not exist, is
/// found out for each pool by itself when it starts.
///
/// # Errors
/// All mistakes that are in the file, at once.
pub fn load(path: &Path) -> Result<Configuration, Report> {
    match examine(path) {
        (configuration, None) => Ok(configuration),
        (_, Some(report)) => Err(report),
    }
}

/// The same, as far as the file can be understood, beside everything that can't be.
pub fn examine(path: &Path) -> (Configuration, Option<Report>) {
    let mut document = file::read(path, missing);
    let describe = |(name, pool): (PoolName, Described)| {
        let layers = pool.layers;
        let env_file = layers.said("env_file").and_then(|said| said.values.last());
        let env_file = env_file.and_then(|path| FileStamp::of(Path::new(path)));
        let pool = FilePool {
            name: name.clone(),
            layers,
            env_file,
        };
        (name, pool)
    };
    let configuration = Configuration {
        server: document.server.clone(),
        pools: std::mem::take(&mut document.pools).into_iter().map(describe).collect(),
    };
    (configuration, document.report())
}

impl Configuration {
    /// The log of the whole program.
    pub fn log(&self) -> LogSettings {
        log_settings(Log::take(&mut self.server.clone()))
    }

    /// Who may ask how it is, and steer it.
    pub fn status(&self) -> Status {
        Status::take(&mut self.server.clone())
    }
}

/// What a pool can't be without.
fn missing(name: &PoolName, pool: &Described) -> Vec<Mistake> {
    let needed = [
        ("app", "app = \"mysite.wsgi:application\"".to_owned()),
        ("listen", format!("listen = \"/run/wsgi-fpm/{name}.sock\"")),
    ];
    let is_missing = |key: &str| pool.layers.said(key).is_none_or(|said| said.values.is_empty());
    needed
        .into_iter()
        .filter(|(key, _)| is_missing(key) && !pool.wrong.contains(key))
        .map(|(key, line)| {
            let mistake = Mistake::at(pool.place.clone(), format!("pool.{name} has no {key}"));
            mistake.with_help(format!("write {line}"))
        })
        .collect()
}

impl FilePool {
    /// The pool as it can be started now.
    ///
    /// # Errors
    /// Names the option that can't be as it was said.
    pub fn pool(&self) -> Result<Pool, ConfigError> {
        Pool::for_file(&self.name, self.layers.clone())
    }

    /// The pool for a configuration that is only written, perhaps for another machine.
    ///
    /// # Errors
    /// Names the option that can't be as it was said.
    pub fn elsewhere(&self) -> Result<Pool, ConfigError> {
        Pool::for_file_elsewhere(&self.name, self.layers())
    }

    /// What holds of it, as its file would say it.
    pub fn layers(&self) -> Layers {
        let mut layers = self.layers.clone();
        super::add_defaults(&mut layers);
        layers
    }
}

impl Definition {
    /// The pool as it can be started now.
    ///
    /// # Errors
    /// Names the option that can't be as it was said.
    pub fn pool(&self) -> Result<Pool, ConfigError> {
        match self {
            Self::Made(pool) => Ok((**pool).clone()),
            Self::File(pool) => pool.pool(),
        }
    }

    /// Of the pool.
    pub fn name(&self) -> &str {
        match self {
            Self::Made(pool) => &pool.settings.name,
            Self::File(pool) => pool.name.as_str(),
        }
    }

    /// Its application, as it was typed; empty if nothing is said of it.
    pub fn app(&self) -> String {
        match self {
            Self::Made(pool) => pool.settings.app.clone(),
            Self::File(pool) => {
                let said = pool.layers.said("app").and_then(|said| said.values.last());
                said.map(|app| app.to_string_lossy().into_owned()).unwrap_or_default()
            }
        }
    }

    /// What is said of its logs.
    pub fn log(&self) -> LogSettings {
        match self {
            Self::Made(pool) => pool.settings.log.clone(),
            Self::File(pool) => log_settings(Log::take(&mut pool.layers())),
        }
    }

    /// Where it is to listen.
    pub fn listen(&self) -> Vec<Address> {
        match self {
            Self::Made(pool) => pool.listen.to_vec(),
            Self::File(pool) => Listen::take(&mut pool.layers()).listen.to_vec(),
        }
    }

    /// Whether the same has been said of the pool, wherever it stands, its `env_file` included.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(pool), Self::File(other)) => {
                pool.env_file == other.env_file && pool.layers.say_the_same(&other.layers)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(text: &str) -> Result<Configuration, Vec<String>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("wsgi-fpm.toml");
        std::fs::write(&path, text).unwrap();
        let place = format!("{}/", directory.path().display());
        load(&path).map_err(|report| report.lines().map(|line| line.replace(&place, "")).collect())
    }

    #[test]
    fn what_a_pool_can_not_be_without_is_named_with_a_line_to_write() {
        assert_eq!(
            loaded("[pool.a]\n[pool.b]\napp = \"b\"\nlisten = []\n").unwrap_err(),
            [
                "wsgi-fpm.toml:1: pool.a has no app; write app = \"mysite.wsgi:application\"",
                "wsgi-fpm.toml:1: pool.a has no listen; write listen = \"/run/wsgi-fpm/a.sock\"",
                "wsgi-fpm.toml:2: pool.b has no listen; write listen = \"/run/wsgi-fpm/b.sock\"",
            ]
        );
    }

    #[test]
    fn what_is_missing_is_said_beside_what_is_wrong() {
        assert_eq!(
            loaded("[pool.a]\napp = \"a\"\nthread = 2\n").unwrap_err(),
            [
                "wsgi-fpm.toml:1: pool.a has no listen; write listen = \"/run/wsgi-fpm/a.sock\"",
                "wsgi-fpm.toml:3: there is no option \"thread\"; did you mean threads?",
            ]
        );
        // What is there and wrong is not missing.
        let problems = loaded("[pool.a]\napp = \"a\"\nlisten = 7\n").unwrap_err();
        assert!(
            problems.len() == 1 && problems[0].starts_with("wsgi-fpm.toml:3: pool.a.listen: "),
            "{problems:?}"
        );
    }

    #[test]
    fn file_without_a_pool_is_refused() {
        let problems = loaded("[server]\nlog_format = \"json\"\n").unwrap_err();
        assert_eq!(
            problems,
            ["wsgi-fpm.toml: it describes no pool; write [pool.NAME], and app and listen below it"]
        );
    }

    #[test]
    fn pool_of_the_file_has_its_name_and_what_the_file_says() {
        let text = "[defaults]\nuser = \"root\"\nthreads = 2\n\
                    [pool.blog]\napp = \"mysite.wsgi:application\"\nlisten = \":0\"\n";
        let configuration = loaded(text).unwrap();
        let pool = configuration.pools[&"blog".parse().unwrap()].pool().unwrap();
        assert_eq!((pool.settings.name.as_str(), pool.settings.threads.get()), ("blog", 2));
        assert_eq!(*pool.settings.chdir, Path::new("/"));
    }

    #[test]
    fn directory_that_is_missing_is_of_its_pool_alone() {
        let text = "[defaults]\nuser = \"root\"\n[pool.a]\napp = \"a\"\nlisten = \":0\"\nchdir = \"/no/such\"\n\
                    [pool.b]\napp = \"b\"\nlisten = \":0\"\n";
        let pools = loaded(text).unwrap().pools;
        let error = pools[&"a".parse().unwrap()].pool().unwrap_err().to_string();
        assert!(error.starts_with("wsgi-fpm.toml:6: pool.a.chdir /no/such: "), "{error}");
        assert!(pools[&"b".parse().unwrap()].pool().is_ok());
    }
}
