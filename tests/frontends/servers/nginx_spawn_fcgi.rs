//! nginx in front of scripts that spawn-fcgi has started: nginx/site.conf, deploy/systemd/spawn-fcgi.service.

use std::sync::LazyLock;

use tempfile::TempDir;

use super::hosts::{PLACES, host, started};
use super::nginx::{KEYS, MERGES_SLASHES, OUR_PARAMS, REQUEST_HEADER, TAKES_LAST, site};
use crate::harness::front::{Entry, Front, Server};
use crate::harness::quirk::Quirk;
use crate::harness::scripts::script;
use crate::support::installed;
use crate::support::nginx::Nginx;
use crate::support::spawn_fcgi::Spawned;
use crate::support::web_server::{started_by, write};

pub const SERVER: Server = Server {
    name: "nginx, spawn-fcgi",
    module: "nginx_spawn_fcgi",
    entry: Entry::Spawned,
    software: "nginx/",
    keys: &[KEYS, OUR_PARAMS],
    request_header: REQUEST_HEADER,
    response_header: super::RESPONSE_HEADER,
    vanished: 502,
    quirks: &[
        MERGES_SLASHES,
        TAKES_LAST,
        (
            Quirk::LosesSocketOfEndedProcess,
            "spawn-fcgi has become the process, and nobody else has the socket; systemd makes both anew",
        ),
    ],
};

/// The scripts of one way: nginx makes streaming and old places of the plain one.
struct Scripts {
    way: &'static str,
    plain: Spawned,
    mounted: Spawned,
    single: Spawned,
    fragile: Spawned,
}

static UNIX: LazyLock<Scripts> = LazyLock::new(|| Scripts::start("unix_kept", false));
static TCP: LazyLock<Scripts> = LazyLock::new(|| Scripts::start("tcp_new", true));

pub fn unix_kept() -> Option<Front> {
    front(&UNIX, || UNIX.fragile.start_again())
}

pub fn tcp_new() -> Option<Front> {
    front(&TCP, || TCP.fragile.start_again())
}

impl Scripts {
    fn start(way: &'static str, tcp: bool) -> Self {
        let start = |place, options| Spawned::start(|directory| command(directory, &script(place, options)), tcp);
        Self {
            way,
            // More threads than tests that run at a time: some hold theirs for a while.
            plain: start("plain", "# threads = 32\n"),
            mounted: start("mounted", "# mount = \"/app\"\n# threads = 8\n"),
            single: start("single", ""),
            fragile: start("fragile", ""),
        }
    }

    fn of(&self, place: &str) -> &Spawned {
        match place {
            "mounted" => &self.mounted,
            "single" => &self.single,
            "fragile" => &self.fragile,
            _ => &self.plain,
        }
    }
}

/// What the shipped unit starts. Who the tests are need not be allowed to become another user.
fn command(directory: &TempDir, script: &str) -> Vec<String> {
    let path = directory.path().join("app.fcgi");
    write(&path, script.as_bytes(), 0o755);
    started_by(
        "deploy/systemd/spawn-fcgi.service",
        &[
            ("-s /run/example/app.sock -M 0660 -u example -G www-data", "%SOCKET%"),
            ("/usr/bin/", ""),
            ("/srv/example/app.fcgi", path.to_str().unwrap()),
        ],
    )
}

static NGINX: LazyLock<Nginx> = LazyLock::new(|| {
    let mut nginx = Nginx::configure().ports(1).http("server_names_hash_bucket_size 128;");
    for (scripts, kept) in [(&*UNIX, true), (&*TCP, false)] {
        for place in PLACES {
            let address = &scripts.of(place).address;
            nginx = nginx.http(&site(&host(place, scripts.way), place, address, kept));
        }
    }
    nginx.start()
});

fn front(scripts: &'static LazyLock<Scripts>, start_again: fn()) -> Option<Front> {
    (installed::nginx() && installed::spawn_fcgi()).then(|| Front {
        start_again,
        ..started(&SERVER, scripts.way, &NGINX, |place| {
            scripts.of(place).process.log.clone()
        })
    })
}
