//! WSGI applications behind the real program, over raw FastCGI: every clause by its own test.
//!
//! `docs/internals/` states the clauses; `clauses.md` there maps them to tests, `pep3333.md` the sentences of PEP 3333.
//! The applications stand in `apps/`, one behaviour each; tests share a gateway where they can.

#[path = "../support/mod.rs"]
mod support;

mod aborts;
mod access_log;
mod allowed_peers;
mod children;
mod client_gone;
mod disk_full;
mod duplicates;
mod environ;
mod environ_front;
mod environ_paths;
mod environ_sources;
mod error_pages;
mod errors_stream;
mod failures;
mod file_wrapper;
mod half_closed;
mod handover;
mod headers;
mod held_python;
mod imports;
mod input;
mod iteration;
mod leader;
mod lenient;
mod lifecycle;
mod limits;
mod loading;
mod log_unread;
mod lost;
mod management;
mod map;
mod metrics;
mod peers;
mod pep3333;
mod preload;
mod printed;
mod processes;
mod protocol;
mod protocol_log;
mod pythons;
mod queued;
mod recycling;
mod resets;
mod script_filename;
mod seen_while_stuck;
mod sharing;
mod sizes;
mod slow_requests;
mod start_response;
mod start_timeout;
mod stuck;
mod timeouts;
mod titles;
mod tracing;
mod turns;
mod upgrade;
mod validate;
mod warmup;
mod whoever_is_free;
