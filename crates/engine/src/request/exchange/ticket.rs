//! Using an exchange from the thread that has its request, and from what its application keeps of it: sending, receiving,
//! waiting for the peer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use contract::own::OwnFd;
use contract::scoreboard::now_ms;
use pyo3::Python;

use super::wait::{Ready, wait};
use super::{Answer, Current, Exchange, Failure, Lost, note};
use crate::base::forked;
use crate::request::body::Body;
use crate::request::carrier::{Carrier, CarrierError, Ending, FilePart, Lack, Payload};

/// The right to use an exchange while its request runs.
#[derive(Clone)]
pub struct Ticket {
    pub exchange: Arc<Exchange>,
    pub(super) serial: u64,
}

/// Blocks up to this size are sent attached: copying them costs less than giving the GIL away and getting it back.
const ATTACHED_SEND: usize = 64 * 1024;

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
        self.with(|carrier| carrier.look())
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
        match current.serial == self.serial {
            true => self.exchange.take(&mut current),
            false => None,
        }
    }
}
