//! What a unit keeps away from the application: everything that a web application needs for nothing, and of directories
//! those in which none of its own paths lie. `docs/systemd.md` says what each line may cost.

use std::path::{Path, PathBuf};

use crate::writer::text::Text;

/// Not ProcSubset=: the backlog's limit is read from /proc/sys. Not UMask=: web servers send what applications have written.
const ALWAYS: &str = "NoNewPrivileges=yes
ProtectSystem=full
PrivateDevices=yes
PrivateMounts=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
";
/// What root does here as root: give sockets and files away, and become somebody else.
const ROOT: [&str; 7] = [
    "CAP_CHOWN",
    "CAP_FOWNER",
    "CAP_DAC_OVERRIDE",
    "CAP_SETUID",
    "CAP_SETGID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
];
/// As many links as the kernel itself follows.
const LINKS: usize = 40;

/// What of root's rights is left to the service: capabilities.
#[derive(Debug)]
pub struct Rights(Vec<&'static str>);

impl Rights {
    pub fn root() -> Self {
        Self(ROOT.to_vec())
    }

    pub fn nobody_special() -> Self {
        Self(Vec::new())
    }

    pub fn and(mut self, capability: &'static str) -> Self {
        self.0.push(capability);
        self
    }
}

/// `named`: the application's own paths; where their links lead counts as well.
pub fn write(text: &mut Text, rights: &Rights, named: &[PathBuf]) {
    let paths: Vec<PathBuf> = named.iter().flat_map(|path| with_links(path)).collect();
    let below = |roots: &[&str]| {
        let inside = |path: &PathBuf| roots.iter().any(|root| path.starts_with(root));
        paths.iter().any(inside)
    };
    text.comment(
        "What a web application needs for nothing is kept away from it; docs/systemd.md has what may be missed.",
    );
    text.comment(
        "Not here, since applications would break: MemoryDenyWriteExecute= (callbacks of cffi and ctypes, numba: they write code and \
         run it), ProtectSystem=strict (a database or uploads beside the application), IPAddressDeny= (its own requests to others).",
    );
    text.lines(ALWAYS);
    text.line(format_args!("CapabilityBoundingSet={}", rights.0.join(" ")));
    if below(&["/tmp", "/var/tmp"]) {
        text.comment("Not PrivateTmp=yes: a path of the application lies in a directory that it would hide.");
    } else {
        text.line("PrivateTmp=yes");
    }
    if below(&["/home", "/root", "/run/user"]) {
        text.comment(
            "Not ProtectHome=yes, which would hide a path of the application, or one that a link in it leads to; where the \
             application writes there, not even this.",
        );
        text.line("ProtectHome=read-only");
    } else {
        text.line("ProtectHome=yes");
    }
}

/// Of a virtual environment: its executable, and the directory of the installation that it was made from.
pub fn interpreter(python: &Path) -> Vec<PathBuf> {
    let mut paths = vec![python.join("bin/python"), python.join("bin/python3")];
    let text = std::fs::read_to_string(python.join("pyvenv.cfg")).unwrap_or_default();
    let entries = text.lines().filter_map(|line| line.split_once('='));
    let home = entries
        .filter(|(key, _)| key.trim() == "home")
        .map(|(_, home)| PathBuf::from(home.trim()));
    paths.extend(home);
    paths
}

/// `path`, each link that it leads to, and the end of them. What is not there leads nowhere.
fn with_links(path: &Path) -> Vec<PathBuf> {
    let mut paths = vec![path.to_owned()];
    let mut link = path.to_owned();
    for _ in 0..LINKS {
        let Ok(target) = link.read_link() else { break };
        link = link.parent().unwrap_or(Path::new("/")).join(target);
        paths.push(link.clone());
    }
    paths.extend(path.canonicalize());
    paths
}
