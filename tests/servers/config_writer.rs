//! What `wsgi-fpm config` prints, given to the servers as it is, in front of the application that it was written for.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::bodies::DIGESTS;
use crate::front::site;
use crate::support::apache::Apache;
use crate::support::caddy::Caddy;
use crate::support::haproxy::HaProxy;
use crate::support::http::{Request, Response, fetch};
use crate::support::installed;
use crate::support::lighttpd::Lighttpd;
use crate::support::nginx::Nginx;
use crate::support::process::Gateway;
use crate::support::python;
use crate::support::web_server::WebServer;

/// What is typed as the port, and replaced by one that is free.
const PORT: &str = "61999";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    Nginx,
    Apache,
    ApacheFcgid,
    Lighttpd,
    Caddy,
    HaProxy,
}

impl Server {
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Apache => "apache",
            Self::ApacheFcgid => "apache-fcgid",
            Self::Lighttpd => "lighttpd",
            Self::Caddy => "caddy",
            Self::HaProxy => "haproxy",
        }
    }

    pub fn is_installed(self) -> bool {
        match self {
            Self::Nginx => installed::nginx(),
            Self::Apache => installed::apache("proxy_fcgi"),
            Self::ApacheFcgid => installed::apache("fcgid"),
            Self::Lighttpd => installed::lighttpd(),
            Self::Caddy => installed::caddy(),
            Self::HaProxy => installed::haproxy(),
        }
    }

    /// Starts it with `text`, as the comment at the top of it says.
    fn start(self, text: &str) -> Box<dyn Deref<Target = WebServer>> {
        let text = text.replace(PORT, "%PORT0%");
        match self {
            Self::Nginx => Box::new(Nginx::configure().ports(1).http(&text).start()),
            Self::Apache | Self::ApacheFcgid => {
                // The server listens there already.
                let text = text.replace("Listen %PORT0%\n", "");
                let apache = Apache::configure();
                let apache = match self {
                    Self::Apache => apache.module("proxy").module("proxy_fcgi"),
                    _ => apache.module("fcgid"),
                };
                Box::new(apache.module("env").text(&text).start())
            }
            Self::Lighttpd => Box::new(Lighttpd::configure().text(&text).start()),
            Self::Caddy => Box::new(Caddy::configure().text(&text).start()),
            Self::HaProxy => Box::new(HaProxy::configure().text(&text).start()),
        }
    }
}

/// A running server with its application.
struct Front {
    server: Box<dyn Deref<Target = WebServer>>,
    /// None where the server starts the application itself.
    _gateway: Option<Gateway>,
}

impl Front {
    /// `options` go to the writer and, but for its own, to `serve`.
    #[track_caller]
    fn start(server: Server, options: &[&str], directory: &Path, socket: &str) -> Self {
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
        let text = printed(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/apps"),
            &arguments,
        );
        Self {
            server: server.start(&text),
            _gateway: gateway,
        }
    }

    fn address(&self) -> SocketAddr {
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

/// The interpreter that the tests are run with, if one is named.
pub fn python_option() -> Vec<String> {
    let option = |python: PathBuf| ["--python".to_owned(), python.to_str().unwrap().to_owned()];
    python::default().into_iter().flat_map(option).collect()
}

/// An application of its own: it tells a variable of the environment, and its working directory.
const TELLS: &str = "import os\n\n\ndef app(environ, start_response):\n    \
                     start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
                     return [os.environ['TOLD'].encode(), b'|', os.getcwdb()]\n";

/// What `config` prints for `arguments` in `directory`.
#[track_caller]
pub fn printed(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wsgi-fpm"));
    command
        .current_dir(directory)
        .arg("config")
        .args(arguments)
        .env_remove("VIRTUAL_ENV");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn mod_fcgid_starts_what_was_typed() {
    if !Server::ApacheFcgid.is_installed() {
        return;
    }
    let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
    let place = directory.path().join("a \"b\" 'c' \\ $d #e");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("my app.py"), TELLS).unwrap();
    let told = "-a \"b\" 'c' \\ $d %e #f ;g \\\"h";
    let variable = format!("TOLD={told}");
    let mut arguments = vec!["apache-fcgid", "my app.py:app", "--port", PORT, "--env", &variable];
    let python = python_option();
    arguments.extend(python.iter().map(String::as_str));
    let server = Server::ApacheFcgid.start(&printed(&place, &arguments));
    let answer = fetch(server.address(), &Request::get("/")).ok().text();
    assert_eq!(answer, format!("{told}|{}", place.display()));
}

#[test]
fn mod_fcgid_starts_a_script_as_it_is() {
    if !Server::ApacheFcgid.is_installed() {
        return;
    }
    let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
    let script = directory.path().join("tells.fcgi");
    let python = python::default().map(|python| format!("# python = \"{}\"\n", python.display()));
    let block = format!(
        "# /// wsgi-fpm\n# env = {{ TOLD = \"by the block\" }}\n{}# ///\n",
        python.unwrap_or_default()
    );
    fs::write(&script, format!("#!{}\n{block}{TELLS}", env!("CARGO_BIN_EXE_wsgi-fpm"))).unwrap();
    fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    let text = printed(directory.path(), &["apache-fcgid", "tells.fcgi", "--port", PORT]);
    let server = Server::ApacheFcgid.start(&text);
    let answer = fetch(server.address(), &Request::get("/")).ok().text();
    assert_eq!(answer, format!("by the block|{}", directory.path().display()));
}

#[test]
fn systemd_accepts_the_unit() {
    if !installed::systemd_analyze() {
        return;
    }
    let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
    let place = directory.path().join("a \"b\" 'c' \\ $d %e #f");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("app.py"), TELLS).unwrap();
    let variable = "TOLD=-a \"b\" 'c' \\ $d %e #f ;g \\\"h ";
    let arguments = [
        "systemd",
        "app.py:app",
        "--env",
        variable,
        "--env",
        "A=;",
        "--user",
        "root",
    ];
    for listen in ["/run/x y/%z.sock", "127.0.0.1:9000", "fd:3"] {
        let unit = printed(&place, &[&arguments[..], &["--listen", listen]].concat());
        // systemd wants the socket to be there.
        let unit = unit.replace("Requires=app.socket\n", "");
        let file = directory.path().join("app.service");
        fs::write(&file, &unit).unwrap();
        let verdict = Command::new("systemd-analyze")
            .arg("verify")
            .arg(&file)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&verdict.stderr);
        assert!(
            verdict.status.success() && !errors.contains("app.service"),
            "{errors}\n{unit}"
        );
    }
}

macro_rules! servers {
    ($($module:ident $server:ident,)*) => {
        $(mod $module {
            use super::Server::$server;

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
