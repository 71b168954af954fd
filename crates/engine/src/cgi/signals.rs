//! SIGTERM to a process whose response is whole.

use std::sync::Arc;
use std::sync::Once;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::SIGTERM;

use crate::base::forked;

/// From now on SIGTERM does not end this process. lighttpd and mod_cgid send it as soon as they have the whole response,
/// and would mostly come before `close()` and exit functions (SPEC C23, D8). A handler of the application's own is called
/// as before.
pub fn outlive_response() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Nobody asks whether it came: the process is about to end in any case.
        let asked = Arc::new(AtomicBool::new(false));
        if let Err(error) = forked::handles(SIGTERM, || signal_hook::flag::register(SIGTERM, asked)) {
            tracing::warn!(%error, "SIGTERM may end this process before close() has run");
        }
    });
}
