//! Options that say where a path comes from: `--path-source` and `--strip-script` (SPEC B14 to B16).

use serde_json::Value;

use crate::support::fcgi_client::Request;
use crate::support::process::{Gateway, Shared};

fn gateway() -> crate::support::process::Builder {
    Gateway::app("environ:dump").flag("--validate")
}

static URI: Shared = Shared::new(|| gateway().option("--path-source", "request-uri"));
static URI_APP: Shared = Shared::new(|| {
    gateway()
        .option("--path-source", "request-uri")
        .option("--mount", "/app")
});
static STRIP: Shared = Shared::new(|| gateway().flag("--strip-script"));
/// The same where a web server has started the script.
static STRIP_SCRIPT: Shared = Shared::new(|| gateway().on_stdin().flag("--strip-script"));
static URI_SCRIPT: Shared = Shared::new(|| gateway().on_stdin().option("--path-source", "request-uri"));
static BOTH: Shared = Shared::new(|| {
    gateway()
        .on_stdin()
        .option("--path-source", "request-uri")
        .flag("--strip-script")
});
static PARAMS: Shared = Shared::new(|| gateway().option("--path-source", "params"));

fn request(params: &[(&str, &str)]) -> Request {
    let bare = Request::get("/")
        .without("SCRIPT_NAME")
        .without("PATH_INFO")
        .without("REQUEST_URI");
    params
        .iter()
        .fold(bare, |request, (name, value)| request.param(*name, *value))
}

/// `(SCRIPT_NAME, PATH_INFO)` for these params.
#[track_caller]
fn pair(gateway: &Gateway, params: &[(&str, &str)]) -> (String, String) {
    let response = gateway.send(&request(params)).ok();
    let environ: Value = serde_json::from_slice(response.body()).unwrap();
    for (name, value) in params.iter().filter(|(name, _)| *name == "REQUEST_URI") {
        assert_eq!(environ[*name], *value);
    }
    let text = |name: &str| environ[name].as_str().unwrap().to_owned();
    (text("SCRIPT_NAME"), text("PATH_INFO"))
}

#[track_caller]
fn whole_site(gateway: &Gateway, params: &[(&str, &str)], path_info: &str) {
    assert_eq!(
        pair(gateway, params),
        (String::new(), path_info.to_owned()),
        "{params:?}"
    );
}

/// What nginx with stock params sends for this URL: decoded, slashes merged.
fn nginx<'a>(url: &'a str, path: &'a str) -> [(&'static str, &'a str); 2] {
    [("SCRIPT_NAME", path), ("REQUEST_URI", url)]
}

#[test]
fn request_uri_keeps_what_web_servers_merge_and_decode() {
    whole_site(&URI, &nginx("/a//b?x=//", "/a/b"), "/a//b");
    whole_site(&URI, &nginx("//a", "/a"), "//a");
    whole_site(&URI, &nginx("/a/../b/./c", "/b/c"), "/a/../b/./c");
    whole_site(&URI, &nginx("/a%2541%2Fb", "/a%41/b"), "/a%41/b");
    whole_site(&URI, &nginx("/caf%C3%a9", "/caf\u{e9}"), "/caf\u{c3}\u{a9}");
    whole_site(&URI, &nginx("/%zz%4", "/%zz%4"), "/%zz%4");
    whole_site(&URI, &nginx("/a;b=c#d", "/a;b=c#d"), "/a;b=c#d");
    whole_site(&PARAMS, &nginx("/a//b", "/a/b"), "/a/b");
}

#[test]
fn request_uri_of_a_proxy_loses_scheme_and_host() {
    whole_site(&URI, &nginx("http://test.example/a%20b?x", "/a b"), "/a b");
    whole_site(&URI, &nginx("http://test.example", "/"), "/");
    whole_site(&URI, &nginx("http://test.example?x=/y", "/"), "/");
    whole_site(
        &URI,
        &nginx("/go/http://other.example//x", "/go/http:/other.example/x"),
        "/go/http://other.example//x",
    );
}

#[test]
fn request_uri_for_the_server_itself_is_a_slash() {
    whole_site(
        &URI,
        &[("SCRIPT_NAME", ""), ("PATH_INFO", ""), ("REQUEST_URI", "*")],
        "/",
    );
    whole_site(&URI, &nginx("*", "/"), "/");
}

#[test]
fn request_uri_knows_no_rewriting() {
    whole_site(&URI, &nginx("/pub/x", "/priv/x"), "/pub/x");
    whole_site(&PARAMS, &nginx("/pub/x", "/priv/x"), "/priv/x");
}

