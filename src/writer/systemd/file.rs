//! The unit that serves the pools of a configuration file.

use std::path::{Path, PathBuf};

use settings::sections::{App, Limits, Listen, RunAs};
use settings::values::{Account, Address, Control};

use super::sandbox::{self, Rights};
use super::{
    OPEN_FILES, WEB_GROUP, argument, descriptor_name, lifetime, reload, runtime_directories, setting, socket_unit,
};
use crate::config::pools::FilePool;
use crate::writer::text::Text;
use crate::writer::value::Value;
use crate::writer::{Site, USER, WriterError};

/// The directory in /run that has the control socket.
const OWN: &str = "wsgi-fpm";
/// Limits that systemd gives every service, so that higher ones take a right of root's. Open files have a setting of their own.
const LIMITED: [&str; 6] = ["memlock", "msgqueue", "nice", "nproc", "rtprio", "sigpending"];

/// What the unit is for.
#[derive(Debug)]
pub struct FileUnit<'a> {
    pub program: &'a Value,
    /// The configuration file, absolute.
    pub file: &'a Value,
    /// Each with its site.
    pub pools: Vec<(&'a Site, &'a FilePool)>,
    /// Where commands reach it.
    pub control: Option<Control>,
}

/// What the unit has to know of a pool.
struct Pool<'a> {
    site: &'a Site,
    app: App,
    run_as: RunAs,
    sockets: Listen,
}

/// # Errors
/// A socket lies where its directory can't be made, or a path can't be written.
pub fn write_for_file(unit: &FileUnit) -> Result<Text, WriterError> {
    let pools: Vec<Pool> = unit.pools.iter().map(|(site, pool)| Pool::new(site, pool)).collect();
    // Only root becomes somebody else; and root must be told whom for each pool.
    let is_root = pools.iter().any(Pool::names_a_user);
    let user = if is_root { "root" } else { USER };
    let mut text = Text::new("    ");
    head(&mut text, unit, &pools, is_root);
    text.blank();
    text.line("[Unit]");
    text.line("Description=wsgi-fpm, web applications in Python");
    text.line("After=network.target");
    let sockets = sockets_from_systemd(&mut text, &pools)?;
    text.blank();
    text.line("[Service]");
    if !sockets.is_empty() {
        text.line(format_args!("Sockets={}", sockets.join(" ")));
    }
    accounts(&mut text, &pools, is_root);
    runtime_directories(&mut text, OWN, pools.iter().map(|pool| pool.site), user)?;
    text.blank();
    // Not ExecStartPre=... check: one broken application would keep all others from starting.
    text.line(format_args!(
        "ExecStart={} serve --config {}",
        setting(unit.program.as_str()),
        argument(unit.file)
    ));
    text.blank();
    text.comment(
        "The file is read again: new pools start, gone ones end, those that have changed or failed get a new generation, the others \
         are left alone. A file with a mistake changes nothing. If anything fails, `systemctl reload` does, and the journal says why.",
    );
    reload(&mut text, unit.program, "reload --changed", OWN, unit.control.as_ref())?;
    text.blank();
    lifetime(&mut text, Limits::stop_timeout().key, longest(open_files(&pools)));
    text.blank();
    sandbox::write(&mut text, &rights(&pools, is_root), &paths(unit, &pools));
    text.blank();
    text.lines("[Install]\nWantedBy=multi-user.target");
    Ok(text)
}

impl<'a> Pool<'a> {
    fn new(site: &'a Site, pool: &FilePool) -> Self {
        let mut layers = pool.layers();
        Self {
            site,
            app: App::take(&mut layers),
            run_as: RunAs::take(&mut layers),
            sockets: Listen::take(&mut layers),
        }
    }

    fn names_a_user(&self) -> bool {
        let RunAs {
            user, group, groups, ..
        } = &self.run_as;
        user.is_some() || group.is_some() || !groups.is_empty()
    }

    /// Whether a web server of another user can connect.
    fn lets_others_in(&self) -> bool {
        let Listen {
            listen_mode,
            listen_owner,
            listen_group,
            ..
        } = &self.sockets;
        let for_all = listen_mode.bits() & 0o006 == 0o006;
        !self.site.has_unix_socket() || for_all || listen_owner.is_some() || listen_group.is_some()
    }
}

