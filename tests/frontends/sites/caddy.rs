//! deploy/Caddyfile, and what docs/caddy.md says beyond it.

use super::{Applications, expect_both_applications, expect_static_files, expect_tls, get, socket};
use crate::harness::backends;
use crate::harness::data::MIB;
use crate::support::caddy::{Builder, Caddy};
use crate::support::http::{Request, fetch};
use crate::support::installed;
use crate::support::tls::LOCALHOST;
use crate::support::web_server::shipped;

fn configure(applications: &Applications, site: &str) -> Builder {
    let configuration = shipped(
        "deploy/Caddyfile",
        &[
            ("example.com {", site),
            ("/run/wsgi-fpm/example.sock", &socket(&applications.example)),
            ("/run/wsgi-fpm/shop.sock", &socket(&applications.shop)),
            ("/srv/example/", "%PREFIX%/"),
        ],
    );
    Caddy::configure()
        .text(&configuration)
        .file("static/site.css", "body{}\n")
}

#[test]
fn site_serves_applications_and_files() {
    if !installed::caddy() {
        return;
    }
    let applications = Applications::start();
    let caddy = configure(&applications, "http://example.com:%PORT0% {").start();
    expect_both_applications(caddy.address());
    let response = get(caddy.address(), "/shop").expect(302);
    assert_eq!(response.header("Location"), Some("/shop/"));
    expect_static_files(caddy.address());
}

#[test]
fn tls_is_told() {
    if !installed::caddy() || !installed::curl() || !installed::openssl() {
        return;
    }
    let applications = Applications::start();
    let site = "https://localhost:%PORT0% {\n\ttls %PREFIX%/certificate.pem %PREFIX%/key.pem";
    let caddy = configure(&applications, site)
        .file("certificate.pem", LOCALHOST.certificate.clone())
        .file("key.pem", LOCALHOST.key.clone())
        .start();
    expect_tls(caddy.address());
}

#[test]
fn prefix_that_handle_path_cuts_off_can_be_told() {
    if !installed::caddy() {
        return;
    }
    let shop = backends::site().option("--mount", "/shop").start();
    let site = format!(
        "http://:%PORT0% {{\n\thandle_path /shop/* {{\n\t\treverse_proxy unix/{} {{\n\t\t\ttransport fastcgi {{\n\
         \t\t\t\tenv SCRIPT_NAME /shop\n\t\t\t}}\n\t\t}}\n\t}}\n}}",
        socket(&shop)
    );
    let caddy = Caddy::configure().text(&site).start();
    let environ = fetch(caddy.address(), &Request::get("/shop/a%20b/c")).ok().json();
    assert_eq!(environ["SCRIPT_NAME"], "/shop");
    assert_eq!(environ["PATH_INFO"], "/a b/c");
}

/// C47: Caddy sends all of an upload before it reads.
#[test]
fn early_response_to_a_large_upload_arrives_with_drain_bytes() {
    if !installed::caddy() {
        return;
    }
    let gateway = backends::site()
        .option("--drain-bytes", "100m")
        .option("--drain-timeout", "20s")
        .start();
    let site = format!(
        "http://:%PORT0% {{\n\treverse_proxy unix/{} {{\n\t\ttransport fastcgi\n\t}}\n}}",
        socket(&gateway)
    );
    let caddy = Caddy::configure().text(&site).start();
    let response = fetch(caddy.address(), &Request::post("/early").pattern(50 * MIB)).expect(413);
    assert_eq!(response.text(), "too much");
}
