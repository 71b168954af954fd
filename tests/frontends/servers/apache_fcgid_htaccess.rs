//! Apache with mod_fcgid where only a directory's own configuration can be changed: apache/fcgid.htaccess.

use std::sync::LazyLock;

use super::apache_fcgid::{self, COLLECTS_UPLOADS, HIDES_BROKEN_TRANSFERS, MERGES_SLASHES, additional};
use super::apache_proxy::{JOINS_COOKIES, REQUEST_HEADER, RESPONSE_HEADER};
use super::script_hosts::{PLACES, assemble_with_one_log, host};
use crate::front::{Entry, Front, Server};
use crate::quirk::Quirk;
use crate::scripts::script;
use crate::support::apache::{Apache, Builder};
use crate::support::installed;
use crate::support::web_server::shipped;

pub const SERVER: Server = Server {
    name: "Apache mod_fcgid, .htaccess",
    module: "apache_fcgid_htaccess",
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
        "REDIRECT_URL",
        "REDIRECT_QUERY_STRING",
        "REDIRECT_STATUS",
        "REDIRECT_ap_trust_cgilike_cl",
    ],
    request_header: REQUEST_HEADER,
    response_header: RESPONSE_HEADER,
    vanished: 500,
    quirks: &[
        (Quirk::JoinsCookiesWithCommas, JOINS_COOKIES),
        (Quirk::MergesSlashes, MERGES_SLASHES),
        (Quirk::RefusesEncodedSlash, REFUSES_ENCODED_SLASH),
        (Quirk::CollectsUploads, COLLECTS_UPLOADS),
        (Quirk::HidesBrokenTransfers, HIDES_BROKEN_TRANSFERS),
        (Quirk::RedirectsToSlash, REDIRECTS_TO_SLASH),
    ],
};

pub const REFUSES_ENCODED_SLASH: &str = "`AllowEncodedSlashes` can only be set for a virtual host";

pub const REDIRECTS_TO_SLASH: &str = "it is a directory for Apache";

pub fn htaccess() -> Option<Front> {
    let is_there = installed::apache("fcgid");
    is_there.then(|| assemble_with_one_log(&SERVER, "htaccess", &APACHE))
}

static APACHE: LazyLock<Apache> = LazyLock::new(|| {
    // What a host for others has in its own configuration.
    let server = |place: &str| format!("FcgidMaxRequestLen 1073741824\n{}", additional(place));
    let mut apache = apache_fcgid::configure().module("rewrite");
    for place in PLACES {
        let htaccess = shipped("apache/fcgid.htaccess", &[]);
        apache = hosted(apache, "htaccess", place, &server(place), &htaccess).script(
            &format!("{}/app.fcgi", directory(place)),
            script(place, "# strip_script = true\n"),
        );
    }
    apache.start()
});

/// Where the script of a place is. The one below `/app` is in a directory of that name.
pub fn directory(place: &str) -> String {
    match place {
        "mounted" => "mounted/app".to_owned(),
        _ => place.to_owned(),
    }
}

/// A virtual host that allows everything in .htaccess, with `server` in it, and that file.
pub fn hosted(apache: Builder, way: &str, place: &str, server: &str, htaccess: &str) -> Builder {
    apache
        .file(&format!("{}/.htaccess", directory(place)), htaccess)
        .text(&format!(
            "<VirtualHost 127.0.0.1:%PORT0%>\nServerName {}\nDocumentRoot %PREFIX%/{place}\n{server}\n\
             <Directory %PREFIX%/{place}>\nAllowOverride All\nRequire all granted\n</Directory>\n</VirtualHost>",
            host(place, way)
        ))
}
