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
mod peers;
mod pep3333;
mod processes;
mod protocol;
mod protocol_log;
mod pythons;
mod queued;
mod resets;
mod script_filename;
mod sharing;
mod start_response;
mod timeouts;
mod titles;
mod turns;
mod validate;
