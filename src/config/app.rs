//! The application as it was named: its files and directories, and the name of its pool.

use std::path::{Path, PathBuf};

use contract::denied::{Wish, denied};
use settings::Setting;

use super::{ConfigError, Runs};

/// Absolute, but with its links: `/srv/blog/current` is to be looked up anew by each generation.
pub fn working_directory(named: &Setting<Option<PathBuf>>, runs: Runs) -> Result<PathBuf, ConfigError> {
    let name = named.name();
    let Some(path) = &**named else {
        let path = std::env::current_dir().map_err(|error| ConfigError::CurrentDirectory(name.to_owned(), error))?;
        return utf8("the current directory", path);
    };
    let wrong = |path: &Path, error| ConfigError::Path(name.to_owned(), path.to_owned(), error);
    let path = std::path::absolute(path).map_err(|error| wrong(path, error))?;
    let path = utf8(name, path)?;
    if runs == Runs::Elsewhere {
        return Ok(path);
    }
    may(name, &path, Wish::Reach)?;
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => may(name, &path, Wish::Enter).map(|()| path),
        Ok(_) => Err(ConfigError::NotADirectory(name.to_owned(), path)),
        Err(error) => Err(wrong(&path, error)),
    }
}

/// The same for further directories of modules. One that is not there is as good to Python as an empty one.
pub fn pythonpath(named: &Setting<Vec<PathBuf>>, runs: Runs) -> Result<Vec<PathBuf>, ConfigError> {
    let name = named.name();
    let absolute = |path: &PathBuf| {
        let absolute = std::path::absolute(path);
        let path = utf8(
            name,
            absolute.map_err(|error| ConfigError::Path(name.to_owned(), path.clone(), error))?,
        )?;
        if runs == Runs::Here {
            may(name, &path, Wish::Read)?;
            if path.is_dir() {
                may(name, &path, Wish::Enter)?;
            }
        }
        Ok(path)
    };
    named.iter().map(absolute).collect()
}

/// Settings and log are UTF-8.
pub fn utf8(what: &str, path: PathBuf) -> Result<PathBuf, ConfigError> {
    match path.to_str() {
        Some(_) => Ok(path),
        None => Err(ConfigError::NotUtf8(what.to_owned(), path)),
    }
}

fn may(what: &str, path: &Path, wish: Wish) -> Result<(), ConfigError> {
    let denied = denied(path, wish);
    denied.map_or(Ok(()), |denied| {
        Err(ConfigError::Denied(what.to_owned(), path.to_owned(), denied))
    })
}

/// The file of `path/to/file.py[:callable]`; `None` for a module.
pub fn app_file(app: &str) -> Option<&str> {
    let file = file_part(app);
    (file.ends_with(".py") || file.contains('/') || Path::new(file).is_file()).then_some(file)
}

/// What stands before `:callable`.
pub fn file_part(app: &str) -> &str {
    match app.rsplit_once(':') {
        Some((file, callable)) if !callable.contains('/') => file,
        _ => app,
    }
}

/// The engine resolves the application; that a file is missing can be said without starting Python.
///
/// `option`: what names the working directory.
pub fn check_file(app: &str, chdir: &Path, option: &str) -> Result<(), ConfigError> {
    let Some(file) = app_file(app) else { return Ok(()) };
    let path = chdir.join(file);
    may("the application", &path, Wish::Read)?;
    if path.is_file() {
        return Ok(());
    }
    if Path::new(file).is_absolute() {
        return Err(ConfigError::NoSuchFile { app: app.into(), path });
    }
    Err(ConfigError::NoSuchFileThere {
        app: app.into(),
        app_file: file.into(),
        chdir: chdir.to_owned(),
        option: option.into(),
    })
}

/// "mysite" for mysite.wsgi:application, "blog" for /srv/blog.py.
pub fn pool_name(app: &str) -> String {
    let name = match app_file(app) {
        Some(file) => Path::new(file)
            .file_stem()
            .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()),
        None => app.split(['.', ':']).next().unwrap_or_default().to_owned(),
    };
    let name: String = name
        .chars()
        .map(|c| if c.is_alphanumeric() || c == '-' { c } else { '_' })
        .take(64)
        .collect();
    if name.is_empty() { "app".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_are_named_after_their_application() {
        let names = [
            "mysite.wsgi:application",
            "app",
            "/srv/blog.py:app",
            "site/web.py",
            "a:make()",
        ]
        .map(pool_name);
        assert_eq!(names, ["mysite", "app", "blog", "web", "a"]);
    }

    #[test]
    fn missing_file_of_the_application_is_named() {
        let said = |app| check_file(app, Path::new("/srv"), "chdir").map_err(|error| error.to_string());
        assert_eq!(
            said("no/such.py:app").unwrap_err(),
            "the application no/such.py:app: the file /srv/no/such.py does not exist; it is looked for in the working directory, \
             which is /srv here: name another one (chdir), or write the whole path of the file"
        );
        assert_eq!(
            said("/no/such.py:app").unwrap_err(),
            "the application /no/such.py:app: the file /no/such.py does not exist"
        );
        assert!(said("module:app").is_ok());
    }
}
