//! Where Python has looked for a module that it has not found, and where one of that name lies.

use std::fs;
use std::path::{Path, PathBuf};

use contract::denied::{Wish, denied};
use contract::settings::Settings;
use pyo3::exceptions::PyModuleNotFoundError;
use pyo3::prelude::*;

/// Directories below the working directory that are looked at for it, and how deep.
const MOST: usize = 1000;
const DEEPEST: usize = 3;

/// What there is to say beside the error's own text.
pub struct Looked {
    /// What keeps this user from a directory, or what to type where the module lies elsewhere.
    pub hint: Option<String>,
    /// All the directories: too many for the line that says what is wrong.
    pub places: String,
}

/// Nothing for other errors than a module that is not found.
pub fn looked_in(py: Python<'_>, error: &PyErr, settings: &Settings) -> Option<Looked> {
    if !error.is_instance_of::<PyModuleNotFoundError>(py) {
        return None;
    }
    let name: String = error.value(py).getattr("name").ok()?.extract().ok()?;
    let sys = py.import("sys").ok()?;
    let (places, last) = match name.rsplit_once('.') {
        Some((package, last)) => {
            let package = sys.getattr("modules").ok()?.get_item(package).ok()?;
            (package.getattr("__path__").ok()?, last)
        }
        None => (sys.getattr("path").ok()?, name.as_str()),
    };
    let places: Vec<String> = places
        .try_iter()
        .ok()?
        .filter_map(|place| place.ok()?.extract().ok())
        .collect();
    let mut text = format!("looked for {name} in {}", places.join(", "));
    if let Ok(prefix) = sys.getattr("prefix").and_then(|prefix| prefix.extract::<String>()) {
        text.push_str(&format!(" (Python of {prefix})"));
    }
    let refused = |place: &String| {
        let place = Path::new(place);
        denied(place, Wish::Read).or_else(|| denied(&place.join(last), Wish::Read))
    };
    let lies = || {
        let directory = directory_of(&name, &settings.chdir).filter(|_| settings.app.starts_with(&name))?;
        let directory = directory.display();
        Some(format!(
            "{name} lies in {directory}: {} {directory}",
            settings.chdir.name()
        ))
    };
    let denied = places.iter().find_map(refused).map(|denied| denied.to_string());
    Some(Looked {
        hint: denied.or_else(lies),
        places: text,
    })
}

/// The directory at or near `chdir` that has the module.
fn directory_of(name: &str, chdir: &Path) -> Option<PathBuf> {
    if chdir.file_name().is_some_and(|own| own == name) && has_python(chdir) {
        return chdir.parent().map(PathBuf::from);
    }
    let mut waiting = vec![(chdir.to_owned(), 0)];
    let mut seen = 0;
    while let Some((directory, depth)) = waiting.pop() {
        if has_module(&directory, name) {
            return Some(directory);
        }
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten().filter(|_| depth < DEEPEST) {
            seen += 1;
            if seen > MOST {
                return None;
            }
            let hidden = entry.file_name().to_string_lossy().starts_with(['.', '_']);
            if !hidden && entry.file_type().is_ok_and(|kind| kind.is_dir()) && !entry.path().join("pyvenv.cfg").exists()
            {
                waiting.push((entry.path(), depth + 1));
            }
        }
    }
    None
}

fn has_module(directory: &Path, name: &str) -> bool {
    directory.join(format!("{name}.py")).is_file() || has_python(&directory.join(name))
}

/// Whether it can be a package: a directory of that name may hold anything.
fn has_python(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|entries| {
        let is_python = |file: fs::DirEntry| file.path().extension().is_some_and(|extension| extension == "py");
        entries.flatten().any(is_python)
    })
}
