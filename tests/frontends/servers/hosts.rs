//! What the servers share: a virtual host for each place, on one port, with a gateway or a script behind it.

use std::path::Path;

use crate::harness::backends::{self, Backends};
use crate::harness::front::{Front, Place, Server};
use crate::support::log::Log;
use crate::support::process::Gateway;
use crate::support::web_server::WebServer;

/// The places of a way.
pub const PLACES: [&str; 6] = ["plain", "mounted", "streaming", "single", "fragile", "old"];

/// From a web server to gateways that run already.
#[derive(Debug)]
pub struct Way {
    pub name: &'static str,
    pub backends: fn() -> &'static Backends,
    /// Whether connections are kept.
    pub kept: bool,
}

pub const WAYS: [Way; 4] = [
    Way {
        name: "unix_new",
        backends: backends::unix,
        kept: false,
    },
    Way {
        name: "tcp_new",
        backends: backends::tcp,
        kept: false,
    },
    Way {
        name: "unix_kept",
        backends: backends::unix,
        kept: true,
    },
    Way {
        name: "tcp_kept",
        backends: backends::tcp,
        kept: true,
    },
];

/// Those of a server that keeps no connections.
pub const NEW: &[Way] = WAYS.first_chunk::<2>().unwrap();

impl Way {
    /// The gateway behind a place.
    pub fn gateway(&self, place: &str) -> &'static Gateway {
        let backends = (self.backends)();
        match place {
            "mounted" => &backends.mounted,
            "single" => &backends.single,
            "fragile" => &backends.fragile,
            _ => &backends.plain,
        }
    }
}

/// The name of a place's virtual host.
pub fn host(place: &str, way: &str) -> String {
    format!("{place}.{}.test", way.replace('_', "-"))
}

/// The front of the way of this name, one of `ways`, through a web server that connects to gateways.
pub fn connected(server: &'static Server, way: &str, ways: &[Way], web_server: &WebServer) -> Front {
    let known = ways.iter().find(|known| known.name == way);
    let known = known.unwrap_or_else(|| panic!("no way is named {way}"));
    let directory = known.gateway("plain").directory.path();
    assemble(server, way, web_server, directory, |place| {
        known.gateway(place).log.clone()
    })
}

/// The front of a way through a web server behind which applications are started that write to `log`, by place.
pub fn started(server: &'static Server, way: &str, web_server: &WebServer, log: impl Fn(&str) -> Log) -> Front {
    assemble(server, way, web_server, web_server.directory.path(), log)
}

/// As [`started`], where the applications write to the log of the web server.
pub fn started_with_one_log(server: &'static Server, way: &str, web_server: &WebServer) -> Front {
    started(server, way, web_server, |_| web_server.process.log.clone())
}

fn assemble(
    server: &'static Server,
    way: &str,
    web_server: &WebServer,
    directory: &Path,
    log: impl Fn(&str) -> Log,
) -> Front {
    let place = |name: &str| Place {
        address: web_server.address(),
        host: host(name, way),
        prefix: if name == "mounted" { "/app" } else { "" }.to_owned(),
        log: log(name),
    };
    Front {
        server,
        name: format!("{}_{way}", server.module),
        plain: place("plain"),
        mounted: place("mounted"),
        streaming: place("streaming"),
        single: place("single"),
        fragile: place("fragile"),
        old: place("old"),
        server_log: web_server.process.log.clone(),
        directory: directory.to_owned(),
        start_again: || {},
    }
}
