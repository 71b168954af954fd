//! SCRIPT_FILENAME is a value like any other: SPEC B19.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::io::Errno;

use crate::support::fcgi_client::Request;
use crate::support::process::Gateway;

/// Sees who opens a file.
struct Watch(OwnedFd);

impl Watch {
    fn of(path: &Path) -> Self {
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
        inotify::add_watch(&watch, path, WatchFlags::OPEN | WatchFlags::ACCESS).unwrap();
        Self(watch)
    }

    fn has_seen_something(&self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 1024];
        match Reader::new(&self.0, &mut buffer).next() {
            Ok(event) => event.events().intersects(ReadFlags::OPEN | ReadFlags::ACCESS),
            Err(error) => {
                assert_eq!(error, Errno::AGAIN);
                false
            }
        }
    }
}

/// mod_proxy_fcgi sends `proxy:fcgi://host/path`, and a client decides on the path.
#[test]
fn b19_script_filename_is_never_opened() {
    let gateway = Gateway::app("environ:dump").start();
    let directory = gateway.directory.path();
    // Nobody writes: who opened it to read would wait for ever.
    let fifo = directory.join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR | Mode::XUSR, 0).unwrap();
    let script = directory.join("app.py");
    std::fs::write(&script, "raise SystemExit('executed')\n").unwrap();
    let watches = [&fifo, &script].map(|path| Watch::of(path));
    for path in [&fifo, &script] {
        let path = path.display();
        for name in [
            format!("{path}"),
            format!("proxy:fcgi://localhost{path}"),
            format!("../../../../../..{path}"),
        ] {
            let response = gateway
                .send(&Request::get("/").param("SCRIPT_FILENAME", name.clone()))
                .ok();
            let environ: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
            assert_eq!(environ["SCRIPT_FILENAME"], name);
        }
    }
    for watch in &watches {
        assert!(!watch.has_seen_something());
    }
    std::fs::read(&script).unwrap();
    assert!(watches[1].has_seen_something(), "the watch works");
}
