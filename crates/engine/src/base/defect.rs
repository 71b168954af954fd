//! A panic is a defect of ours, whatever was received, and costs as little as possible.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::base::ffi;

/// The exit code of a process that a defect has ended (sysexits: EX_SOFTWARE).
const CODE: i32 = 70;

/// Does `work`; what it has panicked with, if it has.
pub fn caught(work: impl FnOnce()) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(work)).err()?;
    Some(message(&*panic).to_owned())
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let message = panic.downcast_ref::<String>().map(String::as_str);
    message.or(panic.downcast_ref::<&str>().copied()).unwrap_or("unknown")
}

/// Starts a thread that its process can't do without: nothing would be limited in time any more, or given to others. If it
/// panics, the process ends, and its leader replaces it.
///
/// # Errors
/// The system's.
pub fn start_thread(name: &'static str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let work = move || {
        if let Some(message) = caught(work) {
            tracing::error!(
                thread = name,
                message,
                "a defect of wsgi-fpm has ended a thread, and this process ends with it: please report it"
            );
            ffi::exit_now(CODE);
        }
    };
    std::thread::Builder::new().name(name.into()).spawn(work)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_is_caught_with_what_it_says() {
        assert_eq!(caught(|| ()), None);
        assert_eq!(caught(|| panic!("as it is")).as_deref(), Some("as it is"));
        let number = 7;
        assert_eq!(caught(|| panic!("number {number}")).as_deref(), Some("number 7"));
        let other = || std::panic::panic_any(7);
        assert_eq!(caught(other).as_deref(), Some("unknown"));
    }
}
