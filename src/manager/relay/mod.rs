//! The one that writes logs. Every process of the pools sends its events here, this one included; a thread receives them, whatever
//! happens, and gives each to the queue of its destination, which a thread writes to that, and may wait for whoever reads it. A queue has
//! an end: what does not fit in is lost, and the log says afterwards how much that was.

mod output;
mod queue;
mod reopening;
mod router;
mod slow;
mod tap;
mod watch;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use contract::log::LogSettings;
use contract::log::channel::{self, Receiver, Sender, Unread};
use contract::own::Own;
use serde::{Deserialize, Serialize};

use crate::inherited::Passed;
use crate::mask;
use output::Output;
pub use reopening::Reopening;
pub use router::Routes;
use router::{Filled, Router};
pub use slow::SlowRequests;
pub use tap::Tap;
pub use watch::Watch;

/// The receiving thread looks again after this time, so that a busy pool's senders need not wake it for each line.
const NAP: Duration = Duration::from_millis(5);

/// How long the program's end waits until the rest of the log is read.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Until it is dropped, events go to their destinations.
#[derive(Debug)]
pub struct Relay {
    sending: OwnedFd,
    settings: LogSettings,
    router: Arc<Router>,
    receiving: Receiving,
    /// Its other end goes with the threads that write.
    written: mpsc::Receiver<()>,
}

/// What others may ask of the logs.
#[derive(Debug, Clone)]
pub struct Logs(Arc<Router>);

/// Who has the channel's end.
#[derive(Debug)]
enum Receiving {
    Thread(JoinHandle<Receiver>),
    Nobody(Receiver),
    /// The thread is gone, and it with that.
    Lost,
}

/// The log of a program that gives its place to another one.
#[derive(Debug, Serialize, Deserialize)]
pub struct RelayState {
    pub settings: LogSettings,
    sending: Passed,
    receiving: Passed,
    unread: Unread,
    /// Lines that nobody has read in time.
    lost: u64,
    #[serde(default)]
    routes: BTreeMap<String, Routes>,
}

impl Logs {
    /// The pool's events go there from now on, those of its older generations too.
    pub fn set(&self, pool: &str, routes: Routes) {
        self.0.set(pool, routes);
    }

    /// Forgets pools that `stays` does not know.
    pub fn keep(&self, stays: impl Fn(&str) -> bool) {
        self.0.keep(stays);
    }

    /// Opens all files anew, without waiting.
    pub fn reopen(&self) -> Reopening {
        self.0.reopen()
    }

    /// Slow requests that came last.
    pub fn slow(&self) -> SlowRequests {
        self.0.slow()
    }

    /// All events from now on, of every log, or those of one pool; see [`Tap`].
    pub fn tap(&self, pool: Option<String>) -> Tap {
        self.0.tap(pool)
    }

    /// Lines that did not get to each destination since the program's start.
    pub fn lost(&self) -> Vec<(String, u64)> {
        self.0.lost()
    }
}

impl Relay {
    /// Starts the log of this program.
    ///
    /// # Errors
    /// The system's: the log's destination can't be opened, no descriptor or no thread is to be had.
    pub fn start(settings: &LogSettings) -> io::Result<Self> {
        let mut output = Output::to(&settings.to)?;
        // Somebody sits in front of it now who reads why there can be no log.
        output.reopen()?;
        let relay = Self::to(output, settings)?;
        relay.log()?;
        Ok(relay)
    }

    /// The same where another program has left it.
    ///
    /// # Errors
    /// What was passed can't be taken, or no thread is to be had.
    pub fn resume(settings: &LogSettings, state: RelayState) -> io::Result<Self> {
        let receiver = Receiver::resume(state.receiving.take()?, state.unread);
        let output = Output::to(&settings.to)?;
        let relay = Self::between(
            state.sending.take()?,
            receiver,
            output,
            settings,
            state.lost,
            state.routes,
        )?;
        relay.log()?;
        Ok(relay)
    }

    fn log(&self) -> io::Result<()> {
        contract::log::start(&self.settings, Sender::new(Own::new(self.sending.try_clone()?)));
        Ok(())
    }

    fn to(output: Output, settings: &LogSettings) -> io::Result<Self> {
        let (sending, receiver) = channel::pair()?;
        Self::between(sending, receiver, output, settings, 0, BTreeMap::new())
    }

