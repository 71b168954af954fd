//! The present request's params as they are, for what needs them without an environ: refusals and the log.

use std::net::SocketAddr;

use contract::log::escape_bytes;
use fastcgi::Pairs;
use rustix::net::getpeername;

use super::Connection;

impl Connection {
    /// Method and path of the present request.
    pub fn method_and_path(&self) -> (&[u8], Vec<u8>) {
        let path = [self.param(b"SCRIPT_NAME"), self.param(b"PATH_INFO")].concat();
        (self.param(b"REQUEST_METHOD"), path)
    }

    /// The same as one text.
    pub fn request_line(&self) -> String {
        let (method, path) = self.method_and_path();
        format!("{} {}", escape_bytes(method), escape_bytes(&path))
    }

    /// The value of a param, the last one if there are several (SPEC A19); empty if there is none.
    pub fn param(&self, name: &[u8]) -> &[u8] {
        let pairs = Pairs::new(self.codec.params()).flatten().filter(|pair| pair.0 == name);
        pairs.last().map_or(b"", |pair| pair.1)
    }

    /// Who has connected: address and port over TCP; `unix` for a socket that has none, and `-` for a peer that has gone.
    pub fn peer(&self) -> &str {
        self.peer.get_or_init(|| match getpeername(&self.fd) {
            Ok(Some(address)) => SocketAddr::try_from(address).map_or("unix".into(), |address| {
                let address = SocketAddr::new(address.ip().to_canonical(), address.port());
                address.to_string().into()
            }),
            // A unix socket without a name, as those of clients are.
            Ok(None) => "unix".into(),
            Err(_) => "-".into(),
        })
    }
}
