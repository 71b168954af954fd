//! How many connections wait in listening sockets: asked of the kernel by sock_diag(7), all sockets at once. Where it has no such
//! module, or a sandbox forbids it, nothing is known.

use std::collections::HashMap;
use std::io;

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

use crate::settings::ListenerKind;

/// linux/sock_diag.h: SOCK_DIAG_BY_FAMILY.
const BY_FAMILY: u16 = 20;
/// linux/netlink.h: NLM_F_REQUEST and NLM_F_DUMP.
const REQUEST_DUMP: u16 = 0x1 | 0x300;
const HEADER: usize = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// TCP_LISTEN, as a bit of those that are wanted.
const LISTENING: u32 = 1 << 10;
/// linux/unix_diag.h: UDIAG_SHOW_RQLEN, and the attribute that has it.
const SHOW_LENGTHS: u32 = 0x10;
const LENGTHS: u16 = 4;
/// An answer of the kernel is no longer.
const LONGEST: usize = 32 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Queue {
    /// Connections that nobody has accepted.
    pub waiting: u32,
    /// As many may wait.
    pub backlog: u32,
}

/// Those of all listening sockets of these kinds, by inode.
pub fn listening(kinds: &[ListenerKind]) -> HashMap<u64, Queue> {
    let mut queues = HashMap::new();
    // What can't be asked is not known.
    let mut ask = |request: Vec<u8>, read: fn(&[u8]) -> Option<(u32, Queue)>| {
        let _ = dump(&request, |message| {
            let (inode, queue) = read(message).unzip();
            queues.extend(inode.map(u64::from).zip(queue));
        });
    };
    if kinds.contains(&ListenerKind::Unix) {
        ask(unix_request(), read_unix);
    }
    if kinds.contains(&ListenerKind::Tcp) {
        for family in [AddressFamily::INET, AddressFamily::INET6] {
            ask(inet_request(family.as_raw() as u8), read_inet);
        }
    }
    queues
}

/// struct unix_diag_req.
fn unix_request() -> Vec<u8> {
    let mut request = vec![AddressFamily::UNIX.as_raw() as u8, 0, 0, 0];
    for word in [LISTENING, 0, SHOW_LENGTHS, u32::MAX, u32::MAX] {
        request.extend(word.to_ne_bytes());
    }
    request
}

/// struct inet_diag_req_v2.
fn inet_request(family: u8) -> Vec<u8> {
    const TCP: u8 = 6;
    let mut request = vec![family, TCP, 0, 0];
    request.extend(LISTENING.to_ne_bytes());
    // Of any addresses and ports.
    request.extend([0; 40]);
    request.extend([0xff; 8]);
    request
}

fn dump(request: &[u8], mut answer: impl FnMut(&[u8])) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(SOCK_DIAG))?;
    let mut message = Vec::with_capacity(HEADER + request.len());
    message.extend((HEADER as u32 + request.len() as u32).to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(REQUEST_DUMP.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(request);
    sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut buffer = vec![0; LONGEST];
    loop {
        // The kernel has answered by the time that the request is sent, and goes on as it is read.
        let (length, _) = recv(&socket, &mut buffer, RecvFlags::empty())?;
        let mut rest = &buffer[..length];
        while rest.len() >= HEADER {
            let length = (number::<4>(rest, 0) as usize).clamp(HEADER, rest.len());
            match number::<2>(rest, 4) as u16 {
                DONE => return Ok(()),
                ERROR => return Err(io::ErrorKind::Unsupported.into()),
                _ => answer(&rest[HEADER..length]),
            }
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        }
        if length < HEADER {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// struct unix_diag_msg and what is behind it.
fn read_unix(message: &[u8]) -> Option<(u32, Queue)> {
    let inode = number::<4>(message, 4);
    let mut attributes = message.get(16..)?;
    while attributes.len() >= 4 {
        let length = number::<2>(attributes, 0) as usize;
        if number::<2>(attributes, 2) == u32::from(LENGTHS) {
            return Some((
                inode,
                Queue {
                    waiting: number::<4>(attributes, 4),
                    backlog: number::<4>(attributes, 8),
                },
            ));
        }
        attributes = attributes.get(length.max(4).next_multiple_of(4)..)?;
    }
    None
}

/// struct inet_diag_msg.
fn read_inet(message: &[u8]) -> Option<(u32, Queue)> {
    message.get(..72)?;
    let queue = Queue {
        waiting: number::<4>(message, 56),
        backlog: number::<4>(message, 60),
    };
    Some((number::<4>(message, 68), queue))
}

/// The number of `BYTES` bytes at a place of `message`; 0 beyond its end.
fn number<const BYTES: usize>(message: &[u8], at: usize) -> u32 {
    let mut bytes = [0; 4];
    let Some(found) = message.get(at..at + BYTES) else {
        return 0;
    };
    if cfg!(target_endian = "little") {
        bytes[..BYTES].copy_from_slice(found);
    } else {
        bytes[4 - BYTES..].copy_from_slice(found);
    }
    u32::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};

    use rustix::fs::fstat;
    use rustix::net::listen;

    use super::*;

    #[test]
    fn connections_that_wait_are_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let unix = UnixListener::bind(&path).unwrap();
        listen(&unix, 7).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        listen(&tcp, 9).unwrap();
        let six = TcpListener::bind("[::1]:0").ok();
        let _unix = [(); 3].map(|()| UnixStream::connect(&path).unwrap());
        let _tcp = [(); 2].map(|()| TcpStream::connect(tcp.local_addr().unwrap()).unwrap());
        let queues = listening(&[ListenerKind::Unix, ListenerKind::Tcp]);
        let expected = |waiting, backlog| Some(&Queue { waiting, backlog }).copied();
        assert_eq!(queues.get(&fstat(&unix).unwrap().st_ino).copied(), expected(3, 7));
        assert_eq!(queues.get(&fstat(&tcp).unwrap().st_ino).copied(), expected(2, 9));
        if let Some(six) = six {
            assert_eq!(queues[&fstat(&six).unwrap().st_ino].waiting, 0);
        }
    }

    #[test]
    fn what_is_no_answer_is_none() {
        assert_eq!(read_unix(&[0; 15]), None);
        assert_eq!(read_unix(&[0xff; 40]), None);
        assert_eq!(read_inet(&[0; 71]), None);
    }
}