    /// `lost`: lines before all others.
    fn between(
        sending: OwnedFd,
        receiver: Receiver,
        output: Output,
        settings: &LogSettings,
        lost: u64,
        routes: BTreeMap<String, Routes>,
    ) -> io::Result<Self> {
        let (writing, written) = mpsc::channel();
        let router = Arc::new(Router::start(output, settings, lost, writing)?);
        for (pool, routes) in routes {
            router.set(&pool, routes);
        }
        let receiving = Receiving::Thread(start_receiving(receiver, &router)?);
        Ok(Self {
            sending,
            settings: settings.clone(),
            router,
            receiving,
            written,
        })
    }

    pub fn logs(&self) -> Logs {
        Logs(Arc::clone(&self.router))
    }

    /// Writes what there is, and leaves to another program what comes from now on.
    ///
    /// # Errors
    /// The receiving thread does not end, or no descriptor is left.
    pub fn rest(&mut self) -> io::Result<RelayState> {
        let sender = Sender::new(Own::new(self.sending.try_clone()?));
        self.router.rest(true);
        self.receiving = match std::mem::replace(&mut self.receiving, Receiving::Lost) {
            Receiving::Thread(thread) => {
                while !sender.end(self.router.end()) && !thread.is_finished() {
                    // It is full: the thread makes room.
                    thread::sleep(NAP);
                }
                thread.join().map_or(Receiving::Lost, Receiving::Nobody)
            }
            nobody => nobody,
        };
        let Receiving::Nobody(receiver) = &self.receiving else {
            return Err(io::Error::other("the thread that receives it has failed"));
        };
        Ok(RelayState {
            settings: self.settings.clone(),
            sending: Passed::copy(&self.sending)?,
            receiving: Passed::copy(receiver)?,
            unread: receiver.unread(),
            lost: self.router.wait_until_written(Instant::now() + LAST_WORDS),
            routes: self.router.routes(),
        })
    }

    /// Goes on after a rest.
    pub fn go_on(&mut self) {
        self.router.rest(false);
        self.receiving = match std::mem::replace(&mut self.receiving, Receiving::Lost) {
            // Without a thread there is no log, which nobody can be told.
            Receiving::Nobody(receiver) => {
                start_receiving(receiver, &self.router).map_or(Receiving::Lost, Receiving::Thread)
            }
            as_it_is => as_it_is,
        };
    }

    /// Whoever wants to know whether its threads do what they are for.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn watch(&self) -> io::Result<Watch> {
        Ok(Watch::new(Arc::clone(&self.router), self.sending.try_clone()?))
    }

    /// Where every process of the pool sends its events.
    pub fn sending(&self) -> BorrowedFd<'_> {
        self.sending.as_fd()
    }
}

impl Drop for Relay {
    /// Writes what there is. Events that come later are lost.
    fn drop(&mut self) {
        if let Ok(sending) = self.sending.try_clone() {
            // In vain only if nobody receives.
            Sender::new(Own::new(sending)).end(self.router.end());
        }
        // In vain if nobody reads; then nobody misses the rest.
        let _ = self.written.recv_timeout(LAST_WORDS);
    }
}

fn start_receiving(receiver: Receiver, router: &Arc<Router>) -> io::Result<JoinHandle<Receiver>> {
    let (router, turn) = (Arc::clone(router), router.turn());
    thread::Builder::new().name("log receiver".into()).spawn(move || {
        let _turn = turn;
        mask::hold_back();
        receive(receiver, &router)
    })
}

