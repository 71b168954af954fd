//! What a web server forces to be different from what the specifications want.

/// A difference that a client or an application can notice. Scenarios assert it where a server has it in its list, and
/// its absence elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quirk {
    MergesSlashes,
    MergesLeadingSlashes,
    RefusesEncodedSlash,
    DropsContentLength,
    AnswersRanges,
    AnswersConditions,
    CollectsUploads,
    BreaksOffLate,
}

impl Quirk {
    /// As in docs/servers.md.
    pub fn text(self) -> &'static str {
        match self {
            Self::MergesSlashes => "slashes that follow each other arrive as one in `PATH_INFO`",
            Self::MergesLeadingSlashes => "slashes at the beginning of a path arrive as one in `PATH_INFO`",
            Self::RefusesEncodedSlash => "`%2F` in a path is answered with 404",
            Self::DropsContentLength => "the application's `Content-Length` is not passed on",
            Self::AnswersRanges => "a `Range` is cut out of a 200 by the server",
            Self::AnswersConditions => "a 200 to a conditional request becomes a 304",
            Self::CollectsUploads => "an upload is collected whole before the application sees any of it",
            Self::BreaksOffLate => {
                "a response that breaks off keeps the client waiting for `KeepAliveTimeout` before it shows"
            }
        }
    }
}

/// A size that passes and one that does not.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// Bytes of a value that passes.
    pub passes: usize,
    /// Bytes of a value that does not.
    pub fails: usize,
    /// What the client gets then.
    pub status: u16,
}
