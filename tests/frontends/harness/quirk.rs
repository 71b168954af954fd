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
    LeavesDots,
    DropsEmptyHeaders,
    InventsContentType,
    HidesBrokenTransfers,
    RefusesUnknownLength,
    RefusesUnknownLengthUncollected,
    RefusesLargeUnknownLength,
    RefusesRawBytes,
    LimitsResponseHeads,
    AddsLengthTo304,
    MapsUnderscores,
    JoinsCookiesWithCommas,
    TakesLastOfRepeatedHeaders,
    HidesEarlyBreaks,
    NeedsLengthOfEmptyPost,
    SendsAllBeforeReading,
    KillsProcessOfGoneClient,
    IsSilentAboutGoneClients,
    RedirectsToSlash,
    HidesShortBodies,
    LosesSocketOfEndedProcess,
    IsSilentAboutEndedProcess,
    ForgetsProcesses,
    HasNoErrorPages,
    EncodesRawBytes,
    TellsUncheckedUser,
    ReusesClosingConnections,
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
            Self::LeavesDots => "`.` and `..` in a path arrive as they are",
            Self::DropsEmptyHeaders => "a header of a request without a value does not arrive",
            Self::InventsContentType => "a POST without `Content-Type` gets one",
            Self::HidesBrokenTransfers => "a response without `Content-Length` that breaks off looks whole",
            Self::RefusesUnknownLength => "an upload of unknown length is answered with 400",
            Self::RefusesUnknownLengthUncollected => {
                "an upload of unknown length is answered with 411, if uploads are not collected"
            }
            Self::RefusesRawBytes => "bytes outside of ASCII in a URL are answered with 400",
            Self::LimitsResponseHeads => "a response whose headers have more than about 15 KiB becomes a 502",
            Self::AddsLengthTo304 => "a 304 gets `Content-Length: 0`",
            Self::MapsUnderscores => "a header `X_Name` arrives as if it were `X-Name`",
            Self::JoinsCookiesWithCommas => "cookies of several `Cookie` headers are joined with a comma",
            Self::TakesLastOfRepeatedHeaders => "of a header that comes twice only the last one may arrive",
            Self::HidesEarlyBreaks => "a response that breaks off before the server has sent its head may look whole",
            Self::NeedsLengthOfEmptyPost => "a POST with neither `Content-Length` nor a body is answered with 411",
            Self::SendsAllBeforeReading => {
                "an early response to an upload is lost, if the upload is larger than `--drain-bytes`"
            }
            Self::KillsProcessOfGoneClient => {
                "a client that goes away ends the process (SIGTERM), mostly before `close()` of the response has run"
            }
            Self::IsSilentAboutGoneClients => {
                "that a client has left is not known before the server has something to send it: until then its request runs, or waits to be run"
            }
            Self::RedirectsToSlash => "the path of the application without a slash is redirected to the one with it",
            Self::HidesShortBodies => "a response that is shorter than its `Content-Length` may look whole",
            Self::LosesSocketOfEndedProcess => "after a crash requests get 502 until the process was started again",
            Self::IsSilentAboutEndedProcess => "no log says that a process was killed in the middle of a request",
            Self::ForgetsProcesses => {
                "a process that is silent for too long may not be ended, nor its death be logged, if an older one ends meanwhile"
            }
            Self::EncodesRawBytes => "bytes outside of ASCII in a path are percent-encoded in `REQUEST_URI`",
            Self::TellsUncheckedUser => "`REMOTE_USER` is the name that a client claims in `Authorization`",
            Self::ReusesClosingConnections => {
                "the request behind one that was refused (413, 431), or whose process has died (502), may get a 503, with `enablereuse=on`"
            }
            Self::HasNoErrorPages => "an error that the server answers with itself has no body",
            Self::RefusesLargeUnknownLength => "an upload of unknown length over about 15 KiB is answered with 400",
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
