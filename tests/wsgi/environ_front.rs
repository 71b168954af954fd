//! What options make of a front server's word: Authorization in other places, trusted proxies (SPEC B12, B20).

use serde_json::Value;

use crate::support::fcgi_client::Request;
use crate::support::process::{Gateway, Shared};
use crate::support::wait::{self, SOON};

static PLAIN: Shared = Shared::new(|| Gateway::app("environ:dump"));
static AUTHORIZING: Shared = Shared::new(|| Gateway::app("environ:dump").flag("--authorization-from-redirect"));
static BEHIND: Shared = Shared::new(|| {
    Gateway::app("environ:dump")
        .option("--trusted-proxies", "192.0.2.1, 10.0.0.0/8,2001:db8::/32")
        .flag("--access-log")
});
static BEHIND_UNIX: Shared = Shared::new(|| Gateway::app("environ:dump").option("--trusted-proxies", "unix"));

#[track_caller]
fn environ(gateway: &Gateway, request: &Request) -> Value {
    serde_json::from_slice(gateway.send(request).ok().body()).unwrap()
}

/// From the peer of [`Request`], 192.0.2.1, which is a trusted proxy.
fn forwarded(headers: &[(&str, &str)]) -> Request {
    headers
        .iter()
        .fold(Request::get("/"), |request, (name, value)| request.header(name, *value))
}

/// REMOTE_ADDR behind the trusted proxies, for this X-Forwarded-For.
#[track_caller]
fn client(list: &str) -> String {
    let environ = environ(&BEHIND, &forwarded(&[("X-Forwarded-For", list)]));
    assert_eq!(environ["HTTP_X_FORWARDED_FOR"], list);
    environ["REMOTE_ADDR"].as_str().unwrap().to_owned()
}

/// Scheme and port behind the trusted proxies, with these params and headers.
#[track_caller]
fn scheme_and_port(params: &[(&str, &str)], headers: &[(&str, &str)]) -> (String, String) {
    let request = params.iter().fold(forwarded(headers), |request, (name, value)| {
        request.param(*name, *value)
    });
    let environ = environ(&BEHIND, &request);
    let text = |name: &str| environ[name].as_str().unwrap().to_owned();
    (text("wsgi.url_scheme"), text("SERVER_PORT"))
}

#[test]
fn b20_authorization_is_taken_from_where_apache_leaves_it() {
    for place in [
        "REDIRECT_HTTP_AUTHORIZATION",
        "REDIRECT_REDIRECT_HTTP_AUTHORIZATION",
        "REDIRECT_REDIRECT_REDIRECT_HTTP_AUTHORIZATION",
        "Authorization",
    ] {
        let environ = environ(&AUTHORIZING, &Request::get("/").param(place, "Basic YTpi"));
        assert_eq!(environ["HTTP_AUTHORIZATION"], "Basic YTpi", "{place}");
        assert_eq!(environ[place], "Basic YTpi", "stays where it was");
        assert!(environ.get("REMOTE_USER").is_none());
    }
}

#[test]
fn b20_authorization_of_the_request_itself_wins() {
    let request = Request::get("/")
        .header("Authorization", "Basic own")
        .param("REDIRECT_HTTP_AUTHORIZATION", "Basic other")
        .param("Authorization", "Basic other");
    assert_eq!(environ(&AUTHORIZING, &request)["HTTP_AUTHORIZATION"], "Basic own");
}

#[test]
fn b20_empty_authorization_is_none() {
    let request = Request::get("/")
        .header("Authorization", "")
        .param("REDIRECT_HTTP_AUTHORIZATION", "")
        .param("REDIRECT_REDIRECT_HTTP_AUTHORIZATION", "Basic YTpi");
    assert_eq!(environ(&AUTHORIZING, &request)["HTTP_AUTHORIZATION"], "Basic YTpi");
    let none = Request::get("/").param("REDIRECT_HTTP_AUTHORIZATION", "");
    assert!(environ(&AUTHORIZING, &none).get("HTTP_AUTHORIZATION").is_none());
}

#[test]
fn b20_authorization_of_one_request_is_gone_in_the_next() {
    let mut connection = AUTHORIZING.connect();
    let first = Request::get("/").param("REDIRECT_HTTP_AUTHORIZATION", "Basic YTpi");
    connection.exchange(&first.keep_conn()).ok();
    let second = connection.exchange(&Request::get("/").keep_conn()).ok();
    let environ: Value = serde_json::from_slice(second.body()).unwrap();
    assert!(environ.get("HTTP_AUTHORIZATION").is_none());
}

