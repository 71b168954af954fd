//! Sees to what arrives while no thread takes it (`reactor/giving.rs`): a thread of its own, without Python. Unlike the receiver it
//! reads nothing of what arrives and writes to no disk, so that nothing holds it up.

use std::io;
use std::sync::Arc;

use crate::base::defect;
use crate::connection::Hub;

/// Starts it. It ends with the process. `note`: see [`crate::reactor::Reactor::give_what_waits`].
///
/// # Errors
/// The system's.
pub fn start(hub: &Arc<Hub>, note: impl Fn(usize) + Send + 'static) -> io::Result<()> {
    let hub = Arc::clone(hub);
    defect::start_thread("giver", move || {
        hub.reactor.give_what_waits(note);
    })
}
