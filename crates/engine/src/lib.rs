//! The engine of wsgi-fpm: a CPython extension module that turns an interpreter into a leader and its workers.
//!
//! Layers, from below: `reactor` (descriptors), `body`, `carrier` and `exchange` (a request, whatever brings it), `connection`
//! (FastCGI), `wsgi` (knows exchanges only), `thread`, `watchdog`, `worker`, then what runs
//! it: `leader`, `standalone` or `cgi`. None imports from above it.

mod access;
mod bell;
mod body;
mod carrier;
mod cgi;
mod connection;
mod crash;
mod exchange;
mod ffi;
mod forked;
mod interrupt;
mod leader;
mod lost;
mod output;
mod overdue;
mod preload;
mod printing;
mod reactor;
mod receiver;
mod request_id;
mod sigpipe;
mod standalone;
mod thread;
mod watchdog;
mod worker;
mod wsgi;

use pool::settings::{Entry, Settings};
use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;

pyo3::create_exception!(
    wsgi_fpm,
    RequestTimeout,
    PyBaseException,
    "The request has run longer than --request-timeout allows; its client has got a 504."
);

/// Runs the leader, and in its forks the workers. Standard input is the control socket; `idle` is the signal handler that
/// does nothing. Returns the exit code.
#[pyfunction]
fn main(py: Python<'_>, idle: Py<PyAny>) -> PyResult<i32> {
    forked::watch(py, Some(idle))?;
    Ok(leader::run(py))
}

/// Runs one process for a web server that has started it: `settings` is JSON. Returns the exit code.
#[pyfunction]
fn serve(py: Python<'_>, settings: &str) -> PyResult<i32> {
    forked::watch(py, None)?;
    Ok(match serde_json::from_str::<Settings>(settings) {
        Ok(settings) if settings.entry == Entry::Cgi => cgi::run(py, &settings),
        Ok(settings) => standalone::run(py, settings),
        Err(error) => {
            eprintln!("wsgi-fpm: the settings can't be read: {error}");
            1
        }
    })
}

#[pymodule]
fn wsgi_fpm_engine(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("RequestTimeout", module.py().get_type::<RequestTimeout>())?;
    module.add_function(wrap_pyfunction!(main, module)?)?;
    module.add_function(wrap_pyfunction!(serve, module)?)
}