#[test]
fn b20_authorization_in_other_places_is_inert_without_the_option() {
    for place in ["REDIRECT_HTTP_AUTHORIZATION", "Authorization"] {
        let environ = environ(&PLAIN, &Request::get("/").param(place, "Basic YTpi"));
        assert!(environ.get("HTTP_AUTHORIZATION").is_none(), "{place}");
    }
}

#[test]
fn b12_client_is_the_last_address_that_is_no_trusted_proxy() {
    assert_eq!(client("203.0.113.9"), "203.0.113.9");
    assert_eq!(client("198.51.100.1, 203.0.113.9"), "203.0.113.9");
    assert_eq!(client("198.51.100.1, 203.0.113.9, 10.1.2.3"), "203.0.113.9");
    assert_eq!(client("203.0.113.9,10.1.2.3 ,\t2001:db8::5"), "203.0.113.9");
    assert_eq!(client("10.0.0.1, 10.0.0.2"), "10.0.0.1", "all are trusted");
    assert_eq!(client("::ffff:203.0.113.9, ::ffff:10.0.0.1"), "203.0.113.9");
}

#[test]
fn b12_ports_and_brackets_are_no_part_of_the_address() {
    assert_eq!(client("203.0.113.9:4711"), "203.0.113.9");
    assert_eq!(client("[2001:db9::9]"), "2001:db9::9");
    assert_eq!(client("[2001:db9::9]:4711, [2001:db8::5]:80"), "2001:db9::9");
    assert_eq!(client("2001:db9:0:0::9"), "2001:db9::9");
}

#[test]
fn b12_what_is_no_address_ends_the_search() {
    for list in [
        "",
        "unknown",
        "_hidden",
        "203.0.113.9 198.51.100.1",
        "203.0.113",
        "[::1",
        "203.0.113.9:",
        "unix:",
    ] {
        assert_eq!(client(list), "192.0.2.1", "{list:?}: the proxy is all that is known");
        assert_eq!(
            client(&format!("203.0.113.9, {list}, 10.0.0.1")),
            "10.0.0.1",
            "{list:?}"
        );
    }
    assert_eq!(client("<script>, 203.0.113.9"), "203.0.113.9");
    assert_eq!(client("203.0.113.9,"), "192.0.2.1");
}

#[test]
fn b12_longest_header_that_is_let_in_is_searched() {
    let proxies = "10.0.0.1, ".repeat(6500);
    let list = format!("203.0.113.9, {}", proxies.trim_end_matches(", "));
    assert!(list.len() < 65536 && list.len() > 64_900);
    assert_eq!(client(&list), "203.0.113.9");
    let too_long = forwarded(&[("X-Forwarded-For", &"1".repeat(65537))]);
    BEHIND.send(&too_long).error_page(431);
}

#[test]
fn b12_port_and_name_of_the_proxy_go_with_its_address() {
    let request = forwarded(&[("X-Forwarded-For", "203.0.113.9")])
        .param("REMOTE_PORT", "4711")
        .param("REMOTE_HOST", "192.0.2.1");
    let environ = environ(&BEHIND, &request);
    assert!(environ.get("REMOTE_PORT").is_none() && environ.get("REMOTE_HOST").is_none());
    let direct = self::environ(&BEHIND, &Request::get("/").param("REMOTE_PORT", "4711"));
    assert_eq!(
        (&direct["REMOTE_ADDR"], &direct["REMOTE_PORT"]),
        (&"192.0.2.1".into(), &"4711".into())
    );
}

