//! What the servers share that start the application themselves: a virtual host and a script for each place.

use crate::front::{Front, Place, Server};
use crate::support::log::Log;
use crate::support::web_server::WebServer;

/// Whose virtual hosts and scripts there are.
pub const PLACES: [&str; 6] = ["plain", "mounted", "streaming", "single", "fragile", "old"];

pub fn host(place: &str, way: &str) -> String {
    format!("{place}.{}.test", way.replace('_', "-"))
}

/// The front of a way whose virtual hosts are named `place.way.test`. `log`: where the applications of a place write to.
pub fn assemble(server: &'static Server, way: &str, web_server: &WebServer, log: impl Fn(&str) -> Log) -> Front {
    let place = |name: &str| Place {
        address: web_server.address(),
        host: host(name, way),
        prefix: String::new(),
        log: log(name),
    };
    Front {
        server,
        name: format!("{}_{}", server.module, way.replace('-', "_")),
        plain: place("plain"),
        mounted: Place {
            prefix: "/app".to_owned(),
            ..place("mounted")
        },
        streaming: place("streaming"),
        single: place("single"),
        fragile: place("fragile"),
        old: place("old"),
        server_log: web_server.process.log.clone(),
        directory: web_server.directory.path().to_owned(),
        start_again: || {},
    }
}

/// As [`assemble`], where the applications write to the log of the web server.
pub fn assemble_with_one_log(server: &'static Server, way: &str, web_server: &WebServer) -> Front {
    assemble(server, way, web_server, |_| web_server.process.log.clone())
}
