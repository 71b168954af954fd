//! Addresses that belong to one test alone.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl Address {
    /// As the option `--listen` wants it.
    pub fn option(&self) -> String {
        match self {
            Self::Unix(path) => path.display().to_string(),
            Self::Tcp(address) => address.to_string(),
        }
    }

    /// Whether somebody accepts connections there.
    pub fn answers(&self) -> bool {
        match self {
            Self::Unix(path) => UnixStream::connect(path).is_ok(),
            Self::Tcp(address) => TcpStream::connect(address).is_ok(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.option())
    }
}

/// A loopback address with a port that the kernel has just given out and got back. `host` may be an IPv6 address.
pub fn free_tcp(host: &str) -> io::Result<SocketAddr> {
    TcpListener::bind((host, 0))?.local_addr()
}
