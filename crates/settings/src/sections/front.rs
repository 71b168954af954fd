//! What has to be known of the web server, and of what stands in front of it.

use crate::declaration::{Entries, section};
use crate::values::{PathSource, TrustedProxies};

section! {
    /// What the web server sends, and how far it is to be believed.
    Front = "Web server";

    /// Where the path comes from: the params that the web server has decoded and rewritten, or the URL as the client sent
    /// it, which keeps // and knows no rewriting
    ///
    /// `params`: `SCRIPT_NAME` and `PATH_INFO`, as the web server has decoded, tidied and rewritten them. `request-uri`:
    /// `REQUEST_URI`, the URL as the client has sent it, without its query and percent-decoded once; `mount` cuts it as
    /// before. If the web server does not send it, `params` holds, and the log says so once
    path_source: PathSource {
        default: Some("params"),
        entries: Entries::PRODUCTION,
        when: "the application tells `//` from `/`, or the web server spoils escapes (`%2F`, `%25`). Rewriting in the web \
               server is not seen then: a path that it rewrites, or a prefix that it takes off, arrives as the client \
               typed it",
    }

    /// Take the script's file name out of SCRIPT_NAME where the URL does not show it: for rewriting that hides it
    ///
    /// As much of `SCRIPT_NAME` as the URL does not show is left out: for a request of `/sub/x`, `/sub/app.fcgi` becomes
    /// `/sub`; for one of `/x`, nothing is left. Needs `REQUEST_URI`. Not together with `mount`, which says itself where
    /// the application is
    strip_script: bool {
        default: Some("false"),
        entries: Entries::PRODUCTION,
        excludes: &["mount"],
        when: "the web server's rewriting hides the script (`RewriteRule ^(.*)$ app.fcgi/$1` in `.htaccess`), and links of \
               the application have `app.fcgi` in them",
    }

    /// Take HTTP_AUTHORIZATION from REDIRECT_HTTP_AUTHORIZATION or Authorization, where Apache puts it
    ///
    /// If `HTTP_AUTHORIZATION` is missing or empty, it is taken from `REDIRECT_HTTP_AUTHORIZATION`, with up to ten times
    /// `REDIRECT_`, or else from `Authorization`, which `FcgidPassHeader Authorization` makes
    authorization_from_redirect: bool {
        default: Some("false"),
        entries: Entries::PRODUCTION,
        when: "logins by HTTP fail on Apache, and its configuration allows a `RewriteRule` that keeps the header but no \
               `CGIPassAuth On`",
    }

    /// Proxies in front of the web server whose X-Forwarded-For, -Proto and -Port are believed: addresses, networks and
    /// the word unix, with commas between them
    ///
    /// `unix` is for peers without an address. If the peer of the web server, `REMOTE_ADDR`, is one of them, its headers
    /// are believed: `REMOTE_ADDR` becomes the last address of `X-Forwarded-For` that is not trusted itself,
    /// `wsgi.url_scheme` (with `HTTPS` and `REQUEST_SCHEME`) what `X-Forwarded-Proto` says, if that is `http` or `https`
    /// alone, and `SERVER_PORT` what `X-Forwarded-Port` says, else 443 or 80 with the scheme if it was the other's.
    /// `REMOTE_PORT` and `REMOTE_HOST` of the proxy are left out. The access log shows the client, too. The headers
    /// themselves stay in the environ. `X-Forwarded-For` that comes twice (nginx before 1.23, HAProxy) is one list; `-Proto`
    /// and `-Port` that come twice count for nothing, with a warning
    trusted_proxies: Option<TrustedProxies> {
        entries: Entries::PRODUCTION,
        when: "there is a load balancer or another proxy in front of the web server, and the web server does not do this \
               itself (nginx: `set_real_ip_from`, Apache: `RemoteIPTrustedProxy`). Name nobody who passes headers of \
               clients on unchanged",
    }

    /// Leave X-Accel-*, X-Sendfile* and X-LIGHTTPD-send-* out of responses: they make web servers send any file that the
    /// application names
    ///
    /// The headers `X-Accel-*`, `X-Sendfile`, `X-Sendfile2`, `X-LIGHTTPD-send-file` and others that begin like the last
    /// three. Without it they pass as they are, and a web server that acts on them sends the file that they name instead
    /// of the response
    strip_sendfile_headers: bool {
        default: Some("false"),
        entries: Entries::PRODUCTION,
        when: "the application does not use them: then whoever can make it send a header of their choice, by a defect of the \
               application or as one of its authors, can read every file that the web server offers in this way. nginx \
               does it for each location that is `internal`, lighttpd and Apache where `x-sendfile` or `XSendFile` is on. \
               `X-Accel-Buffering: no` is lost, too: where responses stream, use `fastcgi_buffering off` in nginx",
    }
}
