//! A worker's reactor: the epoll set with the listeners and the parked connections, and who waits in it.
//!
//! Knows file descriptors and deadlines; neither FastCGI nor Python. Any thread of the worker may call it. Connections
//! are registered edge-triggered, once, when they are first parked: an edge that arrives while a thread has the
//! connection is remembered and makes it ready again as soon as it is parked.

mod giving;
mod listening;
mod place;
mod slots;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contract::handover::{Handover, Passage};
use contract::limited;
use contract::own::{Own, OwnFd};
use contract::scoreboard::now_ms;
use contract::wait::timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{self, EventfdFlags, PollFd, PollFlags, eventfd};
use rustix::io::Errno;
use settings::Setting;

use crate::base::lost;
use giving::Giver;
use listening::Listeners;
use place::Place;
pub use slots::Key;
use slots::Slots;

/// What can be parked: a connection that has no running request.
pub trait Parked: Send {
    fn fd(&self) -> BorrowedFd<'_>;
    /// Where the reactor keeps it; `None` until it is parked for the first time.
    fn key(&mut self) -> &mut Option<Key>;
    /// When somebody must look at it although nothing has arrived: milliseconds of `contract::scoreboard::now_ms`.
    fn deadline(&self) -> Option<u64>;
    /// Between two requests, with nothing of the next one received.
    fn is_idle(&self) -> bool;
    /// Whether something waits until the peer takes it.
    fn wants_to_write(&self) -> bool;
    /// The peer has ended its side, or both: that stands behind what it has sent.
    fn peer_has_ended(&mut self);
    /// Since when it has been idle so that it can be closed for another one, if it is: milliseconds of `now_ms`.
    fn idle_since(&self, now_ms: u64) -> Option<u64>;
    /// Whether it is ready with something for a thread, of whichever worker.
    fn wants_any_thread(&self) -> bool;
    /// Gives it to another process through `handover`; whether that was possible now.
    fn give(&mut self, handover: &Handover) -> bool;
}

/// What a thread does next.
pub enum Next<C> {
    /// Something arrived on a parked connection.
    Ready(Box<C>),
    /// A new connection, from the listener with this number.
    Accepted(OwnFd, usize),
    /// A connection that another worker has given away, with the files beside it.
    Handed(OwnFd, Passage, Vec<OwnFd>),
}

/// How a wait has ended.
pub struct Woken {
    /// What `next` had given away by then.
    taken: u64,
}

pub struct Reactor<C> {
    epoll: OwnFd,
    listeners: Mutex<Listeners>,
    /// Where connections of other workers come from, and ours go to when this one is replaced.
    handover: Option<Handover>,
    slots: Mutex<Slots<C>>,
    /// Where one thread waits in epoll.
    place: Place,
    /// What `next` has given away since the start.
    taken: AtomicU64,
    threads: usize,
    /// Threads that neither wait nor queue.
    awake: AtomicUsize,
    giver: Giver,
    /// New connections that were taken since epoll was asked.
    streak: AtomicU32,
    /// The last one that was taken had been parked.
    parked_had_turn: AtomicBool,
    /// Listeners (by bit) that had a connection when last asked: accept4 tells sooner than epoll that there is none.
    hints: AtomicU64,
    /// The listener (by bit) whose turn it is.
    turn: AtomicU32,
    /// When epoll was asked last, in milliseconds.
    polled_ms: AtomicU64,
    /// It may take connections.
    begun: AtomicBool,
    draining: AtomicBool,
    /// Draining, and others are there to take what it has.
    retiring: AtomicBool,
    /// Others have been told that this worker does not listen any more.
    nudged: AtomicBool,
    /// Milliseconds until which accepting pauses after EMFILE and its like.
    accept_after_ms: AtomicU64,
    /// Milliseconds before which the same warning would be one too many.
    warn_after_ms: AtomicU64,
    open: AtomicUsize,
    max_open: Setting<usize>,
    /// It does not listen, for it has as many connections as it may have.
    full: AtomicBool,
    /// While it was full, a connection waited at the last look.
    kept_waiting: AtomicBool,
    /// No other worker is there to take what this one does not.
    is_alone: bool,
    /// Until then other workers are taken to be full as well.
    crowded_until_ms: AtomicU64,
    waker: OwnFd,
}