#[test]
fn b12_scheme_is_what_a_trusted_proxy_says() {
    let pair = |scheme: &str, port: &str| (scheme.to_owned(), port.to_owned());
    // Params, headers, what they lead to.
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)], (&'a str, &'a str));
    let cases: &[Case<'_>] = &[
        (&[], &[("X-Forwarded-Proto", "https")], ("https", "443")),
        (&[], &[("X-Forwarded-Proto", " HTTPS ")], ("https", "443")),
        (&[], &[("X-Forwarded-Proto", "http")], ("http", "80")),
        (
            &[("HTTPS", "on"), ("SERVER_PORT", "443")],
            &[("X-Forwarded-Proto", "http")],
            ("http", "80"),
        ),
        (
            &[("SERVER_PORT", "8080")],
            &[("X-Forwarded-Proto", "https")],
            ("https", "8080"),
        ),
        (
            &[("SERVER_PORT", "")],
            &[("X-Forwarded-Proto", "https")],
            ("https", "443"),
        ),
        (
            &[],
            &[("X-Forwarded-Proto", "https"), ("X-Forwarded-Port", "8443")],
            ("https", "8443"),
        ),
        (&[], &[("X-Forwarded-Port", " 8080")], ("http", "8080")),
        (
            &[],
            &[("X-Forwarded-Proto", "https"), ("X-Forwarded-Port", "x")],
            ("https", "443"),
        ),
        (
            &[],
            &[("X-Forwarded-Proto", "https"), ("X-Forwarded-Port", "0")],
            ("https", "443"),
        ),
        (
            &[],
            &[("X-Forwarded-Proto", "https"), ("X-Forwarded-Port", "65536")],
            ("https", "443"),
        ),
        (
            &[],
            &[("X-Forwarded-Proto", "https"), ("X-Forwarded-Port", "+443")],
            ("https", "443"),
        ),
        (&[], &[("X-Forwarded-Proto", "https, http")], ("http", "80")),
        (&[], &[("X-Forwarded-Proto", "ftp")], ("http", "80")),
        (&[], &[("X-Forwarded-Proto", "")], ("http", "80")),
        (
            &[("HTTPS", "on"), ("SERVER_PORT", "443")],
            &[("X-Forwarded-Proto", "httpsx")],
            ("https", "443"),
        ),
        (&[("HTTPS", "on"), ("SERVER_PORT", "443")], &[], ("https", "443")),
    ];
    for (params, headers, (scheme, port)) in cases {
        assert_eq!(
            scheme_and_port(params, headers),
            pair(scheme, port),
            "{params:?} {headers:?}"
        );
    }
}

#[test]
fn b12_scheme_has_the_same_value_under_all_its_names() {
    let https = forwarded(&[("X-Forwarded-Proto", "https")]).param("REQUEST_SCHEME", "http");
    let https = environ(&BEHIND, &https);
    assert_eq!(
        (&https["HTTPS"], &https["REQUEST_SCHEME"]),
        (&"on".into(), &"https".into())
    );
    let http = forwarded(&[("X-Forwarded-Proto", "http")])
        .param("HTTPS", "on")
        .param("REQUEST_SCHEME", "https");
    let http = environ(&BEHIND, &http);
    assert_eq!((http.get("HTTPS"), &http["REQUEST_SCHEME"]), (None, &"http".into()));
}

#[test]
fn b12_other_peers_are_not_believed() {
    let headers = [
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Port", "8443"),
    ];
    for peer in [
        "192.0.2.2",
        "203.0.113.1",
        "",
        "unix:",
        "@",
        "10.0.0.1.example",
        "2001:db9::1",
    ] {
        let environ = environ(&BEHIND, &forwarded(&headers).param("REMOTE_ADDR", peer));
        assert_eq!(environ["REMOTE_ADDR"], peer);
        assert_eq!(
            (&environ["wsgi.url_scheme"], &environ["SERVER_PORT"]),
            (&"http".into(), &"80".into())
        );
        assert!(environ.get("HTTPS").is_none(), "{peer:?}");
    }
    for (gateway, peer) in [
        (&PLAIN, "192.0.2.1"),
        (&PLAIN, "127.0.0.1"),
        (&PLAIN, "unix:"),
        (&BEHIND_UNIX, "127.0.0.1"),
    ] {
        let environ = environ(gateway, &forwarded(&headers).param("REMOTE_ADDR", peer));
        assert_eq!(
            (&environ["REMOTE_ADDR"], &environ["SERVER_PORT"]),
            (&peer.into(), &"80".into())
        );
        assert_eq!(environ["HTTP_X_FORWARDED_FOR"], "203.0.113.9");
    }
}

