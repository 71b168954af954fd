//! Apache with mod_fcgid where only a directory's own configuration can be changed: apache/fcgid.htaccess.

use std::sync::LazyLock;

use super::apache::{JOINS_COOKIES, KEYS, MERGES_SLASHES, REQUEST_HEADER, RESPONSE_HEADER, SILENT_ABOUT_GONE};
use super::apache_fcgid::{COLLECTS_UPLOADS, HIDES_BROKEN_TRANSFERS, VARIABLES, additional};
use super::hosts::{PLACES, host, started_with_one_log};
use crate::harness::front::{Entry, Front, Server};
use crate::harness::quirk::Quirk;
use crate::harness::scripts::script;
use crate::support::apache::{Apache, Builder, Host};
use crate::support::installed;
use crate::support::web_server::shipped;

pub const SERVER: Server = Server {
    name: "Apache mod_fcgid, .htaccess",
    module: "apache_fcgid_htaccess",
    entry: Entry::Spawned,
    software: "Apache/",
    keys: &[KEYS, VARIABLES, REDIRECTED, &["REDIRECT_ap_trust_cgilike_cl"]],
    request_header: REQUEST_HEADER,
    response_header: RESPONSE_HEADER,
    vanished: 500,
    quirks: &[
        JOINS_COOKIES,
        MERGES_SLASHES,
        REFUSES_ENCODED_SLASH,
        COLLECTS_UPLOADS,
        HIDES_BROKEN_TRANSFERS,
        REDIRECTS_TO_SLASH,
        SILENT_ABOUT_GONE,
    ],
};

/// What a request has that mod_rewrite has led to the script.
pub const REDIRECTED: &[&str] = &["REDIRECT_URL", "REDIRECT_QUERY_STRING", "REDIRECT_STATUS"];

pub const REFUSES_ENCODED_SLASH: (Quirk, &str) = (
    Quirk::RefusesEncodedSlash,
    "`AllowEncodedSlashes` can only be set for a virtual host",
);
pub const REDIRECTS_TO_SLASH: (Quirk, &str) = (Quirk::RedirectsToSlash, "it is a directory for Apache");

ways! { htaccess }

static APACHE: LazyLock<Apache> = LazyLock::new(|| {
    let apache = Apache::fcgid().module("rewrite");
    // What a host for others has in its own configuration.
    let server = |place: &str| format!("FcgidMaxRequestLen 1073741824\n{}", additional(place));
    hosted(apache, "fcgid.htaccess", "app.fcgi", server).start()
});

fn front(way: &str) -> Option<Front> {
    installed::apache("fcgid").then(|| started_with_one_log(&SERVER, way, &APACHE))
}

/// A virtual host for each place that allows everything in .htaccess, with this file of `apache/` and this script.
pub fn hosted(mut apache: Builder, htaccess: &str, name: &str, server: impl Fn(&str) -> String) -> Builder {
    for place in PLACES {
        // The script below /app is in a directory of that name.
        let directory = if place == "mounted" { "mounted/app" } else { place };
        apache = apache
            .file(
                &format!("{directory}/.htaccess"),
                shipped(&format!("apache/{htaccess}"), &[]),
            )
            .script(&format!("{directory}/{name}"), script(place, "# strip_script = true\n"))
            .host(&Host {
                name: &host(place, "htaccess"),
                root: &format!("%PREFIX%/{place}"),
                server: &server(place),
                directory: "AllowOverride All",
            });
    }
    apache
}
