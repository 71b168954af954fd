//! Addresses to listen on, as administrators write them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::value_by_text;

/// `sun_path` of Linux has 108 bytes, the last of which is a NUL.
const UNIX_PATH_MAX: usize = 107;
/// systemd's.
const NAME_MAX: usize = 255;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
    /// A listening socket that whoever started this program has left open.
    Fd(i32),
    /// Those that the service manager has passed under this name, one or more.
    Named(String),
}

/// A TCP address alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpAddress(pub SocketAddr);

/// Where somebody asks over HTTP how things are: a unix socket or a TCP address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusAddress(pub Address);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AddressError {
    #[error("write /path/to.sock, unix:/path, 127.0.0.1:9000, [::1]:9000, :9000, fd:3 or fd:NAME")]
    NotAnAddress,
    #[error("a path has a slash in it: write ./{0}, or the whole path")]
    BareName(String),
    #[error("a port is not alone: write :{0} for this machine, or 0.0.0.0:{0} for every network")]
    BarePort(u16),
    #[error("the port is missing: write {0}")]
    NoPort(SocketAddr),
    #[error("an address is not a URL: write {0}; what is spoken there is FastCGI")]
    Url(String),
    #[error("write 127.0.0.1:9180, :9180 or /path/to.sock")]
    NotStatus,
    #[error("write an IP address and a port, such as 127.0.0.1:8000")]
    NotTcp,
    #[error("an address is not a URL: write {0}")]
    NotUrl(String),
    #[error("host names are not looked up; write an IP address, such as 127.0.0.1:9000 or [::1]:9000")]
    HostName,
    #[error("the path of a unix socket has at most {UNIX_PATH_MAX} bytes")]
    PathTooLong,
    #[error("standard output and standard error can't be listeners; write fd:0, or fd:3 and up")]
    StandardFd,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(typed: &str) -> Result<Self, AddressError> {
        if let Some(inherited) = typed.strip_prefix("fd:") {
            return match inherited.parse() {
                Ok(1 | 2) => Err(AddressError::StandardFd),
                Ok(fd) if fd >= 0 => Ok(Self::Fd(fd)),
                Err(_) if is_name(inherited) => Ok(Self::Named(inherited.to_owned())),
                _ => Err(AddressError::NotAnAddress),
            };
        }
        if let Some(rest) = url(typed) {
            return Err(AddressError::Url(rest.to_owned()));
        }
        let path = typed.strip_prefix("unix:");
        if path.is_some() || typed.contains('/') {
            // The web server and this program must mean the same file, wherever each was started.
            let path = std::path::absolute(path.unwrap_or(typed)).map_err(|_| AddressError::NotAnAddress)?;
            if path.as_os_str().len() > UNIX_PATH_MAX {
                return Err(AddressError::PathTooLong);
            }
            return match path.file_name() {
                Some(_) => Ok(Self::Unix(path)),
                None => Err(AddressError::NotAnAddress),
            };
        }
        parse_tcp(typed, what_else(typed)).map(Self::Tcp)
    }
}

impl FromStr for TcpAddress {
    type Err = AddressError;

    fn from_str(typed: &str) -> Result<Self, AddressError> {
        if let Some(rest) = url(typed) {
            return Err(AddressError::NotUrl(rest.to_owned()));
        }
        parse_tcp(typed, AddressError::NotTcp).map(Self)
    }
}

/// What may be a name of descriptors (sd_listen_fds_with_names(3)), and is no number.
fn is_name(typed: &str) -> bool {
    let is_number = typed.bytes().all(|byte| byte.is_ascii_digit());
    let fits = typed.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b':');
    fits && !is_number && typed.len() <= NAME_MAX
}

impl Address {
    /// Whether its listeners are made by whoever has started this program.
    pub fn is_inherited(&self) -> bool {
        matches!(self, Self::Fd(_) | Self::Named(_))
    }
}

impl FromStr for StatusAddress {
    type Err = AddressError;

    fn from_str(typed: &str) -> Result<Self, AddressError> {
        match typed.parse::<Address>() {
            Ok(Address::Fd(_) | Address::Named(_)) | Err(AddressError::NotAnAddress) => Err(AddressError::NotStatus),
            Ok(address) => Ok(Self(address)),
            Err(AddressError::Url(rest)) => Err(AddressError::NotUrl(rest)),
            Err(error) => Err(error),
        }
    }
}

/// Host and port of `http://127.0.0.1:9000/`.
fn url(typed: &str) -> Option<&str> {
    let (scheme, rest) = typed.split_once("://")?;
    let is_scheme = !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric()) && scheme != "unix";
    is_scheme.then(|| rest.split('/').next().unwrap_or(rest))
}

/// What was meant by that which is neither a path nor an address with a port.
fn what_else(typed: &str) -> AddressError {
    if let Ok(port) = typed.parse() {
        return AddressError::BarePort(port);
    }
    if let Ok(ip) = typed.parse() {
        return AddressError::NoPort(SocketAddr::new(ip, 9000));
    }
    match typed.contains(':') || typed.is_empty() {
        true => AddressError::NotAnAddress,
        false => AddressError::BareName(typed.to_owned()),
    }
}

