//! Apache with mod_cgid, which starts a process for each request: apache/cgid.conf.

use std::sync::LazyLock;

use super::apache::{JOINS_COOKIES, KEYS, MERGES_SLASHES, REQUEST_HEADER, RESPONSE_HEADER, waited};
use super::hosts::{PLACES, host, started_with_one_log};
use crate::harness::front::{Entry, Front, Server};
use crate::harness::quirk::Quirk;
use crate::harness::scripts::script;
use crate::support::apache::Apache;
use crate::support::installed;

pub const SERVER: Server = Server {
    name: "Apache mod_cgid",
    module: "apache_cgid",
    entry: Entry::Cgi,
    software: "Apache/",
    keys: &[KEYS, &["PATH_TRANSLATED"]],
    request_header: REQUEST_HEADER,
    response_header: RESPONSE_HEADER,
    vanished: 500,
    quirks: &[
        JOINS_COOKIES,
        MERGES_SLASHES,
        (
            Quirk::HidesBrokenTransfers,
            "CGI has no sign for it: the end of the output is all that Apache sees",
        ),
        (
            Quirk::HidesShortBodies,
            "Apache may have seen the end of the output, and so its true length, before it sends anything",
        ),
        (
            Quirk::KillsProcessOfGoneClient,
            "mod_cgid ends what it has started for the request",
        ),
    ],
};

ways! { script_alias }

static APACHE: LazyLock<Apache> = LazyLock::new(|| {
    let alias = "ScriptAlias / /srv/example/app.cgi/";
    let mounted = "ScriptAlias /app /srv/example/app.cgi";
    let mut apache = Apache::cgid();
    for place in PLACES {
        let replacements = [
            (alias, if place == "mounted" { mounted } else { alias }),
            ("/srv/example", &format!("%PREFIX%/{place}")),
        ];
        apache = apache
            .script(&format!("{place}/app.cgi"), script(place, ""))
            .site_in_nothing(
                "apache/cgid.conf",
                &host(place, "script_alias"),
                &waited(place),
                &replacements,
            );
    }
    apache.start()
});

fn front(way: &str) -> Option<Front> {
    installed::apache("cgid").then(|| unbuffered(started_with_one_log(&SERVER, way, &APACHE)))
}

/// There is nothing to be set for it: Apache sends what it gets.
pub fn unbuffered(front: Front) -> Front {
    Front {
        streaming: front.plain.clone(),
        ..front
    }
}
