//! TLS for a web server of a test's own: a certificate for localhost, and a client that does not ask who signed it.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::LazyLock;

use tempfile::TempDir;

/// Private key and certificate, as PEM.
pub struct Certificate {
    pub key: String,
    pub certificate: String,
}

impl Certificate {
    /// Both in one file, as some servers want it.
    pub fn bundle(&self) -> String {
        format!("{}{}", self.key, self.certificate)
    }
}

/// Made by openssl, once.
pub static LOCALHOST: LazyLock<Certificate> = LazyLock::new(|| {
    let directory = TempDir::with_prefix("wsgi-fpm-tls-").unwrap();
    let file = |name: &str| directory.path().join(name);
    let output = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .arg("-keyout")
        .arg(file("key.pem"))
        .arg("-out")
        .arg(file("certificate.pem"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let read = |name: &str| std::fs::read_to_string(file(name)).unwrap();
    Certificate {
        key: read("key.pem"),
        certificate: read("certificate.pem"),
    }
});

/// The body of a response to `https://localhost/...` at that address, by curl.
///
/// # Panics
/// If there is none, or its status is no success.
#[track_caller]
pub fn fetch(address: SocketAddr, target: &str) -> Vec<u8> {
    let output = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--fail",
            "--insecure",
            "--ipv4",
            "--max-time",
            "20",
        ])
        .arg(format!("https://localhost:{}{target}", address.port()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}
