//! The engine of wsgi-fpm: a CPython extension module that turns an interpreter into a leader and its workers.
//!
//! Layers, from below: `base` (what knows no request), `reactor` (descriptors), `request` (one request and its response, whatever
//! brings it), `connection` (FastCGI), `wsgi` (knows exchanges only), `process` (threads, workers, the leader), `cgi`. None imports
//! from above it.

mod base;
mod cgi;
mod connection;
mod process;
mod reactor;
mod request;
mod wsgi;

use contract::own;
use contract::settings::{Entry, Settings};
use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;

pyo3::create_exception!(
    wsgi_fpm,
    RequestTimeout,
    PyBaseException,
    "The request has run longer than its time limit (request_timeout) allows; its client has got a 504."
);

/// Runs the leader, and in its forks the workers. Standard input is the control socket; `idle` is the signal handler that
/// does nothing; `image` the descriptor of the file in memory that this engine was loaded from. Returns the exit code.
#[pyfunction]
fn main(py: Python<'_>, idle: Py<PyAny>, image: Option<i32>) -> PyResult<i32> {
    image.into_iter().for_each(own::keep_number);
    base::forked::watch(py, Some(idle))?;
    base::modules::offer(py)?;
    Ok(process::leader::run(py))
}

/// Runs one process for a web server that has started it: `settings` is JSON, `image` as above. Returns the exit code.
#[pyfunction]
fn serve(py: Python<'_>, settings: &str, image: Option<i32>) -> PyResult<i32> {
    image.into_iter().for_each(own::keep_number);
    base::forked::watch(py, None)?;
    base::modules::offer(py)?;
    Ok(match serde_json::from_str::<Settings>(settings) {
        Ok(settings) if settings.entry == Entry::Cgi => cgi::run(py, &settings),
        Ok(settings) => process::standalone::run(py, settings),
        Err(error) => {
            eprintln!("wsgi-fpm: the settings can't be read: {error}");
            1
        }
    })
}

#[pymodule]
fn wsgi_fpm_engine(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("RequestTimeout", module.py().get_type::<RequestTimeout>())?;
    module.add_function(wrap_pyfunction!(base::metrics::series, module)?)?;
    module.add_function(wrap_pyfunction!(main, module)?)?;
    module.add_function(wrap_pyfunction!(serve, module)?)
}
