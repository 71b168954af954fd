//! The unit that serves one application.

use std::path::{Path, PathBuf};

use settings::sections::{App, Listen};
use settings::values::{Address, Control};

use super::sandbox::{self, Rights};
use super::{
    OPEN_FILES, WEB_GROUP, argument, descriptor_name, lifetime, reload, runtime_directories, setting, socket_unit,
};
use crate::writer::command::{Command, separator};
use crate::writer::text::Text;
use crate::writer::value::Value;
use crate::writer::{Site, WriterError};

/// `control`: where commands reach it.
///
/// # Errors
/// A socket lies where its directory can't be made, or a path can't be written.
pub fn write(site: &Site, program: &Value, command: &Command, control: Option<&Control>) -> Result<Text, WriterError> {
    let name = &site.name;
    let own = format!("wsgi-fpm-{name}");
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
    let mut sockets = Vec::new();
    for address in site.listen.iter() {
        let (unit, more) = match address {
            Address::Fd(_) => (format!("{name}.socket"), String::new()),
            Address::Named(socket) => (socket_unit(socket), descriptor_name(socket)),
            Address::Unix(_) | Address::Tcp(_) => continue,
        };
        if !sockets.contains(&unit) {
            text.comment(format_args!(
                "A listening socket comes from there: /etc/systemd/system/{unit} has to say ListenStream={more}."
            ));
            sockets.push(unit);
        }
    }
    if !sockets.is_empty() {
        let sockets: Vec<_> = sockets.iter().map(|unit| setting(unit)).collect();
        text.line(format_args!("Requires={}", sockets.join(" ")));
    }
    text.blank();
    text.line("[Service]");
    if !sockets.is_empty() {
        text.line(format_args!("Sockets={}", sockets.join(" ")));
    }
    // Without it nobody but this user could connect.
    let added_group = (site.has_unix_socket() && command.value(Listen::listen_group()).is_none()).then_some(WEB_GROUP);
    accounts(&mut text, site, command.value(Listen::listen_group()).or(added_group));
    runtime_directories(&mut text, &own, [site], &site.accounts.user)?;
    secrets(&mut text, site, command);
    text.blank();
    // Variables are not looked for in the first word.
    let mut words = vec![format!(
        "ExecStart={} serve {}",
        setting(program.as_str()),
        argument(&site.app)
    )];
    for (option, value) in &command.options {
        let name = option.long();
        words.push(match value {
            Some(value) => format!("--{name}{}{}", separator(value.as_str()), argument(value)),
            None => format!("--{name}"),
        });
    }
    if let Some(group) = added_group {
        words.push(format!("--{} {group}", Listen::listen_group().long()));
    }
    text.line(words.join(" \\\n    "));
    text.blank();
    text.comment(
        "A new version is loaded; the old one serves until it is ready, and goes on if it fails: then `systemctl reload` fails, and \
         the journal says why.",
    );
    reload(&mut text, program, "reload", &own, control)?;
    text.blank();
    lifetime(&mut text, site.limits.stop_timeout.name(), Some(OPEN_FILES));
    text.blank();
    let rights = match site.accounts.is_root() {
        true => Rights::root(),
        false => Rights::nobody_special(),
    };
    sandbox::write(&mut text, &rights, &paths(site, program, command));
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

/// Where the application's secrets are: in one file, which the unit names only if the options do not.
fn secrets(text: &mut Text, site: &Site, command: &Command) {
    match &command.secrets {
        None => {
            text.comment(format_args!(
                "Secrets of the application, KEY=VALUE a line; they are not in the list of processes as --{} is.",
                App::env().long()
            ));
            text.line(format_args!("EnvironmentFile=-/etc/{}.env", site.name));
        }
        Some(option) if !site.accounts.is_root() => text.comment(format_args!(
            "Secrets of the application: {option} is read by this user, who has to be able to, at each start and reload.",
        )),
        Some(_) => {}
    }
}

/// What the application, and this program for it, must be able to reach.
fn paths(site: &Site, program: &Value, command: &Command) -> Vec<PathBuf> {
    let chdir = Path::new(site.chdir.as_str());
    let mut paths = vec![
        PathBuf::from(program.as_str()),
        PathBuf::from(site.app.as_str()),
        chdir.to_owned(),
    ];
    let options = command.options.iter().filter_map(|(_, value)| value.as_ref());
    paths.extend(options.map(|value| PathBuf::from(value.as_str())));
    let python = command.value(App::python()).map_or(chdir.join(".venv"), PathBuf::from);
    paths.extend(sandbox::interpreter(&python));
    paths
}
