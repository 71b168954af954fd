//! One serving thread of a worker: takes what the reactor has, attached, and answers it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use contract::limited;
use contract::log::escape;
use contract::own::OwnFd;
use contract::scoreboard::{Finished, Scoreboard, Slot, now_ms};
use contract::settings::{ListenerKind, Settings};
use fastcgi::record::role;
use fastcgi::{BeginRequest, Pairs};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3::{PyClass, PyClassInitializer};

use crate::base::bell::Bell;
use crate::base::request_id::RequestId;
use crate::base::{defect, ffi, forked};
use crate::connection::{self, Connection, Hub, Step};
use crate::process::access::Access;
use crate::process::interrupt::take_back;
use crate::process::quota::{NEVER, Quota};
use crate::process::status::StatusPage;
use crate::reactor::Next;
use crate::request::carrier::{Carrier, Ending, Payload};
use crate::request::exchange::Exchange;
use crate::wsgi::admission::{self, Admitted, Arrived, Known};
use crate::wsgi::call::{self, Caller};
use crate::wsgi::client_gone::ClientGone;
use crate::wsgi::environ::EnvironBuilder;
use crate::wsgi::errors::Errors;
use crate::wsgi::printed::{self, Printed};
use crate::wsgi::reject::Rejection;
use crate::wsgi::respond::{Answered, Outcome};

/// What other threads, the watchdog above all, may see of a serving thread.
pub struct Station {
    pub exchange: Arc<Exchange>,
    pub request: Arc<RequestId>,
    /// Its slot of the scoreboard.
    pub slot: usize,
    /// `threading.get_ident()` of the thread, once it serves.
    pub ident: AtomicU64,
    /// RequestTimeout was raised in it for the running request.
    pub interrupted: AtomicBool,
}

/// What all threads of a worker share.
pub struct Shared {
    pub settings: Settings,
    pub hub: Arc<Hub>,
    pub scoreboard: Arc<Scoreboard>,
    pub stations: Vec<Station>,
    pub quota: Quota,
    /// What is answered without the application; `None`: nothing.
    pub status: Option<StatusPage>,
    /// Wakes the watchdog.
    pub bell: Bell,
}

impl Shared {
    pub fn slot(&self, station: &Station) -> &Slot {
        &self.scoreboard.slots()[station.slot]
    }

    /// The connection that the reactor has for a thread; `None` if its peer is not allowed.
    pub fn connection(&self, next: Next<Connection>) -> Option<Box<Connection>> {
        match next {
            Next::Ready(connection) => Some(connection),
            Next::Accepted(fd, listener) => self.welcome(fd, listener),
            // Another worker has welcomed it.
            Next::Handed(fd, passage, files) => Connection::handed(&self.hub, fd, passage, files),
        }
    }

    /// The connection, unless it has asked for what is answered without the application.
    #[inline]
    pub fn unless_status(&self, connection: Box<Connection>, begin: BeginRequest) -> Option<Box<Connection>> {
        if self.asks_for_status(&connection, begin) {
            self.answer_status(connection);
            return None;
        }
        Some(connection)
    }

    #[inline]
    pub fn asks_for_status(&self, connection: &Connection, begin: BeginRequest) -> bool {
        let page = self.status.as_ref();
        page.is_some_and(|page| page.is_asked(connection, begin))
    }

    /// Answers what [`Shared::asks_for_status`] has named.
    #[cold]
    pub fn answer_status(&self, connection: Box<Connection>) {
        if let Some(page) = &self.status {
            page.answer(connection, &self.scoreboard, self.hub.reactor.count_handed());
        }
    }

    /// For whoever looks from outside: so many requests have come here, and no thread has taken them.
    pub fn note_waiting(&self, waiting: usize) {
        if let Some(first) = self.stations.first() {
            self.slot(first).seat.set_waiting(waiting);
        }
    }

    /// A new connection, if its peer is allowed (SPEC A31).
    fn welcome(&self, fd: OwnFd, listener: usize) -> Option<Box<Connection>> {
        let settings = &self.settings;
        let connection = Connection::new(&self.hub, fd);
        let is_tcp = settings.listeners.get(listener) == Some(&ListenerKind::Tcp);
        if is_tcp {
            // Responses are written whole: waiting for more would only delay their tail.
            if let Err(error) = rustix::net::sockopt::set_tcp_nodelay(connection.socket(), true) {
                tracing::debug!(%error, "TCP_NODELAY is not to be had");
            }
        }
        if let Some(allowed) = &settings.allowed_peers {
            let peer = is_tcp
                .then(|| rustix::net::getpeername(connection.socket()).ok().flatten())
                .flatten();
            let address = peer.and_then(|peer| std::net::SocketAddr::try_from(peer).ok());
            let address = address.map(|address| address.ip().to_canonical());
            if !address.is_some_and(|address| allowed.contains(&address)) {
                limited!(
                    "peers that FCGI_WEB_SERVER_ADDRS does not list",
                    tracing::warn!(?address, "a peer that FCGI_WEB_SERVER_ADDRS does not list was refused")
                );
                // The watchdog says how many more there were.
                self.bell.ring_if_asleep();
                return None;
            }
        }
        Some(connection)
    }
}

