//! systemd's journal, by its own protocol (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).

use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use contract::memory;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use settings::values::Journald;

use super::service::{Language, Message};

pub struct Journal {
    tag: String,
}

impl Journal {
    pub fn new(to: &Journald) -> Self {
        Self { tag: to.tag.clone() }
    }
}

/// A field. What has more than one line goes with its length.
fn put(bytes: &mut Vec<u8>, name: &str, value: &[u8]) {
    bytes.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        bytes.push(b'\n');
        bytes.extend((value.len() as u64).to_le_bytes());
    } else {
        bytes.push(b'=');
    }
    bytes.extend_from_slice(value);
    bytes.push(b'\n');
}

impl Language for Journal {
    fn encode(&self, message: &Message<'_>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(message.text.len() + 128);
        put(&mut bytes, "MESSAGE", message.text);
        put(&mut bytes, "PRIORITY", message.severity.number().to_string().as_bytes());
        put(&mut bytes, "SYSLOG_IDENTIFIER", self.tag.as_bytes());
        for (name, value) in [("WSGI_FPM_POOL", message.pool), ("WSGI_FPM_REQUEST", message.request)] {
            if !value.is_empty() {
                put(&mut bytes, name, value.as_bytes());
            }
        }
        bytes
    }

    /// In a file in memory that nobody can change any more.
    fn send_long(&self, socket: &OwnedFd, message: &Message<'_>) -> Result<(), Errno> {
        let failed = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        let file = memory::file("wsgi-fpm-log", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).map_err(failed)?;
        let mut file = std::fs::File::from(file);
        file.write_all(&self.encode(message)).map_err(failed)?;
        let all = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        fcntl_add_seals(&file, all)?;
        let descriptors = [file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        sendmsg(socket, &[IoSlice::new(&[])], &mut ancillary, SendFlags::NOSIGNAL).map(drop)
    }
}
