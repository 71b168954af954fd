//! Python's cyclic garbage collector while a CGI script is imported: almost nothing of that is garbage, and looking through it
//! again and again is a twenty-fifth of what a request to a Django application takes.

use pyo3::prelude::*;

/// Containers that are allocated, and not freed, before it looks.
const RARELY: u32 = 1_000_000;

/// The collector, which looks rarely until [`Collector::resume`], and at nothing of what there was then while this lives.
pub struct Collector<'py> {
    gc: Bound<'py, PyAny>,
    before: (u32, u32, u32),
}

impl<'py> Collector<'py> {
    /// # Errors
    /// Python's.
    pub fn hold_back(py: Python<'py>) -> PyResult<Self> {
        let gc = py.import("gc")?.into_any();
        let before: (u32, u32, u32) = gc.call_method0("get_threshold")?.extract()?;
        gc.call_method1("set_threshold", (RARELY, before.1, before.2))?;
        Ok(Self { gc, before })
    }

    /// It looks as often as before, and not at what there is now. An application that has set a threshold of its own knows
    /// better.
    ///
    /// # Errors
    /// Python's.
    pub fn resume(&self) -> PyResult<()> {
        let (first, second, third) = self.before;
        let now: (u32, u32, u32) = self.gc.call_method0("get_threshold")?.extract()?;
        if now == (RARELY, second, third) {
            self.gc.call_method0("freeze")?;
            self.gc.call_method1("set_threshold", (first, second, third))?;
        }
        Ok(())
    }
}

impl Drop for Collector<'_> {
    /// It looks at everything again, so that what the application has not closed is closed at the end of the process.
    fn drop(&mut self) {
        if let Err(error) = self.gc.call_method0("unfreeze") {
            tracing::warn!(%error, "what the application has left open may not be closed");
        }
    }
}