#[test]
fn b12_peers_without_an_address_can_be_trusted() {
    let headers = [
        ("X-Forwarded-For", "198.51.100.1, 203.0.113.9, unix:"),
        ("X-Forwarded-Proto", "https"),
    ];
    for peer in ["unix:", "unix:/run/front.sock", "", "@"] {
        let environ = environ(&BEHIND_UNIX, &forwarded(&headers).param("REMOTE_ADDR", peer));
        assert_eq!(environ["REMOTE_ADDR"], "203.0.113.9", "{peer:?}");
        assert_eq!(environ["wsgi.url_scheme"], "https");
    }
    let absent = forwarded(&headers).without("REMOTE_ADDR");
    assert_eq!(environ(&BEHIND_UNIX, &absent)["REMOTE_ADDR"], "203.0.113.9");
}

#[test]
fn b12_scheme_and_port_that_come_twice_count_for_nothing() {
    let request = forwarded(&[("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "https")])
        .another_param("HTTP_X_FORWARDED_PORT", "8443")
        .another_param("HTTP_X_FORWARDED_PORT", "8444")
        .another_param("HTTP_X_FORWARDED_PROTO", "https");
    let environ = environ(&BEHIND, &request);
    assert_eq!(
        (&environ["SERVER_PORT"], &environ["wsgi.url_scheme"]),
        (&"80".into(), &"http".into())
    );
}

/// nginx before 1.23 sends two if the proxy in front of it adds one to the client's: a client must not pass for the proxy.
#[test]
fn b12_client_is_found_in_a_list_that_comes_in_parts() {
    for parts in [
        &["198.51.100.1", "203.0.113.9"][..],
        &["192.0.2.1", "203.0.113.9"],
        &["no address", "203.0.113.9"],
        &["", "198.51.100.1, 203.0.113.9"],
        &["198.51.100.1", "203.0.113.9", "192.0.2.1"],
    ] {
        let request = parts.iter().fold(forwarded(&[]), |request, part| {
            request.another_param("HTTP_X_FORWARDED_FOR", *part)
        });
        assert_eq!(environ(&BEHIND, &request)["REMOTE_ADDR"], "203.0.113.9", "{parts:?}");
    }
}

#[test]
fn b12_next_request_on_the_connection_starts_anew() {
    let mut connection = BEHIND.connect();
    let first = forwarded(&[("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "https")]);
    connection.exchange(&first.keep_conn()).ok();
    let second = connection.exchange(&Request::get("/").keep_conn()).ok();
    let environ: Value = serde_json::from_slice(second.body()).unwrap();
    assert_eq!(
        (&environ["REMOTE_ADDR"], &environ["wsgi.url_scheme"]),
        (&"192.0.2.1".into(), &"http".into())
    );
    assert_eq!((environ.get("HTTPS"), &environ["SERVER_PORT"]), (None, &"80".into()));
}

#[test]
fn e15_access_log_shows_the_client_behind_trusted_proxies() {
    BEHIND
        .send(&forwarded(&[("X-Forwarded-For", "203.0.113.77")]).param("PATH_INFO", "/logged"))
        .ok();
    BEHIND.log.wait_for_line(&["access", "/logged", "203.0.113.77"]);
    let mark = BEHIND.log.mark();
    BEHIND
        .send(&Request::new("G T", "/refused").header("X-Forwarded-For", "203.0.113.78"))
        .error_page(400);
    wait::until("a line for the refused request", SOON, || {
        BEHIND
            .log
            .since(mark)
            .iter()
            .any(|line| line.contains("/refused") && line.contains("192.0.2.1"))
    });
}

#[test]
fn environ_behind_trusted_proxies_passes_the_validator() {
    let gateway = Gateway::app("environ:hello")
        .option("--trusted-proxies", "192.0.2.1")
        .flag("--authorization-from-redirect")
        .flag("--validate")
        .start();
    let request = forwarded(&[("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "https")])
        .param("REDIRECT_HTTP_AUTHORIZATION", "Basic YTpi");
    assert_eq!(gateway.send(&request).ok().text(), "hello");
}

#[test]
fn bad_list_of_proxies_is_a_reason_not_to_start() {
    for wrong in ["", "localhost", "10.0.0.0/33", "192.0.2.1,", "10.1.2.3/8"] {
        let (status, log) = Gateway::app("environ:dump").option("--trusted-proxies", wrong).fail();
        assert_eq!(status.code(), Some(2), "{wrong:?}: {}", log.text());
        assert!(log.text().contains("--trusted-proxies"), "{wrong:?}: {}", log.text());
        assert_eq!(log.text().lines().count(), 1, "{wrong:?}: {}", log.text());
    }
}
