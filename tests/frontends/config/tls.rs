//! What `wsgi-fpm config` prints with `--tls-cert`: HTTPS by the real servers, and the way there from HTTP.

use std::fs;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::{Server, printed, python_option};
use crate::harness::backends::{apps, site};
use crate::support::caddy::Caddy;
use crate::support::haproxy::HaProxy;
use crate::support::http::{Request, fetch};
use crate::support::installed;
use crate::support::lighttpd::Lighttpd;
use crate::support::nginx::Nginx;
use crate::support::tls::{self, LOCALHOST};
use crate::support::web_server::WebServer;

/// The server, and where it speaks HTTPS and HTTP: Caddy's own way from one to the other is switched off in tests.
type Started = (Box<dyn Deref<Target = WebServer>>, SocketAddr, Option<SocketAddr>);

/// With ports in place of 443 and 80.
fn start(server: Server, text: &str) -> Started {
    let replaced = |pairs: &[(&str, &str)]| {
        pairs.iter().fold(text.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "no {from:?} in:\n{text}");
            text.replace(from, to)
        })
    };
    let server: Box<dyn Deref<Target = WebServer>> = match server {
        Server::Nginx => {
            let text = replaced(&[
                ("listen 443 ssl;", "listen %PORT0% ssl;"),
                ("listen [::]:443 ssl;", "listen [::]:%PORT0% ssl;"),
                ("listen 80;", "listen %PORT1%;"),
                ("listen [::]:80;", "listen [::]:%PORT1%;"),
            ]);
            Box::new(Nginx::configure().ports(2).http(&text).start())
        }
        Server::Apache | Server::ApacheFcgid => {
            let text = replaced(&[("*:443>", "*:%PORT0%>"), ("*:80>", "*:%PORT1%>")]);
            let apache = server.apache().module("ssl").module("rewrite");
            Box::new(apache.ports(2).text("Listen 127.0.0.1:%PORT1%").text(&text).start())
        }
        Server::Lighttpd => {
            let text = replaced(&[("== \":443\"", "== \":%PORT1%\"")]);
            let lighttpd = Lighttpd::configure().ports(2).text(&text).start();
            let (http, https) = (lighttpd.addresses[0], lighttpd.addresses[1]);
            return (Box::new(lighttpd), https, Some(http));
        }
        Server::Caddy => {
            let text = replaced(&[("\nlocalhost {", "\nhttps://localhost:%PORT0% {")]);
            let caddy = Caddy::configure().text(&text).start();
            let https = caddy.address();
            return (Box::new(caddy), https, None);
        }
        Server::HaProxy => {
            let text = replaced(&[
                ("bind :443 ssl", "bind :%PORT0% ssl"),
                ("bind :::443 v6only", "bind :::%PORT0% v6only"),
                ("bind :80\n", "bind :%PORT1%\n"),
                ("bind :::80 v6only", "bind :::%PORT1% v6only"),
            ]);
            Box::new(HaProxy::configure().ports(2).text(&text).start())
        }
    };
    let (https, http) = (server.addresses[0], server.addresses[1]);
    (server, https, Some(http))
}

fn site_with_a_certificate_is_https(server: Server) {
    let is_installed = match server {
        Server::Lighttpd => installed::lighttpd_tls(),
        _ => server.is_installed(),
    };
    if !is_installed || !installed::curl() || !installed::openssl() {
        return;
    }
    let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
    let place = directory.path().join("a b's");
    fs::create_dir(&place).unwrap();
    let file = |name: &str, content: &str| {
        let path = place.join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    // HAProxy looks for the key beside the certificate, by this name.
    let key = file("localhost.pem.key", &LOCALHOST.key);
    let certificate = file("localhost.pem", &LOCALHOST.certificate);
    let mut arguments = vec![server.name(), "pages:application", "--server-name", "localhost"];
    arguments.extend(["--tls-cert", &certificate, "--tls-key", &key]);
    let python = python_option();
    arguments.extend(python.iter().map(String::as_str));
    let gateway = (server != Server::ApacheFcgid).then(|| site().start());
    let socket = gateway.as_ref().map(|gateway| gateway.directory.path().join("socket"));
    if let Some(socket) = &socket {
        arguments.extend(["--listen", socket.to_str().unwrap()]);
    }
    let (_server, https, http) = start(server, &printed(&apps(), &arguments));

    let environ: Value = serde_json::from_slice(&tls::fetch(https, "/page?x=1")).unwrap();
    assert_eq!(environ["wsgi.url_scheme"], "https");
    assert_eq!(environ["PATH_INFO"], "/page");
    if let Some(http) = http {
        let answer = fetch(http, &Request::get("/a%20page?x=1").host("localhost")).expect(301);
        assert_eq!(answer.header("Location"), Some("https://localhost/a%20page?x=1"));
    }
}

/// Of any name: HAProxy before 3.0 takes no other than one file for both.
#[test]
fn haproxy_is_told_to_put_certificate_and_key_together() {
    let options = [
        "haproxy",
        "app:app",
        "--tls-cert",
        "/etc/ssl/a b.pem",
        "--tls-key",
        "/etc/ssl/b.key",
    ];
    let text = printed(Path::new("/"), &options);
    let command = "#     (umask 077; cat '/etc/ssl/a b.pem' /etc/ssl/b.key > /etc/haproxy/app.pem)\n";
    assert!(
        text.contains(command) && text.contains("bind :443 ssl crt /etc/haproxy/app.pem\n"),
        "{text}"
    );
}

macro_rules! servers {
    ($($test:ident $server:ident,)*) => {
        $(#[test]
        fn $test() {
            site_with_a_certificate_is_https(Server::$server);
        })*
    };
}

servers! {
    nginx_serves_https Nginx,
    apache_serves_https Apache,
    apache_with_fcgid_serves_https ApacheFcgid,
    lighttpd_serves_https Lighttpd,
    caddy_serves_https Caddy,
    haproxy_serves_https HaProxy,
}
