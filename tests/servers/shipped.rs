//! The configuration that users copy, as it is but for its paths and addresses.

use crate::bodies::{DIGESTS, MIB};
use crate::front::site;
use crate::support::http::{Browser, Request, fetch};
use crate::support::installed;
use crate::support::nginx::{Nginx, upstream};
use crate::support::process::Gateway;
use crate::support::web_server::shipped;

/// nginx/site.conf with both of its applications.
struct Site {
    nginx: Nginx,
    _example: Gateway,
    _shop: Gateway,
}

fn start() -> Option<Site> {
    if !installed::nginx() {
        return None;
    }
    let (example, shop) = (site().start(), site().option("--mount", "/shop").start());
    let configuration = shipped(
        "nginx/site.conf",
        &[
            ("unix:/run/wsgi-fpm/example.sock", &upstream(&example.address)),
            ("unix:/run/wsgi-fpm/shop.sock", &upstream(&shop.address)),
            ("listen 80;", "listen 127.0.0.1:%PORT0%;"),
            ("listen [::]:80;", "listen 127.0.0.1:%PORT1%;"),
            ("/srv/example/", "%PREFIX%/"),
        ],
    );
    let nginx = Nginx::configure()
        .http(&configuration)
        .ports(2)
        .file("public/robots.txt", "User-agent: *\n")
        .file("static/site.css", "body{}\n")
        .start();
    Some(Site {
        nginx,
        _example: example,
        _shop: shop,
    })
}

#[test]
fn site_conf_serves_application_sub_path_and_files() {
    let Some(site) = start() else { return };
    let address = site.nginx.address();
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
        site.nginx.errors().iter().all(|line| line.contains("none.css")),
        "{:?}",
        site.nginx.errors()
    );
}

#[test]
fn site_conf_takes_uploads_and_large_heads() {
    let Some(site) = start() else { return };
    let address = site.nginx.address();
    let (length, sha256) = DIGESTS[4];
    assert_eq!(length, 50 * MIB);
    assert_eq!(
        fetch(address, &Request::post("/digest").pattern(length)).ok().json()["sha256"],
        sha256
    );
    fetch(address, &Request::get("/big_head?n=60000")).ok();
    for _ in 0..100 {
        fetch(address, &Request::post("/digest").pattern(1000)).ok();
    }
    assert_eq!(site.nginx.errors(), Vec::<String>::new());
}
