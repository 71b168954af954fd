//! nginx/site.conf: what tests/servers/shipped.rs does not have.

use super::{Applications, expect_tls, get};
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
