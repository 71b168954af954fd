//! One request and its response, whatever carries them: what the WSGI layer sees of the world below.
//!
//! Knows no FastCGI and no sockets' bytes. All access goes through a lock that is held for non-blocking work only: waits
//! happen detached and unlocked, so that another thread of the application, or the watchdog, can always come in. Objects
//! that the application may keep hold a [`Ticket`], which is void once its request has ended (SPEC C16).

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pool::own::OwnFd;
use pool::scoreboard::now_ms;
use pool::settings::Limits;
use pyo3::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::body::Body;
use crate::carrier::{Carrier, CarrierError, Ending, FilePart, Lack, Payload};
use crate::crash::Answers;
use crate::forked;

/// Who answers a request: whoever comes first, its thread or the watchdog.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Answer {
    #[default]
    Nobody,
    Thread,
    Watchdog,
}

/// The current exchange of one thread.
pub struct Exchange {
    current: Mutex<Current>,
    /// When the peer was last looked at, by `now_ms`.
    checked_ms: AtomicU64,
    write_timeout: Duration,
    body_timeout: Duration,
    /// Number of the thread among the worker's.
    thread: usize,
    answers: &'static Answers,
}

#[derive(Default)]
struct Current {
    /// Number of the request on this thread, from 1.
    serial: u64,
    carrier: Option<Box<dyn Carrier>>,
    /// Whether only the head of a response may be sent.
    is_head: bool,
    /// The front server was found to be gone: what the application raises now is our own message to it.
    lost: Option<Lost>,
    answer: Answer,
    /// A thread waits to send: nobody else may, or records would mix.
    sending: bool,
    /// Sending has failed, perhaps within a record: nothing may follow.
    broken: bool,
    /// A thread waits for the peer, and receives itself.
    waiting: bool,
}

#[derive(Clone)]
enum Lost {
    Gone,
    Aborted,
    /// What the front server has broken of the protocol.
    Broken(String),
}

/// The right to use an exchange while its request runs.
#[derive(Clone)]
pub struct Ticket {
    pub exchange: Arc<Exchange>,
    serial: u64,
}

/// Reads of the watchdog for one request in one tick.
const RECEIVES_MEANWHILE: usize = 16;
/// Blocks up to this size are sent attached: copying them costs less than giving the GIL away and getting it back.
const ATTACHED_SEND: usize = 64 * 1024;

impl Exchange {
    pub fn new(limits: &Limits, thread: usize, answers: &'static Answers) -> Arc<Self> {
        Arc::new(Self {
            current: Mutex::default(),
            checked_ms: AtomicU64::new(0),
            write_timeout: limits.write_timeout,
            body_timeout: limits.body_timeout,
            thread,
            answers,
        })
    }

    /// A request begins; `is_head`: only the head of a response may be sent.
    pub fn begin(self: &Arc<Self>, carrier: Box<dyn Carrier>, is_head: bool) -> Ticket {
        let mut current = self.lock();
        current.serial += 1;
        if let Some((fd, id)) = carrier.crash_address() {
            self.answers.expect(self.thread, fd, id, is_head);
        }
        current.is_head = is_head;
        current.carrier = Some(carrier);
        current.lost = None;
        current.answer = Answer::Nobody;
        (current.sending, current.broken, current.waiting) = (false, false, false);
        Ticket {
            exchange: Arc::clone(self),
            serial: current.serial,
        }
    }

    /// Number of the current or last request.
    pub fn serial(&self) -> u64 {
        self.lock().serial
    }

