//! The syslog daemon of this machine, in the form that it knows from the C library, but for the time: that is when it gets the message.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use settings::values::Syslog;

use super::service::{Language, Message};

/// What every daemon takes.
const SHORT: usize = 8 * 1024;

pub struct Daemon {
    facility: u8,
    tag: String,
}

impl Daemon {
    pub fn new(to: &Syslog) -> Self {
        Self {
            facility: to.facility.number(),
            tag: to.tag.clone(),
        }
    }
}

impl Language for Daemon {
    fn encode(&self, message: &Message<'_>) -> Vec<u8> {
        let priority = self.facility * 8 + message.severity.number();
        let pid = std::process::id();
        // Most events name it themselves; lines of an access log need not.
        let named = format!("pool={:?}", message.pool);
        let is_named = message.pool.is_empty() || contains(message.text, named.as_bytes());
        let pool = if is_named { String::new() } else { named + " " };
        let mut bytes = format!("<{priority}>{}[{pid}]: {pool}", self.tag).into_bytes();
        bytes.extend_from_slice(message.text);
        bytes
    }

    fn send_long(&self, socket: &OwnedFd, message: &Message<'_>) -> Result<(), Errno> {
        let (begin, rest) = message.text.split_at(SHORT.min(message.text.len()));
        let mut text = String::from_utf8_lossy(begin).into_owned();
        text.push_str(&format!("...(+{}_bytes)", rest.len()));
        let short = Message {
            text: text.as_bytes(),
            ..*message
        };
        send(socket, &self.encode(&short), SendFlags::NOSIGNAL).map(drop)
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use contract::log::tag::Severity;

    use super::*;

    #[test]
    fn pool_is_named_once_wherever_the_event_names_it() {
        let daemon = Daemon {
            facility: 1,
            tag: "apps".to_owned(),
        };
        let said = |text: &str| {
            let message = Message {
                severity: Severity::Info,
                pool: "one",
                request: "",
                text: text.as_bytes(),
            };
            let said = String::from_utf8(daemon.encode(&message)).unwrap();
            said.split_once("]: ").unwrap().1.to_owned()
        };
        for names_it in [
            "stopped pool=\"one\"",
            "ready pool=\"one\" app=\"x\"",
            "it raised pool=\"one\"\n  Traceback",
        ] {
            assert_eq!(said(names_it), names_it);
        }
        for other in ["GET /", "stopped pool=\"one-more\""] {
            assert_eq!(said(other), format!("pool=\"one\" {other}"));
        }
    }
}
