//! The settings of one pool, as the supervisor gives them to a leader in one JSON message.
//!
//! Every limit that a peer or an application can run into stands here with its default and its reason; the program
//! makes its options and `docs/options.md` from the same fields.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use ::settings::values::TrustedProxies;

/// Everything a leader needs to know about its pool. File descriptors travel beside it (see [`crate::control`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Name of the pool, for logs and process titles.
    pub pool: String,
    pub entry: Entry,
    /// The application as the administrator typed it: `module:callable`, `module`, `path/to/file.py[:callable]` or
    /// `module:factory()`.
    pub app: String,
    /// Working directory of the application; also the first entry of `sys.path`. Absolute.
    pub chdir: PathBuf,
    /// More entries for `sys.path`, after `chdir`.
    pub pythonpath: Vec<PathBuf>,
    pub workers: u32,
    pub threads: u32,
    /// Load the application once, in the leader, and share it with the workers by forking, if it allows that.
    pub preload: bool,
    /// Addresses of the listeners, in the order of their descriptors; for logs and the peer's kind.
    pub listeners: Vec<ListenerKind>,
    /// Those among them, by number, that were inherited: others serve them too, or will. Their backlog is not the pool's.
    #[serde(default)]
    pub inherited_listeners: Vec<usize>,
    pub paths: Paths,
    /// HTTP_AUTHORIZATION comes from where Apache leaves it, if it is absent (SPEC B20).
    pub authorization_from_redirect: bool,
    /// Whose X-Forwarded-For, -Proto and -Port are believed; `None`: nobody's.
    pub trusted_proxies: Option<TrustedProxies>,
    /// Responses lose the headers by which an application has the web server send a file (SPEC F5).
    pub strip_sendfile_headers: bool,
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
    pub log: crate::log::LogSettings,
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

/// How SCRIPT_NAME and PATH_INFO are found (SPEC B14).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Paths {
    /// URL prefix under which the application lives, "" for the whole site. No trailing slash. `None`: nobody has named
    /// one, and `as_sent` says what holds.
    pub mount: Option<String>,
    /// Without a mount, the web server has split the path, and rightly: it has started the program for one script. If
    /// false, the application has the whole site.
    pub as_sent: bool,
    pub source: PathSource,
    /// SCRIPT_NAME loses what the URL does not show: rewriting in the web server hides the script (`--strip-script`).
    pub strip_script: bool,
}

/// Which of the two paths that a web server sends is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathSource {
    /// SCRIPT_NAME and PATH_INFO: after the web server's rewriting, decoded and tidied up by it.
    #[default]
    Params,
    /// REQUEST_URI: as the client has sent it.
    RequestUri,
}

/// Limits and timeouts (SPEC F10). A timeout of zero means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of one request's params stream; more is answered with 431. nginx, lighttpd and mod_fcgid stop at 64 KiB.
    pub params_bytes: usize,
    /// Pairs of one request; more is answered with 431.
    pub params_pairs: usize,
    /// Bytes of one param's name; more is answered with 431.
    pub param_name: usize,
    /// Bytes of one param's value; more is answered with 431.
    pub param_value: usize,
    /// Open connections of one worker; at the limit it stops accepting.
    pub connections: usize,
    /// Requests on one kept connection; then it is closed after the response.
    pub connection_requests: u64,
    /// From BEGIN_REQUEST to the end of the params; then the connection is closed.
    pub params_timeout: Duration,
    /// Idle time of a kept connection. Longer than nginx's `keepalive_timeout` (60 s), so that nginx closes first.
    pub idle_timeout: Duration,
    /// Longest silence inside a request body; then reading it raises OSError.
    pub body_timeout: Duration,
    /// Longest time without progress in writing a response; then the request is aborted.
    pub write_timeout: Duration,
    /// Body bytes that must have arrived before a thread takes the request (or all of the body, if it is smaller).
    pub body_buffer: usize,
    /// Body bytes kept in memory; the rest goes to an unlinked temporary file.
    pub body_memory: usize,
    /// Largest body; more is answered with 413.
    pub body_max: u64,
    /// Longest wait in front of the application, judged by the param REQUEST_START; then 503.
    pub queue_timeout: Duration,
    /// Longest run of one request; then 504.
    pub request_timeout: Duration,
    /// How long a request may go on after its `request_timeout` before its worker is replaced.
    pub kill_timeout: Duration,
    /// Bytes of a response's head; more is answered with 500.
    pub response_head: usize,
    /// Bytes that are read and thrown away after an early response, before the connection is closed.
    pub drain_bytes: u64,
    /// Time for the same.
    pub drain_timeout: Duration,
    /// From the request to stop until running requests are cut.
    pub stop_timeout: Duration,
}
