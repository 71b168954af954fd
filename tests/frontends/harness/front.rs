//! One way through a web server to an application.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::harness::quirk::{Limit, Quirk};
use crate::support::http::{Client, Request, Response};
use crate::support::log::Log;

/// What starts the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// `wsgi-fpm serve`; the web server connects to its socket.
    Serve,
    /// The web server, which passes a listening socket as descriptor 0.
    Spawned,
    /// The web server, anew for each request.
    Cgi,
}

/// A web server in one kind of configuration: what its documentation would call a set-up.
#[derive(Debug)]
pub struct Server {
    /// As in docs/servers.md.
    pub name: &'static str,
    /// Its module among the servers.
    pub module: &'static str,
    pub entry: Entry,
    /// What SERVER_SOFTWARE begins with.
    pub software: &'static str,
    /// Keys of the environ that are not the same everywhere, in groups.
    pub keys: &'static [&'static [&'static str]],
    /// The largest header of a request.
    pub request_header: Limit,
    /// The largest header of a response.
    pub response_header: Limit,
    /// What the client gets if the application's process dies without a word.
    pub vanished: u16,
    /// What the server forces to be different, each with its cause.
    pub quirks: &'static [(Quirk, &'static str)],
}

/// Where requests go: an application behind one piece of configuration.
#[derive(Debug, Clone)]
pub struct Place {
    pub address: SocketAddr,
    /// The virtual host.
    pub host: String,
    /// Where the application begins in the URL: nothing, or such as `/cgi-bin/app.cgi`.
    pub prefix: String,
    /// Where tracebacks and what the application prints go.
    pub log: Log,
}

impl Place {
    /// `request` as it goes to this place: its target is relative to the application.
    pub fn request(&self, request: &Request) -> Request {
        let request = request.clone().below(&self.prefix);
        if request.has("Host") {
            return request;
        }
        request.host(&self.host)
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Sends `request` on a connection of its own.
    #[track_caller]
    pub fn send(&self, request: &Request) -> Response {
        self.connect().exchange(&self.request(request))
    }

    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.send(&Request::get(target))
    }
}

/// One way through a web server.
#[derive(Debug, Clone)]
pub struct Front {
    pub server: &'static Server,
    /// Other for each way, of letters, digits and underscores.
    pub name: String,
    /// `pages:application` with defaults. The other places have the same application.
    pub plain: Place,
    /// Below `/app`, which is its SCRIPT_NAME. Limits are small: see [`crate::harness::backends`].
    pub mounted: Place,
    /// As little as possible is buffered, in either direction.
    pub streaming: Place,
    /// One process with one thread: for whoever holds [`crate::harness::backends::SINGLE`].
    pub single: Place,
    /// Its processes may be crashed, by who holds [`crate::harness::backends::FRAGILE`].
    pub fragile: Place,
    /// Requests are said to have waited for years.
    pub old: Place,
    /// The web server's own log.
    pub server_log: Log,
    /// A directory that the application may write to.
    pub directory: PathBuf,
    /// Plays whoever starts the fragile place again after its process has ended, where that is nobody's business here.
    pub start_again: fn(),
}

impl Front {
    /// Sends `request` to the plain place on a connection of its own.
    #[track_caller]
    pub fn send(&self, request: &Request) -> Response {
        self.plain.send(request)
    }

    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.plain.get(target)
    }

    pub fn has(&self, quirk: Quirk) -> bool {
        self.server.quirks.iter().any(|(known, _)| *known == quirk)
    }

    /// An option as its user has written it: in a command line, or in the block of a script, behind the script's name.
    pub fn option(&self, name: &str) -> String {
        if self.server.entry == Entry::Serve || self.name.ends_with("_wrapper") {
            format!("--{name}")
        } else {
            format!(": {}", name.replace('-', "_"))
        }
    }

    /// A path that the application may write to, other for each name and way.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}-{}", self.name))
    }

    /// The target for `page`, other for each way: its lines in a log that many share can be told from others.
    pub fn own(&self, page: &str) -> String {
        format!("/{page}/{}", self.name)
    }
}
