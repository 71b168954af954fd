//! `wsgi_fpm.client_gone`: whether work on a response is still of use to anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;

use crate::request::exchange::Exchange;

/// Belongs to one request, whichever thread calls it, and for as long as somebody has it. Once nobody has, it may be lent
/// to the next request of its thread.
#[pyclass(frozen, module = "wsgi_fpm")]
pub struct ClientGone {
    exchange: Arc<Exchange>,
    /// Number of its request in the exchange.
    serial: AtomicU64,
}

impl ClientGone {
    pub fn new(exchange: Arc<Exchange>) -> Self {
        Self {
            exchange,
            serial: AtomicU64::new(0),
        }
    }

    /// From now on it is that of the exchange's current request.
    pub fn lend(&self) {
        self.serial.store(self.exchange.serial(), Ordering::Relaxed);
    }
}

#[pymethods]
impl ClientGone {
    /// True once nobody waits for the response: the client has left, the request's time is over, or it has ended.
    fn __call__(&self) -> bool {
        self.exchange.is_unwanted(self.serial.load(Ordering::Relaxed))
    }
}
