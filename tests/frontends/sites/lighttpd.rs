//! deploy/lighttpd.conf, and what lighttpd does where that is not used.

use serde_json::json;

use super::{Applications, expect_both_applications, expect_static_files, expect_tls, get, socket};
use crate::harness::backends;
use crate::support::http::{Request, fetch};
use crate::support::installed;
use crate::support::lighttpd::{Builder, Lighttpd};
use crate::support::tls::LOCALHOST;
use crate::support::web_server::shipped;

fn configure(applications: &Applications, host: &str) -> Builder {
    let configuration = shipped(
        "deploy/lighttpd.conf",
        &[
            ("example.com", host),
            ("/run/wsgi-fpm/example.sock", &socket(&applications.example)),
            ("/run/wsgi-fpm/shop.sock", &socket(&applications.shop)),
            ("/srv/example/", "%PREFIX%/"),
        ],
    );
    Lighttpd::configure()
        .text(&configuration)
        .file("static/site.css", "body{}\n")
        .file("private/report.txt", "for some\n")
}

#[test]
fn site_serves_applications_and_files() {
    if !installed::lighttpd() {
        return;
    }
    let applications = Applications::start();
    let lighttpd = configure(&applications, "example.com").start();
    expect_both_applications(lighttpd.address());
    assert_eq!(get(lighttpd.address(), "/shop").ok().json()["SCRIPT_NAME"], "/shop");
    expect_static_files(lighttpd.address());
}

/// F5.
#[test]
fn application_lets_lighttpd_send_a_file() {
    if !installed::lighttpd() {
        return;
    }
    let applications = Applications::start();
    let lighttpd = configure(&applications, "example.com").start();
    let send = |path: &str| get(lighttpd.address(), &format!("/sendfile?file={path}"));
    let response = send(&lighttpd.path("private/report.txt").display().to_string()).ok();
    assert_eq!(response.text(), "for some\n");
    assert_eq!(response.header("X-Sendfile"), None);
    send("/etc/hostname").expect(403);
}

#[test]
fn tls_is_told() {
    if !installed::lighttpd_tls() || !installed::curl() || !installed::openssl() {
        return;
    }
    let applications = Applications::start();
    let lighttpd = configure(&applications, "localhost")
        .text(
            "server.modules += ( \"mod_openssl\" )\nssl.engine = \"enable\"\nssl.pemfile = \"%PREFIX%/localhost.pem\"",
        )
        .file("localhost.pem", LOCALHOST.bundle())
        .start();
    expect_tls(lighttpd.address());
}

/// docs/lighttpd.md says so, and why deploy/lighttpd.conf sets `server.http-parseopts` anew.
#[test]
fn settings_of_debian_cut_a_query_at_its_last_question_mark() {
    if !installed::lighttpd() {
        return;
    }
    let gateway = backends::site().start();
    let server = format!(
        "server.modules += ( \"mod_fastcgi\" )\nfastcgi.server = ( \"/\" => (( \"socket\" => \"{}\", \
         \"check-local\" => \"disable\", \"fix-root-scriptname\" => \"enable\" )) )",
        socket(&gateway)
    );
    let lighttpd = Lighttpd::configure().text(&server).start();
    let environ = |target: &str| fetch(lighttpd.address(), &Request::get(target)).ok().json();
    let cut = environ("/login?next=/a?b");
    assert_eq!(
        json!([cut["PATH_INFO"], cut["QUERY_STRING"], cut["REQUEST_URI"]]),
        json!(["/login?next=/a", "b", "/login?next=/a?b"])
    );
    let written_anew = environ("/page?x=%2F&y=%ZZ");
    assert_eq!(written_anew["QUERY_STRING"], "x=/&y=%25ZZ");
    fetch(lighttpd.address(), &Request::get("/%ff")).expect(400);
}
