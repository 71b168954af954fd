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

/// Says what else it may be: another protocol on the FastCGI socket is the commonest mistake in configurations.
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
        f.write_str(match self.0 {
            header if METHODS.iter().any(|method| header.starts_with(method)) => {
                "but HTTP: configure the front server for FastCGI (nginx: fastcgi_pass, not proxy_pass)"
            }
            // One variable's name, of less than 256 bytes, after the length of all.
            [0, _, _, 0, 1..=255, 0, b'A'..=b'Z', b'A'..=b'Z'] => {
                "but uwsgi: configure the front server for FastCGI (nginx: fastcgi_pass, not uwsgi_pass)"
            }
            // A netstring, whose first name is CONTENT_LENGTH.
            [b'1'..=b'9', b'0'..=b'9', b':', b'C', ..] | [b'1'..=b'9', _, b'0'..=b'9', b':', b'C', ..] => {
                "but SCGI: configure the front server for FastCGI (nginx: fastcgi_pass, not scgi_pass)"
            }
            [0x16, 3, ..] => "but TLS: FastCGI has none",
            _ => "record header",
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
    fn every_error_has_the_header_that_was_refused() {
        let header = *b"12345678";
        for error in [
            ProtocolError::Version { header },
            ProtocolError::ShortBeginRequest { header },
            ProtocolError::ActiveId { header },
            ProtocolError::BeforeParamsEnd { header },
        ] {
            assert_eq!(*error.header(), header);
        }
    }

    #[test]
    fn messages_show_the_header_and_name_the_commonest_mistake() {
        let message = ProtocolError::Version { header: *b"GET / HT" }.to_string();
        assert!(message.contains("fastcgi_pass"), "{message}");
        assert!(message.ends_with("474554202f204854"), "{message}");
        for (header, meant) in [
            (b"\x00\xae\x01\x00\x0c\x00QU", "not uwsgi_pass"),
            (b"415:CONT", "not scgi_pass"),
            (b"70:CONTE", "not scgi_pass"),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01", "but TLS"),
        ] {
            let message = ProtocolError::Version { header: *header }.to_string();
            assert!(message.contains(meant), "{message}");
        }
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
