//! Which threads signals reach: the first one alone. While another program takes this one's place that holds them back, too, so that
//! they wait for the other one; in a thread that did not hold them back they would be lost with it.

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// All that the supervisor obeys.
fn obeyed() -> SigSet {
    [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGHUP,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
    ]
    .into_iter()
    .collect()
}

/// From now on signals don't reach this thread. Where that is the only one that they could reach, they wait, also over exec: for
/// as long as that has no handlers. Every other thread of this program calls this when it begins; those of libraries are made in
/// [`inherited_by`].
pub fn hold_back() {
    // It fails for sets that can't be.
    let _ = obeyed().thread_block();
}

/// The opposite: those that wait come now.
pub fn let_through() {
    let _ = obeyed().thread_unblock();
}

/// Signals reach none of the threads that `start` starts.
pub fn inherited_by<T>(start: impl FnOnce() -> T) -> T {
    let before = obeyed().thread_swap_mask(SigmaskHow::SIG_BLOCK);
    let started = start();
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
    started
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn is_held_back() -> bool {
        SigSet::thread_get_mask().unwrap().contains(Signal::SIGTERM)
    }

    #[test]
    fn only_threads_that_are_made_meanwhile_hold_signals_back() {
        thread::spawn(|| {
            let held = inherited_by(|| thread::spawn(is_held_back)).join().unwrap();
            assert_eq!((held, is_held_back()), (true, false));
            hold_back();
            inherited_by(|| ());
            assert!(is_held_back());
            let_through();
            assert!(!is_held_back());
        })
        .join()
        .unwrap();
    }
}
