//! The gateways that all web servers share which connect to one: four over unix sockets, four over TCP.

use std::path::Path;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::process::{self, Gateway};

/// What the gateways below `/app` take at most, in bytes of a body.
pub const BODY_MAX: u64 = 100 * 1024;
/// What they take at most, in bytes of params.
pub const PARAMS_BYTES: usize = 8 * 1024;

/// The options of the application below `/app`.
const LIMITS: [(&str, &str); 3] = [
    ("--body-max", "100k"),
    ("--params-bytes", "8k"),
    ("--request-timeout", "1s"),
];

/// The applications behind one kind of socket.
#[derive(Debug)]
pub struct Backends {
    pub plain: Gateway,
    pub mounted: Gateway,
    pub single: Gateway,
    pub fragile: Gateway,
}

static UNIX: LazyLock<Backends> = LazyLock::new(|| Backends::start(|builder| builder));
static TCP: LazyLock<Backends> = LazyLock::new(|| Backends::start(|builder| builder.tcp("127.0.0.1")));

pub fn unix() -> &'static Backends {
    &UNIX
}

pub fn tcp() -> &'static Backends {
    &TCP
}

impl Backends {
    fn start(on: fn(process::Builder) -> process::Builder) -> Self {
        let mut mounted = on(site()).option("--mount", "/app").threads(8);
        for (name, value) in LIMITS {
            mounted = mounted.option(name, value);
        }
        thread::scope(|scope| {
            // More threads than tests that run at a time: some hold theirs for a while.
            let plain = scope.spawn(|| on(site()).threads(32).start());
            let mounted = scope.spawn(|| mounted.start());
            let single = scope.spawn(|| on(site()).threads(1).start());
            // A worker that crashes again and again is replaced ever more slowly: others serve in the meantime.
            let fragile = scope.spawn(|| on(site()).workers(4).threads(1).start());
            Self {
                plain: plain.join().unwrap(),
                mounted: mounted.join().unwrap(),
                single: single.join().unwrap(),
                fragile: fragile.join().unwrap(),
            }
        })
    }
}

/// A gateway for the application of these tests.
pub fn site() -> process::Builder {
    Gateway::app("pages:application").chdir(apps())
}

/// Where the application is.
pub fn apps() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frontends/apps")
}

/// For who uses [`crate::harness::front::Front::single`].
pub static SINGLE: Mutex<()> = Mutex::new(());
/// For who uses [`crate::harness::front::Front::fragile`].
pub static FRAGILE: Mutex<()> = Mutex::new(());

/// The right to use the places that `whose` guards, until it is dropped.
pub fn alone(whose: &'static Mutex<()>) -> MutexGuard<'static, ()> {
    // A test that failed has left nothing behind that matters here.
    whose.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When a request began that has waited longer than `--queue-timeout` allows, as REQUEST_START says it.
pub fn a_minute_ago() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("{}.000", now.as_secs() - 60)
}
