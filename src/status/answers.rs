//! What each path of the status listener says. Knows no sockets.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tracing::warn;

use super::history::{self, History};
use super::snapshot::{Snapshot, State};
use super::{accept, openmetrics};
use crate::hosts::Hosts;
use crate::manager;
use crate::manager::relay::Logs;

/// The supervisor is one thread that never waits: it has answered by then.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two snapshots, so that whoever asks without a pause does not keep the supervisor from its work.
const PAUSE: Duration = Duration::from_millis(10);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const PATHS: &str =
    "there are /, /ping, /ping/POOL, /status.json, /status.json?pool=POOL, /history.json and /metrics\n";
/// The page, and what it loads, each with its type.
const FILES: [(&str, &str, &str); 3] = [
    ("/", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("page/page.css")),
    (
        "/page.js",
        "text/javascript; charset=utf-8",
        include_str!("page/page.js"),
    ),
];

/// Of every response: nothing is kept, framed or guessed, and nothing is loaded from elsewhere.
const HEADERS: [(HeaderName, &str); 6] = [
    (CACHE_CONTROL, "no-store"),
    (hyper::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (hyper::header::X_FRAME_OPTIONS, "DENY"),
    (hyper::header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        hyper::header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
];

pub type Answer = Response<Full<Bytes>>;

pub struct Answers {
    requests: mpsc::Sender<manager::Request>,
    /// `None`: no browser comes here by a name.
    hosts: Option<Hosts>,
    /// A host was refused, which the log has said.
    has_refused: AtomicBool,
    /// When the next snapshot may be made.
    turn: Mutex<Instant>,
    history: Arc<Lock<History>>,
    logs: Logs,
}

impl Answers {
    pub fn new(
        requests: mpsc::Sender<manager::Request>,
        hosts: Option<Hosts>,
        history: Arc<Lock<History>>,
        logs: Logs,
    ) -> Self {
        Self {
            requests,
            hosts,
            has_refused: AtomicBool::new(false),
            turn: Mutex::new(Instant::now()),
            history,
            logs,
        }
    }

    /// Looks how everything is, again and again, for the charts.
    pub async fn look(&self) {
        let mut steps = interval(history::STEP);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            steps.tick().await;
            if let Some(snapshot) = self.snapshot(manager::Request::Snapshot).await {
                self.past().note(&snapshot);
            }
        }
    }

    fn past(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub async fn answer<B>(&self, request: &Request<B>) -> Answer {
        if let Some(host) = self.refused_host(request) {
            let say = format!(
                "Host {host} is not allowed: status_host names those that requests may be for, besides those of this machine\n"
            );
            return plain(StatusCode::FORBIDDEN, say);
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut answer = plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "only GET and HEAD have a meaning here\n",
            );
            answer
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        let path = request.uri().path();
        if let Some((_, content_type, text)) = FILES.iter().find(|(name, ..)| *name == path) {
            return answer(StatusCode::OK, content_type, *text);
        }
        if path == "/history.json" {
            let (history, slow) = (self.past().clone(), self.logs.slow());
            let render = move || {
                let mut all = history.json();
                all["slow"] = serde_json::to_value(slow).unwrap_or_default();
                all.to_string() + "\n"
            };
            return rendered(JSON, render).await;
        }
        let is_known = ["/ping", "/status.json", "/metrics"].contains(&path) || path.starts_with("/ping/");
        if !is_known {
            return plain(StatusCode::NOT_FOUND, PATHS);
        }
        let ask = match path {
            "/metrics" => manager::Request::Metrics,
            _ => manager::Request::Snapshot,
        };
        let Some(snapshot) = self.snapshot(ask).await else {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "the supervisor does not answer\n");
        };
        match path {
            "/metrics" => {
                let wanted = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
                let format = accept::format(wanted.unwrap_or_default());
                rendered(format.content_type(), move || openmetrics::render(&snapshot, format)).await
            }
            "/status.json" => status(snapshot, request.uri().query().unwrap_or_default()).await,
            path => ping(&snapshot, path.strip_prefix("/ping/")),
        }
    }

    /// The host of a request that is not for this program. What names none comes from no browser.
    fn refused_host<B>(&self, request: &Request<B>) -> Option<String> {
        let hosts = self.hosts.as_ref()?;
        let named = request.uri().authority().map(|authority| authority.as_str().as_bytes());
        let named = named.or_else(|| request.headers().get(HOST).map(HeaderValue::as_bytes))?;
        let host = String::from_utf8_lossy(named);
        if hosts.allow(&host) {
            return None;
        }
        let host = host.escape_debug().to_string();
        if !self.has_refused.swap(true, Relaxed) {
            warn!(
                host,
                "refused with 403: the status is for names of this machine; status_host allows others"
            );
        }
        Some(host)
    }

    /// One at a time. `None`: the supervisor says nothing.
    async fn snapshot(&self, ask: fn(oneshot::Sender<Snapshot>) -> manager::Request) -> Option<Snapshot> {
        let mut turn = self.turn.lock().await;
        sleep_until(*turn).await;
        let (answer, answered) = oneshot::channel();
        self.requests.send(ask(answer)).await.ok()?;
        let snapshot = timeout(PATIENCE, answered).await;
        *turn = Instant::now() + PAUSE;
        snapshot.ok()?.ok()
    }
}

/// 200 if every pool, or the one named, serves requests or would, should one come. What somebody stops is nobody's trouble, unless it is asked
/// for by name, or everything stops.
fn ping(snapshot: &Snapshot, name: Option<&str>) -> Answer {
    let mut pools = snapshot
        .pools
        .iter()
        .filter(|pool| name.is_none_or(|name| pool.name == name))
        .peekable();
    if let (None, Some(name)) = (pools.peek(), name) {
        return no_pool(snapshot, name);
    }
    let is_well = |state: State| match state {
        State::Serving | State::Resting => true,
        State::Stopping | State::Stopped => name.is_none() && !snapshot.instance.stopping,
        State::Starting | State::Failed => false,
    };
    let ill: Vec<_> = pools
        .filter(|pool| !is_well(pool.state))
        .map(|pool| pool.name.as_str())
        .collect();
    match ill[..] {
        [] => plain(StatusCode::OK, "pong\n"),
        _ => plain(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not serving: {}\n", ill.join(", ")),
        ),
    }
}

async fn status(mut snapshot: Snapshot, query: &str) -> Answer {
    if let Some(name) = query.split('&').find_map(|pair| pair.strip_prefix("pool=")) {
        if !snapshot.pools.iter().any(|pool| pool.name == name) {
            return no_pool(&snapshot, name);
        }
        snapshot.pools.retain(|pool| pool.name == name);
    }
    rendered(JSON, move || {
        serde_json::to_string(&snapshot).unwrap_or_default() + "\n"
    })
    .await
}

fn no_pool(snapshot: &Snapshot, name: &str) -> Answer {
    let names: Vec<_> = snapshot.pools.iter().map(|pool| pool.name.as_str()).collect();
    let say = format!("there is no pool {:?}; there are: {}\n", name, names.join(", "));
    plain(StatusCode::NOT_FOUND, say)
}

/// What takes a while to write: the supervisor's thread does not wait for it.
async fn rendered(content_type: &'static str, render: impl FnOnce() -> String + Send + 'static) -> Answer {
    match tokio::task::spawn_blocking(render).await {
        Ok(text) => answer(StatusCode::OK, content_type, text),
        // A defect.
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    answer(status, TEXT, text)
}

fn answer(status: StatusCode, content_type: &'static str, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}
