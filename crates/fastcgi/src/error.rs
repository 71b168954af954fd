//! Why a connection must be closed.

use std::fmt;

use thiserror::Error;

use crate::record::{HEADER_LENGTH, Header};

/// The peer broke the protocol so that what follows cannot be trusted to be records. Always the peer's fault.
///
/// Each carries the header of the record that was refused, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    #[error("peer does not speak FastCGI version 1, {}: {}", Guess(header), Hex(header))]
    Version { header: [u8; HEADER_LENGTH] },
    #[error("peer sent BEGIN_REQUEST with a body shorter than 8 bytes: {}", Hex(header))]
    ShortBeginRequest { header: [u8; HEADER_LENGTH] },
    #[error("peer sent BEGIN_REQUEST for id {}, which is in use: {}", id(header), Hex(header))]
    ActiveId { header: [u8; HEADER_LENGTH] },
    #[error(
        "peer sent STDIN or DATA for id {} before the end of its PARAMS: {}",
        id(header),
        Hex(header)
    )]
    BeforeParamsEnd { header: [u8; HEADER_LENGTH] },
}

impl ProtocolError {
    /// The first eight bytes of the record that was refused.
    pub fn header(&self) -> &[u8; HEADER_LENGTH] {
        match self {
            ProtocolError::Version { header }
            | ProtocolError::ShortBeginRequest { header }
            | ProtocolError::ActiveId { header }
            | ProtocolError::BeforeParamsEnd { header } => header,
        }
    }
}

fn id(header: &[u8; HEADER_LENGTH]) -> u16 {
    Header::decode(header).request_id
}

/// Says what else it may be: an HTTP proxy on the FastCGI socket is the commonest mistake in configurations.
struct Guess<'a>(&'a [u8; HEADER_LENGTH]);

impl fmt::Display for Guess<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const METHODS: [&[u8]; 8] = [
            b"GET ",
            b"HEAD ",
            b"POST ",
            b"PUT ",
            b"PATCH ",
            b"DELETE ",
            b"OPTIONS ",
            b"PRI * HT",
        ];
        let http = METHODS.iter().any(|method| self.0.starts_with(method));
        f.write_str(if http {
            "but HTTP: configure the front server for FastCGI (nginx: fastcgi_pass, not proxy_pass)"
        } else {
            "record header"
        })
    }
}

struct Hex<'a>(&'a [u8; HEADER_LENGTH]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_show_the_header_and_name_the_commonest_mistake() {
        let message = ProtocolError::Version { header: *b"GET / HT" }.to_string();
        assert!(message.contains("fastcgi_pass"), "{message}");
        assert!(message.ends_with("474554202f204854"), "{message}");
        let message = ProtocolError::Version { header: [0; 8] }.to_string();
        assert_eq!(
            message,
            "peer does not speak FastCGI version 1, record header: 0000000000000000"
        );
        let message = ProtocolError::ActiveId {
            header: [1, 1, 1, 2, 0, 8, 0, 0],
        }
        .to_string();
        assert_eq!(
            message,
            "peer sent BEGIN_REQUEST for id 258, which is in use: 0101010200080000"
        );
    }
}
