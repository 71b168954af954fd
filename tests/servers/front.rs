//! The nginx that most scenarios share: a port for each way to reach the gateway, a virtual host for each configuration.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::http::{Request, Response, fetch};
use crate::support::installed;
use crate::support::nginx::{Builder, Nginx, upstream};
use crate::support::process::{self, Gateway};

/// How nginx reaches the gateway.
#[derive(Debug, Clone, Copy)]
pub enum Transport {
    Unix,
    Tcp,
}

/// Whether it keeps connections.
#[derive(Debug, Clone, Copy)]
pub enum Connections {
    Kept,
    New,
}

/// One way through nginx to the gateway.
#[derive(Debug)]
pub struct Front {
    pub address: SocketAddr,
    pub nginx: &'static Nginx,
    /// The gateway behind every virtual host but those for `--mount /app`.
    pub gateway: &'static Gateway,
}

impl Front {
    /// Sends `request` on a connection of its own.
    #[track_caller]
    pub fn send(&self, request: &Request) -> Response {
        fetch(self.address, request)
    }

    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.send(&Request::get(target))
    }

    /// A path in a directory that goes with the gateway, other for each name and front.
    pub fn file(&self, name: &str) -> PathBuf {
        self.gateway
            .directory
            .path()
            .join(format!("{name}-{}", self.address.port()))
    }
}

/// Virtual hosts by name, and what makes them different. The first one is the default.
pub const PLAIN: &str = "";
/// Debian's own fastcgi_params instead of the project's.
pub const STOCK: &str = "stock";
/// Nothing is buffered, in either direction.
pub const STREAM: &str = "stream";
/// Large buffers for the heads of responses.
pub const LARGE_HEADS: &str = "large-heads";
/// nginx cuts parts out of what the application sends whole.
pub const RANGES: &str = "ranges";
/// Says that every request has waited for more than a minute.
pub const OLD: &str = "old";
/// The gateway with `--mount /app`, by each kind of params.
pub const MOUNTED: &str = "mounted";
pub const MOUNTED_STOCK: &str = "mounted-stock";
pub const MOUNTED_SPLIT: &str = "mounted-split";

/// nginx's own params, where the distribution puts them.
pub const STOCK_PARAMS: &str = "/etc/nginx/fastcgi_params";

const SHIPPED: &str = "include wsgi_fpm_params;";

struct Setup {
    nginx: Nginx,
    unix: Gateway,
    tcp: Gateway,
    /// Behind the virtual hosts for `--mount /app`.
    _mounted: [Gateway; 2],
}

/// The way through the shared nginx; nothing where there is no nginx.
pub fn front(transport: Transport, connections: Connections) -> Option<Front> {
    static SETUP: OnceLock<Setup> = OnceLock::new();
    if !installed::nginx() {
        return None;
    }
    let setup = SETUP.get_or_init(set_up);
    let (gateway, port) = match (transport, connections) {
        (Transport::Unix, Connections::Kept) => (&setup.unix, 0),
        (Transport::Unix, Connections::New) => (&setup.unix, 1),
        (Transport::Tcp, Connections::Kept) => (&setup.tcp, 2),
        (Transport::Tcp, Connections::New) => (&setup.tcp, 3),
    };
    Some(Front {
        address: setup.nginx.addresses[port],
        nginx: &setup.nginx,
        gateway,
    })
}

/// A gateway for the application of these tests.
pub fn site() -> process::Builder {
    Gateway::app("pages:application").chdir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/apps"))
}

fn set_up() -> Setup {
    let (unix, tcp) = (site().start(), site().tcp("127.0.0.1").start());
    let mounted = [
        site().option("--mount", "/app").start(),
        site().option("--mount", "/app").tcp("127.0.0.1").start(),
    ];
    let mut nginx = Nginx::configure()
        .http("client_max_body_size 0;")
        .file("internal/secret.txt", "from an internal location\n");
    for (transport, gateway, mounted) in [("unix", &unix, &mounted[0]), ("tcp", &tcp, &mounted[1])] {
        nginx = nginx
            .http(&kept_upstream(transport, gateway))
            .http(&kept_upstream(&format!("{transport}_mounted"), mounted));
    }
    let mut port = 0;
    for (transport, gateway, mounted) in [("unix", &unix, &mounted[0]), ("tcp", &tcp, &mounted[1])] {
        let kept = |upstream: &str| format!("fastcgi_pass {upstream}; fastcgi_keep_conn on;");
        let new = |gateway: &Gateway| format!("fastcgi_pass {};", upstream(&gateway.address));
        nginx = hosts(nginx, port, &kept(transport), &kept(&format!("{transport}_mounted")));
        nginx = hosts(nginx, port + 1, &new(gateway), &new(mounted));
        port += 2;
    }
    Setup {
        nginx: nginx.start(),
        unix,
        tcp,
        _mounted: mounted,
    }
}

/// An upstream block that keeps connections to `gateway`.
pub fn kept_upstream(name: &str, gateway: &Gateway) -> String {
    let server = upstream(&gateway.address);
    format!("upstream {name} {{ server {server}; keepalive 8; keepalive_timeout 60s; }}")
}

fn hosts(nginx: Builder, port: usize, pass: &str, pass_mounted: &str) -> Builder {
    let stock = format!("include {STOCK_PARAMS};");
    let location = |content: &str| format!("location / {{ {content} }}");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let a_minute_ago = now.as_secs() - 60;
    let split = "fastcgi_split_path_info ^(/app)(/.*)$; fastcgi_param PATH_INFO $fastcgi_path_info;";
    let plain = location(&format!("{SHIPPED} {pass}"));
    nginx
        .server(
            port,
            PLAIN,
            &format!("{plain} location /internal/ {{ internal; root %PREFIX%; }}"),
        )
        .server(port, STOCK, &location(&format!("{stock} {pass}")))
        .server(
            port,
            STREAM,
            &location(&format!(
                "{SHIPPED} {pass} fastcgi_buffering off; fastcgi_request_buffering off;"
            )),
        )
        .server(
            port,
            LARGE_HEADS,
            &location(&format!(
                "{SHIPPED} {pass} fastcgi_buffer_size 68k; fastcgi_buffers 16 16k;"
            )),
        )
        .server(
            port,
            RANGES,
            &location(&format!("{SHIPPED} {pass} fastcgi_force_ranges on;")),
        )
        .server(
            port,
            OLD,
            // The later of two params counts.
            &location(&format!(
                "{SHIPPED} fastcgi_param REQUEST_START {a_minute_ago}.000; {pass}"
            )),
        )
        .server(port, MOUNTED, &location(&format!("{SHIPPED} {pass_mounted}")))
        .server(port, MOUNTED_STOCK, &location(&format!("{stock} {pass_mounted}")))
        .server(
            port,
            MOUNTED_SPLIT,
            &location(&format!("{stock} {split} {pass_mounted}")),
        )
}

/// A test of each scenario, a function of a [`Front`], over each way through nginx.
macro_rules! scenarios {
    ($($name:ident)*) => {
        scenarios!(@way unix_kept Unix Kept: $($name)*);
        scenarios!(@way unix_new Unix New: $($name)*);
        scenarios!(@way tcp_kept Tcp Kept: $($name)*);
        scenarios!(@way tcp_new Tcp New: $($name)*);
    };
    (@way $way:ident $transport:ident $connections:ident: $($name:ident)*) => {
        mod $way {
            $(
                #[test]
                fn $name() {
                    use crate::front::{Connections, Transport, front};
                    if let Some(front) = front(Transport::$transport, Connections::$connections) {
                        super::$name(&front);
                    }
                }
            )*
        }
    };
}
