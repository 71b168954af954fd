//! SCRIPT_NAME and PATH_INFO for what every front server sends (SPEC B13 to B16 and its table of path fixtures).

use serde_json::Value;

use crate::support::fcgi_client::Request;
use crate::support::process::{Builder, Gateway, Shared};

/// The validator checks each pair for its form (SPEC B15).
fn gateway() -> Builder {
    Gateway::app("environ:dump").flag("--validate")
}

/// Started by a web server for one script.
static SCRIPT: Shared = Shared::new(|| gateway().on_stdin());
static SITE: Shared = Shared::new(gateway);
static APP: Shared = Shared::new(|| gateway().option("--mount", "/app"));

/// `(SCRIPT_NAME, PATH_INFO)`.
type Pair = (&'static str, &'static str);

fn request(params: &[(&str, &str)]) -> Request {
    let bare = Request::get("/")
        .without("SCRIPT_NAME")
        .without("PATH_INFO")
        .without("REQUEST_URI");
    params
        .iter()
        .fold(bare, |request, (name, value)| request.param(*name, *value))
}

/// Asserts what the application sees as the script that the web server has started, for the whole site, and under `/app`,
/// where `None` is a 404.
#[track_caller]
fn fixture(params: &[(&str, &str)], script: Pair, site: Pair, app: Option<Pair>) {
    let request = request(params);
    for (gateway, expected) in [(&SCRIPT, Some(script)), (&SITE, Some(site)), (&APP, app)] {
        let response = gateway.send(&request);
        match expected {
            Some((script_name, path_info)) => {
                let environ: Value = serde_json::from_slice(response.ok().body()).unwrap();
                let pair = (environ["SCRIPT_NAME"].as_str(), environ["PATH_INFO"].as_str());
                assert_eq!(pair, (Some(script_name), Some(path_info)), "{params:?}");
                for (name, value) in params {
                    if !matches!(*name, "SCRIPT_NAME" | "PATH_INFO" | "CONTENT_LENGTH" | "CONTENT_TYPE") {
                        assert_eq!(environ[*name], *value, "{name}");
                    }
                }
            }
            None => assert_eq!(response.error_page(404).end, Some((0, 0))),
        }
    }
}

const DECODED: &str = "/app/a b/c";
const RAW: (&str, &str) = ("REQUEST_URI", "/app/a%20b/c?x=1");

#[test]
fn nginx_with_stock_fastcgi_params() {
    let params = [
        ("SCRIPT_NAME", DECODED),
        ("DOCUMENT_URI", DECODED),
        RAW,
        ("CONTENT_TYPE", ""),
        ("CONTENT_LENGTH", ""),
        ("REDIRECT_STATUS", "200"),
    ];
    fixture(&params, (DECODED, ""), ("", DECODED), Some(("/app", "/a b/c")));
}

#[test]
fn nginx_with_stock_fastcgi_params_and_an_index() {
    let params = [("SCRIPT_NAME", "/app/index.py"), ("REQUEST_URI", "/app/")];
    fixture(
        &params,
        ("/app/index.py", ""),
        ("", "/app/index.py"),
        Some(("/app", "/index.py")),
    );
}

#[test]
fn nginx_with_split_path_info() {
    let params = [("SCRIPT_NAME", "/app"), ("PATH_INFO", "/a b/c"), RAW];
    fixture(&params, ("/app", "/a b/c"), ("", DECODED), Some(("/app", "/a b/c")));
}

#[test]
fn nginx_with_split_path_info_and_nothing_after_the_mount() {
    let params = [("SCRIPT_NAME", "/app"), ("PATH_INFO", ""), ("REQUEST_URI", "/app")];
    fixture(&params, ("/app", ""), ("", "/app"), Some(("/app", "")));
}

#[test]
fn mod_fcgid_with_a_script_in_the_url() {
    let params = [
        ("SCRIPT_NAME", "/app.fcgi"),
        ("PATH_INFO", "/a b/c"),
        ("PATH_TRANSLATED", "/srv/www/a b/c"),
        ("SCRIPT_FILENAME", "/srv/www/app.fcgi"),
        ("REQUEST_URI", "/app.fcgi/a%20b/c"),
    ];
    fixture(&params, ("/app.fcgi", "/a b/c"), ("", "/app.fcgi/a b/c"), None);
}

#[test]
fn mod_fcgid_with_htaccess_rewriting() {
    let params = [
        ("SCRIPT_NAME", "/app.fcgi"),
        ("PATH_INFO", "/a b/c"),
        ("REDIRECT_URL", "/a b/c"),
        ("REQUEST_URI", "/a%20b/c"),
    ];
    fixture(&params, ("/app.fcgi", "/a b/c"), ("", "/app.fcgi/a b/c"), None);
}

