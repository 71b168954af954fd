//! What is written for the pools of a configuration file.

use std::fs;

use tempfile::TempDir;

use super::{PORT, Server, printed};
use crate::harness::backends::site;
use crate::support::http::{Request, fetch};
use crate::support::process::Gateway;

/// A file with these pools, each of which has a name and a mount, and their gateways.
fn file(pools: &[(&str, &str)]) -> (TempDir, Vec<Gateway>) {
    let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
    let mut text = String::from("[defaults]\nbody_max = \"100k\"\n");
    let mut gateways = Vec::new();
    for (name, mount) in pools {
        let gateway = site().option("--mount", *mount).option("--name", *name).start();
        let socket = gateway.directory.path().join("socket");
        text += &format!(
            "[pool.{name}]\napp = \"pages:application\"\nmount = \"{mount}\"\nlisten = \"{}\"\n",
            socket.display()
        );
        gateways.push(gateway);
    }
    fs::write(directory.path().join("wsgi-fpm.toml"), text).unwrap();
    (directory, gateways)
}

const POOLS: [(&str, &str); 3] = [("blog", "/"), ("shop", "/shop"), ("wiki", "/")];

#[test]
fn nginx_has_a_location_or_a_server_for_each_pool() {
    if !Server::Nginx.is_installed() {
        return;
    }
    let (directory, _gateways) = file(&POOLS);
    let text = printed(directory.path(), &["nginx", "-c", "wsgi-fpm.toml", "--port", PORT]);
    let server = Server::Nginx.start(&text);
    let address = server.address();
    for (host, path, pool, script_name, path_info) in [
        ("blog.example.org", "/a", "blog", "", "/a"),
        ("blog.example.org", "/shop/a", "shop", "/shop", "/a"),
        ("wiki.example.org", "/a", "wiki", "", "/a"),
        ("wiki.example.org", "/shop/a", "wiki", "", "/shop/a"),
    ] {
        let environ = fetch(address, &Request::get(path).host(host)).ok().json();
        let got = (&environ["SCRIPT_NAME"], &environ["PATH_INFO"]);
        assert_eq!(got, (&script_name.into(), &path_info.into()), "{pool}: {host}{path}");
    }
    // Each pool has its own limit.
    let large = "x".repeat(101 * 1024);
    let request = Request::new("POST", "/shop/digest")
        .host("blog.example.org")
        .body(large);
    fetch(address, &request).expect(413);
}

#[test]
fn every_server_is_written_for_one_pool_of_a_file() {
    let (directory, _gateways) = file(&POOLS);
    for server in [
        Server::Nginx,
        Server::Apache,
        Server::Lighttpd,
        Server::Caddy,
        Server::HaProxy,
    ] {
        if !server.is_installed() {
            continue;
        }
        let mut arguments = vec![server.name(), "-c", "wsgi-fpm.toml", "shop"];
        if server != Server::Lighttpd {
            arguments.extend(["--port", PORT]);
        }
        let text = printed(directory.path(), &arguments);
        let front = server.start(&text);
        let environ = fetch(front.address(), &Request::get("/shop/a").host("blog.example.org"))
            .ok()
            .json();
        assert_eq!(environ["SCRIPT_NAME"], "/shop", "{}", server.name());
        assert_eq!(environ["PATH_INFO"], "/a", "{}", server.name());
    }
}
