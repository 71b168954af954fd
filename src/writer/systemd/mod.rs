//! systemd units, like those in `deploy/systemd`: of one application, and of the pools of a configuration file.

mod app;
mod file;
mod sandbox;

use std::path::{Component, Path, PathBuf};

use settings::sections::Status;
use settings::values::{Address, Control};

use super::text::Text;
use super::value::{Value, is_plain, quoted};
use super::{Site, WriterError, default_socket};

pub use app::write;
pub use file::{FileUnit, write_for_file};

/// Who else may connect: the group of nginx, Apache and lighttpd on Debian.
const WEB_GROUP: &str = "www-data";
/// Without a word for so long, a service that stops gets SIGKILL. The supervisor asks for more time three times in it.
const SILENCE_SECONDS: u64 = 30;
/// For the connections of each worker; the program raises its own limit up to this.
const OPEN_FILES: u64 = 65536;

/// A word of ExecStart. Quotes and backslashes, then systemd's specifiers and variables.
fn argument(value: &Value) -> String {
    setting(value.as_str()).replace('$', "$$")
}

/// A word of any other setting.
fn setting(text: &str) -> String {
    let word = if is_plain(text) {
        text.to_owned()
    } else {
        quoted(text, &['"', '\\'])
    };
    word.replace('%', "%%")
}

/// Sockets that systemd keeps while the service is started again; further ones would be closed then.
const KEPT_SOCKETS: u32 = 512;

/// How the service is stopped and started again.
fn lifetime(text: &mut Text, stop_timeout: &str, open_files: Option<u64>) {
    text.comment(format_args!(
        "SIGTERM goes to the supervisor alone, which lets running requests finish ({stop_timeout}), and asks for more time as long as \
         they run."
    ));
    text.line("KillMode=mixed");
    text.line(format_args!("TimeoutStopSec={SILENCE_SECONDS}"));
    text.blank();
    text.comment("Connections wait in the sockets while the service is started again.");
    text.line("Type=notify");
    text.line(format_args!("FileDescriptorStoreMax={KEPT_SOCKETS}"));
    text.blank();
    text.line("Restart=on-failure");
    text.line("RestartSec=2");
    text.comment("A wrong option or a Python that can't be used: trying again won't help.");
    text.line("RestartPreventExitStatus=2");
    text.comment("A supervisor that hangs is started again. A broken application is no reason.");
    text.line("WatchdogSec=1min");
    text.comment("A worker that the kernel kills for want of memory is replaced; the others go on.");
    text.line("OOMPolicy=continue");
    text.blank();
    match open_files {
        None => text.line("LimitNOFILE=infinity"),
        Some(most) => text.line(format_args!("LimitNOFILE={most}")),
    }
}

/// How a new version is loaded: by a command that waits for it and fails if it does, as `systemctl reload` does then. `words` are those
/// behind the program; `own` is the directory of the control socket, if `control` names no other place.
fn reload(
    text: &mut Text,
    program: &Value,
    words: &str,
    own: &str,
    control: Option<&Control>,
) -> Result<(), WriterError> {
    let control = match control {
        None => format!("%t/{own}/${{MAINPID}}.control"),
        Some(Control::Path(path)) => argument(&Value::path(Status::control().key, path)?),
        Some(Control::Off) => {
            text.comment("Without a control socket nobody is told whether it has failed: the log says so.");
            text.line("ExecReload=/bin/kill -HUP $MAINPID");
            return Ok(());
        }
    };
    let program = setting(program.as_str());
    text.line(format_args!("ExecReload={program} {words} --control {control}"));
    Ok(())
}

/// The directories in /run that the sockets need, which systemd makes for this user; in the first, `own`, is the control socket.
fn runtime_directories<'a>(
    text: &mut Text,
    own: &str,
    sites: impl IntoIterator<Item = &'a Site>,
    user: &str,
) -> Result<(), WriterError> {
    let mut directories = vec![setting(own)];
    for site in sites {
        for directory in directories_of(site, user)? {
            if !directories.contains(&directory) {
                directories.push(directory);
            }
        }
    }
    text.comment("In /run, made for this user and removed at the end, but not where a start follows.");
    text.line(format_args!("RuntimeDirectory={}", directories.join(" ")));
    text.line("RuntimeDirectoryPreserve=restart");
    Ok(())
}

fn directories_of(site: &Site, user: &str) -> Result<Vec<String>, WriterError> {
    let mut directories = Vec::new();
    for address in site.listen.iter() {
        let Address::Unix(socket) = address else { continue };
        let Some(below) = ["/run", "/var/run"]
            .iter()
            .find_map(|run| socket.strip_prefix(run).ok())
        else {
            continue;
        };
        let directory = below.parent().unwrap_or(Path::new(""));
        if directory == Path::new("") {
            if user == "root" {
                continue;
            }
            return Err(WriterError::NotInRun {
                option: site.listen.name().to_owned(),
                socket: socket.clone(),
                directory: socket.parent().map(PathBuf::from).unwrap_or_default(),
                user: user.to_owned(),
                instead: default_socket(&site.name),
            });
        }
        // systemd takes no other components; whoever writes them makes the directory himself.
        if directory.components().all(|part| matches!(part, Component::Normal(_))) {
            directories.push(setting(Value::path(site.listen.name(), directory)?.as_str()));
        }
    }
    Ok(directories)
}

/// The socket unit that passes what is listened on by this name: by default a socket has that of its unit.
fn socket_unit(name: &str) -> String {
    match name.ends_with(".socket") {
        true => name.to_owned(),
        false => format!("{name}.socket"),
    }
}

/// What a socket unit has to say for the name.
fn descriptor_name(name: &str) -> String {
    match name.ends_with(".socket") {
        true => String::new(),
        false => format!(" and FileDescriptorName={name}"),
    }
}
