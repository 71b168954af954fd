//! What a connection tells its driver.

/// What `BEGIN_REQUEST` said (§5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeginRequest {
    /// Never 0.
    pub id: u16,
    /// Any number: which roles are served is the driver's business.
    pub role: u16,
    /// Whether the connection stays open after the answer. Other flags are ignored (§5.1, §8).
    pub keep_conn: bool,
}

/// Something for the driver to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// Params have ended: the request can start. Its pairs are in [`Connection::params`](crate::Connection::params).
    Request {
        begin: BeginRequest,
        /// The stream was longer than the limit and was discarded: params are empty.
        params_too_large: bool,
    },
    /// A piece of the active request's body, as much as there was in the input. Never empty.
    Stdin(&'a [u8]),
    /// The active request's body has ended. At most once a request.
    StdinEnd,
    /// `ABORT_REQUEST` for the active request, after its params had ended. At most once a request.
    Abort,
    /// `ABORT_REQUEST` before the params had ended. The request is already forgotten here; the driver answers
    /// `END_REQUEST` (0, complete).
    AbortedEarly(BeginRequest),
    /// `BEGIN_REQUEST` for another id while one is active: the driver answers `END_REQUEST` (0, cannot multiplex)
    /// for this id. Its further records are ignored, as those of any inactive id.
    SecondRequest { id: u16 },
    /// The whole content of a `GET_VALUES` record, to be answered by
    /// [`encode::get_values_result`](crate::encode::get_values_result).
    GetValues(&'a [u8]),
    /// A management record of this unknown type, to be answered by
    /// [`encode::unknown_type`](crate::encode::unknown_type).
    UnknownType(u8),
    /// Something was tolerated that a log may want to know. Nothing is to be answered.
    Ignored(Ignored),
}

/// What was tolerated. Late records of inactive ids are normal and not among these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ignored {
    /// A type that only applications send.
    ApplicationToServer { kind: u8, id: u16 },
    /// A type that the specification does not know, with a request's id.
    UnknownType { kind: u8, id: u16 },
    /// A request's record with id 0, which is no request.
    NullId { kind: u8 },
    /// `GET_VALUES` with a request's id.
    ManagementWithId { kind: u8, id: u16 },
    /// PARAMS or STDIN with content, after that stream of the active request had ended.
    AfterStreamEnd { kind: u8, id: u16 },
}
