//! A request that holds the GIL of its worker.

use std::fs::File;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::fcgi_client::{Raw, Request};
use crate::support::process::Gateway;

/// It ends when the other end of its FIFO is closed.
pub struct HeldPython {
    pub connection: Raw,
    writer: File,
}

impl HeldPython {
    /// Sends it to an application that has `holds_gil`, and waits until Python is held.
    pub fn of(gateway: &Gateway) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("fifo{}", NUMBER.fetch_add(1, Relaxed));
        let fifo = gateway.directory.path().join(name);
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let mut connection = gateway.connect();
        connection.send(&Request::get(&format!("/holds_gil?{}", fifo.display())).bytes());
        // Opening waits until the application has opened the other end.
        let writer = File::options().write(true).open(&fifo).unwrap();
        Self { connection, writer }
    }

    /// Lets Python go. The response is still to be read.
    pub fn let_go(self) -> Raw {
        drop(self.writer);
        self.connection
    }
}
