//! Whole sites.

use std::fs;
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use super::{PORT, Server, printed, python_option};
use crate::harness::backends::{apps, site};
use crate::harness::data::DIGESTS;
use crate::support::http::{Request, Response, fetch};
use crate::support::process::Gateway;
use crate::support::wait::{SOON, until};
use crate::support::web_server::WebServer;

/// A running server with its application.
pub(super) struct Front {
    server: Box<dyn Deref<Target = WebServer>>,
    /// None where the server starts the application itself.
    _gateway: Option<Gateway>,
}

impl Front {
    /// `options` go to the writer and, but for its own, to `serve`.
    #[track_caller]
    pub(super) fn start(server: Server, options: &[&str], directory: &Path, socket: &str) -> Self {
        let gateway = (server != Server::ApacheFcgid).then(|| {
            let gateway = options
                .chunks(2)
                .filter(|option| !["--static", "--server-name"].contains(&option[0]))
                .fold(site(), |gateway, option| gateway.option(option[0], option[1]));
            gateway.start()
        });
        let mut arguments = vec![server.name(), "pages:application"];
        arguments.extend(options);
        // lighttpd has its own port.
        if server != Server::Lighttpd {
            arguments.extend(["--port", PORT]);
        }
        let python = python_option();
        arguments.extend(python.iter().map(String::as_str));
        let place = directory.join(socket);
        let socket = place.join("socket");
        if let Some(gateway) = &gateway {
            symlink(gateway.directory.path(), &place).unwrap();
            arguments.extend(["--listen", socket.to_str().unwrap()]);
        }
        let text = printed(&apps(), &arguments);
        Self {
            server: server.start(&text),
            _gateway: gateway,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    #[track_caller]
    fn send(&self, request: Request) -> Response {
        fetch(self.address(), &request.host("blog.example.org"))
    }
}

fn whole_site_is_served(server: Server) {
    if !server.is_installed() {
        return;
    }
    let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
    fs::create_dir(directory.path().join("files")).unwrap();
    fs::write(directory.path().join("files/site.css"), "body{}\n").unwrap();
    let files = format!("/static={}", directory.path().join("files").display());
    let mut options = vec![
        "--request-timeout",
        "1s",
        "--body-max",
        "100k",
        "--server-name",
        "blog.example.org",
    ];
    options.extend(["--server-name", "www.example.org"]);
    if server != Server::HaProxy {
        options.extend(["--static", &files]);
    }
    let front = Front::start(server, &options, directory.path(), "run");

    let request = Request::get("/a%20page/x?q=1").header("Authorization", "Basic dTpw");
    let environ = front.send(request).ok().json();
    assert_eq!(
        (&environ["SCRIPT_NAME"], &environ["PATH_INFO"]),
        (&"".into(), &"/a page/x".into())
    );
    assert_eq!(environ["QUERY_STRING"], "q=1");
    assert_eq!(environ["HTTP_AUTHORIZATION"], "Basic dTpw");
    assert_eq!(front.send(Request::get("/")).ok().json()["PATH_INFO"], "/");
    let other_name = Request::get("/").host("www.example.org");
    assert_eq!(
        fetch(front.address(), &other_name).ok().json()["HTTP_HOST"],
        "www.example.org"
    );

    // The server's own files, and what only looks like them.
    if server != Server::HaProxy {
        assert_eq!(front.send(Request::get("/static/site.css")).ok().text(), "body{}\n");
        front.send(Request::get("/static/none.css")).expect(404);
    }
    assert_eq!(
        front.send(Request::get("/statics")).ok().json()["PATH_INFO"],
        "/statics"
    );

    // Bodies up to the limit and no further.
    let (length, sha256) = DIGESTS[3];
    assert!(length < 100 * 1024);
    let digest = front.send(Request::post("/digest").pattern(length)).ok().json();
    assert_eq!(digest["sha256"], sha256);
    let refused = front.send(Request::post("/digest").pattern(100 * 1024 + 1));
    // mod_fcgid knows no other answer.
    let status = if server == Server::ApacheFcgid { 500 } else { 413 };
    assert_eq!(refused.status, status, "{}", refused.text());
    // Apache may send what follows on the connection that is closed because of that.
    until("the next request is answered", SOON, || {
        let status = front.send(Request::get("/")).status;
        assert!(status == 200 || status == 503 && server == Server::Apache, "{status}");
        status == 200
    });

    if server == Server::Nginx {
        front.send(Request::get("/big_head?n=60000")).ok();
    }

    // Our own answer to what takes too long comes before the server loses patience.
    let gate = directory.path().join("gate");
    let late = front
        .send(Request::get(format!("/gated?gate={}", gate.display())))
        .expect(504);
    assert!(late.text().starts_with("504 Gateway Timeout"), "{}", late.text());
}

/// With characters that mean something in one or the other syntax.
fn odd_names_survive(server: Server) {
    if !server.is_installed() {
        return;
    }
    let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
    let files = directory.path().join("f il\"e\\s 'é`");
    let files = match server {
        // Neither quote can hold it.
        Server::Caddy => directory.path().join("f il\"e\\s 'é"),
        _ => files,
    };
    fs::create_dir(&files).unwrap();
    fs::write(files.join("a b.txt"), "text\n").unwrap();
    let files = format!("/st ic/é={}", files.display());
    let (mount, encoded) = ("/a b\"c'é+(d)%", "/a%20b%22c'%C3%A9+(d)%25");
    let mut options = vec!["--mount", mount];
    if server != Server::HaProxy {
        options.extend(["--static", &files]);
    }
    // A URL ends there for Apache.
    let socket = if server == Server::Apache {
        "r u\"n'\\é;"
    } else {
        "r u\"n'\\é;#"
    };
    let front = Front::start(server, &options, directory.path(), socket);
    for (target, path_info) in [("/", "/"), ("/p%20q", "/p q")] {
        let environ = front.send(Request::get(format!("{encoded}{target}"))).ok().json();
        let script_name: String = mount.bytes().map(char::from).collect();
        assert_eq!(environ["SCRIPT_NAME"], script_name);
        assert_eq!(environ["PATH_INFO"], path_info);
    }
    // Not below it, though it begins alike.
    let other = front.send(Request::get(format!("{encoded}x/")));
    assert!([403, 404, 503].contains(&other.status), "{}", other.text());
    if server != Server::HaProxy {
        assert_eq!(
            front.send(Request::get("/st%20ic/%C3%A9/a%20b.txt")).ok().text(),
            "text\n"
        );
    }
}

macro_rules! servers {
    ($($module:ident $server:ident,)*) => {
        $(mod $module {
            use crate::config::Server::$server;

            #[test]
            fn whole_site_is_served() {
                super::whole_site_is_served($server);
            }

            #[test]
            fn odd_names_survive() {
                super::odd_names_survive($server);
            }
        })*
    };
}

servers! {
    nginx Nginx,
    apache Apache,
    apache_fcgid ApacheFcgid,
    lighttpd Lighttpd,
    caddy Caddy,
    haproxy HaProxy,
}