#[test]
fn mod_proxy_fcgi_with_proxy_pass() {
    let params = [
        ("SCRIPT_NAME", DECODED),
        ("SCRIPT_FILENAME", "proxy:fcgi://localhost:9000/a%20b/c"),
        RAW,
    ];
    fixture(&params, (DECODED, ""), ("", DECODED), Some(("/app", "/a b/c")));
}

#[test]
fn mod_proxy_fcgi_with_pathinfo_1_keeps_the_escapes_that_it_sends() {
    let params = [("SCRIPT_NAME", "/app/a b"), ("PATH_INFO", "/a%20b/c"), RAW];
    fixture(
        &params,
        ("/app/a b", "/a%20b/c"),
        ("", "/app/a b/a%20b/c"),
        Some(("/app", "/a b/a%20b/c")),
    );
}

#[test]
fn mod_proxy_fcgi_with_pathinfo_1_and_no_escapes() {
    let params = [
        ("SCRIPT_NAME", "/app"),
        ("PATH_INFO", "/x/c"),
        ("REQUEST_URI", "/app/x/c"),
    ];
    fixture(&params, ("/app", "/x/c"), ("", "/app/x/c"), Some(("/app", "/x/c")));
}

#[test]
fn mod_proxy_fcgi_with_pathinfo_unescape() {
    let params = [("SCRIPT_NAME", "/app"), ("PATH_INFO", "/a b/c"), RAW];
    fixture(&params, ("/app", "/a b/c"), ("", DECODED), Some(("/app", "/a b/c")));
}

#[test]
fn mod_proxy_fcgi_with_set_handler_on_a_file() {
    let params = [
        ("SCRIPT_NAME", "/app.fcgi"),
        ("PATH_INFO", "/a b/c"),
        ("SCRIPT_FILENAME", "proxy:fcgi://localhost/srv/www/app.fcgi"),
    ];
    fixture(&params, ("/app.fcgi", "/a b/c"), ("", "/app.fcgi/a b/c"), None);
}

#[test]
fn mod_proxy_fcgi_with_set_handler_on_the_site() {
    let params = [("SCRIPT_NAME", "/app"), ("PATH_INFO", "/a b/c"), RAW];
    fixture(&params, ("/app", "/a b/c"), ("", DECODED), Some(("/app", "/a b/c")));
    let elsewhere = [("SCRIPT_NAME", "/other"), ("PATH_INFO", "/a b/c")];
    fixture(&elsewhere, ("/other", "/a b/c"), ("", "/other/a b/c"), None);
}

#[test]
fn lighttpd_at_the_root_with_fix_root_scriptname() {
    let params = [
        ("SCRIPT_NAME", ""),
        ("PATH_INFO", DECODED),
        ("CONTENT_LENGTH", "0"),
        RAW,
    ];
    fixture(&params, ("", DECODED), ("", DECODED), Some(("/app", "/a b/c")));
}

#[test]
fn lighttpd_at_the_root_without_fix_root_scriptname() {
    let params = [
        ("SCRIPT_NAME", "/app"),
        ("PATH_INFO", "/a b/c"),
        ("CONTENT_LENGTH", "0"),
        RAW,
    ];
    fixture(&params, ("/app", "/a b/c"), ("", DECODED), Some(("/app", "/a b/c")));
}

#[test]
fn lighttpd_with_a_prefix_that_matches_longer_names() {
    let params = [("SCRIPT_NAME", "/app"), ("PATH_INFO", "/a b/c"), RAW];
    fixture(&params, ("/app", "/a b/c"), ("", DECODED), Some(("/app", "/a b/c")));
    let longer = [("SCRIPT_NAME", "/application"), ("PATH_INFO", "/c")];
    fixture(&longer, ("/application", "/c"), ("", "/application/c"), None);
}

#[test]
fn caddy_without_split() {
    let params = [("SCRIPT_NAME", ""), ("PATH_INFO", DECODED), RAW];
    fixture(&params, ("", DECODED), ("", DECODED), Some(("/app", "/a b/c")));
}

#[test]
fn caddy_with_handle_path() {
    let params = [("SCRIPT_NAME", ""), ("PATH_INFO", "/a b/c"), RAW];
    fixture(&params, ("", "/a b/c"), ("", "/a b/c"), None);
}

#[test]
fn caddy_with_a_split_that_does_not_match() {
    let params = [("SCRIPT_NAME", DECODED), ("PATH_INFO", ""), RAW];
    fixture(&params, (DECODED, ""), ("", DECODED), Some(("/app", "/a b/c")));
}

#[test]
fn cgi_script() {
    let params = [
        ("SCRIPT_NAME", "/cgi-bin/app.cgi"),
        ("PATH_INFO", "/a b"),
        ("REQUEST_URI", "/cgi-bin/app.cgi/a%20b"),
        ("TZ", "UTC"),
    ];
    fixture(
        &params,
        ("/cgi-bin/app.cgi", "/a b"),
        ("", "/cgi-bin/app.cgi/a b"),
        None,
    );
}

