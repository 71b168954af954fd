//! The settings of one pool, as the supervisor gives them to a leader in one JSON message.
//!
//! Options are here as they are declared, with the names that their user has for them: what is said of one says where to
//! change it.

use std::fmt;
use std::path::PathBuf;

use ::settings::Setting;
use ::settings::sections::{Front, Limits, Recycle};
use ::settings::values::{Mount, Page, Timeout, UpTo, UrlPath};
use serde::{Deserialize, Serialize};

/// Everything a leader needs to know about its pool. File descriptors travel beside it (see [`crate::control`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Name of the pool, for logs and process titles.
    pub name: String,
    pub entry: Entry,
    /// The application as the administrator typed it: `module:callable`, `module`, `path/to/file.py[:callable]` or
    /// `module:factory()`.
    pub app: String,
    /// Working directory of the application; also the first entry of `sys.path`. Absolute.
    pub chdir: Setting<PathBuf>,
    /// More entries for `sys.path`, after `chdir`.
    pub pythonpath: Vec<PathBuf>,
    pub size: Size,
    pub threads: Setting<UpTo<1024>>,
    /// Load the application once, in the leader, and share it with the workers by forking, if it allows that.
    pub preload: bool,
    /// Pages that each worker answers before it is ready.
    pub warmup: Setting<Vec<Page>>,
    /// Addresses of the listeners, in the order of their descriptors; for logs and the peer's kind.
    pub listeners: Vec<ListenerKind>,
    /// Those among them, by number, that were inherited: others serve them too, or will. Their backlog is not the pool's.
    #[serde(default)]
    pub inherited_listeners: Vec<usize>,
    /// URL prefix under which the application lives (SPEC B14). `None`: nobody has named one, and `as_sent` says what
    /// holds.
    pub mount: Setting<Option<Mount>>,
    /// Without a mount, the web server has split the path, and rightly: it has started the program for one script. If
    /// false, the application has the whole site.
    pub as_sent: bool,
    pub front: Front,
    /// Show tracebacks in error pages. Only `wsgi-fpm dev` sets it (SPEC F6).
    pub debug: bool,
    /// Wrap the application in `wsgiref.validate`.
    pub validate: bool,
    /// Only these peers may connect over TCP (FCGI_WEB_SERVER_ADDRS, SPEC A31); `None` allows everybody.
    pub allowed_peers: Option<Vec<std::net::IpAddr>>,
    /// Under CGI: variables of the process's environment that belong to the request although no server documents
    /// them. A `*` at the end of a name stands for anything.
    pub cgi_variables: Vec<String>,
    pub limits: Limits,
    pub recycle: Recycle,
    pub log: crate::log::LogSettings,
    /// Where the pool says how it is, and that it is there.
    pub status_path: Setting<Option<UrlPath>>,
    pub ping_path: Setting<Option<UrlPath>>,
}

impl Settings {
    /// Why a generation fails that is not ready in time. `page`: the number of the one among `warmup` that was not answered by then.
    pub fn not_ready_in_time(&self, page: Option<usize>) -> String {
        let late = format!("it was not ready within {}", self.limits.start_timeout);
        match page.and_then(|page| self.warmup.get(page)) {
            Some(page) => format!("{late}: {} {page} was not answered by then", self.warmup.name()),
            None => late,
        }
    }
}

/// How many workers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// 0: none while no request comes.
    pub least: u32,
    pub most: u32,
    /// Workers without a request that are kept beside the busy ones.
    pub spare: u32,
    /// How long one must have been one too many before it ends.
    pub idle_timeout: Timeout,
}

impl Size {
    /// Always so many.
    pub fn fixed(workers: u32) -> Self {
        Self {
            least: workers,
            most: workers,
            spare: 0,
            idle_timeout: Timeout::NONE,
        }
    }

    pub fn is_fixed(&self) -> bool {
        self.least == self.most
    }

    /// How many there may be at all: a fixed number can be doubled by signals, unless the application was told that it is alone.
    pub fn limit(&self) -> u32 {
        match (self.is_fixed(), self.most) {
            (false, most) | (true, most @ 1) => most,
            (true, most) => most * 2,
        }
    }

    /// Workers that there may be at a time: as many as serve, and as many that were replaced and still have requests. Two at
    /// least, so that one that has long ones holds up no other.
    pub fn seats(&self) -> usize {
        2 * self.limit().max(2) as usize
    }
}

/// `2`, or `1..4`.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_fixed() {
            true => self.most.fmt(f),
            false => write!(f, "{}..{}", self.least, self.most),
        }
    }
}

/// How requests come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Entry {
    /// A supervisor, a leader and its workers.
    Pool,
    /// One process, started by a web server with a listening socket as its standard input (SPEC A30). The web server is
    /// its supervisor.
    FastCgi,
    /// One process for one request, in its environment and standard streams (SPEC D).
    Cgi,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListenerKind {
    Unix,
    Tcp,
}
