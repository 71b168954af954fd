//! Whether another instance serves a file already: a second one would take its place unseen when it ends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use settings::values::Control;

use super::directory;
use super::find::{all_asked, at, is_same, next, serves};
use crate::mask;

/// One that says nothing for so long may be stopped, and holds up no start.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
#[error(
    "another instance serves this file (pid {pid}): wsgi-fpm reload -c {file} has it read the file again, wsgi-fpm stop -c {file} ends it",
    file = .file.display()
)]
pub struct OtherInstance {
    pid: u32,
    file: PathBuf,
}

/// # Errors
/// Another one serves this file, and is not about to end. `control`: where this one is going to be asked.
pub fn refuse_second(file: &Path, control: Option<&Control>) -> Result<(), OtherInstance> {
    let mut sockets = directory::sockets();
    if let Some(Control::Path(named)) = control
        && !sockets.iter().any(|known| is_same(known, named))
    {
        sockets.push(named.clone());
    }
    let found: Vec<_> = sockets.iter().filter_map(|path| at(path).ok()).collect();
    let pids: BTreeMap<_, _> = found.iter().map(|one| (one.path.clone(), one.client.pid)).collect();
    // This process goes on, perhaps before all have answered.
    let answers = mask::inherited_by(|| all_asked(found));
    let until = Instant::now() + PATIENCE;
    while let Some((path, asked)) = next(&answers, Some(until)) {
        let Ok(instance) = asked.map(|snapshot| snapshot.instance) else {
            continue;
        };
        // A container has a file of the same name, and its socket may be in a directory that is shared; it numbers processes anew.
        let is_here = pids
            .get(&path)
            .is_some_and(|pid| u32::try_from(*pid) == Ok(instance.pid));
        if is_here && !instance.stopping && serves(&instance, file) {
            let (pid, file) = (instance.pid, file.to_owned());
            return Err(OtherInstance { pid, file });
        }
    }
    Ok(())
}
