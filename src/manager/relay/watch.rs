//! Whether the log's threads do what they are for. One that waits for whoever reads the log does.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::ioctl_fionread;

use super::router::Router;

#[derive(Debug)]
pub struct Watch {
    router: Arc<Router>,
    sending: OwnedFd,
    /// How often the receiving thread had looked when something waited for it.
    waited_at: Option<u64>,
}

impl Watch {
    pub(super) fn new(router: Arc<Router>, sending: OwnedFd) -> Self {
        Self {
            router,
            sending,
            waited_at: None,
        }
    }

    /// All run, and what was sent since the last time this was asked has been looked at.
    pub fn turns(&mut self) -> bool {
        let looks = self.router.looks();
        let is_waiting = ioctl_fionread(&self.sending).is_ok_and(|unread| unread > 0);
        let waited_at = std::mem::replace(&mut self.waited_at, is_waiting.then_some(looks));
        self.router.has_all_threads() && (!is_waiting || waited_at != Some(looks))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use contract::log::LogSettings;
    use contract::log::Sink;
    use contract::log::channel::{self, Sender};
    use contract::own::Own;

    use super::super::output::Output;
    use super::*;

    #[test]
    fn log_turns_as_long_as_all_threads_run_and_one_looks_at_what_comes() {
        let (sending, mut receiver) = channel::pair().unwrap();
        let sender = Sender::new(Own::new(sending.try_clone().unwrap()));
        let (unread, output) = std::io::pipe().unwrap();
        let (writing, _written) = mpsc::channel();
        let output = Output::Descriptor(output.into());
        let router = Arc::new(Router::start(output, &LogSettings::default(), 0, writing).unwrap());
        let receives = router.turn();
        let mut watch = Watch::new(Arc::clone(&router), sending);
        assert!(watch.turns() && watch.turns(), "there is nothing to look at");
        sender.write(b"first\n");
        assert!(watch.turns(), "it has just come");
        assert!(!watch.turns(), "nobody looks");
        router.fill(&mut receiver);
        sender.write(b"second\n");
        assert!(watch.turns(), "somebody has looked meanwhile");
        router.fill(&mut receiver);
        // More than a pipe takes: the thread that writes waits, as for whoever reads the log.
        sender.write(&[b"x".repeat(100_000), b"\n".to_vec()].concat());
        router.fill(&mut receiver);
        assert!(watch.turns() && watch.turns());
        thread::spawn(move || {
            let _turn = receives;
            panic!("on purpose");
        })
        .join()
        .unwrap_err();
        assert!(!watch.turns(), "nobody receives");
        drop(unread);
    }
}