#[test]
fn request_uri_is_cut_at_the_mount() {
    let app = |url: &str, path: &str| pair(&URI_APP, &nginx(url, path));
    assert_eq!(app("/app//b%2Fc", "/app/b/c"), ("/app".into(), "//b/c".into()));
    assert_eq!(app("/app", "/app"), ("/app".into(), String::new()));
    assert_eq!(app("/app/?x", "/app/"), ("/app".into(), "/".into()));
    assert_eq!(app("/%61pp/x", "/app/x"), ("/app".into(), "/x".into()));
    for (url, path) in [
        ("/application", "/application"),
        ("//app/x", "/app/x"),
        ("/x", "/app/x"),
        ("*", "/app"),
    ] {
        URI_APP.send(&request(&nginx(url, path))).error_page(404);
    }
}

#[test]
fn request_uri_with_an_encoded_nul_is_refused() {
    URI.send(&request(&nginx("/a%00b", "/a"))).error_page(400);
}

#[test]
fn without_a_request_uri_the_params_are_taken_and_the_log_says_so_once() {
    let gateway = gateway().option("--path-source", "request-uri").start();
    for _ in 0..3 {
        whole_site(&gateway, &[("SCRIPT_NAME", "/app"), ("PATH_INFO", "/x")], "/app/x");
        whole_site(&gateway, &[("SCRIPT_NAME", "/app"), ("REQUEST_URI", "")], "/app");
    }
    gateway.log.wait_for_line(&["WARN", "REQUEST_URI", "--path-source"]);
    gateway.signal(rustix::process::Signal::TERM);
    gateway.wait_exit(crate::support::wait::SOON);
    let warnings = gateway.log.events();
    let warnings = warnings.iter().filter(|event| event.contains("REQUEST_URI"));
    assert_eq!(warnings.count(), 1);
}

#[test]
fn script_that_the_url_does_not_show_is_no_part_of_the_site() {
    let strip = |script: &str, rest: &str, url: &str, path: &str| {
        let params = [("SCRIPT_NAME", script), ("PATH_INFO", rest), ("REQUEST_URI", url)];
        whole_site(&STRIP, &params, path);
    };
    strip("/app.fcgi", "/a b/c", "/a%20b/c", "/a b/c");
    strip("/app.fcgi", "/", "/", "/");
    strip("/sub/app.fcgi", "/x", "/sub/x", "/sub/x");
    strip("/app.fcgi", "/x", "/app.fcgi/x", "/app.fcgi/x");
    whole_site(&STRIP, &nginx("/a//b%2Fc?x", "/a/b/c"), "/a/b/c");
    whole_site(
        &PARAMS,
        &[("SCRIPT_NAME", "/app.fcgi"), ("PATH_INFO", "/x"), ("REQUEST_URI", "/x")],
        "/app.fcgi/x",
    );
}

#[test]
fn script_to_be_stripped_stays_where_no_url_is_sent() {
    whole_site(
        &STRIP,
        &[("SCRIPT_NAME", "/app.fcgi"), ("PATH_INFO", "/x")],
        "/app.fcgi/x",
    );
    STRIP.log.wait_for_line(&["WARN", "REQUEST_URI", "--strip-script"]);
}

#[test]
fn options_about_paths_that_cannot_be_are_refused() {
    let (status, log) = gateway().flag("--strip-script").option("--mount", "/app").fail();
    assert_eq!(status.code(), Some(2), "{}", log.text());
    assert!(
        log.text()
            .contains("--strip-script: has no meaning together with --mount"),
        "{}",
        log.text()
    );
    let (status, log) = gateway().option("--path-source", "uri").fail();
    assert_eq!(status.code(), Some(2), "{}", log.text());
    assert!(
        log.text().contains("--path-source") && log.text().contains("request-uri"),
        "{}",
        log.text()
    );
}

