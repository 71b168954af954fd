//! Asks a Python what it is, and checks that the engine can run in it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use super::{Interpreter, PythonError, Source};
use crate::children::Ours;
use crate::users::Identity;

/// The engine's stable ABI begins with this version.
const OLDEST: [u32; 3] = [3, 9, 0];
/// An interpreter on a cold network file system needs seconds; one that hangs must not hang the start.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(20);
const PROBE: &str = include_str!("probe.py");

pub(super) async fn probe(named: &Source, executable: &Path, identity: &Identity) -> Result<Interpreter, PythonError> {
    let (named, path) = (named.clone(), executable.to_owned());
    let mut command = std::process::Command::new(executable);
    // -I would do the same, but Python 2 does not know it, and it deserves the message "too old" as well.
    command.args(["-E", "-s", "-c", PROBE]);
    let running = async {
        let child = Command::from(identity.command(command)?)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let _ours = child.id().map(Ours::new);
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(PROBE_TIMEOUT, running).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(PythonError::NotExecutable { named, path });
        }
        Ok(Err(error)) => return Err(PythonError::NotRun { named, path, error }),
        Err(_) => return Err(PythonError::Hangs { named, path }),
    };
    answer(&output).map_err(|how| match how.split_once(OUR_ERROR) {
        Some((_, how)) => PythonError::NotAs {
            named,
            path,
            how: how.to_owned(),
        },
        None => PythonError::NotPython { named, path, how },
    })
}

/// As this program begins the line in which it says why it can't become the user or run the interpreter.
const OUR_ERROR: &str = "wsgi-fpm: error: ";

fn answer(output: &Output) -> Result<Interpreter, String> {
    if !output.status.success() {
        return Err(match last_line(&output.stderr) {
            Some(line) => format!("{}: {line}", output.status),
            None => output.status.to_string(),
        });
    }
    // A .pth file of site-packages may print, so the answer is the last line rather than everything.
    let line = last_line(&output.stdout).filter(|line| line.contains("wsgi_fpm_probe"));
    let line = line.ok_or("it did not say its version")?;
    serde_json::from_str(&line).map_err(|error| format!("it did not say its version: {error}"))
}

fn last_line(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    text.lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty())
        .map(str::to_owned)
}

pub(super) fn check(named: Source, path: PathBuf, interpreter: &Interpreter) -> Result<(), PythonError> {
    let version = interpreter.version().to_owned();
    if interpreter.version < OLDEST {
        return Err(PythonError::TooOld { named, path, version });
    }
    if interpreter.implementation != "cpython" {
        let implementation = interpreter.implementation.clone();
        return Err(PythonError::NotCPython {
            named,
            path,
            implementation,
        });
    }
    if interpreter.gil_disabled {
        return Err(PythonError::FreeThreaded { named, path, version });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn answer_after_other_output_is_found() {
        let output = |stdout: &str, stderr: &str, code: i32| Output {
            status: ExitStatus::from_raw(code << 8),
            stdout: stdout.into(),
            stderr: stderr.into(),
        };
        let json = r#"{"wsgi_fpm_probe":1,"version":[3,12,1],"full_version":"3.12.1 (main)","implementation":"cpython",
            "executable":"/p","prefix":"/","base_prefix":"/","shared":true,"libdir":null,"multiarch":null,
            "soname":null,"library":null,"gil_disabled":false,"platform":"linux-x86_64"}"#;
        let printed = format!("a .pth file prints\n{}\n\n", json.replace('\n', ""));
        assert_eq!(answer(&output(&printed, "", 0)).unwrap().version(), "3.12.1");
        assert_eq!(answer(&output("", "", 0)).unwrap_err(), "it did not say its version");
        assert_eq!(
            answer(&output("", "first\nlast\n", 1)).unwrap_err(),
            "exit status: 1: last"
        );
    }
}
