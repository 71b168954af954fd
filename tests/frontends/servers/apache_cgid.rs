//! Apache with mod_cgid, which starts a process for each request: apache/cgid.conf.

use std::sync::LazyLock;

use super::apache_fcgid::{MERGES_SLASHES, OUTSIDE};
use super::apache_proxy::{JOINS_COOKIES, REQUEST_HEADER, RESPONSE_HEADER};
use super::script_hosts::{PLACES, assemble_with_one_log, host};
use crate::backends::a_minute_ago;
use crate::front::{Entry, Front, Server};
use crate::quirk::Quirk;
use crate::scripts::script;
use crate::support::apache::Apache;
use crate::support::installed;
use crate::support::web_server::shipped;

pub const SERVER: Server = Server {
    name: "Apache mod_cgid",
    module: "apache_cgid",
    entry: Entry::Cgi,
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
    ],
    request_header: REQUEST_HEADER,
    response_header: RESPONSE_HEADER,
    vanished: 500,
    quirks: &[
        (Quirk::JoinsCookiesWithCommas, JOINS_COOKIES),
        (Quirk::MergesSlashes, MERGES_SLASHES),
        (Quirk::HidesBrokenTransfers, HIDES_BROKEN_TRANSFERS),
        (Quirk::HidesShortBodies, HIDES_SHORT_BODIES),
        (Quirk::KillsProcessOfGoneClient, KILLS_PROCESS),
    ],
};

pub const HIDES_BROKEN_TRANSFERS: &str = "CGI has no sign for it: the end of the output is all that Apache sees";
pub const HIDES_SHORT_BODIES: &str =
    "Apache may have seen the end of the output, and so its true length, before it sends anything";
pub const KILLS_PROCESS: &str = "mod_cgid ends what it has started for the request";

pub fn script_alias() -> Option<Front> {
    installed::apache("cgid").then(|| unbuffered(assemble_with_one_log(&SERVER, "script-alias", &APACHE)))
}

/// There is nothing to be set for it: Apache sends what it gets.
pub fn unbuffered(front: Front) -> Front {
    Front {
        streaming: front.plain.clone(),
        ..front
    }
}

/// What a place has that is not in the shipped file.
pub fn additional(place: &str) -> String {
    match place {
        "old" => format!("SetEnv REQUEST_START {}", a_minute_ago()),
        _ => String::new(),
    }
}

static APACHE: LazyLock<Apache> = LazyLock::new(|| {
    let mut apache = Apache::configure()
        .module("cgid")
        .module("env")
        .file("outside/file.txt", "");
    for place in PLACES {
        apache = apache
            .script(&format!("{place}/app.cgi"), script(place, ""))
            .text(&virtual_host(place));
    }
    apache.start()
});

fn virtual_host(place: &str) -> String {
    let alias = "ScriptAlias / /srv/example/app.cgi/";
    let mounted = "ScriptAlias /app /srv/example/app.cgi";
    shipped(
        "apache/cgid.conf",
        &[
            ("*:80", "127.0.0.1:%PORT0%"),
            (alias, if place == "mounted" { mounted } else { alias }),
            (
                "ServerName example.com",
                &format!(
                    "ServerName {}\n{OUTSIDE}\n{}",
                    host(place, "script-alias"),
                    additional(place)
                ),
            ),
            ("/srv/example", &format!("%PREFIX%/{place}")),
        ],
    )
}
