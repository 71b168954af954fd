//! A systemd unit that serves the application, as `deploy/wsgi-fpm.service` shows it.

use std::path::{Component, Path, PathBuf};

use super::command::{Command, separator};
use super::text::Text;
use super::value::{Value, is_plain, quoted};
use super::{Site, WriterError, default_socket, sandbox, times};
use settings::values::Address;

/// Who else may connect: the group of nginx, Apache and lighttpd on Debian.
const WEB_GROUP: &str = "www-data";
/// From our last word to systemd's SIGKILL.
const STOP_MARGIN_SECONDS: u64 = 10;
const RESTART: &str = "Restart=on-failure
RestartSec=2
# A wrong option or a Python that can't be used: trying again won't help.
RestartPreventExitStatus=2

LimitNOFILE=65536
";

pub fn write(site: &Site, program: &Value, command: &Command) -> Result<Text, WriterError> {
    let name = &site.name;
    let mut text = Text::new("    ");
    text.comment(format_args!(
        "{name}, served by wsgi-fpm. Put it into /etc/systemd/system/{name}.service, then:"
    ));
    text.typed(format_args!("systemctl daemon-reload && systemctl enable --now {name}"));
    text.typed(format_args!("journalctl -u {name} -f"));
    text.comment(format_args!(
        "`systemctl reload {name}` loads a new version of the application."
    ));
    text.blank();
    text.line("[Unit]");
    text.line(format_args!("Description={name}, served by wsgi-fpm"));
    text.line("After=network.target");
    if site.listen.iter().any(|address| matches!(address, Address::Fd(_))) {
        text.comment(format_args!(
            "Its listening socket comes from there: /etc/systemd/system/{name}.socket has to say ListenStream=."
        ));
        text.line(format_args!("Requires={name}.socket"));
    }
    text.blank();
    text.line("[Service]");
    // Without it nobody but this user could connect.
    let added_group = (site.has_unix_socket() && command.value("listen-group").is_none()).then_some(WEB_GROUP);
    accounts(&mut text, site, command.value("listen-group").or(added_group));
    let directories = runtime_directories(site)?;
    if !directories.is_empty() {
        text.comment("In /run, made for this user and removed at the end.");
        text.line(format_args!("RuntimeDirectory={}", directories.join(" ")));
    }
    text.comment("Secrets of the application, KEY=VALUE a line; they are not in the list of processes as --env is.");
    text.line(format_args!("EnvironmentFile=-/etc/{name}.env"));
    text.blank();
    // Variables are not looked for in the first word.
    let mut words = vec![format!(
        "ExecStart={} serve {}",
        setting(program.as_str()),
        argument(&site.app)
    )];
    for (name, value) in &command.options {
        words.push(match value {
            Some(value) => format!("--{name}{}{}", separator(value.as_str()), argument(value)),
            None => format!("--{name}"),
        });
    }
    if let Some(group) = added_group {
        words.push(format!("--listen-group {group}"));
    }
    text.line(words.join(" \\\n    "));
    text.blank();
    text.comment("A new version is loaded; the old one serves until it is ready, and goes on if it fails.");
    text.line("ExecReload=/bin/kill -HUP $MAINPID");
    text.blank();
    text.comment("SIGTERM goes to the supervisor alone, which lets running requests finish (--stop-timeout).");
    text.line("KillMode=mixed");
    text.line(format_args!("TimeoutStopSec={}", stop_timeout(site)));
    text.blank();
    text.lines(RESTART);
    text.blank();
    sandbox::write(&mut text, site, program, command);
    text.blank();
    text.lines("[Install]\nWantedBy=multi-user.target");
    Ok(text)
}

/// Who runs it, and the group that its sockets are for.
fn accounts(text: &mut Text, site: &Site, web_group: Option<&str>) {
    text.line(format_args!("User={}", site.accounts.user));
    if let Some(group) = &site.accounts.group {
        text.line(format_args!("Group={group}"));
    }
    if web_group.is_some() {
        text.comment("The web server's group: so that this user may give it the socket.");
    }
    let further = web_group.into_iter().map(setting);
    let further: Vec<_> = further.chain(site.accounts.groups.iter().cloned()).collect();
    if !further.is_empty() {
        text.line(format_args!("SupplementaryGroups={}", further.join(" ")));
    }
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
