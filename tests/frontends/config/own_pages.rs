//! Where a pool tells of itself (`--status-path`, `--ping-path`), every server lets this machine alone ask, however the path is
//! spelled.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tempfile::TempDir;

use super::sites::Front;
use super::{Server, printed};
use crate::harness::backends::{apps, site};
use crate::support::http::{Client, Request, Response, fetch};

/// An address from which nobody may ask: of this machine, too, so that a test can have it.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

fn from_elsewhere(address: SocketAddr, request: &Request) -> Response {
    Client::connect_from(ELSEWHERE, address).exchange(request)
}

/// What is told to this machine, and to nobody else.
#[track_caller]
pub(super) fn expect_for_this_machine_alone(address: SocketAddr, request: &Request) -> String {
    let told = fetch(address, request).ok().text();
    assert!(is_told(&told), "{told}");
    from_elsewhere(address, request).expect(403);
    told
}

fn is_told(page: &str) -> bool {
    page == "pong" || page.starts_with("pool: ")
}

/// Other ways to write `path`, some of which one or the other server takes for the same.
fn spellings(path: &str) -> Vec<String> {
    let name = path.rsplit('/').next().unwrap();
    let mount = path.strip_suffix(name).unwrap().trim_end_matches('/');
    let mut spellings = vec![
        format!("{path}?full"),
        format!("{path}?"),
        format!("{path}#x"),
        format!("{path}%00"),
        format!("{path}%0a"),
        format!("{path}/."),
        format!("{path}/x/.."),
        path.to_uppercase(),
        format!("/{path}"),
        format!("/.{path}"),
        format!("/x/..{path}"),
        format!("/x/%2e%2e{path}"),
        format!("http://blog.example.org{path}"),
        format!("http://blog.example.org/{path}"),
    ];
    for between in [
        "//",
        "/./",
        "/x/../",
        "/%2e/",
        "/x/%2E%2E/",
        "%2f",
        "%2F/",
        "/%2F",
        "\\",
        "/;/",
    ] {
        spellings.push(format!("{mount}{between}{name}"));
    }
    for (i, byte) in path.bytes().enumerate() {
        let (before, behind) = (&path[..i], &path[i + 1..]);
        spellings.push(format!("{before}%{byte:02x}{behind}"));
        spellings.push(format!("{before}%25{byte:02x}{behind}"));
    }
    spellings
}

fn own_pages_are_for_this_machine_alone(server: Server, mount: &str) {
    if !server.is_installed() {
        return;
    }
    let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
    let [status, ping] = ["fpm-status", "fpm-ping"].map(|name| format!("{mount}/{name}"));
    let mut options = vec!["--status-path", status.as_str(), "--ping-path", ping.as_str()];
    if !mount.is_empty() {
        options.extend(["--mount", mount]);
    }
    let front = Front::start(server, &options, directory.path(), "run");
    let get = |path: &str| Request::get(path).host("blog.example.org");
    for path in [&status, &ping] {
        expect_for_this_machine_alone(front.address(), &get(path));
        let post = Request::post(path.as_str()).body("x");
        for request in [
            Request::new("HEAD", path.as_str()),
            Request::new("OPTIONS", path.as_str()),
            post,
        ] {
            from_elsewhere(front.address(), &request.host("blog.example.org")).expect(403);
        }
        for spelling in spellings(path) {
            let page = from_elsewhere(front.address(), &get(&spelling));
            assert!(!is_told(&page.text()), "{spelling}: {}", page.text());
        }
        // All the rest is the application's, for everybody.
        for page in [format!("{mount}/"), format!("{path}es"), format!("{path}/x")] {
            let environ = from_elsewhere(front.address(), &get(&page)).ok().json();
            assert_eq!(environ["REMOTE_ADDR"], "127.0.0.2", "{page}");
        }
    }
}

/// Names of which a part means something in one or the other syntax.
fn odd_paths_are_for_this_machine_alone(server: Server) {
    if !server.is_installed() {
        return;
    }
    let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
    let (status, encoded) = ("/s.\"\\t;{}$1|^(+)'`&:]", "/s.%22%5Ct;%7B%7D$1%7C%5E(+)'%60&:%5D");
    let front = Front::start(server, &["--status-path", status], directory.path(), "run");
    expect_for_this_machine_alone(front.address(), &Request::get(encoded));
    let other = encoded.replacen("/s.", "/s-", 1);
    from_elsewhere(front.address(), &Request::get(other)).ok().json();
}

/// Another file may have named the modules first, and in that order they are asked.
#[test]
fn lighttpd_keeps_own_pages_whatever_the_order_of_its_modules() {
    if !Server::Lighttpd.is_installed() {
        return;
    }
    let gateway = site().option("--status-path", "/fpm-status").start();
    let socket = gateway.directory.path().join("socket");
    let options = ["lighttpd", "pages:application", "--status-path", "/fpm-status"];
    let text = printed(
        &apps(),
        &[&options[..], &["--listen", socket.to_str().unwrap()]].concat(),
    );
    let front = Server::Lighttpd.start(&format!("server.modules := ( \"mod_fastcgi\" )\n{text}"));
    expect_for_this_machine_alone(front.address(), &Request::get("/fpm-status"));
}

macro_rules! servers {
    ($($module:ident $server:ident,)*) => {
        $(mod $module {
            use crate::config::Server::$server;

            #[test]
            fn own_pages_are_for_this_machine_alone() {
                super::own_pages_are_for_this_machine_alone($server, "");
            }

            #[test]
            fn own_pages_below_a_mount_are_for_this_machine_alone() {
                super::own_pages_are_for_this_machine_alone($server, "/shop");
            }

            #[test]
            fn odd_paths_are_for_this_machine_alone() {
                super::odd_paths_are_for_this_machine_alone($server);
            }
        })*
    };
}

servers! {
    nginx Nginx,
    apache Apache,
    lighttpd Lighttpd,
    caddy Caddy,
    haproxy HaProxy,
}