/// Events taken from epoll at once. Only parked connections profit: listeners are level-triggered.
const EVENTS: usize = 64;
/// How long a ready connection waits for the thread that took its event before another one joins.
const JOIN_TICK: Duration = Duration::from_millis(3);
/// New connections taken in a row before epoll is asked again.
const ACCEPT_STREAK: u32 = 32;
/// Keys of what isn't a connection. Connections' keys have an index below 2^31 in the low half.
const LISTENER_BIT: u64 = 1 << 31;
const WAKER_KEY: u64 = u64::MAX;
/// How long a thread waits at most while the worker drains: it must notice that the last request has ended.
const DRAIN_TICK: Duration = Duration::from_millis(20);

impl<C: Parked> Reactor<C> {
    /// It takes no connections before [`Reactor::begin`]. For so many `threads`, and at most `max_open` connections at a time. `is_alone`: no other worker serves the listeners.
    ///
    /// # Errors
    /// The system's, if there is no epoll or the listeners can't be watched.
    pub fn new(
        listeners: Vec<OwnFd>,
        handover: Option<Handover>,
        threads: usize,
        max_open: Setting<usize>,
        is_alone: bool,
    ) -> io::Result<Self> {
        let epoll = Own::new(epoll::create(CreateFlags::CLOEXEC)?);
        let waker = Own::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        epoll::add(
            &epoll,
            &waker,
            EventData::new_u64(WAKER_KEY),
            EventFlags::IN | EventFlags::ET,
        )?;
        Ok(Self {
            epoll,
            listeners: Mutex::new(Listeners {
                fds: listeners.into_iter().map(Some).collect(),
                watched: false,
            }),
            handover,
            slots: Mutex::new(Slots::new()),
            place: Place::new(),
            taken: AtomicU64::new(0),
            threads,
            awake: AtomicUsize::new(threads),
            giver: Giver::new(threads),
            streak: AtomicU32::new(0),
            parked_had_turn: AtomicBool::new(false),
            hints: AtomicU64::new(0),
            turn: AtomicU32::new(0),
            polled_ms: AtomicU64::new(0),
            begun: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            retiring: AtomicBool::new(false),
            nudged: AtomicBool::new(true),
            accept_after_ms: AtomicU64::new(0),
            warn_after_ms: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            max_open,
            full: AtomicBool::new(false),
            kept_waiting: AtomicBool::new(false),
            is_alone,
            crowded_until_ms: AtomicU64::new(0),
            waker,
        })
    }

