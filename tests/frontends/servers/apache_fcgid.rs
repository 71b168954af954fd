//! Apache with mod_fcgid, which starts the processes itself: apache/fcgid.conf.

use std::sync::LazyLock;

use super::apache_proxy::{JOINS_COOKIES, REQUEST_HEADER, RESPONSE_HEADER};
use super::script_hosts::{PLACES, assemble_with_one_log, host};
use crate::backends::{a_minute_ago, apps};
use crate::front::{Entry, Front, Server};
use crate::quirk::Quirk;
use crate::scripts::{interpreter, script};
use crate::support::apache::{Apache, Builder};
use crate::support::installed;
use crate::support::web_server::shipped;

pub const SERVER: Server = Server {
    name: "Apache mod_fcgid",
    module: "apache_fcgid",
    entry: Entry::Spawned,
    software: "Apache/",
    keys: &[
        "SERVER_SIGNATURE",
        "SERVER_ADDR",
        "DOCUMENT_ROOT",
        "REQUEST_SCHEME",
        "CONTEXT_PREFIX",
        "CONTEXT_DOCUMENT_ROOT",
        "SERVER_ADMIN",
        "SCRIPT_FILENAME",
        "PATH_TRANSLATED",
        "CONTENT_LENGTH",
        "ap_trust_cgilike_cl",
    ],
    request_header: REQUEST_HEADER,
    response_header: RESPONSE_HEADER,
    vanished: 500,
    quirks: &[
        (Quirk::JoinsCookiesWithCommas, JOINS_COOKIES),
        (Quirk::MergesSlashes, MERGES_SLASHES),
        (Quirk::CollectsUploads, COLLECTS_UPLOADS),
        (Quirk::HidesBrokenTransfers, HIDES_BROKEN_TRANSFERS),
    ],
};

pub const MERGES_SLASHES: &str = "Apache looks for a file by that path first";
pub const COLLECTS_UPLOADS: &str = "mod_fcgid sends a request only when it has all of it";

pub const HIDES_BROKEN_TRANSFERS: &str = "mod_fcgid appends Apache's error page and ends the response";

pub fn vhost() -> Option<Front> {
    installed::apache("fcgid").then(|| assemble_with_one_log(&SERVER, "vhost", &APACHE))
}

/// Without a script: FcgidWrapper has the whole command line.
pub fn wrapper() -> Option<Front> {
    installed::apache("fcgid").then(|| assemble_with_one_log(&SERVER, "wrapper", &APACHE))
}

static APACHE: LazyLock<Apache> = LazyLock::new(|| {
    let mut apache = configure();
    for place in PLACES {
        apache = apache
            .script(&format!("{place}/app.fcgi"), script(place, ""))
            .text(&virtual_host(place, "vhost", "fcgid-script"))
            .text(&virtual_host(place, "wrapper", &wrapped(place)));
    }
    apache.start()
});

/// An Apache for mod_fcgid.
pub fn configure() -> Builder {
    Apache::configure()
        .module("fcgid")
        .module("env")
        .file("outside/file.txt", "")
        // More tests than visitors come at the same time.
        .text("FcgidSpawnScoreUpLimit 1000")
}

/// What Apache has outside of the application: nothing.
pub const OUTSIDE: &str =
    "DocumentRoot %PREFIX%/outside\n<Directory %PREFIX%/outside>\nRequire all granted\n</Directory>";

/// What a place has that is not in the shipped file.
pub fn additional(place: &str) -> String {
    match place {
        "streaming" => "FcgidOutputBufferSize 0".to_owned(),
        "old" => format!("SetEnv REQUEST_START {}", a_minute_ago()),
        _ => String::new(),
    }
}

/// The handler, and the command line that stands for the script.
fn wrapped(place: &str) -> String {
    let own = match place {
        "mounted" => "--body-max 100k --params-bytes 8k --request-timeout 1s",
        "single" | "fragile" => "--threads 1",
        _ => "",
    };
    let (program, chdir, python) = (env!("CARGO_BIN_EXE_wsgi-fpm"), apps(), interpreter());
    let (chdir, python) = (chdir.display(), python.display());
    format!(
        "fcgid-script\nFcgidWrapper \"{program} fastcgi pages:application --chdir {chdir} --python {python} {own}\""
    )
}

fn virtual_host(place: &str, way: &str, handler: &str) -> String {
    let alias = "ScriptAlias / /srv/example/app.fcgi/";
    let mounted = "ScriptAlias /app /srv/example/app.fcgi";
    shipped(
        "apache/fcgid.conf",
        &[
            ("*:80", "127.0.0.1:%PORT0%"),
            (alias, if place == "mounted" { mounted } else { alias }),
            (
                "ServerName example.com",
                &format!("ServerName {}\n{OUTSIDE}\n{}", host(place, way), additional(place)),
            ),
            ("fcgid-script", handler),
            ("/srv/example", &format!("%PREFIX%/{place}")),
        ],
    )
}
