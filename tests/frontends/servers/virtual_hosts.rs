//! What the servers share that connect to a gateway: a virtual host for each place, on one port.

use crate::backends::{self, Backends};
use crate::front::{Front, Place, Server};
use crate::support::process::Gateway;
use crate::support::web_server::WebServer;

/// From the web server to a gateway.
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

/// The places of one way, with the gateway behind each.
pub fn places(backends: &Backends) -> [(&'static str, &Gateway); 6] {
    [
        ("plain", &backends.plain),
        ("mounted", &backends.mounted),
        ("streaming", &backends.plain),
        ("single", &backends.single),
        ("fragile", &backends.fragile),
        ("old", &backends.plain),
    ]
}

/// The virtual host of a place.
pub fn host(place: &str, way: &str) -> String {
    format!("{place}.{}.test", way.replace('_', "-"))
}

/// The front of a way through `web_server`.
pub fn assemble(server: &'static Server, way: &str, web_server: &WebServer) -> Front {
    let backends = WAYS.iter().find(|known| known.name == way).map(|way| (way.backends)());
    let backends = backends.unwrap_or_else(|| panic!("no way is named {way}"));
    let [plain, mounted, streaming, single, fragile, old] = places(backends).map(|(name, gateway)| Place {
        address: web_server.address(),
        host: host(name, way),
        prefix: if name == "mounted" {
            "/app".to_owned()
        } else {
            String::new()
        },
        log: gateway.log.clone(),
    });
    Front {
        server,
        name: format!("{}_{way}", server.module),
        plain,
        mounted,
        streaming,
        single,
        fragile,
        old,
        server_log: web_server.process.log.clone(),
        directory: backends.plain.directory.path().to_owned(),
        start_again: || {},
    }
}
