//! Apache with mod_fcgid, which starts the processes itself: apache/fcgid.conf.

use std::sync::LazyLock;

use super::apache::{JOINS_COOKIES, KEYS, MERGES_SLASHES, REQUEST_HEADER, RESPONSE_HEADER, SILENT_ABOUT_GONE, waited};
use super::hosts::{PLACES, host, started_with_one_log};
use crate::harness::backends::apps;
use crate::harness::front::{Entry, Front, Server};
use crate::harness::quirk::Quirk;
use crate::harness::scripts::{interpreter, script};
use crate::support::apache::{Apache, Builder};
use crate::support::installed;
use crate::support::program::program;

pub const SERVER: Server = Server {
    name: "Apache mod_fcgid",
    module: "apache_fcgid",
    entry: Entry::Spawned,
    software: "Apache/",
    keys: &[KEYS, VARIABLES],
    request_header: REQUEST_HEADER,
    response_header: RESPONSE_HEADER,
    vanished: 500,
    quirks: &[
        JOINS_COOKIES,
        MERGES_SLASHES,
        COLLECTS_UPLOADS,
        HIDES_BROKEN_TRANSFERS,
        SILENT_ABOUT_GONE,
    ],
};

/// Beside those that Apache always tells; the CONTENT_LENGTH of a GET is 0.
pub const VARIABLES: &[&str] = &["PATH_TRANSLATED", "CONTENT_LENGTH", "ap_trust_cgilike_cl"];

pub const COLLECTS_UPLOADS: (Quirk, &str) = (
    Quirk::CollectsUploads,
    "mod_fcgid sends a request only when it has all of it",
);
pub const HIDES_BROKEN_TRANSFERS: (Quirk, &str) = (
    Quirk::HidesBrokenTransfers,
    "mod_fcgid appends Apache's error page and ends the response",
);

// The wrapper is a way without a script: FcgidWrapper has the whole command line.
ways! { vhost wrapper }

static APACHE: LazyLock<Apache> = LazyLock::new(|| {
    let mut apache = Apache::fcgid();
    for place in PLACES {
        apache = apache.script(&format!("{place}/app.fcgi"), script(place, ""));
        apache = site(apache, place, "vhost", "fcgid-script");
        apache = site(apache, place, "wrapper", &wrapped(place));
    }
    apache.start()
});

fn front(way: &str) -> Option<Front> {
    installed::apache("fcgid").then(|| started_with_one_log(&SERVER, way, &APACHE))
}

/// What a place has that is not in the shipped file.
pub fn additional(place: &str) -> String {
    let streaming = if place == "streaming" {
        "FcgidOutputBufferSize 0\n"
    } else {
        ""
    };
    streaming.to_owned() + &waited(place)
}

/// The handler, and the command line that stands for the script.
fn wrapped(place: &str) -> String {
    let own = match place {
        "mounted" => "--body-max 100k --params-bytes 8k --request-timeout 1s",
        "single" | "fragile" => "--threads 1",
        _ => "",
    };
    let (program, chdir, python) = (program(), apps(), interpreter());
    let (program, chdir, python) = (program.display(), chdir.display(), python.display());
    format!(
        "fcgid-script\nFcgidWrapper \"{program} fastcgi pages:application --chdir {chdir} --python {python} {own}\""
    )
}

fn site(apache: Builder, place: &str, way: &str, handler: &str) -> Builder {
    let alias = "ScriptAlias / /srv/example/app.fcgi/";
    let mounted = "ScriptAlias /app /srv/example/app.fcgi";
    apache.site_in_nothing(
        "apache/fcgid.conf",
        &host(place, way),
        &additional(place),
        &[
            (alias, if place == "mounted" { mounted } else { alias }),
            ("fcgid-script", handler),
            ("/srv/example", &format!("%PREFIX%/{place}")),
        ],
    )
}
