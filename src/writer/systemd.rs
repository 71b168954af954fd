//! A systemd unit that serves the application, as `deploy/wsgi-fpm.service` shows it.

use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

use super::command::{Command, separator};
use super::value::{Value, is_plain, quoted};
use super::{Site, WriterError, default_socket, sandbox, times};
use settings::values::Address;

/// Who else may connect: the group of nginx, Apache and lighttpd on Debian.
const WEB_GROUP: &str = "www-data";
/// From our last word to systemd's SIGKILL.
const STOP_MARGIN_SECONDS: u64 = 10;

pub fn write(site: &Site, program: &Value, command: &Command) -> Result<String, WriterError> {
    let name = &site.name;
    let typed_group = command.value("listen-group");
    // Without it nobody but this user could connect.
    let added_group = (site.has_unix_socket() && typed_group.is_none()).then_some(WEB_GROUP);

    let mut text = format!(
        "# {name}, served by wsgi-fpm. Put it into /etc/systemd/system/{name}.service, then:\n\
         #     systemctl daemon-reload && systemctl enable --now {name}\n\
         #     journalctl -u {name} -f\n\
         # `systemctl reload {name}` loads a new version of the application.\n\n\
         [Unit]\nDescription={name}, served by wsgi-fpm\nAfter=network.target\n"
    );
    if site.listen.iter().any(|address| matches!(address, Address::Fd(_))) {
        let _ = writeln!(
            text,
            "# Its listening socket comes from there: /etc/systemd/system/{name}.socket has to say ListenStream=.\n\
             Requires={name}.socket"
        );
    }
    let _ = write!(text, "\n[Service]\nUser={}\n", site.accounts.user);
    if let Some(group) = &site.accounts.group {
        let _ = writeln!(text, "Group={group}");
    }
    let web_group = typed_group.or(added_group);
    if web_group.is_some() {
        text.push_str("# The web server's group: so that this user may give it the socket.\n");
    }
    let further = web_group
        .into_iter()
        .map(setting)
        .chain(site.accounts.groups.iter().cloned());
    let further: Vec<_> = further.collect();
    if !further.is_empty() {
        let _ = writeln!(text, "SupplementaryGroups={}", further.join(" "));
    }
    let directories = runtime_directories(site)?;
    if !directories.is_empty() {
        let _ = writeln!(
            text,
            "# In /run, made for this user and removed at the end.\nRuntimeDirectory={}",
            directories.join(" ")
        );
    }
    let _ = write!(
        text,
        "# Secrets of the application, KEY=VALUE a line; they are not in the list of processes as --env is.\n\
         EnvironmentFile=-/etc/{name}.env\n\n\
         ExecStart={} serve {}",
        // Variables are not looked for in the first word.
        setting(program.as_str()),
        argument(&site.app)
    );
    for (name, value) in &command.options {
        let _ = write!(text, " \\\n    --{name}");
        if let Some(value) = value {
            let _ = write!(text, "{}{}", separator(value.as_str()), argument(value));
        }
    }
    if let Some(group) = added_group {
        let _ = write!(text, " \\\n    --listen-group {group}");
    }
    let _ = write!(
        text,
        "\n\n# A new version is loaded; the old one serves until it is ready, and goes on if it fails.\n\
         ExecReload=/bin/kill -HUP $MAINPID\n\n\
         # SIGTERM goes to the supervisor alone, which lets running requests finish (--stop-timeout).\n\
         KillMode=mixed\n\
         TimeoutStopSec={}\n\n\
         Restart=on-failure\n\
         RestartSec=2\n\
         # A wrong option or a Python that can't be used: trying again won't help.\n\
         RestartPreventExitStatus=2\n\n\
         LimitNOFILE=65536\n\n\
{}\n\
         [Install]\nWantedBy=multi-user.target\n",
        stop_timeout(site),
        sandbox::settings(site, program, command)
    );
    Ok(text)
}

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

fn stop_timeout(site: &Site) -> String {
    match site.limits.stop_timeout.duration() {
        None => "infinity".to_owned(),
        Some(ours) => (times::seconds(ours) + STOP_MARGIN_SECONDS).to_string(),
    }
}

/// The directories in /run that the sockets need.
fn runtime_directories(site: &Site) -> Result<Vec<String>, WriterError> {
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
            if site.accounts.user == "root" {
                continue;
            }
            return Err(WriterError::NotInRun {
                option: site.listen.name().to_owned(),
                socket: socket.clone(),
                directory: socket.parent().map(PathBuf::from).unwrap_or_default(),
                user: site.accounts.user.clone(),
                instead: default_socket(&site.name),
            });
        }
        // systemd takes no other components; whoever writes them makes the directory himself.
        if directory.components().all(|part| matches!(part, Component::Normal(_))) {
            let directory = setting(Value::path(site.listen.name(), directory)?.as_str());
            if !directories.contains(&directory) {
                directories.push(directory);
            }
        }
    }
    Ok(directories)
}