fn receive(mut receiver: Receiver, router: &Router) -> Receiver {
    loop {
        match router.fill(&mut receiver) {
            Filled::Something => thread::sleep(NAP),
            Filled::Nothing => receiver.wait(),
            Filled::End => return receiver,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::time::Instant;

    use contract::log::Sink;

    use super::*;

    fn usual() -> LogSettings {
        LogSettings::default()
    }

    fn line(number: usize) -> String {
        format!("{number:099}\n")
    }

    #[test]
    fn all_that_was_sent_is_written_before_the_end() {
        let (reader, writer) = std::io::pipe().unwrap();
        let relay = Relay::to(Output::Descriptor(writer.into()), &usual()).unwrap();
        let reading = thread::spawn(|| io::read_to_string(reader).unwrap());
        let sender = Sender::new(Own::new(relay.sending().try_clone_to_owned().unwrap()));
        (0..20_000).for_each(|number| sender.write(line(number).as_bytes()));
        drop(relay);
        let text = reading.join().unwrap();
        assert!((0..20_000).map(line).collect::<String>() == text);
    }

    #[test]
    fn end_that_a_worker_sends_is_none() {
        let (reader, writer) = std::io::pipe().unwrap();
        let relay = Relay::to(Output::Descriptor(writer.into()), &usual()).unwrap();
        let sender = Sender::new(Own::new(relay.sending().try_clone_to_owned().unwrap()));
        for number in 0..3 {
            assert!(sender.end(0));
            sender.write(line(number).as_bytes());
        }
        drop(relay);
        assert_eq!(
            io::read_to_string(reader).unwrap(),
            (0..3).map(line).collect::<String>()
        );
    }

    /// How many lines the log says were lost; `None` of another line.
    pub(super) fn told(line: &str) -> Option<usize> {
        let (_, rest) = line.split_once(" WARN contract::log: ")?;
        let (number, rest) = rest.split_once(' ').unwrap();
        assert_eq!(rest, "lines of the log were lost since nobody read it");
        Some(number.parse().unwrap())
    }

    #[test]
    fn log_that_nobody_reads_loses_lines_and_says_how_many() {
        let (reader, writer) = std::io::pipe().unwrap();
        let relay = Relay::to(Output::Descriptor(writer.into()), &usual()).unwrap();
        let sender = Sender::new(Own::new(relay.sending().try_clone_to_owned().unwrap()));
        let start = Instant::now();
        const SENT: usize = 150_000;
        (0..SENT).for_each(|number| sender.write(line(number).as_bytes()));
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        let (lines, read) = mpsc::channel();
        thread::spawn(move || {
            let mut reader = BufReader::new(reader).lines();
            reader.try_for_each(|line| lines.send(line.unwrap()))
        });
        // On a busy machine the first of these may be lost, too. Behind one that got through there is room.
        let (mut text, mut more) = (Vec::new(), 0);
        while text.last().is_none_or(|line| line != "more") {
            assert!(start.elapsed() < Duration::from_secs(60), "{:?}", text.last());
            sender.write(b"more\n");
            more += 1;
            while let Ok(line) = read.recv_timeout(2 * NAP) {
                text.push(line);
                if text.last().is_some_and(|line| line == "more") {
                    break;
                }
            }
        }
        sender.write(b"behind it\n");
        drop((sender, relay));
        text.extend(read);
        assert_eq!(text.pop().unwrap(), "behind it");
        let lost: Vec<_> = text.iter().filter_map(|line| told(line)).collect();
        assert!(!lost.is_empty());
        assert_eq!(text.len() - lost.len() + lost.iter().sum::<usize>(), SENT + more);
    }

    #[test]
    fn log_that_is_not_read_at_the_end_keeps_nobody() {
        let (_reader, writer) = std::io::pipe().unwrap();
        let relay = Relay::to(Output::Descriptor(writer.into()), &usual()).unwrap();
        let sender = Sender::new(Own::new(relay.sending().try_clone_to_owned().unwrap()));
        (0..10_000).for_each(|number| sender.write(line(number).as_bytes()));
        let start = Instant::now();
        drop(relay);
        assert!(start.elapsed() < 10 * LAST_WORDS, "{:?}", start.elapsed());
    }

    #[test]
    fn log_that_rests_loses_nothing_to_whoever_goes_on_with_it() {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut relay = Relay::to(Output::Descriptor(writer.try_clone().unwrap().into()), &usual()).unwrap();
        let sender = Sender::new(Own::new(relay.sending().try_clone_to_owned().unwrap()));
        let long = "x".repeat(100_000) + "\n";
        let expected = (0..3).map(|round| [line(round), long.clone(), line(100 + round)].concat());
        let expected: String = expected.collect();
        let length = expected.len() as u64;
        let reading = thread::spawn(move || io::read_to_string(reader.take(length)).unwrap());
        for round in 0..3 {
            sender.write(line(round).as_bytes());
            sender.write(long.as_bytes());
            let state = relay.rest().unwrap();
            assert_eq!(state.lost, 0);
            sender.write(line(100 + round).as_bytes());
            if round == 1 {
                relay.go_on();
                continue;
            }
            // Another program has the state, and this one is gone.
            let receiver = Receiver::resume(state.receiving.take().unwrap(), state.unread);
            let output = Output::Descriptor(writer.try_clone().unwrap().into());
            let next = Relay::between(
                state.sending.take().unwrap(),
                receiver,
                output,
                &usual(),
                0,
                state.routes,
            )
            .unwrap();
            std::mem::forget(std::mem::replace(&mut relay, next));
        }
        assert!(reading.join().unwrap() == expected);
    }
}