pub struct Server {
    shared: Arc<Shared>,
    index: usize,
    caller: Caller,
    environs: EnvironBuilder,
    errors: Py<Errors>,
    printed: Printed,
    /// What the access log will say of the running request, if there is one.
    access: Option<Access>,
    /// When the request before was over, if nothing has been done since: then the next one begins.
    freed: Option<Instant>,
    /// The number of this thread's request at which the worker's are counted; [`NEVER`] while its own pages are answered.
    count_at: u64,
    client_gone: Py<ClientGone>,
    /// Requests count.
    counts: bool,
}

impl Server {
    pub fn new(py: Python<'_>, shared: &Arc<Shared>, index: usize, app: Py<PyAny>) -> PyResult<Self> {
        let settings = &shared.settings;
        let errors = Py::new(py, Errors::new(Arc::clone(&shared.stations[index].request)))?;
        let client_gone = Py::new(py, ClientGone::new(Arc::clone(&shared.stations[index].exchange)))?;
        let constants = call::constants(py, settings, &errors, &client_gone)?;
        Ok(Self {
            printed: printed::streams(&shared.stations[index].request),
            access: settings.log.access.then(Access::default),
            freed: None,
            shared: Arc::clone(shared),
            index,
            caller: Caller::new(py, app, settings, Some(Arc::clone(&shared.scoreboard))),
            environs: EnvironBuilder::new(constants, settings),
            errors,
            count_at: 0,
            client_gone,
            counts: true,
        })
    }

    fn station(&self) -> &Station {
        &self.shared.stations[self.index]
    }

    /// It runs in the calling thread from now on.
    fn begin(&self) {
        self.station().ident.store(ffi::thread_ident(), Ordering::Relaxed);
        printed::belongs_to(&self.printed);
    }

    /// Serves until the worker drains and its last connection is gone.
    pub fn run(&mut self, py: Python<'_>) {
        self.begin();
        let hub = Arc::clone(&self.shared.hub);
        let mut woken = None;
        loop {
            let next = match woken.take() {
                Some(woken) => hub.reactor.next_after(&woken),
                None => hub.reactor.next(),
            };
            match next {
                Some(next) => {
                    if let Some(connection) = self.shared.connection(next) {
                        self.handle_safely(py, connection);
                    }
                }
                None if hub.reactor.is_over() => break,
                None => {
                    if hub.reactor.needs_watching() {
                        self.shared.bell.ring_if_asleep();
                    }
                    self.freed = None;
                    woken = Some(py.detach(|| hub.reactor.wait()));
                    // A signal handler of the application may raise; there is no request that could fail.
                    if let Err(error) = py.check_signals() {
                        tracing::warn!(
                            error = escape(&error.to_string()),
                            "a signal handler raised while no request ran"
                        );
                    }
                }
            }
        }
        hub.reactor.thread_sleeps();
    }

    /// Answers the request that has come on `connection`, which came through no listener and counts nowhere.
    pub fn answer(&mut self, py: Python<'_>, connection: OwnFd) {
        self.begin();
        let hub = &self.shared.hub;
        hub.reactor.opened();
        let connection = Connection::new(hub, connection);
        (self.counts, self.count_at) = (false, NEVER);
        self.handle_safely(py, connection);
        (self.counts, self.count_at) = (true, 0);
        self.freed = None;
        self.shared.slot(self.station()).begin_counting();
    }

    /// A panic is our own fault: it costs the connection, not the worker.
    fn handle_safely(&mut self, py: Python<'_>, connection: Box<Connection>) {
        if let Some(message) = defect::caught(|| self.handle(py, connection)) {
            tracing::error!(message, "a defect of wsgi-fpm ended a request: please report it");
            self.station().exchange.abandon();
            self.printed.iter().for_each(Errors::take_back);
            self.end_request(py);
        }
    }

