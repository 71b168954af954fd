//! What is written for the pools of a configuration file.

use std::fs;

use tempfile::TempDir;

use super::own_pages::expect_for_this_machine_alone;
use super::{PORT, Server, printed};
use crate::harness::backends::site;
use crate::support::http::{Request, fetch};
use crate::support::process::Gateway;

const SERVERS: [Server; 5] = [
    Server::Nginx,
    Server::Apache,
    Server::Lighttpd,
    Server::Caddy,
    Server::HaProxy,
];

/// A file with these pools, each of which has a name, a mount and a largest body, and their gateways. Each tells of itself below
/// its mount.
fn file(pools: &[(&str, &str, &str)]) -> (TempDir, Vec<Gateway>) {
    let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
    let mut text = String::new();
    let mut gateways = Vec::new();
    for (name, mount, body_max) in pools {
        let status = format!("{}/fpm-status", mount.trim_end_matches('/'));
        let gateway = site()
            .option("--mount", *mount)
            .option("--name", *name)
            .option("--status-path", status.as_str())
            .start();
        let socket = gateway.directory.path().join("socket");
        text += &format!(
            "[pool.{name}]\napp = \"pages:application\"\nmount = \"{mount}\"\nlisten = \"{}\"\nbody_max = \"{body_max}\"\n\
             status_path = \"{status}\"\n",
            socket.display()
        );
        gateways.push(gateway);
    }
    fs::write(directory.path().join("wsgi-fpm.toml"), text).unwrap();
    (directory, gateways)
}

/// What is typed to write this server's configuration for pools of the file.
fn arguments(server: Server, more: &[&'static str]) -> Vec<&'static str> {
    let mut arguments = vec![server.name(), "-c", "wsgi-fpm.toml"];
    arguments.extend(more);
    if server != Server::Lighttpd {
        arguments.extend(["--port", PORT]);
    }
    arguments
}

const POOLS: [(&str, &str, &str); 4] = [
    ("blog", "/", "100k"),
    ("cart", "/shop/cart", "100k"),
    ("shop", "/shop", "20k"),
    ("wiki", "/", "20k"),
];

#[test]
fn every_server_finds_each_pool_of_a_file_by_name_and_path() {
    let (directory, _gateways) = file(&POOLS);
    for server in SERVERS.into_iter().filter(|server| server.is_installed()) {
        let name = server.name();
        let text = printed(directory.path(), &arguments(server, &[]));
        let front = server.start(&text);
        let address = front.address();
        for (host, path, script_name, path_info) in [
            ("blog.example.org", "/a", "", "/a"),
            ("blog.example.org", "/shop/a", "/shop", "/a"),
            ("blog.example.org", "/shopping", "", "/shopping"),
            ("blog.example.org", "/shop/cart/a", "/shop/cart", "/a"),
            ("wiki.example.org", "/a", "", "/a"),
            ("wiki.example.org", "/shop/a", "", "/shop/a"),
        ] {
            let environ = fetch(address, &Request::get(path).host(host)).ok().json();
            let got = (&environ["SCRIPT_NAME"], &environ["PATH_INFO"]);
            assert_eq!(got, (&script_name.into(), &path_info.into()), "{name}: {host}{path}");
        }
        // Each pool has its own limit; newer Apaches leave that of bodies which they pass on to the application.
        if server == Server::Apache {
            continue;
        }
        for (host, path, status) in [
            ("blog.example.org", "/digest", 200),
            ("blog.example.org", "/shop/digest", 413),
            ("blog.example.org", "/shop/cart/digest", 200),
            ("wiki.example.org", "/digest", 413),
        ] {
            let request = Request::new("POST", path).host(host).body("x".repeat(50 * 1024));
            let got = fetch(address, &request).status;
            assert_eq!(got, status, "{name}: {host}{path}");
        }
    }
}

#[test]
fn every_server_shows_each_pool_of_a_file_to_this_machine_alone() {
    let (directory, _gateways) = file(&POOLS);
    for server in SERVERS.into_iter().filter(|server| server.is_installed()) {
        let front = server.start(&printed(directory.path(), &arguments(server, &[])));
        for (host, path, pool) in [
            ("blog.example.org", "/fpm-status", "blog"),
            ("blog.example.org", "/shop/fpm-status", "shop"),
            ("blog.example.org", "/shop/cart/fpm-status", "cart"),
            ("wiki.example.org", "/fpm-status", "wiki"),
        ] {
            let told = expect_for_this_machine_alone(front.address(), &Request::get(path).host(host));
            assert_eq!(
                told.lines().next().unwrap().split(' ').next_back(),
                Some(pool),
                "{}",
                server.name()
            );
        }
        // What only has the name of another pool's is the application's.
        let page = Request::get("/shop/fpm-status").host("wiki.example.org");
        assert_eq!(
            fetch(front.address(), &page).ok().json()["PATH_INFO"],
            "/shop/fpm-status"
        );
    }
}

#[test]
fn every_server_is_written_for_pools_that_need_no_name() {
    let (directory, _gateways) = file(&POOLS[..3]);
    fs::write(directory.path().join("robots.txt"), "static").unwrap();
    let files: &'static str = format!("/shop/files={}", directory.path().display()).leak();
    for server in SERVERS.into_iter().filter(|server| server.is_installed()) {
        let more: &[&str] = match server {
            Server::HaProxy => &[],
            _ => &["--static", files],
        };
        let text = printed(directory.path(), &arguments(server, more));
        let front = server.start(&text);
        for (path, script_name) in [("/a", ""), ("/shop/a", "/shop"), ("/shop/cart", "/shop/cart")] {
            // nginx leads from the bare path to the one with a slash.
            let path = format!("{path}/");
            let environ = fetch(front.address(), &Request::get(path.as_str())).ok().json();
            assert_eq!(environ["SCRIPT_NAME"], script_name, "{}: {path}", server.name());
        }
        if !more.is_empty() {
            let sent = fetch(front.address(), &Request::get("/shop/files/robots.txt")).ok();
            assert_eq!(sent.text(), "static", "{}", server.name());
        }
    }
}

#[test]
fn every_server_is_written_for_one_pool_of_a_file() {
    let (directory, _gateways) = file(&POOLS);
    for server in SERVERS.into_iter().filter(|server| server.is_installed()) {
        let text = printed(directory.path(), &arguments(server, &["shop"]));
        let front = server.start(&text);
        let environ = fetch(front.address(), &Request::get("/shop/a").host("blog.example.org"))
            .ok()
            .json();
        assert_eq!(environ["SCRIPT_NAME"], "/shop", "{}", server.name());
        assert_eq!(environ["PATH_INFO"], "/a", "{}", server.name());
    }
}
