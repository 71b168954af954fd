//! One request and its response, whatever carries them: what the WSGI layer sees of the world below.
//!
//! Knows no FastCGI and no sockets' bytes. All access goes through a lock that is held for non-blocking work only: waits
//! happen detached and unlocked, so that another thread of the application, or the watchdog, can always come in. Objects
//! that the application may keep hold a [`Ticket`], which is void once its request has ended (SPEC C16).

mod ticket;
mod wait;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use contract::scoreboard::now_ms;
use pyo3::PyErr;
use settings::Setting;
use settings::sections::Limits;
use settings::values::{SizeLimit, Timeout};

use crate::base::crash::Answers;
use crate::request::carrier::{Carrier, CarrierError, Ending, Payload};
pub use ticket::Ticket;

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
    /// Bytes that had come of the last request's body when it was over.
    received: AtomicU64,
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

/// Reads of the watchdog for one request in one tick.
const RECEIVES_MEANWHILE: usize = 16;

impl Exchange {
    pub fn new(limits: &Limits, thread: usize, answers: &'static Answers) -> Arc<Self> {
        Arc::new(Self {
            current: Mutex::default(),
            serial: AtomicU64::new(0),
            checked_ms: AtomicU64::new(0),
            received: AtomicU64::new(0),
            write_timeout: limits.write_timeout.clone(),
            body_timeout: limits.body_timeout.clone(),
            body_max: limits.body_max.clone(),
            thread,
            answers,
        })
    }

    /// A request begins; `is_head`: only the head of a response may be sent.
    pub fn begin(self: &Arc<Self>, mut carrier: Box<dyn Carrier>, is_head: bool) -> Ticket {
        let mut current = self.lock();
        current.serial += 1;
        self.serial.store(current.serial, Ordering::Release);
        if let Some((fd, id)) = carrier.begin(is_head) {
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
        let Some(mut carrier) = self.take(&mut current) else {
            return TakenOver::No;
        };
        current.answer = Answer::Watchdog;
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

    /// Whether nobody waits for the response of the request `serial` any more: it has ended, or was answered by the watchdog, or its
    /// front server is gone. Never waits, and looks once in a tick of the coarse clock (1 to 4 ms) at most.
    pub fn is_unwanted(&self, serial: u64) -> bool {
        // Whoever has it learns whether the front server is gone, and leaves word of it.
        let Some(mut current) = self.try_lock() else {
            return self.serial() != serial;
        };
        let Current {
            carrier: Some(carrier),
            lost,
            waiting,
            ..
        } = &mut *current
        else {
            return true;
        };
        let now = now_ms();
        if self.serial() == serial && lost.is_none() && !*waiting && self.checked_ms.swap(now, Ordering::Relaxed) != now
        {
            // What else may fail here fails where the body is read.
            let _ = note(lost, carrier.look());
        }
        self.serial() != serial || lost.is_some()
    }

    /// The thread could not finish its request: the response is broken off.
    pub fn abandon(&self) {
        let carrier = self.take(&mut self.lock());
        if let Some(carrier) = carrier {
            carrier.cut(None);
        }
    }

    /// The request is over for whoever has called.
    fn take(&self, current: &mut Current) -> Option<Box<dyn Carrier>> {
        // Before its descriptor can be closed.
        self.answers.settle(self.thread);
        let mut carrier = current.carrier.take()?;
        self.received.store(carrier.body().received, Ordering::Relaxed);
        Some(carrier)
    }

    /// Bytes that had come of the last request's body when it was over.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
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
