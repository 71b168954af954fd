//! One request and its response, whatever carries them: what the WSGI layer sees of the world below.
//!
//! Knows no FastCGI and no sockets' bytes. All access goes through a lock that is held for non-blocking work only: waits
//! happen detached and unlocked, so that another thread of the application, or the watchdog, can always come in. Objects
//! that the application may keep hold a [`Ticket`], which is void once its request has ended (SPEC C16).

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

use contract::own::OwnFd;
use contract::scoreboard::now_ms;
use contract::wait::timespec;
use pyo3::prelude::*;
use rustix::event::{PollFd, PollFlags, poll};
use settings::Setting;
use settings::sections::Limits;
use settings::values::{SizeLimit, Timeout};

use crate::base::crash::Answers;
use crate::base::forked;
use crate::request::body::Body;
use crate::request::carrier::{Carrier, CarrierError, Ending, FilePart, Lack, Payload};

/// Who answers a request: whoever comes first, its thread or the watchdog.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Answer {
    #[default]
    Nobody,
    Thread,
    Watchdog,
}

/// What stops a response, or the reading of a body.
pub enum Failure {
    /// What the application has raised, in a signal handler perhaps.
    App(PyErr),
    Carrier(CarrierError),
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::App(error)
    }
}

impl From<CarrierError> for Failure {
    fn from(error: CarrierError) -> Self {
        Self::Carrier(error)
    }
}

/// What became of the watchdog's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenOver {
    /// The request is the watchdog's, and answered.
    Yes,
    /// The application's response has begun, or the request has ended.
    No,
    /// Somebody works with the exchange and may be held up by a disk: not now.
    Busy,
}

