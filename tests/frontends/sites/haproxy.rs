//! deploy/haproxy.cfg, and what docs/haproxy.md says beyond it.

use super::{Applications, expect_both_applications, expect_tls, get, socket};
use crate::support::haproxy::{Builder, HaProxy};
use crate::support::http::{Request, fetch};
use crate::support::installed;
use crate::support::tls::LOCALHOST;
use crate::support::web_server::shipped;

fn configure(applications: &Applications, changes: &[(&str, &str)]) -> Builder {
    let (example, shop) = (socket(&applications.example), socket(&applications.shop));
    let mut replacements = vec![
        ("bind :80\n", "bind 127.0.0.1:%PORT0%\n"),
        ("/wsgi-fpm/example.sock", &example),
        ("/wsgi-fpm/shop.sock", &shop),
    ];
    replacements.extend(changes);
    HaProxy::configure().text(&shipped("deploy/haproxy.cfg", &replacements))
}

#[test]
fn site_serves_both_applications() {
    if !installed::haproxy() {
        return;
    }
    let applications = Applications::start();
    let haproxy = configure(&applications, &[]).start();
    expect_both_applications(haproxy.address());
    assert_eq!(get(haproxy.address(), "/shop").ok().json()["SCRIPT_NAME"], "/shop");
}

#[test]
fn tls_is_told() {
    if !installed::haproxy() || !installed::curl() || !installed::openssl() {
        return;
    }
    let applications = Applications::start();
    let tls = [
        ("bind 127.0.0.1:%PORT0%\n", ""),
        (
            "# bind :443 ssl crt /etc/haproxy/example.pem",
            "bind 127.0.0.1:%PORT0% ssl crt %PREFIX%/localhost.pem alpn h2,http/1.1",
        ),
    ];
    let haproxy = configure(&applications, &tls)
        .file("localhost.pem", LOCALHOST.bundle())
        .start();
    expect_tls(haproxy.address());
}

/// REMOTE_USER is whom HAProxy has checked, and nobody else.
#[test]
fn checked_users_are_told() {
    if !installed::haproxy() {
        return;
    }
    let applications = Applications::start();
    let changes = [
        (
            "    default_backend example\n",
            "    default_backend example\n    http-request auth unless { http_auth(users) }\n",
        ),
        (
            "set-param REMOTE_USER %[str()]",
            "set-param REMOTE_USER %[http_auth_user]",
        ),
    ];
    let haproxy = configure(&applications, &changes)
        .text("userlist users\n    user ann insecure-password secret\n")
        .start();
    // ann:secret, ann:wrong.
    let [right, wrong] = ["Basic YW5uOnNlY3JldA==", "Basic YW5uOndyb25n"]
        .map(|value| fetch(haproxy.address(), &Request::get("/").header("Authorization", value)));
    assert_eq!(right.ok().json()["REMOTE_USER"], "ann");
    wrong.expect(401);
}

/// FCGI_GET_VALUES.
#[test]
fn haproxy_may_ask_for_values() {
    if !installed::haproxy() {
        return;
    }
    let applications = Applications::start();
    let asks = [("option keep-conn", "option keep-conn\n    option get-values")];
    let haproxy = configure(&applications, &asks).start();
    for _ in 0..3 {
        get(haproxy.address(), "/").ok();
    }
}