/// A port without a host means loopback (SPEC F7): who wants more must say so.
fn parse_tcp(typed: &str, otherwise: AddressError) -> Result<SocketAddr, AddressError> {
    if let Ok(address) = typed.parse() {
        return Ok(address);
    }
    match typed.rsplit_once(':') {
        Some(("" | "localhost", port)) => match port.parse() {
            Ok(port) => Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
            Err(_) => Err(otherwise),
        },
        Some((host, port)) if port.parse::<u16>().is_ok() && host.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            Err(AddressError::HostName)
        }
        _ => Err(otherwise),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
            Self::Fd(fd) => write!(f, "fd:{fd}"),
            Self::Named(name) => write!(f, "fd:{name}"),
        }
    }
}

impl fmt::Display for StatusAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TcpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

value_by_text!(Address, "ADDRESS");
value_by_text!(StatusAddress, "ADDRESS");
value_by_text!(TcpAddress, "ADDRESS");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_address_is_read() {
        let read = |typed: &str| typed.parse::<Address>().unwrap();
        assert_eq!(read("/run/a.sock"), Address::Unix("/run/a.sock".into()));
        assert_eq!(read("unix:/run/a.sock"), Address::Unix("/run/a.sock".into()));
        assert_eq!(read("127.0.0.1:9000"), Address::Tcp("127.0.0.1:9000".parse().unwrap()));
        assert_eq!(read("[::1]:9000"), Address::Tcp("[::1]:9000".parse().unwrap()));
        assert_eq!(read(":9000"), Address::Tcp("127.0.0.1:9000".parse().unwrap()));
        assert_eq!(read("localhost:9000"), Address::Tcp("127.0.0.1:9000".parse().unwrap()));
        assert_eq!(read("0.0.0.0:9000"), Address::Tcp("0.0.0.0:9000".parse().unwrap()));
        assert_eq!(read("fd:3"), Address::Fd(3));
        for name in ["blog", "wsgi-fpm.socket", "3a", "a/b c", &"x".repeat(255)] {
            let named = read(&format!("fd:{name}"));
            assert_eq!(named, Address::Named(name.to_owned()));
            assert_eq!(named.to_string(), format!("fd:{name}"));
        }
        assert_eq!(read("unix:///run/a.sock"), Address::Unix("/run/a.sock".into()));
        // Paths, although there is what a URL has.
        assert_eq!(read("/run/a://b.sock"), Address::Unix("/run/a:/b.sock".into()));
        let here = std::env::current_dir().unwrap();
        assert_eq!(read("://a.sock"), Address::Unix(here.join(":/a.sock")));
        assert_eq!(read("./a.sock"), Address::Unix(here.join("a.sock")));
        assert_eq!(read("unix:a.sock"), Address::Unix(here.join("a.sock")));
    }

    #[test]
    fn status_is_shown_on_a_socket_that_is_made_for_it() {
        let read = |typed: &str| typed.parse::<StatusAddress>();
        assert_eq!(read(":9180").unwrap().to_string(), "127.0.0.1:9180");
        assert_eq!(read("/run/status.sock").unwrap().to_string(), "unix:/run/status.sock");
        for typed in ["fd:3", "", ":x"] {
            assert_eq!(read(typed), Err(AddressError::NotStatus), "{typed}");
        }
        let url = Err(AddressError::NotUrl("127.0.0.1:9180".into()));
        assert_eq!(read("http://127.0.0.1:9180/metrics"), url);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let refused = |typed: &str| typed.parse::<Address>().unwrap_err();
        for typed in [
            "",
            ":",
            ":x",
            ":99999",
            "fd:",
            "fd:a:b",
            "fd:a\n",
            "fd:ä",
            "fd:99999999999",
            "fd:-1",
            "/",
        ] {
            assert_eq!(refused(typed), AddressError::NotAnAddress, "{typed}");
        }
        assert_eq!(refused(&format!("fd:{}", "x".repeat(256))), AddressError::NotAnAddress);
        assert_eq!(refused("fd:1"), AddressError::StandardFd);
        assert_eq!(refused("a.sock"), AddressError::BareName("a.sock".into()));
        assert_eq!(refused("9000"), AddressError::BarePort(9000));
        assert_eq!(
            refused("127.0.0.1"),
            AddressError::NoPort("127.0.0.1:9000".parse().unwrap())
        );
        assert_eq!(refused("::1"), AddressError::NoPort("[::1]:9000".parse().unwrap()));
        for typed in [
            "http://127.0.0.1:9000",
            "http://127.0.0.1:9000/app/",
            "tcp://127.0.0.1:9000",
        ] {
            assert_eq!(refused(typed), AddressError::Url("127.0.0.1:9000".into()), "{typed}");
        }
        let bind = "http://[::1]:8000/".parse::<TcpAddress>();
        assert_eq!(bind, Err(AddressError::NotUrl("[::1]:8000".into())));
        assert_eq!(refused("example.org:9000"), AddressError::HostName);
        assert_eq!(refused(&format!("/{}", "x".repeat(107))), AddressError::PathTooLong);
        assert!(format!("/{}", "x".repeat(106)).parse::<Address>().is_ok());
    }
}
