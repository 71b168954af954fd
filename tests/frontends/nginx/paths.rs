//! What nginx makes of paths.

use super::{Host, PLAIN, STOCK, behind_nginx};
use crate::harness::backends::site;
use crate::support::http::{Request, fetch};

/// Where nginx is told to leave slashes alone, so does the gateway (B13); after a rewrite it is the new path that counts
/// (B16).
#[test]
fn slashes_that_nginx_leaves_stay_and_rewritten_paths_count() {
    const REWRITTEN: Host = Host {
        server: "merge_slashes off; rewrite ^/public/(.*)$ /private/$1;",
        ..PLAIN
    };
    let Some((_gateway, nginx)) = behind_nginx(site(), &[REWRITTEN]) else {
        return;
    };
    let path = |target: &str| fetch(nginx.addresses[1], &Request::get(target)).ok().json();
    assert_eq!(path("//a//b")["PATH_INFO"], "//a//b");
    assert_eq!(path("/public/page")["PATH_INFO"], "/private/page");
    assert_eq!(path("/public/page")["REQUEST_URI"], "/public/page");
}

/// What of a path nginx itself changes, it changes before the mount is looked for.
#[test]
fn mount_is_cut_off_a_path_whose_slashes_nginx_has_merged() {
    const SPLIT: Host = Host {
        name: "split",
        location: "fastcgi_split_path_info ^(/app)(/.*)$; fastcgi_param PATH_INFO $fastcgi_path_info;",
        ..STOCK
    };
    let Some((_gateway, nginx)) = behind_nginx(site().option("--mount", "/app"), &[PLAIN, STOCK, SPLIT]) else {
        return;
    };
    for host in ["localhost", STOCK.name, SPLIT.name] {
        for &address in &nginx.addresses {
            let environ = fetch(address, &Request::get("//app//x").host(host)).ok().json();
            assert_eq!(environ["SCRIPT_NAME"], "/app", "{host}");
            assert_eq!(environ["PATH_INFO"], "/x", "{host}");
            assert_eq!(environ["REQUEST_URI"], "//app//x", "{host}");
        }
    }
}