/// The comment at the top, with what would not work as the file is now.
fn head(text: &mut Text, unit: &FileUnit, pools: &[Pool], is_root: bool) {
    let names = |wanted: &dyn Fn(&Pool) -> bool| {
        let names = pools
            .iter()
            .filter(|pool| wanted(pool))
            .map(|pool| pool.site.name.as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    text.comment(format_args!(
        "The pools of {}: {}. Put it into /etc/systemd/system/wsgi-fpm.service, then:",
        unit.file.as_str(),
        names(&|_| true)
    ));
    text.typed("systemctl daemon-reload && systemctl enable --now wsgi-fpm");
    text.typed("journalctl -u wsgi-fpm -f");
    text.comment("`systemctl reload wsgi-fpm` reads that file again. Write the unit anew when users, limits or sockets change there.");
    let nobodys = names(&|pool| pool.run_as.user.is_none());
    if is_root && !nobodys.is_empty() {
        text.comment("");
        text.comment(format_args!(
            "Not served as root without a user in the file ({} = \"{USER}\" or another one): {nobodys}.",
            RunAs::user().key
        ));
    }
    let closed = names(&|pool| !pool.lets_others_in());
    if !closed.is_empty() {
        text.comment("");
        text.comment(format_args!(
            "No web server can connect without its group in the file ({} = \"{WEB_GROUP}\" or another one): {closed}.",
            Listen::listen_group().key
        ));
    }
}

/// Which sockets systemd has to open: the units of these.
fn sockets_from_systemd(text: &mut Text, pools: &[Pool]) -> Result<Vec<String>, WriterError> {
    let mut inherited = Vec::new();
    let mut units = Vec::new();
    for pool in pools {
        let name = &pool.site.name;
        for address in pool.site.listen.iter() {
            match address {
                Address::Fd(number) => inherited.push((*number, name)),
                Address::Named(socket) => {
                    let unit = socket_unit(socket);
                    let more = descriptor_name(socket);
                    text.comment(format_args!(
                        "The socket of {name} comes from /etc/systemd/system/{unit}, which has to say ListenStream=, \
                         Service=wsgi-fpm.service{more}."
                    ));
                    units.push(setting(&unit));
                }
                Address::Unix(_) | Address::Tcp(_) => {}
            }
        }
    }
    if !inherited.is_empty() {
        inherited.sort_unstable();
        let sockets: Vec<_> = inherited
            .iter()
            .map(|(number, name)| format!("fd:{number} {name}"))
            .collect();
        text.comment(format_args!(
            "Sockets come from /etc/systemd/system/wsgi-fpm.socket, which has to say ListenStream= for each, fd:3 first: {}.",
            sockets.join(", ")
        ));
        units.insert(0, "wsgi-fpm.socket".to_owned());
    }
    units.dedup();
    if !units.is_empty() {
        text.line(format_args!("Requires={}", units.join(" ")));
    }
    Ok(units)
}

fn accounts(text: &mut Text, pools: &[Pool], is_root: bool) {
    if is_root {
        text.comment(
            "The supervisor alone stays root: it gives sockets away, reads secrets (env_file) and makes each pool's processes its \
             user's, before Python starts.",
        );
        text.line("User=root");
        return;
    }
    text.comment("No pool of the file has a user, so that this is everybody's.");
    text.line(format_args!("User={USER}"));
    let mut groups: Vec<String> = Vec::new();
    for group in pools.iter().filter_map(|pool| pool.sockets.listen_group.as_ref()) {
        let group = setting(Account::as_str(group));
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    if !groups.is_empty() {
        text.comment("The groups that its sockets are for: so that this user may give them away.");
        text.line(format_args!("SupplementaryGroups={}", groups.join(" ")));
    }
}

/// As many as any pool wants for itself; `None`: no limit.
fn open_files(pools: &[Pool]) -> impl Iterator<Item = Option<u64>> {
    let limits = pools.iter().flat_map(|pool| pool.run_as.rlimit.iter());
    let wanted = limits
        .filter(|limit| limit.resource == "nofile")
        .map(|limit| limit.value);
    wanted.chain([Some(OPEN_FILES)])
}

/// `None` if one of them is without end.
fn longest<T: Ord>(all: impl Iterator<Item = Option<T>>) -> Option<T> {
    let all: Option<Vec<T>> = all.collect();
    all?.into_iter().max()
}

fn rights(pools: &[Pool], is_root: bool) -> Rights {
    if !is_root {
        return Rights::nobody_special();
    }
    let mut rights = Rights::root();
    let any = |wants: fn(&RunAs) -> bool| pools.iter().any(|pool| wants(&pool.run_as));
    if any(|run_as| run_as.nice.as_ref().is_some_and(|nice| nice.get() < 0)) {
        rights = rights.and("CAP_SYS_NICE");
    }
    if any(|run_as| run_as.rlimit.iter().any(|limit| LIMITED.contains(&&*limit.resource))) {
        rights = rights.and("CAP_SYS_RESOURCE");
    }
    rights
}

/// What the applications, and this program for them, must be able to reach.
fn paths(unit: &FileUnit, pools: &[Pool]) -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::from(unit.program.as_str()), PathBuf::from(unit.file.as_str())];
    for Pool { site, app, .. } in pools {
        let chdir = Path::new(site.chdir.as_str());
        paths.push(chdir.to_owned());
        paths.extend(site.file.clone());
        paths.extend(app.pythonpath.iter().cloned());
        paths.extend((*app.env_file).clone());
        let python = (*app.python).clone();
        paths.extend(python.clone());
        paths.extend(sandbox::interpreter(&python.unwrap_or_else(|| chdir.join(".venv"))));
        paths.extend(site.listen.iter().filter_map(|address| match address {
            Address::Unix(socket) => Some(socket.clone()),
            Address::Tcp(_) | Address::Fd(_) | Address::Named(_) => None,
        }));
    }
    paths
}
