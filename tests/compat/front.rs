//! A site behind a web server, in each of the ways in which they are run.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;

use crate::sites::{Copy, Site};
use crate::support::apache::{Apache, Builder, Host};
use crate::support::http::{Browser, Request, Response, fetch};
use crate::support::installed;
use crate::support::log::Log;
use crate::support::nginx::{Nginx, upstream};
use crate::support::process::Gateway;
use crate::support::web_server::shipped;

/// How requests reach the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// nginx passes the whole site to `wsgi-fpm serve`.
    Nginx,
    /// nginx passes a part of its site, whose prefix becomes `SCRIPT_NAME`.
    NginxPrefix,
    /// Apache's mod_fcgid starts a script for the whole site: apache/fcgid.conf.
    Fcgid,
    /// The same for a part of the site, where only a directory is ours to configure: apache/fcgid.htaccess.
    FcgidDirectory,
}

/// What ends with the site.
trait Running: Debug + Send + Sync {}

impl<T: Debug + Send + Sync> Running for T {}

/// A running site.
#[derive(Debug)]
pub struct Front {
    pub address: SocketAddr,
    /// Before every path of the application; empty for a whole site.
    pub prefix: &'static str,
    /// What the application and wsgi-fpm log.
    pub log: Log,
    /// What the web server logs; the same log, if it starts the application.
    server_log: Log,
    /// In this order they end.
    _running: Vec<Box<dyn Running>>,
    pub copy: Copy,
}

const PREFIX: &str = "/shop";

impl Front {
    #[track_caller]
    pub fn start(site: &Site, way: Way) -> Self {
        let copy = Copy::of(site);
        match way {
            Way::Nginx => Self::behind_nginx(site, copy, ""),
            Way::NginxPrefix => Self::behind_nginx(site, copy, PREFIX),
            Way::Fcgid => Self::behind_fcgid(site, copy),
            Way::FcgidDirectory => Self::behind_fcgid_in_a_directory(site, copy),
        }
    }

    #[track_caller]
    fn behind_nginx(site: &Site, copy: Copy, prefix: &'static str) -> Self {
        assert!(installed::nginx(), "nginx is not there");
        let mut gateway = Gateway::app("site_app")
            .chdir(copy.path())
            .python(copy.path().join(".venv"))
            .workers(site.processes)
            .threads(site.threads);
        if !prefix.is_empty() {
            gateway = gateway.option("--mount", prefix);
        }
        let gateway = gateway.start();
        let pass = format!("include wsgi_fpm_params; fastcgi_pass {};", upstream(&gateway.address));
        let content = format!(
            "client_max_body_size 10m; location {prefix}/ {{ {pass} }}\n\
             location {prefix}/static/ {{ alias {}/static/; }}",
            copy.path().display()
        );
        let nginx = Nginx::configure()
            .http("types { text/css css; }")
            .server(0, "", &content)
            .start();
        Self {
            address: nginx.address(),
            prefix,
            log: gateway.log.clone(),
            server_log: nginx.process.log.clone(),
            _running: vec![Box::new(nginx), Box::new(gateway)],
            copy,
        }
    }

    #[track_caller]
    fn behind_fcgid(site: &Site, copy: Copy) -> Self {
        let script = copy.publish("app.fcgi", &script(site, &copy, ""), 0o755);
        let directory = script.parent().unwrap().display().to_string();
        let replacements = [
            ("/srv/example/static", &*format!("{directory}/site/static")),
            ("/srv/example", &directory),
            ("FcgidMaxProcessesPerClass 16", &processes(site)),
        ];
        let apache = fcgid()
            .site("apache/fcgid.conf", "example.com", "", &replacements)
            .start();
        Self::apache(apache, "", copy)
    }

    #[track_caller]
    fn behind_fcgid_in_a_directory(site: &Site, copy: Copy) -> Self {
        let script = script(site, &copy, "# strip_script = true\n");
        let script = copy.publish("public/shop/app.fcgi", &script, 0o755);
        copy.publish("public/shop/.htaccess", &shipped("apache/fcgid.htaccess", &[]), 0o644);
        let directory = script.parent().unwrap();
        symlink(copy.path().join("static"), directory.join("static")).unwrap();
        // What the host has said for all of its customers.
        let host = Host {
            name: "example.com",
            root: &directory.parent().unwrap().display().to_string(),
            server: &format!("FcgidMaxRequestLen 10485760\n{}", processes(site)),
            directory: "AllowOverride All",
        };
        let apache = fcgid().module("rewrite").host(&host).start();
        Self::apache(apache, PREFIX, copy)
    }

    fn apache(apache: Apache, prefix: &'static str, copy: Copy) -> Self {
        let log = apache.process.log.clone();
        Self {
            address: apache.address(),
            prefix,
            log: log.clone(),
            server_log: log,
            _running: vec![Box::new(apache)],
            copy,
        }
    }

    /// A path of the application as the browser sees it.
    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// The whole of it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{}{path}", self.address, self.prefix)
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        fetch(self.address, &Request::get(self.path(path)))
    }

    #[track_caller]
    pub fn head(&self, path: &str) -> Response {
        fetch(self.address, &Request::new("HEAD", self.path(path)))
    }

    #[track_caller]
    pub fn send(&self, request: &Request) -> Response {
        fetch(self.address, request)
    }

    pub fn browser(&self) -> Browser {
        Browser::new(self.address)
    }

    /// Nothing went wrong that a test did not mean to: neither in the web server nor here.
    #[track_caller]
    pub fn expect_quiet(&self) {
        const ODD: [&str; 7] = [" WARN ", " ERROR ", "error]", "[crit]", ":crit]", "[alert]", "[emerg]"];
        for log in [&self.server_log, &self.log] {
            let lines = log.lines();
            // Who runs the tests is no matter of theirs.
            let of_root = "the application runs as root";
            let odd = |line: &&String| ODD.iter().any(|part| line.contains(part)) && !line.contains(of_root);
            let odd: Vec<_> = lines.iter().filter(odd).collect();
            assert!(odd.is_empty(), "{odd:#?}");
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}\n{}", self.server_log.text(), self.log.text());
        }
    }
}

/// The script that Apache starts.
fn script(site: &Site, copy: &Copy, options: &str) -> String {
    format!(
        "#!/usr/bin/env wsgi-fpm\n# /// wsgi-fpm\n# chdir = {:?}\n# threads = {}\n{options}# ///\n\
         from site_app import application\n",
        copy.path(),
        site.threads,
    )
}

/// One process, where that is all that the site may have. mod_fcgid waits for whole seconds where all are busy.
fn processes(site: &Site) -> String {
    let processes = if site.processes == 1 { 1 } else { 16 };
    format!("FcgidMaxProcessesPerClass {processes}")
}

/// An Apache for mod_fcgid.
#[track_caller]
fn fcgid() -> Builder {
    assert!(installed::apache("fcgid"), "Apache's mod_fcgid is not there");
    Apache::fcgid().text("AddType text/css .css")
}

/// A test for each way: `drive` gets a running site.
macro_rules! ways {
    ($site:expr, $drive:expr) => {
        ways!(@test behind_nginx Nginx $site, $drive);
        ways!(@test behind_nginx_under_a_prefix NginxPrefix $site, $drive);
        ways!(@test under_mod_fcgid Fcgid $site, $drive);
        ways!(@test under_mod_fcgid_in_a_directory FcgidDirectory $site, $drive);
    };
    (@test $name:ident $way:ident $site:expr, $drive:expr) => {
        #[test]
        fn $name() {
            $drive(&crate::front::Front::start(&$site, crate::front::Way::$way));
        }
    };
}