#[test]
fn b13_nothing_is_decoded_collapsed_or_resolved() {
    fixture(
        &[("SCRIPT_NAME", ""), ("PATH_INFO", "/a%41")],
        ("", "/a%41"),
        ("", "/a%41"),
        None,
    );
    fixture(
        &[("SCRIPT_NAME", ""), ("PATH_INFO", "//a/../b")],
        ("", "//a/../b"),
        ("", "//a/../b"),
        None,
    );
    fixture(
        &[("SCRIPT_NAME", "/app"), ("PATH_INFO", "//a/./b/")],
        ("/app", "//a/./b/"),
        ("", "/app//a/./b/"),
        Some(("/app", "//a/./b/")),
    );
    fixture(
        &[("SCRIPT_NAME", "//app"), ("PATH_INFO", "/a")],
        ("//app", "/a"),
        ("", "//app/a"),
        None,
    );
}

#[test]
fn b14_mount_matches_whole_segments_only() {
    fixture(
        &[("SCRIPT_NAME", "/app")],
        ("/app", ""),
        ("", "/app"),
        Some(("/app", "")),
    );
    fixture(
        &[("PATH_INFO", "/app/")],
        ("", "/app/"),
        ("", "/app/"),
        Some(("/app", "/")),
    );
    fixture(
        &[("SCRIPT_NAME", "/app/")],
        ("/app", "/"),
        ("", "/app/"),
        Some(("/app", "/")),
    );
    fixture(
        &[("PATH_INFO", "/application")],
        ("", "/application"),
        ("", "/application"),
        None,
    );
    fixture(&[("PATH_INFO", "/App/x")], ("", "/App/x"), ("", "/App/x"), None);
    fixture(&[("PATH_INFO", "/x/app/")], ("", "/x/app/"), ("", "/x/app/"), None);
    fixture(
        &[("PATH_INFO", "/app/app/x")],
        ("", "/app/app/x"),
        ("", "/app/app/x"),
        Some(("/app", "/app/x")),
    );
}

#[test]
fn b14_mount_with_a_trailing_slash_is_the_same_mount() {
    let gateway = Gateway::app("environ:dump").option("--mount", "/app/").start();
    let environ: Value = serde_json::from_slice(gateway.get("/app/x").ok().body()).unwrap();
    assert_eq!(
        (&environ["SCRIPT_NAME"], &environ["PATH_INFO"]),
        (&"/app".into(), &"/x".into())
    );
}

#[test]
fn b15_an_empty_path_becomes_a_slash() {
    let slash = ("", "/");
    for params in [
        &[("SCRIPT_NAME", ""), ("PATH_INFO", "")] as &[(&str, &str)],
        &[],
        &[("SCRIPT_NAME", "/")],
        &[("SCRIPT_NAME", "/"), ("PATH_INFO", "/")],
        &[("PATH_INFO", "")],
        &[("SCRIPT_NAME", ""), ("PATH_INFO", ""), ("REQUEST_URI", "*")],
    ] {
        fixture(params, slash, slash, None);
    }
}

#[test]
fn b15_script_name_never_ends_in_a_slash_and_loses_none() {
    let pair = |script_name, path_info| [("SCRIPT_NAME", script_name), ("PATH_INFO", path_info)];
    fixture(
        &pair("/app/", "/x"),
        ("/app", "/x"),
        ("", "/app/x"),
        Some(("/app", "/x")),
    );
    fixture(
        &pair("/app/", "x"),
        ("/app", "/x"),
        ("", "/app/x"),
        Some(("/app", "/x")),
    );
    fixture(&pair("/app", "x"), ("/app", "/x"), ("", "/app/x"), Some(("/app", "/x")));
    fixture(
        &pair("/app//", ""),
        ("/app", "//"),
        ("", "/app//"),
        Some(("/app", "//")),
    );
    fixture(
        &pair("/app//", "/x"),
        ("/app", "//x"),
        ("", "/app//x"),
        Some(("/app", "//x")),
    );
    fixture(
        &pair("/", "/app/x"),
        ("", "/app/x"),
        ("", "/app/x"),
        Some(("/app", "/x")),
    );
    fixture(&pair("/", "app"), ("", "/app"), ("", "/app"), Some(("/app", "")));
    fixture(&pair("app", "/x"), ("/app", "/x"), ("", "/app/x"), Some(("/app", "/x")));
    fixture(&pair("", "app/x"), ("", "/app/x"), ("", "/app/x"), Some(("/app", "/x")));
}

#[test]
fn b3_path_with_a_nul_is_answered_with_400() {
    for gateway in [&SCRIPT, &SITE] {
        for name in ["SCRIPT_NAME", "PATH_INFO"] {
            let request = Request::get("/").param(name, b"/a\0b".to_vec());
            gateway.send(&request).error_page(400);
        }
    }
}