    /// Whatever became of it.
    fn end_request(&mut self, py: Python<'_>) {
        let station = self.station();
        if station.interrupted.swap(false, Ordering::Relaxed) {
            take_back(py, station.ident.load(Ordering::Relaxed));
        }
        station.request.end();
        self.shared.slot(station).end();
        let had = self.shared.slot(station).serial();
        if had >= self.count_at {
            self.count(had);
        }
    }

    /// Looks whether the worker has had as many requests as it should have, now that this thread is at the number `had`.
    #[cold]
    fn count(&mut self, had: u64) {
        let shared = &self.shared;
        let own = shared.slot(self.station()).requests();
        let requests = shared.stations.iter().map(|station| shared.slot(station).requests());
        let next = shared.quota.next(own, requests.sum(), shared.stations.len());
        // Numbers begin with those of its own pages.
        self.count_at = next.saturating_add(had - own);
        if shared.quota.is_spent() {
            shared.bell.ring();
        }
    }

    fn handle(&mut self, py: Python<'_>, mut connection: Box<Connection>) {
        self.shared.bell.ring_if_asleep();
        let freed = self.freed.take();
        match connection.progress() {
            // Who sends faster than we receive must not keep Python from others.
            Step::Park if connection.has_unread() => py.detach(|| connection.park()),
            Step::Park => connection.park(),
            Step::Close => {}
            Step::Serve(begin) => {
                if let Some(connection) = self.shared.unless_status(connection, begin) {
                    self.serve(py, connection, begin, freed.unwrap_or_else(Instant::now));
                }
            }
        }
    }

    /// The thread has the request since `started`.
    fn serve(&mut self, py: Python<'_>, mut connection: Box<Connection>, begin: BeginRequest, started: Instant) {
        let lent = self.lend(py);
        let settings = &self.shared.settings;
        let slot = &self.shared.scoreboard.slots()[self.shared.stations[self.index].slot];
        let request = &self.shared.stations[self.index].request;
        if let Some(access) = &mut self.access {
            access.begin(|name| request.write_running(name), connection.peer());
        }
        let mut queued = None;
        let admitted = lent.map_err(Rejection::from).and_then(|serial| {
            let recorder = Recorder {
                slot,
                serial,
                access: self.access.as_mut(),
                queued: &mut queued,
                has_begun: false,
                request,
            };
            admit(py, &mut self.environs, &mut connection, begin, settings, recorder)
        });
        let (mut received, mut refusal, mut called) = (0, None, None);
        let answered = match admitted {
            Ok(admitted) => {
                let declared = admitted.content_length.unwrap_or(0);
                called = self.access.as_ref().map(|_| Instant::now());
                let result = self.call(&admitted, connection);
                let answered = result.unwrap_or_else(|error| {
                    tracing::error!(%error, "no memory for a request");
                    self.station().exchange.abandon();
                    Answered {
                        status: 0,
                        bytes: 0,
                        outcome: Outcome::Failed,
                    }
                });
                // Anybody can declare anything.
                received = self.station().exchange.received().min(declared);
                answered
            }
            Err(rejection) => {
                refusal = Some(rejection.kind());
                rejection.log(&self.request_name(), &self.shared.settings);
                refuse(connection, &rejection)
            }
        };
        self.errors.get().flush_partial();
        self.printed.iter().for_each(Errors::take_back);
        forked::end_child();
        let ended = Instant::now();
        let took = ended - started;
        if let Some(access) = &mut self.access {
            access.ran_for(called.map(|called| ended - called).unwrap_or_default());
            access.log(&answered, took);
        }
        if self.counts {
            self.shared.slot(self.station()).counts.count(&Finished {
                status: answered.status_seen(),
                outcome: answered.outcome,
                refusal,
                received,
                sent: answered.bytes,
                took,
                queued,
            });
        }
        self.end_request(py);
        self.freed = Some(ended);
    }

    /// A request begins, with the number that is returned.
    fn lend(&mut self, py: Python<'_>) -> PyResult<u64> {
        let station = &self.shared.stations[self.index];
        let serial = station.request.begin();
        let errors = || Errors::new(Arc::clone(&station.request));
        renew(&mut self.errors, &self.environs, intern!(py, "wsgi.errors"), errors)?;
        self.errors.get().lend(serial);
        self.printed.iter().for_each(|stream| stream.lend(serial));
        let client_gone = || ClientGone::new(Arc::clone(&station.exchange));
        let key = intern!(py, "wsgi_fpm.client_gone");
        renew(&mut self.client_gone, &self.environs, key, client_gone)?;
        Ok(serial)
    }

