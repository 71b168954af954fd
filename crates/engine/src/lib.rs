//! The engine of wsgi-fpm: a CPython extension module that turns an interpreter into a leader and its workers.
//!
//! Layers, from below: `reactor` (descriptors), `body`, `carrier` and `exchange` (a request, whatever brings it), `connection`
//! (FastCGI), `wsgi` (knows exchanges only), `thread`, `watchdog`, `worker`, `leader`. None imports from above it.

mod bell;
mod body;
mod carrier;
mod connection;
mod crash;
mod exchange;
mod ffi;
mod forked;
mod leader;
mod output;
mod preload;
mod reactor;
mod request_id;
mod thread;
mod watchdog;
mod worker;
mod wsgi;

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;

pyo3::create_exception!(
    wsgi_fpm,
    RequestTimeout,
    PyBaseException,
    "The request has run longer than --request-timeout allows; its client has got a 504."
);

/// Runs the leader, and in its forks the workers. Standard input is the control socket. Returns the exit code.
#[pyfunction]
fn main(py: Python<'_>) -> i32 {
    leader::run(py)
}

#[pymodule]
fn wsgi_fpm_engine(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("RequestTimeout", module.py().get_type::<RequestTimeout>())?;
    module.add_function(wrap_pyfunction!(main, module)?)
}