    /// Takes connections from now on, unless it drains already.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::SeqCst);
        if !self.draining() {
            self.resume_listening();
        }
    }

    /// What is there to do now, without waiting. Called attached: whoever holds the GIL takes the next request.
    pub fn next(&self) -> Option<Next<C>> {
        let next = self.look()?;
        self.taken
            .store(self.taken.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        Some(next)
    }

    fn look(&self) -> Option<Next<C>> {
        // Under load there is always a new or a ready connection to take, and epoll would never be asked: requests on parked
        // connections, other listeners and peers that have gone would wait. So it is asked after a run of new connections and once
        // in each tick of the coarse clock, which is too seldom to cost anything.
        let is_stale = || self.polled_ms.load(Ordering::Relaxed) != now_ms();
        if self.streak.load(Ordering::Relaxed) >= ACCEPT_STREAK || is_stale() {
            self.poll(Some(Duration::ZERO));
        }
        for asked_epoll in [false, true] {
            // Parked connections may be ready again and again: what comes from elsewhere has every other turn.
            if self.parked_had_turn.load(Ordering::Relaxed)
                && let Some(arrived) = self.look_elsewhere()
            {
                return Some(arrived);
            }
            if let Some(connection) = self.slots().pop_ready() {
                self.parked_had_turn.store(true, Ordering::Relaxed);
                return Some(Next::Ready(connection));
            }
            if let Some(arrived) = self.look_elsewhere() {
                return Some(arrived);
            }
            if !asked_epoll && !self.poll(Some(Duration::ZERO)) {
                return None;
            }
        }
        None
    }

    /// A connection that was not parked here.
    fn look_elsewhere(&self) -> Option<Next<C>> {
        let arrived = self.accept()?;
        self.parked_had_turn.store(false, Ordering::Relaxed);
        self.streak.fetch_add(1, Ordering::Relaxed);
        Some(arrived)
    }

    fn thread_wakes(&self) {
        self.awake.fetch_add(1, Ordering::SeqCst);
    }

    /// A thread stops calling [`Reactor::next`], or goes to wait.
    pub fn thread_sleeps(&self) {
        self.awake.fetch_sub(1, Ordering::SeqCst);
    }

    /// Waits until there may be something to do, or a signal has come. Called detached. One thread at most waits in epoll;
    /// the others wait for that place.
    pub fn wait(&self) -> Woken {
        self.thread_sleeps();
        match self.place.enter(|| self.awake.load(Ordering::SeqCst) > 0) {
            Some(occupied) => {
                // Who comes last must not wait for what will never come: the others wait for the place.
                if !self.is_over() {
                    self.wait_in_place();
                }
                // Before the place is left: whoever comes to it must know that somebody serves.
                self.thread_wakes();
                drop(occupied);
            }
            None => {
                self.thread_wakes();
                // For the same reason.
                self.wake();
            }
        }
        self.wake_giver();
        Woken { taken: self.taken() }
    }

    /// As [`Reactor::next`], right after a wait.
    pub fn next_after(&self, woken: &Woken) -> Option<Next<C>> {
        let others_took = self.taken() != woken.taken;
        let others_serve = self.awake.load(Ordering::Relaxed) > 1;
        let next = self.next();
        if others_took || next.is_none() {
            self.place.learn(false);
        } else if others_serve {
            self.place.learn(true);
        }
        next
    }

    fn wait_in_place(&self) {
        let mut taken = self.taken();
        while !self.slots().has_ready() || self.taken() != taken {
            taken = self.taken();
            // A thread that serves may have taken events of several connections and then be blocked in the application:
            // nothing more will come for those, so somebody has to look.
            let others_serve = self.awake.load(Ordering::Relaxed) > 0;
            let arrived = match (self.draining(), others_serve) {
                (true, _) => self.poll(Some(DRAIN_TICK)),
                (false, true) => self.poll_beside_others(JOIN_TICK),
                (false, false) => self.poll(None),
            };
            if arrived || self.draining() || !others_serve {
                return;
            }
        }
    }

    /// As `poll`, for a thread that waits while others of this worker serve. Who waits in epoll itself is woken for a new
    /// connection instead of other workers (EPOLLEXCLUSIVE). Who waits for epoll is woken beside them: they may be idle,
    /// while the threads of this worker may hold Python for long.
    fn poll_beside_others(&self, timeout: Duration) -> bool {
        match event::poll(&mut [PollFd::new(&self.epoll, PollFlags::IN)], Some(&timespec(timeout))) {
            Ok(0) => false,
            Ok(_) => self.poll(Some(Duration::ZERO)),
            // A signal: the main thread may have a handler to run.
            Err(_) => true,
        }
    }

    /// Whether a thread waits in epoll: nobody else need look at what arrives.
    pub fn has_waiter(&self) -> bool {
        self.place.is_taken()
    }

    /// Whether something waits for a thread.
    pub fn has_ready(&self) -> bool {
        self.slots().has_ready()
    }

    /// How many connections have something for a thread.
    pub fn count_ready(&self) -> usize {
        self.poll(Some(Duration::ZERO));
        self.slots().count_ready()
    }

    /// How many connections wait between this worker and the others.
    pub fn count_handed(&self) -> usize {
        self.handover.as_ref().map_or(0, Handover::waiting)
    }

    /// Whether something has arrived that no thread has taken.
    pub fn has_arrivals(&self) -> bool {
        self.has_ready() || self.poll(Some(Duration::ZERO))
    }

    /// What `next` has given away since the start; unchanged: no thread came.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes `connection` until something arrives on it; `ready`: it has unread input, so at once. Closes it (by
    /// dropping) if it can't be watched.
    pub fn park(&self, connection: Box<C>, ready: bool) {
        let refused = self.slots().park(connection, ready, &self.epoll);
        if let Err((error, connection)) = refused {
            limited!(
                "connections that can't be watched",
                tracing::error!(%error, "a connection can't be watched and is closed")
            );
            drop(connection);
        }
    }

    /// A connection that came through no listener is open.
    pub fn opened(&self) {
        self.open.fetch_add(1, Ordering::SeqCst);
    }

    /// A connection is gone; `key` is where it was kept, if it ever was. For its `Drop`.
    pub fn closed(&self, key: Option<Key>) {
        if let Some(key) = key {
            self.slots().release(key);
        }
        if self.open.fetch_sub(1, Ordering::SeqCst) == *self.max_open && !self.draining() {
            self.resume_listening();
        }
    }

    /// Parked connections whose deadline is over at `now_ms`; and pauses of accepting that are over end.
    pub fn expired(&self, now_ms: u64) -> Vec<Box<C>> {
        self.relieve(now_ms);
        let pause = self.accept_after_ms.load(Ordering::Relaxed);
        if pause != 0 && pause <= now_ms {
            self.accept_after_ms.store(0, Ordering::Relaxed);
            if !self.draining() {
                self.resume_listening();
            }
        }
        self.slots()
            .take_parked(|connection| connection.deadline().is_some_and(|deadline| deadline <= now_ms))
    }

    /// Parked connections on which something has arrived while no thread came to take them.
    pub fn take_ready(&self) -> Vec<Box<C>> {
        self.poll(Some(Duration::ZERO));
        let mut ready = Vec::new();
        let mut slots = self.slots();
        while let Some(connection) = slots.pop_ready() {
            ready.push(connection);
        }
        ready
    }

    /// New connections that no thread came to take.
    pub fn accept_pending(&self) -> Vec<Next<C>> {
        std::iter::from_fn(|| self.accept()).take(EVENTS).collect()
    }

    /// Stops accepting and takes leave of the connections that have no request: gives them away if the worker is `retiring`,
    /// else closes them. What can't be given now stays; called again, it tries again. Every waiting thread wakes. Of the
    /// listeners only those stay open that `keeps` names by number, for [`Reactor::take_backlog`].
    pub fn drain(&self, retiring: bool, keeps: impl Fn(usize) -> bool) {
        self.retiring.store(retiring, Ordering::SeqCst);
        self.draining.store(true, Ordering::SeqCst);
        self.stop_listening();
        for (number, listener) in self.listeners().fds.iter_mut().enumerate() {
            if retiring || !keeps(number) {
                *listener = None;
            }
        }
        // What has arrived already isn't idle, though nobody has looked.
        while self.poll(Some(Duration::ZERO)) {}
        self.wake();
        self.place.drain();
        if retiring {
            self.nudge();
            self.wake_giver();
        }
        let leaving = self.slots().take_parked(Parked::is_idle);
        for connection in leaving {
            if retiring && let Err(connection) = self.give(connection) {
                self.park(connection, false);
            }
        }
    }

    /// Gives a connection away; it comes back if that is not possible now.
    pub fn give(&self, mut connection: Box<C>) -> Result<(), Box<C>> {
        let given = self.handover.as_ref().is_some_and(|handover| connection.give(handover));
        if !given {
            return Err(connection);
        }
        // It stays open elsewhere, so closing it here does not take it out. Missing from the set is what we want.
        let _ = epoll::delete(&self.epoll, connection.fd());
        Ok(())
    }

    /// Whether connections outlive this worker: it drains, and others take what it gives.
    pub fn retiring(&self) -> bool {
        self.retiring.load(Ordering::SeqCst)
    }

    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Whether nothing is left to do, and nothing will come.
    pub fn is_over(&self) -> bool {
        self.draining() && self.open() == 0 && !self.has_listeners()
    }

    /// Wakes the thread that waits in epoll.
    pub fn wake(&self) {
        // The counter can't overflow, and most failures could only mean that it is readable already.
        if let Err(error @ Errno::BADF) = rustix::io::write(&self.waker, &1u64.to_ne_bytes()) {
            lost::give_up("the event descriptor of a worker", error);
        }
    }

    /// Connections that are open: parked, being served or lingering.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Whether any parked connection has a deadline, or accepting pauses: somebody must call [`Reactor::expired`].
    pub fn needs_watching(&self) -> bool {
        self.open() > 0 || self.accept_after_ms.load(Ordering::Relaxed) != 0
    }

    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slots(&self) -> MutexGuard<'_, Slots<C>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes events from epoll; whether there were any.
    fn poll(&self, timeout: Option<Duration>) -> bool {
        self.streak.store(0, Ordering::Relaxed);
        let timeout = timeout.map(timespec);
        let mut events = [MaybeUninit::uninit(); EVENTS];
        let events = match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
            Ok((events, _)) => events,
            // A signal: the main thread may have a handler to run.
            Err(Errno::INTR) => return true,
            Err(error) => lost::give_up("the epoll set of a worker", error),
        };
        self.polled_ms.store(now_ms(), Ordering::Relaxed);
        if events.is_empty() {
            return false;
        }
        let mut slots = self.slots();
        for event in &*events {
            match event.data.u64() {
                WAKER_KEY => {}
                key if key & LISTENER_BIT != 0 && key >> 32 == 0 => {
                    self.hints.fetch_or(1 << (key & !LISTENER_BIT), Ordering::Relaxed);
                }
                key => slots.arrived(key, event.flags),
            }
        }
        true
    }
}
