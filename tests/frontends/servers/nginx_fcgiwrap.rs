//! nginx in front of fcgiwrap, which starts a script for each request: nginx/fcgiwrap.conf, deploy/systemd/fcgiwrap.service.

use std::sync::LazyLock;

use tempfile::TempDir;

use super::hosts::{PLACES, host, started};
use super::nginx::{KEYS, MERGES_SLASHES, OUR_PARAMS, REQUEST_HEADER, TAKES_LAST};
use crate::harness::front::{Entry, Front, Server};
use crate::harness::quirk::Quirk;
use crate::harness::scripts::script;
use crate::support::fcgiwrap::Fcgiwrap;
use crate::support::installed;
use crate::support::nginx::{Nginx, upstream};
use crate::support::web_server::{shipped, started_by, write};

pub const SERVER: Server = Server {
    name: "nginx, fcgiwrap",
    module: "nginx_fcgiwrap",
    entry: Entry::Cgi,
    software: "nginx/",
    keys: &[KEYS, OUR_PARAMS, &["FCGI_ROLE", "SCRIPT_FILENAME"]],
    request_header: REQUEST_HEADER,
    response_header: super::RESPONSE_HEADER,
    vanished: 502,
    quirks: &[
        (
            Quirk::IsSilentAboutGoneClients,
            "fcgiwrap looks at nginx's connection when it writes to it",
        ),
        MERGES_SLASHES,
        TAKES_LAST,
        (
            Quirk::HidesBrokenTransfers,
            "CGI has no sign for it: the end of the output is all that fcgiwrap sees",
        ),
        (
            Quirk::IsSilentAboutEndedProcess,
            "fcgiwrap answers with a page of its own, and nginx takes that for a response",
        ),
    ],
};

pub fn unix_new() -> Option<Front> {
    (installed::nginx() && installed::fcgiwrap())
        .then(|| started(&SERVER, "unix_new", &NGINX, |_| FCGIWRAP.process.log.clone()))
}

/// One for all places.
static FCGIWRAP: LazyLock<Fcgiwrap> = LazyLock::new(|| {
    let directory = TempDir::with_prefix("wsgi-fpm-fcgiwrap-").unwrap();
    let mut scripts = Vec::new();
    for place in PLACES {
        let path = directory.path().join(place).join("app.cgi");
        let options = if place == "mounted" { "# mount = \"/app\"\n" } else { "" };
        write(&path, script(place, options).as_bytes(), 0o755);
        scripts.push(format!("-p {}", path.display()));
    }
    let arguments = started_by(
        "deploy/systemd/fcgiwrap.service",
        &[
            ("/usr/sbin/", ""),
            // More than tests that run at a time: some hold theirs for a while.
            ("-c 8", "-c 24"),
            ("-p /srv/example/app.cgi", &scripts.join(" ")),
        ],
    );
    Fcgiwrap::start(directory, &arguments)
});

static NGINX: LazyLock<Nginx> = LazyLock::new(|| {
    let nginx = Nginx::configure().ports(1).http("server_names_hash_bucket_size 128;");
    PLACES
        .iter()
        .fold(nginx, |nginx, place| nginx.http(&site(place)))
        .start()
});

fn site(place: &str) -> String {
    let directory = FCGIWRAP.directory.path().join(place);
    let pass = format!("fastcgi_pass {}", upstream(&FCGIWRAP.address));
    let streaming = format!("fastcgi_request_buffering off; fastcgi_buffering off; {pass}");
    shipped(
        "nginx/fcgiwrap.conf",
        &[
            (
                "fastcgi_pass unix:/run/example.sock",
                if place == "streaming" { &streaming } else { &pass },
            ),
            ("listen 80;", "listen 127.0.0.1:%PORT0%;"),
            ("listen [::]:80;", ""),
            (
                "server_name example.com;",
                &format!("server_name {};", host(place, "unix_new")),
            ),
            ("/srv/example/static/", "%PREFIX%/static/"),
            ("/srv/example", directory.to_str().unwrap()),
        ],
    )
}