    /// The watchdog answers the request `serial` instead of the application: `response` makes the whole of it, for HEAD or
    /// another method. False if the application's response has begun or the request has ended.
    pub fn take_over<'r>(&self, serial: u64, response: impl FnOnce(bool) -> &'r [u8]) -> bool {
        let mut current = self.lock();
        if current.serial != serial || current.answer != Answer::Nobody {
            return false;
        }
        let Some(mut carrier) = current.carrier.take() else {
            return false;
        };
        current.answer = Answer::Watchdog;
        self.answers.settle(self.thread);
        // The peer takes an answer of a few hundred bytes at once, or has stopped reading.
        let response = response(current.is_head);
        match carrier.send(&mut Payload::new(&[response]), Some(Ending::Complete { app_status: 1 })) {
            Ok(true) => carrier.done(),
            Ok(false) | Err(_) => carrier.cut(None),
        }
        true
    }

    /// Ends the wait of a thread that has been sending the response of the request `serial` for too long.
    pub fn end_sending(&self, serial: u64) {
        let mut current = self.lock();
        if current.serial == serial
            && current.sending
            && let Some(carrier) = &mut current.carrier
        {
            carrier.hang_up();
        }
    }

    /// Receives what has come for the current request while its thread is busy with other things: front servers may
    /// wait for it (SPEC A28), ask for values, or have gone.
    pub fn receive_meanwhile(&self) {
        // A peer that sends faster than this must wait for the next tick: others want the lock.
        for _ in 0..RECEIVES_MEANWHILE {
            let mut current = self.lock();
            let Current {
                carrier: Some(carrier),
                lost,
                waiting: false,
                ..
            } = &mut *current
            else {
                return;
            };
            if !matches!(note(lost, carrier.receive()), Ok(true)) {
                return;
            }
        }
    }

    /// The thread could not finish its request: the response is broken off.
    pub fn abandon(&self) {
        let carrier = self.lock().carrier.take();
        self.answers.settle(self.thread);
        if let Some(carrier) = carrier {
            carrier.cut(None);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    fn with<R>(&self, work: impl FnOnce(&mut dyn Carrier) -> Result<R, CarrierError>) -> Result<R, CarrierError> {
        let mut current = self.exchange.lock();
        if current.serial != self.serial {
            return Err(CarrierError::Ended);
        }
        let Current {
            carrier, lost, answer, ..
        } = &mut *current;
        match carrier {
            Some(carrier) => note(lost, work(carrier.as_mut())),
            None if *answer == Answer::Watchdog => Err(CarrierError::TimedOut),
            None => Err(CarrierError::Ended),
        }
    }

    /// Whether the request is still running.
    pub fn is_valid(&self) -> bool {
        self.with(|_| Ok(())).is_ok()
    }

    /// Why nothing of the application's response will arrive, if that has come out already.
    pub fn lost(&self) -> Option<CarrierError> {
        let current = self.exchange.lock();
        if current.serial != self.serial {
            return None;
        }
        current.lost.clone().map(|lost| match lost {
            Lost::Gone => CarrierError::Gone,
            Lost::Aborted => CarrierError::Aborted,
            Lost::Broken(what) => CarrierError::Protocol(what),
        })
    }

    /// Works with the body. No Python object may be made or freed inside.
    pub fn body<R>(&self, work: impl FnOnce(&mut Body) -> io::Result<R>) -> Result<R, CarrierError> {
        self.with(|carrier| work(carrier.body()).map_err(CarrierError::Spool))
    }

    /// Sends `slices`, and the response's end with `ending`; waits, detached, as long as the front server doesn't take
    /// it. Meanwhile the request body is read on, since some front servers send all of it before they read (SPEC A28).
    ///
    /// # Errors
    /// The response can't be completed: nothing more may be sent.
    pub fn send(&self, py: Python<'_>, slices: &[&[u8]], ending: Option<Ending>) -> Result<(), CarrierError> {
        let mut payload = Payload::new(slices);
        let attached = payload.remaining() <= ATTACHED_SEND;
        self.send_by(py, attached, |carrier| carrier.send(&mut payload, ending))
    }

    /// Sends a part of a file, and the response's end with `ending`.
    ///
    /// # Errors
    /// As [`Ticket::send`].
    pub fn send_file(
        &self,
        py: Python<'_>,
        part: &mut FilePart<'_>,
        ending: Option<Ending>,
    ) -> Result<(), CarrierError> {
        self.send_by(py, false, |carrier| carrier.send_file(part, ending))
    }

    /// Calls `send` until it has sent everything; the first time attached, if `attached`.
    fn send_by(
        &self,
        py: Python<'_>,
        attached: bool,
        mut send: impl FnMut(&mut dyn Carrier) -> Result<bool, CarrierError> + Send,
    ) -> Result<(), CarrierError> {
        forked::end_child();
        {
            let mut current = self.exchange.lock();
            let Current {
                serial,
                carrier,
                lost,
                answer,
                sending,
                broken,
                ..
            } = &mut *current;
            if *answer == Answer::Watchdog && *serial == self.serial {
                return Err(CarrierError::TimedOut);
            }
            let Some(carrier) = carrier.as_mut().filter(|_| *serial == self.serial && !*broken) else {
                return Err(CarrierError::Ended);
            };
            if *sending {
                return Err(CarrierError::Busy);
            }
            if *answer == Answer::Nobody {
                *answer = Answer::Thread;
                self.exchange.answers.settle(self.exchange.thread);
            }
            if attached {
                let sent = note(lost, send(carrier.as_mut()));
                *broken = sent.is_err();
                if sent? {
                    return Ok(());
                }
            }
            *sending = true;
        }
        let sent = py.detach(|| self.send_waiting(send));
        let mut current = self.exchange.lock();
        if current.serial == self.serial {
            current.sending = false;
            current.broken = sent.is_err();
        }
        sent
    }

    fn send_waiting(
        &self,
        mut send: impl FnMut(&mut dyn Carrier) -> Result<bool, CarrierError>,
    ) -> Result<(), CarrierError> {
        let timeout = self.exchange.write_timeout;
        let mut progress = Instant::now();
        loop {
            let (sent, handles) = self.with(|carrier| Ok((send(carrier)?, carrier.handles())))?;
            if sent {
                return Ok(());
            }
            let ready = self.wait(handles.input.as_deref(), Some(&handles.output), timeout)?;
            if ready.output {
                progress = Instant::now();
            } else if !timeout.is_zero() && progress.elapsed() >= timeout {
                // A peer that sends and never reads is stalled too.
                return Err(CarrierError::WriteStall(timeout));
            }
            if ready.input {
                match self.with(|carrier| carrier.receive()) {
                    // `send` knows, and may be ending it.
                    Ok(_) | Err(CarrierError::Aborted) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Waits for the peer; the watchdog leaves what arrives to the caller.
    fn wait(&self, input: Option<&OwnFd>, output: Option<&OwnFd>, timeout: Duration) -> Result<Ready, CarrierError> {
        self.set_waiting(true);
        let ready = wait(input, output, timeout).map_err(|_| CarrierError::Gone);
        self.set_waiting(false);
        ready
    }

    fn set_waiting(&self, waiting: bool) {
        let mut current = self.exchange.lock();
        if current.serial == self.serial {
            current.waiting = waiting;
        }
    }

    /// Waits, detached, until more of the body has arrived or nothing more will.
    ///
    /// # Errors
    /// The rest of the body can't be had.
    pub fn receive(&self, py: Python<'_>) -> Result<(), CarrierError> {
        forked::end_child();
        let before = self.with(|carrier| {
            carrier.receive()?;
            Ok(carrier.body().received)
        })?;
        py.detach(|| {
            let timeout = self.exchange.body_timeout;
            let handles = self.with(|carrier| Ok(carrier.handles()))?;
            loop {
                // What others have received in between counts; nobody else receives during a wait.
                let (received, complete) = self.with(|carrier| {
                    carrier.receive()?;
                    Ok((carrier.body().received, carrier.body().complete()))
                })?;
                if received > before || complete {
                    return Ok(());
                }
                if !self.wait(handles.input.as_deref(), None, timeout)?.input {
                    return Err(CarrierError::BodyStall(timeout));
                }
            }
        })
    }

    /// Looks, without waiting, whether the front server still wants the response. Not more often than the coarse clock
    /// ticks (1 to 4 ms): between quick blocks a system call each would only cost.
    ///
    /// # Errors
    /// It does not.
    pub fn check_peer(&self) -> Result<(), CarrierError> {
        forked::end_child();
        let now = now_ms();
        if self.exchange.checked_ms.swap(now, Ordering::Relaxed) == now {
            return Ok(());
        }
        self.with(|carrier| carrier.receive().map(drop))
    }

    /// The response was ended: gives the connection back.
    pub fn done(&self) {
        if let Some(carrier) = self.take() {
            carrier.done();
        }
    }

    /// Ends the response if the front server has aborted it (SPEC A23); otherwise breaks it off.
    pub fn cut(&self, py: Python<'_>, lack: Option<Lack>) {
        if let Ok(false) = self.with(|carrier| carrier.end_aborted()) {
            // What becomes of it decides only whether the connection is kept.
            let _ = py.detach(|| self.send_waiting(|carrier| carrier.end_aborted()));
        }
        if let Some(carrier) = self.take() {
            carrier.cut(lack);
        }
    }

    fn take(&self) -> Option<Box<dyn Carrier>> {
        forked::end_child();
        let mut current = self.exchange.lock();
        if current.serial == self.serial {
            // Before its descriptor can be closed.
            self.exchange.answers.settle(self.exchange.thread);
            current.carrier.take()
        } else {
            None
        }
    }
}

/// Remembers that the front server is gone, or as good as gone.
fn note<R>(lost: &mut Option<Lost>, result: Result<R, CarrierError>) -> Result<R, CarrierError> {
    match &result {
        Err(CarrierError::Gone) => *lost = Some(Lost::Gone),
        Err(CarrierError::Aborted) => *lost = Some(Lost::Aborted),
        Err(CarrierError::Protocol(what)) => *lost = Some(Lost::Broken(what.clone())),
        _ => {}
    }
    result
}

/// What a wait has found.
struct Ready {
    input: bool,
    output: bool,
}

/// Waits until one of the two is ready or broken; neither is when the timeout (zero: none) is over.
fn wait(input: Option<&OwnFd>, output: Option<&OwnFd>, timeout: Duration) -> io::Result<Ready> {
    let timeout = (!timeout.is_zero()).then(|| Timespec {
        tv_sec: timeout.as_secs() as i64,
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let mut fds: Vec<_> = input.map(|fd| PollFd::new(fd, PollFlags::IN)).into_iter().collect();
    fds.extend(output.map(|fd| PollFd::new(fd, PollFlags::OUT)));
    loop {
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let ready = |fd: Option<&PollFd<'_>>| fd.is_some_and(|fd| !fd.revents().is_empty());
    Ok(Ready {
        input: input.is_some() && ready(fds.first()),
        output: output.is_some() && ready(fds.last()),
    })
}