    fn call(&mut self, admitted: &Admitted<'_>, connection: Box<Connection>) -> PyResult<Answered> {
        let station = &self.shared.stations[self.index];
        let ticket = station.exchange.begin(connection, admitted.is_head);
        self.client_gone.get().lend();
        let request = || request_name(&self.shared, station);
        self.caller.call(&admitted.environ, ticket, admitted.is_head, &request)
    }

    fn request_name(&self) -> String {
        request_name(&self.shared, self.station())
    }
}

/// As Python knows a thread that serves. The first is its main thread, which has a name.
pub fn thread_name(index: usize) -> String {
    match index {
        0 => "MainThread".to_owned(),
        index => format!("wsgi-fpm-{index}"),
    }
}

/// Number, method and path of the running request, for the log.
pub fn request_name(shared: &Shared, station: &Station) -> String {
    let id = station.request.current().unwrap_or_default();
    format!("{id} {}", shared.slot(station).request_line())
}

/// An object of one request goes to the next one, unless somebody has kept it: then that gets a `new` one.
fn renew<T: PyClass + Into<PyClassInitializer<T>>>(
    object: &mut Py<T>,
    environs: &EnvironBuilder,
    key: &Bound<'_, PyString>,
    new: impl FnOnce() -> T,
) -> PyResult<()> {
    let py = key.py();
    // One reference is ours, one the environ's template has.
    if ffi::references(object.bind(py).as_any()) > 2 {
        *object = Py::new(py, new())?;
        environs.set_constant(key, object.bind(py).as_any())?;
    }
    Ok(())
}

/// Where the beginning of a request is recorded, as soon as it is known what it asks for.
struct Recorder<'a> {
    slot: &'a Slot,
    serial: u64,
    access: Option<&'a mut Access>,
    /// How long it has waited.
    queued: &'a mut Option<Duration>,
    has_begun: bool,
    request: &'a RequestId,
}

impl Recorder<'_> {
    fn knows(&mut self, known: &Known<'_, '_>) {
        self.begin(known.method, &known.path);
        if let Some(trace) = known.trace {
            self.request.belongs_to(trace);
        }
        *self.queued = known.queued;
        if let Some(access) = &mut self.access {
            access.knows(known);
        }
    }

    /// Nothing of the request is certain to be right: as much as can be read.
    fn guesses(&mut self, connection: &Connection) {
        let (method, path) = connection.method_and_path();
        self.begin(method, &path);
        if let Some(access) = &mut self.access {
            access.guesses(method, &path, |name| connection.param(name));
        }
    }

    fn begin(&mut self, method: &[u8], path: &[u8]) {
        self.slot.begin(now_ms(), self.serial, method, path);
        self.has_begun = true;
    }
}

/// Whether the request that the connection has brought may run.
fn admit<'py>(
    py: Python<'py>,
    environs: &mut EnvironBuilder,
    connection: &mut Connection,
    begin: BeginRequest,
    settings: &Settings,
    mut recorder: Recorder<'_>,
) -> Result<Admitted<'py>, Rejection> {
    let arrived = Arrived {
        params_too_large: connection.params_too_large(),
        other_role: (begin.role != role::RESPONDER).then_some(begin.role),
        queued: Some(connection.body_took()),
        ..Arrived::with(connection.body())
    };
    let pairs = Pairs::new(connection.params());
    let tell = |known: Known<'_, 'py>| recorder.knows(&known);
    let admitted = admission::admit(py, environs, pairs, arrived, &settings.limits, tell);
    if !recorder.has_begun {
        recorder.guesses(connection);
    }
    if let Ok(admitted) = &admitted {
        let body = connection.body();
        body.expected = admitted.content_length;
        if body.surplus() {
            connection::log_surplus();
        }
    }
    admitted
}

/// Answers instead of the application.
pub fn refuse(mut connection: Box<Connection>, rejection: &Rejection) -> Answered {
    let ending = match rejection {
        Rejection::UnknownRole(_) => Ending::UnknownRole,
        _ => Ending::Complete { app_status: 0 },
    };
    if rejection.closes() {
        connection.close_after_response();
    }
    let is_head = connection.param(b"REQUEST_METHOD") == b"HEAD";
    // A peer that doesn't take a few hundred bytes at once isn't waited for.
    admission::refuse(rejection, is_head, |page| {
        let has_left = matches!(connection.send(&mut Payload::new(&[page]), Some(ending)), Ok(true));
        if has_left {
            connection.done();
        }
        has_left
    })
}
