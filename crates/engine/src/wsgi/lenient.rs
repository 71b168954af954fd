//! What applications that were written for other servers do against PEP 3333, and what is served all the same: its meaning is
//! clear and it does no harm (SPEC C0). Each kind is logged once. With `--validate` it is refused like everything else.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use contract::scoreboard::Scoreboard;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};

use super::type_name::type_name;

/// A kind of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deviation {
    StatusWithoutReason,
    StatusOver599,
    HeadersInTuple,
    HeaderInList,
    LengthWithSpaces,
    ConnectionHeader,
    StartedAgain,
    BlockOfOtherType,
    BytesAlone,
}

impl Deviation {
    const ALL: [Self; 9] = [
        Self::StatusWithoutReason,
        Self::StatusOver599,
        Self::HeadersInTuple,
        Self::HeaderInList,
        Self::LengthWithSpaces,
        Self::ConnectionHeader,
        Self::StartedAgain,
        Self::BlockOfOtherType,
        Self::BytesAlone,
    ];

    fn bit(self) -> u32 {
        1 << self as u32
    }

    /// What is wrong, and what to change.
    fn text(self) -> &'static str {
        match self {
            Self::StatusWithoutReason => "the status has no reason: write \"200 OK\" in place of \"200\"",
            Self::StatusOver599 => "the status is above 599, where HTTP has none: take one below",
            Self::HeadersInTuple => "the headers are in a tuple: give start_response a list",
            Self::HeaderInList => "a header is a list: make it a tuple, (name, value)",
            Self::LengthWithSpaces => "Content-Length has spaces around its number: leave them out",
            Self::ConnectionHeader => {
                "the header Connection is the web server's and not sent: do not set it (PEP 3333, hop-by-hop headers)"
            }
            Self::StartedAgain => {
                "start_response was called anew without exc_info, after a call that it had refused: give it exc_info"
            }
            Self::BlockOfOtherType => "a block of the response is a bytearray or a memoryview: make it bytes(block)",
            Self::BytesAlone => "the application returned bytes alone: return a list of them, [b\"...\"]",
        }
    }

    /// It is refused.
    pub fn error(self) -> PyErr {
        match self {
            Self::StatusWithoutReason
            | Self::StatusOver599
            | Self::LengthWithSpaces
            | Self::ConnectionHeader
            | Self::StartedAgain => PyValueError::new_err(self.text()),
            Self::HeadersInTuple | Self::HeaderInList | Self::BlockOfOtherType | Self::BytesAlone => {
                PyTypeError::new_err(self.text())
            }
        }
    }
}

/// Kinds that one response has shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deviations(u32);

impl Deviations {
    pub fn add(&mut self, deviation: Deviation) {
        self.0 |= deviation.bit();
    }

    pub fn join(&mut self, others: Self) {
        self.0 |= others.0;
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What is served of all this, and what was said about it.
pub struct Leniency {
    /// Nothing of it.
    pub strict: bool,
    /// Kinds that were logged, by this thread.
    told: AtomicU32,
    /// The same by all threads of all workers; `None` where one process is one request.
    board: Option<Arc<Scoreboard>>,
}

impl Leniency {
    pub fn new(strict: bool, board: Option<Arc<Scoreboard>>) -> Self {
        Self {
            strict,
            told: AtomicU32::new(0),
            board,
        }
    }

    /// Says of each kind, once, that it is served and what to change.
    #[cold]
    pub fn tell(&self, deviations: Deviations, request: &dyn Fn() -> String) {
        for deviation in Deviation::ALL {
            let bit = deviation.bit();
            let is_new = |told: &AtomicU32| told.load(Relaxed) & bit == 0 && told.fetch_or(bit, Relaxed) & bit == 0;
            if deviations.0 & bit == 0 || !is_new(&self.told) {
                continue;
            }
            if self.board.as_ref().is_none_or(|board| is_new(board.told())) {
                tracing::warn!(
                    request = %request(),
                    change = deviation.text(),
                    "the application breaks PEP 3333; it is served all the same, and this is not logged again"
                );
            }
        }
    }

    /// It was seen outside of a head.
    ///
    /// # Errors
    /// It is not served.
    pub fn admit(&self, deviation: Deviation, request: &dyn Fn() -> String) -> PyResult<()> {
        if self.strict {
            return Err(deviation.error());
        }
        let mut deviations = Deviations::default();
        deviations.add(deviation);
        self.tell(deviations, request);
        Ok(())
    }

    /// The bytes of a block that is not bytes (SPEC C20).
    ///
    /// # Errors
    /// TypeError: they can't be told, or it is not served.
    #[cold]
    pub fn bytes_of<'py>(
        &self,
        block: Bound<'py, PyAny>,
        request: &dyn Fn() -> String,
    ) -> PyResult<Bound<'py, PyBytes>> {
        if !has_plain_bytes(&block)? {
            return Err(PyTypeError::new_err(format!(
                "the application's iterable must give bytes, not {}",
                type_name(&block)
            )));
        }
        self.admit(Deviation::BlockOfOtherType, request)?;
        let bytes = block.py().get_type::<PyBytes>().call1((block,))?;
        Ok(bytes.cast_into::<PyBytes>()?)
    }
}

/// A memoryview may also be one of numbers, or of every second byte.
fn has_plain_bytes(block: &Bound<'_, PyAny>) -> PyResult<bool> {
    if block.is_instance_of::<PyByteArray>() {
        return Ok(true);
    }
    let Ok(view) = block.cast::<PyMemoryView>() else {
        return Ok(false);
    };
    view.getattr("c_contiguous")?.is_truthy()
}