#[test]
fn script_name_that_the_url_does_not_show_is_left_out_of_a_scripts_own() {
    let strip = |script: &str, rest: &str, url: &str| {
        let params = [("SCRIPT_NAME", script), ("PATH_INFO", rest), ("REQUEST_URI", url)];
        pair(&STRIP_SCRIPT, &params)
    };
    let expected = |script: &str, rest: &str| (script.to_owned(), rest.to_owned());
    assert_eq!(strip("/app.fcgi", "/a b/c", "/a%20b/c?x=1"), expected("", "/a b/c"));
    assert_eq!(strip("/app.fcgi", "/", "/"), expected("", "/"));
    assert_eq!(strip("/app.fcgi", "", "/"), expected("", "/"));
    assert_eq!(strip("/sub/app.fcgi", "/x", "/sub/x"), expected("/sub", "/x"));
    assert_eq!(strip("/sub/app.fcgi", "/x", "/sub//x"), expected("/sub", "/x"));
    assert_eq!(strip("/sub/app.fcgi", "/x", "//sub/x"), expected("/sub", "/x"));
    assert_eq!(strip("/sub/app.fcgi", "", "/sub"), expected("/sub", ""));
    assert_eq!(strip("/sub/app.fcgi", "/", "/sub/"), expected("/sub", "/"));
    assert_eq!(strip("/sub/app.fcgi", "/x", "/subway/x"), expected("", "/x"));
    assert_eq!(strip("/sub/app.fcgi", "/x", "/x"), expected("", "/x"));
    assert_eq!(strip("/a/b/app.fcgi", "/x", "/a/x"), expected("/a", "/x"));
    assert_eq!(
        strip("/caf\u{e9}/app.fcgi", "/x", "/caf%C3%A9/x"),
        expected("/caf\u{c3}\u{a9}", "/x")
    );
    // It is shown.
    assert_eq!(strip("/app.fcgi", "/x", "/app.fcgi/x"), expected("/app.fcgi", "/x"));
    assert_eq!(
        strip("/sub/app.fcgi", "", "/sub/app.fcgi"),
        expected("/sub/app.fcgi", "")
    );
    assert_eq!(strip("/sub/app.fcgi", "/x", "/sub/app.fcgi2/x"), expected("/sub", "/x"));
    assert_eq!(
        strip("/sub/app.fcgi", "/x", "/%73ub/app%2Efcgi/x"),
        expected("/sub/app.fcgi", "/x")
    );
    assert_eq!(strip("", "/x", "/x"), expected("", "/x"));
    assert_eq!(strip("/sub/app.fcgi", "/", "*"), expected("", "/"));
}

#[test]
fn request_uri_is_split_behind_the_name_of_a_script() {
    let split = |script: &str, rest: &str, url: &str| {
        let params = [("SCRIPT_NAME", script), ("PATH_INFO", rest), ("REQUEST_URI", url)];
        pair(&URI_SCRIPT, &params)
    };
    let expected = |script: &str, rest: &str| (script.to_owned(), rest.to_owned());
    assert_eq!(
        split("/app.fcgi", "/a/b", "/app.fcgi/a//b?x"),
        expected("/app.fcgi", "/a//b")
    );
    assert_eq!(
        split("/app.fcgi", "/a/b", "/app.fcgi//a%2Fb"),
        expected("/app.fcgi", "//a/b")
    );
    assert_eq!(
        split("/app.fcgi", "/a/b", "//app.fcgi/a%2541"),
        expected("/app.fcgi", "/a%41")
    );
    assert_eq!(split("/app.fcgi", "", "/app.fcgi"), expected("/app.fcgi", ""));
    assert_eq!(split("/app/", "x", "/app/x"), expected("/app", "/x"));
    // A URL that does not begin with it was rewritten.
    assert_eq!(split("/app.fcgi", "/a", "/a"), expected("", "/a"));
    assert_eq!(split("/app", "/lication", "/application"), expected("", "/application"));
    assert_eq!(split("", "/a/b", "/a//b"), expected("", "/a//b"));
    assert_eq!(split("/app.fcgi", "", "*"), expected("", "/"));
}

#[test]
fn both_options_find_a_hidden_script_in_the_url() {
    let split = |script: &str, rest: &str, url: &str| {
        let params = [("SCRIPT_NAME", script), ("PATH_INFO", rest), ("REQUEST_URI", url)];
        pair(&BOTH, &params)
    };
    let expected = |script: &str, rest: &str| (script.to_owned(), rest.to_owned());
    assert_eq!(split("/sub/app.fcgi", "/a/b", "/sub/a//b"), expected("/sub", "/a//b"));
    assert_eq!(split("/app.fcgi", "/a/b", "/a%2541//b"), expected("", "/a%41//b"));
    assert_eq!(split("/app.fcgi", "/a", "/app.fcgi//a"), expected("/app.fcgi", "//a"));
}

#[test]
fn mount_that_is_named_holds_for_a_script_as_well() {
    let gateway = gateway().on_stdin().option("--mount", "/app").start();
    assert_eq!(pair(&gateway, &nginx("/app/x", "/app/x")), ("/app".into(), "/x".into()));
    gateway.send(&request(&nginx("/x", "/x"))).error_page(404);
    let site = self::gateway().on_stdin().option("--mount", "/").start();
    whole_site(&site, &[("SCRIPT_NAME", "/app"), ("PATH_INFO", "/x")], "/app/x");
}
