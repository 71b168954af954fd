//! Name-value pairs (§3.4): the content of PARAMS, `GET_VALUES` and `GET_VALUES_RESULT`.

use std::iter::FusedIterator;

use thiserror::Error;

/// Iterates over the pairs of a whole stream, without copying or allocating.
///
/// Yields every pair in order: empty names, empty values and duplicates too, what they mean is the caller's business.
/// Ends after the first error, since what follows a wrong length cannot be told from data.
#[derive(Debug, Clone)]
pub struct Pairs<'a> {
    rest: &'a [u8],
}

/// A pair's lengths or its declared bytes reach beyond the end of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PairError {
    #[error("name-value stream ends inside the lengths of a pair")]
    TruncatedLength,
    #[error("name-value pair of {name_length} + {value_length} bytes overruns its stream, which has {left} left")]
    Overrun {
        name_length: u32,
        value_length: u32,
        left: usize,
    },
}

impl<'a> Pairs<'a> {
    #[inline]
    pub fn new(stream: &'a [u8]) -> Pairs<'a> {
        Pairs { rest: stream }
    }

    /// A pair with at least one four-byte length, or one that is cut off.
    #[cold]
    fn next_uncommon(&mut self) -> Result<(&'a [u8], &'a [u8]), PairError> {
        // Taking the rest first makes every early return leave a finished iterator.
        let stream = std::mem::take(&mut self.rest);
        let (name_length, after) = split_length(stream)?;
        let (value_length, after) = split_length(after)?;
        let overrun = PairError::Overrun {
            name_length,
            value_length,
            left: after.len(),
        };
        let (name, after) = after.split_at_checked(name_length as usize).ok_or(overrun)?;
        let (value, after) = after.split_at_checked(value_length as usize).ok_or(overrun)?;
        self.rest = after;
        Ok((name, value))
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), PairError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if let [name_length, value_length, after @ ..] = self.rest {
            if (name_length | value_length) & 0x80 == 0 {
                let name_length = usize::from(*name_length);
                let both = name_length + usize::from(*value_length);
                if let Some((pair, after)) = after.split_at_checked(both) {
                    self.rest = after;
                    return Some(Ok(pair.split_at(name_length)));
                }
            }
        } else if self.rest.is_empty() {
            return None;
        }
        Some(self.next_uncommon())
    }
}

impl FusedIterator for Pairs<'_> {}

/// Reads one length in either form: one byte below 128, or four bytes of which the first bit is the mark (§3.4).
fn split_length(stream: &[u8]) -> Result<(u32, &[u8]), PairError> {
    match stream {
        [short, after @ ..] if *short < 0x80 => Ok((u32::from(*short), after)),
        [b3, b2, b1, b0, after @ ..] => Ok((u32::from_be_bytes([*b3 & 0x7f, *b2, *b1, *b0]), after)),
        _ => Err(PairError::TruncatedLength),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(stream: &[u8]) -> Vec<<Pairs<'_> as Iterator>::Item> {
        Pairs::new(stream).collect()
    }

    #[test]
    fn four_length_forms_are_read() {
        assert_eq!(all(b"\x01\x02kvv"), [Ok((&b"k"[..], &b"vv"[..]))]);
        assert_eq!(all(b"\x01\x80\0\0\x02kvv"), [Ok((&b"k"[..], &b"vv"[..]))]);
        assert_eq!(all(b"\x80\0\0\x01\x02kvv"), [Ok((&b"k"[..], &b"vv"[..]))]);
        assert_eq!(all(b"\x80\0\0\x01\x80\0\0\x02kvv"), [Ok((&b"k"[..], &b"vv"[..]))]);
    }

    #[test]
    fn lengths_around_the_form_boundary_are_read() {
        for (name_length, value_length) in [(127, 127), (127, 128), (128, 127), (128, 128), (1, 65_536)] {
            let (name, value) = (vec![b'n'; name_length], vec![b'v'; value_length]);
            let mut stream = Vec::new();
            crate::encode::pair(&mut stream, &name, &value);
            assert_eq!(all(&stream), [Ok((&name[..], &value[..]))]);
        }
    }

    #[test]
    fn empty_names_and_values_are_pairs() {
        assert_eq!(
            all(b"\0\0\0\x01v\x01\0k\0\0"),
            [
                Ok((&b""[..], &b""[..])),
                Ok((b"", b"v")),
                Ok((b"k", b"")),
                Ok((b"", b""))
            ]
        );
    }

    #[test]
    fn overrunning_pair_is_an_error_and_ends_the_iterator() {
        let overrun = |name_length, value_length, left| PairError::Overrun {
            name_length,
            value_length,
            left,
        };
        assert_eq!(
            all(b"\x01\x01kv\x05\x01kv"),
            [Ok((&b"k"[..], &b"v"[..])), Err(overrun(5, 1, 2))]
        );
        assert_eq!(all(b"\x01\x02kv"), [Err(overrun(1, 2, 2))]);
        assert_eq!(all(b"\xff\xff\xff\xff\x01kv"), [Err(overrun(0x7fff_ffff, 1, 2))]);
        assert_eq!(
            all(b"\xff\xff\xff\xff\xff\xff\xff\xff"),
            [Err(overrun(0x7fff_ffff, 0x7fff_ffff, 0))]
        );
    }

    #[test]
    fn truncated_lengths_are_an_error_and_end_the_iterator() {
        for stream in [
            &b"\x01"[..],
            b"\x80",
            b"\x80\0\0",
            b"\x80\0\0\x01",
            b"\x01\x80",
            b"\x01\x80\0\0",
        ] {
            let mut pairs = Pairs::new(stream);
            assert_eq!(pairs.next(), Some(Err(PairError::TruncatedLength)), "{stream:02x?}");
            assert_eq!(pairs.next(), None);
            assert_eq!(pairs.next(), None);
        }
    }
}
