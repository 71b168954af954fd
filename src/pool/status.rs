//! How a pool is, for whoever shows it.

/// How the pool is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    Starting,
    Ready,
    /// `reason` is one line, `detail` the traceback if there is one.
    Failed {
        reason: String,
        detail: String,
    },
}
