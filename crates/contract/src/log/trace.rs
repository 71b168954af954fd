//! The trace that a request belongs to, as its client or the web server has named it (W3C Trace Context, level 2): it stands in each
//! event that its thread logs.

use std::cell::Cell;
use std::fmt;

/// A trace's id; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace(u128);

thread_local! {
    static CURRENT: Cell<Option<Trace>> = const { Cell::new(None) };
}

/// `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`
const LENGTH: usize = 55;

impl Trace {
    /// That of a `traceparent`; `None` for one that is not valid (section 3.2), of which nothing is to be believed.
    pub fn of_traceparent(header: &[u8]) -> Option<Self> {
        let (known, rest) = header.split_at_checked(LENGTH)?;
        let [version, trace, parent, flags] = [&known[..2], &known[3..35], &known[36..52], &known[53..]];
        let is_hex = |text: &[u8]| text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_formed = [2, 35, 52].iter().all(|dash| known[*dash] == b'-')
            && [version, trace, parent, flags].into_iter().all(is_hex)
            && parent.iter().any(|byte| *byte != b'0');
        // What a later version adds stands behind another dash.
        let ends = match version {
            b"ff" => false,
            b"00" => rest.is_empty(),
            _ => rest.first().is_none_or(|byte| *byte == b'-'),
        };
        let id = u128::from_str_radix(std::str::from_utf8(trace).ok()?, 16).ok()?;
        (is_formed && ends).then(|| Self::of_halves([(id >> 64) as u64, id as u64]))?
    }

    /// The upper and the lower half; `None` if both are 0.
    pub fn of_halves([upper, lower]: [u64; 2]) -> Option<Self> {
        let id = u128::from(upper) << 64 | u128::from(lower);
        (id != 0).then_some(Self(id))
    }

    pub fn halves(self) -> [u64; 2] {
        [(self.0 >> 64) as u64, self.0 as u64]
    }
}

/// As the header has it.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What the calling thread logs from now on is of this trace, or of none.
pub fn set_trace(trace: Option<Trace>) {
    CURRENT.set(trace);
}

/// The same for as long as `log` runs.
pub fn traced<R>(trace: Option<Trace>, log: impl FnOnce() -> R) -> R {
    let before = CURRENT.replace(trace);
    let logged = log();
    CURRENT.set(before);
    logged
}

pub(super) fn current() -> Option<Trace> {
    CURRENT.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn trace_is_read_from_valid_headers_of_this_version_and_later_ones() {
        for header in [
            format!("00-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7-ff"),
            format!("01-{TRACE}-00f067aa0ba902b7-01"),
            format!("cc-{TRACE}-00f067aa0ba902b7-01-what-the-future-will-be-like"),
        ] {
            let trace = Trace::of_traceparent(header.as_bytes()).expect(&header);
            assert_eq!(trace.to_string(), TRACE);
            assert_eq!(Trace::of_halves(trace.halves()), Some(trace));
        }
        let small = Trace::of_traceparent(b"00-00000000000000000000000000000001-0000000000000001-00").unwrap();
        assert_eq!(small.to_string(), "00000000000000000000000000000001");
    }

    #[test]
    fn header_that_is_not_valid_has_no_trace() {
        for header in [
            String::new(),
            TRACE.to_owned(),
            format!("00-{TRACE}-00f067aa0ba902b7-0"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-x"),
            format!("cc-{TRACE}-00f067aa0ba902b7-01.x"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("0x-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-+{}-00f067aa0ba902b7-01", &TRACE[1..]),
            format!("00_{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}_00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7_01"),
            format!("00-{TRACE}-00f067aa0ba902b7-01, 00-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{}\n-00f067aa0ba902b7-01", &TRACE[1..]),
        ] {
            assert_eq!(Trace::of_traceparent(header.as_bytes()), None, "{header}");
        }
        assert_eq!(Trace::of_traceparent(&[0xff; 55]), None);
    }

    #[test]
    fn thread_has_the_trace_that_it_was_given_and_no_other_thread_has() {
        let trace = Trace::of_halves([1, 2]);
        set_trace(trace);
        assert_eq!(current(), trace);
        std::thread::spawn(|| assert_eq!(current(), None)).join().unwrap();
        traced(None, || assert_eq!(current(), None));
        assert_eq!(current(), trace);
        set_trace(None);
        assert_eq!(current(), None);
    }
}
