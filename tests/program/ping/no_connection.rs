//! Addresses that nobody can connect to.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use tempfile::TempDir;

use super::{NO_CONNECTION, TIMED_OUT, failed};
use crate::run::{program, refusal};
use crate::support::installed;

const NOBODY: u32 = 65534;

fn directory() -> TempDir {
    TempDir::with_prefix("wsgi-fpm-").unwrap()
}

#[track_caller]
fn none(path: &Path, part: &str) {
    for more in [&[] as &[&str], &["/health"]] {
        let line = failed(path.to_str().unwrap(), more, NO_CONNECTION);
        assert!(
            line.starts_with(&format!("unix:{}: ", path.display())) && line.contains(part),
            "{line}"
        );
    }
}

#[test]
fn socket_that_is_missing_is_said_to_be() {
    none(
        &directory().path().join("a.sock"),
        "the responder does not run, or listens elsewhere",
    );
    none(Path::new("/etc/passwd/a.sock"), "the responder does not run");
}

#[test]
fn what_is_no_socket_is_said_to_be_none() {
    let directory = directory();
    none(directory.path(), "that is a directory");
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    none(&file, "that is a file, and no socket");
    let datagrams = directory.path().join("log");
    let _log = UnixDatagram::bind(&datagrams).unwrap();
    none(&datagrams, "of another kind");
}

#[test]
fn socket_of_a_responder_that_has_ended_is_left_over() {
    let directory = directory();
    let path = directory.path().join("socket");
    drop(UnixListener::bind(&path).unwrap());
    none(&path, "left its socket behind; start it");
}

#[test]
fn port_that_nobody_listens_on_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let line = failed(&free.to_string(), &["/"], NO_CONNECTION);
    assert!(line.starts_with(&format!("{free}: nobody listens there")), "{line}");
}

#[test]
fn full_backlog_is_a_matter_of_time() {
    let directory = directory();
    let path = directory.path().join("socket");
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&socket, 0).unwrap();
    // As many as the kernel takes; nobody accepts them.
    let _waiting = UnixStream::connect(&path).unwrap();
    let line = failed(path.to_str().unwrap(), &["/", "--timeout", "100ms"], TIMED_OUT);
    assert!(
        line.contains("no connection within --timeout 100ms") && line.contains("backlog"),
        "{line}"
    );
}

#[test]
fn permission_that_is_missing_is_named_with_its_directory() {
    if !installed::root() {
        return;
    }
    let directory = directory();
    let closed = directory.path().join("closed");
    fs::create_dir(&closed).unwrap();
    let _hidden = UnixListener::bind(closed.join("socket")).unwrap();
    let _listener = UnixListener::bind(directory.path().join("socket")).unwrap();
    let copy = directory.path().join("wsgi-fpm");
    fs::copy(program().get_program(), &copy).unwrap();
    for (path, mode) in [
        (directory.path(), 0o755),
        (&closed, 0o700),
        (&directory.path().join("socket"), 0o660),
    ] {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    for (name, expected) in [
        ("socket", "may not connect to DIR/socket (mode 0660, of root:root)"),
        (
            "closed/socket",
            "may not enter DIR/closed (mode 0700, of root:root), so it can't reach DIR/closed/socket",
        ),
    ] {
        let mut command = Command::new(&copy);
        command.arg("ping").arg(directory.path().join(name)).arg("/");
        let output = command.uid(NOBODY).gid(NOBODY).current_dir("/").output().unwrap();
        let line = refusal(&output, NO_CONNECTION);
        let expected = expected.replace("DIR", directory.path().to_str().unwrap());
        assert!(line.contains(&expected), "{line}");
    }
}
