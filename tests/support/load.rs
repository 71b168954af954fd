//! Clients that ask on and on while a test does something.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::fcgi_client::{KEEP_CONN, Request};
use super::process::Gateway;

/// Runs `work` while each of `clients`, on a thread of its own, does its part over and over.
pub fn beside<T>(clients: impl IntoIterator<Item: FnMut() + Send>, work: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for mut client in clients {
            let over = &over;
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    client();
                }
            });
        }
        let _end = End(&over);
        work()
    })
}

/// Clients end with the work, also where that panics: the scope waits for them.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `work` beside eight clients, each of which sends one of `requests` all the time, over one connection if it is to be
/// kept. All of them have to be served; gives how many were.
pub fn under_load(gateway: &Gateway, requests: &[Request], work: impl FnOnce()) -> usize {
    let served = AtomicUsize::new(0);
    let clients = requests.iter().cycle().take(8).map(|request| {
        let mut kept = (request.flags & KEEP_CONN != 0).then(|| gateway.connect());
        let served = &served;
        move || {
            match &mut kept {
                Some(kept) => kept.exchange(request).ok(),
                None => gateway.send(request).ok(),
            };
            served.fetch_add(1, Ordering::Relaxed);
        }
    });
    beside(clients, work);
    served.into_inner()
}
