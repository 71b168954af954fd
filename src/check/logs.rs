//! What stands against writing logs. Nothing is opened or made: the service may be running.

use std::io::ErrorKind;
use std::path::Path;

use contract::denied::{Wish, denied};
use settings::Layers;
use settings::sections::Log;
use settings::values::{AccessLog, Destination};

/// A line for each file that can't be written as things are, with the option that names it.
pub fn obstacles(layers: &Layers) -> Vec<String> {
    let log = Log::take(&mut layers.clone());
    let access = match &*log.access_log {
        AccessLog::To(to) => Some(to),
        AccessLog::Off | AccessLog::InLog => None,
    };
    let destinations = [
        (log.log.name(), Some(&*log.log)),
        (log.access_log.name(), access),
        (log.slow_log.name(), log.slow_log.as_ref()),
    ];
    destinations
        .into_iter()
        .filter_map(|(name, to)| match to? {
            Destination::File(path) => Some(format!("{name} {}: {}", path.display(), obstacle(path)?)),
            Destination::Stderr | Destination::Syslog(_) | Destination::Journald(_) => None,
        })
        .collect()
}

/// Why a log can't be written there.
fn obstacle(path: &Path) -> Option<String> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    match path.metadata() {
        Ok(found) if found.is_dir() => Some("this is a directory; write the path of a file".to_owned()),
        Ok(_) => None,
        Err(error) if error.kind() == ErrorKind::NotFound => match directory.metadata() {
            Ok(_) => denied(directory, Wish::Write).map(|denied| denied.to_string()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Some(format!("the directory {} does not exist; make it", directory.display()))
            }
            Err(error) => Some(error.to_string()),
        },
        Err(error) => Some(denied(path, Wish::Reach).map_or(error.to_string(), |denied| denied.to_string())),
    }
}
