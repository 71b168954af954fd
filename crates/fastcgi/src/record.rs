//! The record header and the numbers of the specification (§3.3, §8).

/// The only version of the protocol there is.
pub const VERSION: u8 = 1;

/// Bytes of a record's header.
pub const HEADER_LENGTH: usize = 8;

/// Most bytes that one record can carry: its length is a 16-bit number.
pub const MAX_CONTENT: usize = 65_535;

/// Flag of `BEGIN_REQUEST`: the application leaves the connection open after its answer (§5.1).
pub const KEEP_CONN: u8 = 1;

/// The types of records (§8).
pub mod kind {
    pub const BEGIN_REQUEST: u8 = 1;
    pub const ABORT_REQUEST: u8 = 2;
    pub const END_REQUEST: u8 = 3;
    pub const PARAMS: u8 = 4;
    pub const STDIN: u8 = 5;
    pub const STDOUT: u8 = 6;
    pub const STDERR: u8 = 7;
    pub const DATA: u8 = 8;
    pub const GET_VALUES: u8 = 9;
    pub const GET_VALUES_RESULT: u8 = 10;
    pub const UNKNOWN_TYPE: u8 = 11;
}

/// The roles that a web server can ask for (§6).
pub mod role {
    pub const RESPONDER: u16 = 1;
    pub const AUTHORIZER: u16 = 2;
    pub const FILTER: u16 = 3;
}

/// How a request ended, as far as the protocol is concerned (§5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ProtocolStatus {
    RequestComplete = 0,
    CantMpxConn = 1,
    Overloaded = 2,
    UnknownRole = 3,
}

/// The eight bytes that start each record. The eighth, `reserved`, is ignored when read and zero when written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub version: u8,
    /// One of [`kind`], or a number that the specification does not know.
    pub kind: u8,
    /// 0 for management records, otherwise the request that the record belongs to.
    pub request_id: u16,
    pub content_length: u16,
    pub padding_length: u8,
}

impl Header {
    #[inline]
    pub fn decode(bytes: &[u8; HEADER_LENGTH]) -> Header {
        let [version, kind, id1, id0, length1, length0, padding_length, _reserved] = *bytes;
        Header {
            version,
            kind,
            request_id: u16::from_be_bytes([id1, id0]),
            content_length: u16::from_be_bytes([length1, length0]),
            padding_length,
        }
    }

    #[inline]
    pub fn encode(self) -> [u8; HEADER_LENGTH] {
        let [id1, id0] = self.request_id.to_be_bytes();
        let [length1, length0] = self.content_length.to_be_bytes();
        [
            self.version,
            self.kind,
            id1,
            id0,
            length1,
            length0,
            self.padding_length,
            0,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_fields_stand_where_the_specification_puts_them() {
        let bytes = [1, 4, 0x12, 0x34, 0xab, 0xcd, 7, 0];
        let header = Header {
            version: VERSION,
            kind: kind::PARAMS,
            request_id: 0x1234,
            content_length: 0xabcd,
            padding_length: 7,
        };
        assert_eq!(Header::decode(&bytes), header);
        assert_eq!(header.encode(), bytes);
    }

    #[test]
    fn reserved_byte_is_ignored_when_read_and_zero_when_written() {
        let header = Header::decode(&[1, 5, 0, 1, 0, 0, 0, 0xff]);
        assert_eq!(header.encode(), [1, 5, 0, 1, 0, 0, 0, 0]);
    }
}