/// The current exchange of one thread.
pub struct Exchange {
    current: Mutex<Current>,
    /// Number of the current or last request, as in `current`.
    serial: AtomicU64,
    /// When the peer was last looked at, by `now_ms`.
    checked_ms: AtomicU64,
    write_timeout: Setting<Timeout>,
    body_timeout: Setting<Timeout>,
    /// Carriers keep it; here it is for whoever reports that they have it.
    pub body_max: Setting<SizeLimit>,
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
            serial: AtomicU64::new(0),
            checked_ms: AtomicU64::new(0),
            write_timeout: limits.write_timeout.clone(),
            body_timeout: limits.body_timeout.clone(),
            body_max: limits.body_max.clone(),
            thread,
            answers,
        })
    }

    /// A request begins; `is_head`: only the head of a response may be sent.
    pub fn begin(self: &Arc<Self>, carrier: Box<dyn Carrier>, is_head: bool) -> Ticket {
        let mut current = self.lock();
        current.serial += 1;
        self.serial.store(current.serial, Ordering::Release);
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

    /// Number of the current or last request. Never waits.
    pub fn serial(&self) -> u64 {
        self.serial.load(Ordering::Acquire)
    }

    /// The watchdog answers the request `serial` instead of the application: `response` makes the whole of it, for HEAD or
    /// another method. Never waits.
    pub fn take_over<'r>(&self, serial: u64, response: impl FnOnce(bool) -> &'r [u8]) -> TakenOver {
        let Some(mut current) = self.try_lock() else {
            return TakenOver::Busy;
        };
        if current.serial != serial || current.answer != Answer::Nobody {
            return TakenOver::No;
        }
        let Some(mut carrier) = current.carrier.take() else {
            return TakenOver::No;
        };
        current.answer = Answer::Watchdog;
        self.answers.settle(self.thread);
        // The peer takes an answer of a few hundred bytes at once, or has stopped reading.
        let response = response(current.is_head);
        match carrier.send(&mut Payload::new(&[response]), Some(Ending::Complete { app_status: 1 })) {
            Ok(true) => carrier.done(),
            Ok(false) | Err(_) => carrier.cut(None),
        }
        TakenOver::Yes
    }

    /// Ends the wait of a thread that has been sending the response of the request `serial` for too long. False if
    /// somebody works with the exchange: not now. Never waits.
    pub fn end_sending(&self, serial: u64) -> bool {
        let Some(mut current) = self.try_lock() else {
            return false;
        };
        if current.serial == serial
            && current.sending
            && let Some(carrier) = &mut current.carrier
        {
            carrier.hang_up();
        }
        true
    }

    /// Receives what has come for the current request while its thread is busy with other things: front servers may
    /// wait for it (SPEC A28), ask for values, or have gone. A body may go to a disk, and wait for that.
    pub fn receive_meanwhile(&self) {
        // A peer that sends faster than this must wait for the next tick: others want the lock.
        for _ in 0..RECEIVES_MEANWHILE {
            // Whoever has it receives itself, or is held up by the same disk.
            let Some(mut current) = self.try_lock() else { return };
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

    /// `None` if somebody else has it.
    fn try_lock(&self) -> Option<MutexGuard<'_, Current>> {
        match self.current.try_lock() {
            Ok(current) => Some(current),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
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
    /// it. Meanwhile the request body is read on, since some front servers send all of it before they read (SPEC A28),
    /// and signal handlers run.
    ///
    /// # Errors
    /// The response can't be completed: nothing more may be sent.
    pub fn send(&self, py: Python<'_>, slices: &[&[u8]], ending: Option<Ending>) -> Result<(), Failure> {
        let mut payload = Payload::new(slices);
        let attached = payload.remaining() <= ATTACHED_SEND;
        self.send_by(py, attached, |carrier| carrier.send(&mut payload, ending))
    }

    /// Sends a part of a file, and the response's end with `ending`.
    ///
    /// # Errors
    /// As [`Ticket::send`].
    pub fn send_file(&self, py: Python<'_>, part: &mut FilePart<'_>, ending: Option<Ending>) -> Result<(), Failure> {
        self.send_by(py, false, |carrier| carrier.send_file(part, ending))
    }

    /// Calls `send` until it has sent everything; the first time attached, if `attached`.
    fn send_by(
        &self,
        py: Python<'_>,
        attached: bool,
        mut send: impl FnMut(&mut dyn Carrier) -> Result<bool, CarrierError> + Send,
    ) -> Result<(), Failure> {
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
                return Err(CarrierError::TimedOut.into());
            }
            let Some(carrier) = carrier.as_mut().filter(|_| *serial == self.serial && !*broken) else {
                return Err(CarrierError::Ended.into());
            };
            if *sending {
                return Err(CarrierError::Busy.into());
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
        let sent = self.send_waiting(py, send);
        let mut current = self.exchange.lock();
        if current.serial == self.serial {
            current.sending = false;
            current.broken = sent.is_err();
        }
        sent
    }

    /// # Errors
    /// The response can't be completed, or a signal handler has raised.
    fn send_waiting(
        &self,
        py: Python<'_>,
        mut send: impl FnMut(&mut dyn Carrier) -> Result<bool, CarrierError> + Send,
    ) -> Result<(), Failure> {
        let mut progress = Instant::now();
        while !py.detach(|| self.send_until_signal(&mut send, &mut progress))? {
            py.check_signals()?;
        }
        Ok(())
    }

    /// Calls `send` until it has sent everything, or a signal has come: false. `progress`: when the peer took something last.
    fn send_until_signal(
        &self,
        send: &mut impl FnMut(&mut dyn Carrier) -> Result<bool, CarrierError>,
        progress: &mut Instant,
    ) -> Result<bool, CarrierError> {
        let timeout = &self.exchange.write_timeout;
        loop {
            let (sent, handles) = self.with(|carrier| Ok((send(carrier)?, carrier.handles())))?;
            if sent {
                return Ok(true);
            }
            let deadline = timeout.deadline(*progress);
            let ready = self.wait(handles.input.as_deref(), Some(&handles.output), deadline)?;
            if ready.output {
                *progress = Instant::now();
            } else if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                // A peer that sends and never reads is stalled too.
                return Err(CarrierError::WriteStall(Box::new(timeout.clone())));
            }
            if ready.input {
                match self.with(|carrier| carrier.receive()) {
                    // `send` knows, and may be ending it.
                    Ok(_) | Err(CarrierError::Aborted) => {}
                    Err(error) => return Err(error),
                }
            }
            if ready.signal {
                return Ok(false);
            }
        }
    }

    /// Waits for the peer; the watchdog leaves what arrives to the caller.
    fn wait(
        &self,
        input: Option<&OwnFd>,
        output: Option<&OwnFd>,
        deadline: Option<Instant>,
    ) -> Result<Ready, CarrierError> {
        self.set_waiting(true);
        let ready = wait(input, output, deadline).map_err(|_| CarrierError::Gone);
        self.set_waiting(false);
        ready
    }

    fn set_waiting(&self, waiting: bool) {
        let mut current = self.exchange.lock();
        if current.serial == self.serial {
            current.waiting = waiting;
        }
    }

    /// Waits, detached, until more of the body has arrived or nothing more will. Signal handlers run meanwhile.
    ///
    /// # Errors
    /// The rest of the body can't be had, or a signal handler has raised.
    pub fn receive(&self, py: Python<'_>) -> Result<(), Failure> {
        forked::end_child();
        let before = self.with(|carrier| {
            carrier.receive()?;
            Ok(carrier.body().received)
        })?;
        let begun = Instant::now();
        while !py.detach(|| self.receive_until_signal(before, begun))? {
            py.check_signals()?;
        }
        Ok(())
    }

    /// Waits for more of the body than `before`, since `begun`; false if a signal has come.
    fn receive_until_signal(&self, before: u64, begun: Instant) -> Result<bool, CarrierError> {
        let timeout = &self.exchange.body_timeout;
        let deadline = timeout.deadline(begun);
        let handles = self.with(|carrier| Ok(carrier.handles()))?;
        loop {
            // What others have received in between counts; nobody else receives during a wait.
            let (received, complete) = self.with(|carrier| {
                carrier.receive()?;
                Ok((carrier.body().received, carrier.body().complete()))
            })?;
            if received > before || complete {
                return Ok(true);
            }
            let ready = self.wait(handles.input.as_deref(), None, deadline)?;
            if !ready.input && deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(CarrierError::BodyStall(Box::new(timeout.clone())));
            }
            if ready.signal {
                return Ok(false);
            }
        }
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
            // What becomes of it decides only whether the connection is kept. Whom a signal handler's exception would hit
            // is past caring: handlers run afterwards.
            let mut progress = Instant::now();
            let mut end = || self.send_until_signal(&mut |carrier| carrier.end_aborted(), &mut progress);
            py.detach(|| while matches!(end(), Ok(false)) {});
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
    /// A signal has ended the wait.
    signal: bool,
}

/// Waits until one of the two is ready or broken; neither is after the deadline, or when a signal has come.
fn wait(input: Option<&OwnFd>, output: Option<&OwnFd>, deadline: Option<Instant>) -> io::Result<Ready> {
    let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let timeout = timeout.map(timespec);
    let mut fds: Vec<_> = input.map(|fd| PollFd::new(fd, PollFlags::IN)).into_iter().collect();
    fds.extend(output.map(|fd| PollFd::new(fd, PollFlags::OUT)));
    let signal = match poll(&mut fds, timeout.as_ref()) {
        Ok(_) => false,
        Err(rustix::io::Errno::INTR) => true,
        Err(error) => return Err(error.into()),
    };
    let ready = |fd: Option<&PollFd<'_>>| fd.is_some_and(|fd| !fd.revents().is_empty());
    Ok(Ready {
        input: input.is_some() && ready(fds.first()),
        output: output.is_some() && ready(fds.last()),
        signal,
    })
}