#[test]
fn b15_options_for_the_server_has_a_slash_and_its_uri() {
    for params in [
        &[("REQUEST_URI", "*")] as &[(&str, &str)],
        &[("REQUEST_URI", "*"), ("SCRIPT_NAME", ""), ("PATH_INFO", "")],
        &[("REQUEST_URI", "*"), ("SCRIPT_NAME", "*")],
        &[("REQUEST_URI", "*"), ("SCRIPT_NAME", ""), ("PATH_INFO", "*")],
    ] {
        let options = [params, &[("REQUEST_METHOD", "OPTIONS")]].concat();
        fixture(&options, ("", "/"), ("", "/"), None);
    }
}

#[test]
fn b16_path_is_not_guessed_from_the_uri_of_before_a_rewrite() {
    let params = [("SCRIPT_NAME", "/priv/x"), ("REQUEST_URI", "/pub/x")];
    fixture(&params, ("/priv/x", ""), ("", "/priv/x"), None);
    let split = [("SCRIPT_NAME", ""), ("PATH_INFO", "/priv/x"), ("REQUEST_URI", "/pub/x")];
    fixture(&split, ("", "/priv/x"), ("", "/priv/x"), None);
}

#[test]
fn b16_uri_is_the_last_resort_and_decoded_once() {
    fixture(&[RAW], ("", DECODED), ("", DECODED), Some(("/app", "/a b/c")));
    fixture(
        &[("REQUEST_URI", "/app/a%2541%c3%a9?x=%20")],
        ("", "/app/a%41\u{c3}\u{a9}"),
        ("", "/app/a%41\u{c3}\u{a9}"),
        Some(("/app", "/a%41\u{c3}\u{a9}")),
    );
}

#[test]
fn e14_path_outside_the_mount_is_answered_with_404() {
    let response = APP.get("/elsewhere").error_page(404);
    assert_eq!(response.end, Some((0, 0)));
    assert!(!response.text().contains("elsewhere"));
}

#[test]
fn e14_request_outside_the_mount_leaves_the_connection_usable() {
    let mut connection = APP.connect();
    connection
        .exchange(&Request::post("/elsewhere", "body").keep_conn())
        .error_page(404);
    connection.exchange(&Request::get("/app/x").keep_conn()).ok();
}

/// Said once, where the client's own URL shows a prefix that the web server has split off and nobody has named.
#[test]
fn prefix_without_a_mount_is_warned_of_once() {
    let is_warning = |line: &str| line.contains("no --mount is given");
    let send = |gateway: &Gateway, params: &[(&str, &str)]| {
        gateway.send(&request(params)).ok();
        gateway.send(&request(params)).ok();
        gateway.log.count(is_warning)
    };
    let split = [
        ("SCRIPT_NAME", "/app"),
        ("PATH_INFO", "/x"),
        ("REQUEST_URI", "/app/x?y"),
    ];
    let whole = [("SCRIPT_NAME", "/app/x"), ("REQUEST_URI", "/app/x")];
    let hidden = [("SCRIPT_NAME", "/app.fcgi"), ("PATH_INFO", "/x"), ("REQUEST_URI", "/x")];
    let one = || gateway().workers(1).option("--log-level", "info");

    let gateway = one().start();
    for nothing in [&whole[..], &hidden] {
        assert_eq!(send(&gateway, nothing), 0, "{nothing:?}");
    }
    gateway.send(&request(&split)).ok();
    let line = gateway.log.wait_for("a warning", is_warning);
    assert!(
        line.contains("SCRIPT_NAME is /app but") && line.contains("--mount /app says so"),
        "{line}"
    );
    assert_eq!(send(&gateway, &split), 1);
    for mount in ["/app", "/"] {
        let gateway = one().option("--mount", mount).start();
        assert_eq!(send(&gateway, &split), 0, "{mount}");
    }
}

#[test]
fn params_that_are_missing_are_said_with_what_to_include() {
    let gateway = gateway().workers(1).start();
    let unset = request(&[]).without("REQUEST_METHOD");
    gateway.send(&unset).error_page(400);
    gateway.log.wait_for_line(&[
        "refused with 400",
        "REQUEST_METHOD is missing",
        "include wsgi_fpm_params",
    ]);
    gateway.send(&request(&[])).ok();
    gateway.send(&request(&[])).ok();
    let is_warning = |line: &str| line.contains("neither PATH_INFO nor SCRIPT_NAME nor REQUEST_URI");
    let line = gateway.log.wait_for("a warning", is_warning);
    assert!(line.contains("include wsgi_fpm_params"), "{line}");
    assert_eq!(gateway.log.count(is_warning), 1);
}
