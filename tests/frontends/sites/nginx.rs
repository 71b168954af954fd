//! nginx/site.conf.

use super::{Applications, expect_tls, get};
use crate::harness::data::{DIGEST_OF_50_MIB, MIB};
use crate::support::http::{Browser, Request, fetch};
use crate::support::installed;
use crate::support::nginx::{Builder, Nginx, upstream};
use crate::support::tls::LOCALHOST;
use crate::support::web_server::shipped;

fn configure(applications: &Applications, changes: &[(&str, &str)]) -> Builder {
    let (example, shop) = (
        upstream(&applications.example.address),
        upstream(&applications.shop.address),
    );
    let mut replacements = vec![
        ("unix:/run/wsgi-fpm/example.sock", example.as_str()),
        ("unix:/run/wsgi-fpm/shop.sock", &shop),
        ("listen 80;", "listen 127.0.0.1:%PORT0%;"),
        ("listen [::]:80;", ""),
        ("/srv/example/", "%PREFIX%/"),
    ];
    replacements.extend(changes);
    Nginx::configure()
        .ports(1)
        .http(&shipped("nginx/site.conf", &replacements))
}

#[test]
fn site_conf_serves_application_sub_path_and_files() {
    if !installed::nginx() {
        return;
    }
    let applications = Applications::start();
    let nginx = configure(&applications, &[])
        .file("public/robots.txt", "User-agent: *\n")
        .file("static/site.css", "body{}\n")
        .start();
    let address = nginx.address();
    let get = |target: &str| fetch(address, &Request::get(target));

    let environ = get("/a%20page?x=1").ok().json();
    assert_eq!(environ["SCRIPT_NAME"], "");
    assert_eq!(environ["PATH_INFO"], "/a page");
    assert_eq!(environ["QUERY_STRING"], "x=1");
    assert_eq!(environ["REQUEST_URI"], "/a%20page?x=1");
    assert_eq!(environ["SERVER_NAME"], "example.com");
    assert_eq!(get("/").ok().json()["PATH_INFO"], "/");

    // nginx's own.
    assert_eq!(get("/robots.txt").ok().text(), "User-agent: *\n");
    let style = get("/static/site.css").ok();
    assert_eq!(style.text(), "body{}\n");
    assert!(style.header("Expires").is_some());
    get("/static/none.css").expect(404);

    // The sub-path, with the redirect to its slash.
    let mut browser = Browser::new(address);
    for (target, query) in [("/shop", ""), ("/shop?item=1", "item=1")] {
        let response = browser.get(target).expect(301);
        let environ = browser.follow(&response).ok().json();
        assert_eq!(environ["SCRIPT_NAME"], "/shop");
        assert_eq!(environ["PATH_INFO"], "/");
        assert_eq!(environ["QUERY_STRING"], query);
    }
    let environ = get("/shop/shop/x").ok().json();
    assert_eq!(
        (&environ["SCRIPT_NAME"], &environ["PATH_INFO"]),
        (&"/shop".into(), &"/shop/x".into())
    );
    // Not below the prefix, so the other application's.
    assert_eq!(get("/shopping").ok().json()["PATH_INFO"], "/shopping");
    let response = browser.get("/shop/redirect?to=/shop/page").expect(302);
    assert_eq!(browser.follow(&response).ok().json()["PATH_INFO"], "/page");
    assert!(
        nginx.errors().iter().all(|line| line.contains("none.css")),
        "{:?}",
        nginx.errors()
    );
}

#[test]
fn site_conf_takes_uploads_and_large_heads() {
    if !installed::nginx() {
        return;
    }
    let applications = Applications::start();
    let nginx = configure(&applications, &[])
        .file("public/robots.txt", "User-agent: *\n")
        .file("static/site.css", "body{}\n")
        .start();
    let address = nginx.address();
    let digest = fetch(address, &Request::post("/digest").pattern(50 * MIB)).ok().json();
    assert_eq!(digest["sha256"], DIGEST_OF_50_MIB);
    fetch(address, &Request::get("/big_head?n=60000")).ok();
    for _ in 0..100 {
        fetch(address, &Request::post("/digest").pattern(1000)).ok();
    }
    assert_eq!(nginx.errors(), Vec::<String>::new());
}

/// F5.
#[test]
fn application_lets_nginx_send_a_file() {
    if !installed::nginx() {
        return;
    }
    let applications = Applications::start();
    let nginx = configure(&applications, &[])
        .file("private/report.txt", "for some\n")
        .start();
    let response = get(nginx.address(), "/accel?to=/private/report.txt").ok();
    assert_eq!(response.text(), "for some\n");
    assert_eq!(response.header("X-Accel-Redirect"), None);
    get(nginx.address(), "/accel?to=/private/none.txt").expect(404);
    // Nobody else gets it.
    get(nginx.address(), "/private/report.txt").expect(404);
}

#[test]
fn tls_is_told() {
    if !installed::nginx() || !installed::curl() || !installed::openssl() {
        return;
    }
    let applications = Applications::start();
    let tls = [
        ("listen 127.0.0.1:%PORT0%;", ""),
        ("# listen 443 ssl http2;", "listen 127.0.0.1:%PORT0% ssl http2;"),
        (
            "# ssl_certificate /etc/ssl/example.pem;",
            "ssl_certificate %PREFIX%/certificate.pem;",
        ),
        (
            "# ssl_certificate_key /etc/ssl/example.key;",
            "ssl_certificate_key %PREFIX%/key.pem;",
        ),
        ("server_name example.com", "server_name localhost"),
    ];
    let nginx = configure(&applications, &tls)
        .file("certificate.pem", LOCALHOST.certificate.clone())
        .file("key.pem", LOCALHOST.key.clone())
        .start();
    expect_tls(nginx.address());
}
