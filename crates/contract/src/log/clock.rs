//! Times as logs write them, in UTC.

use std::fmt::Write;
use std::time::SystemTime;

use super::access::since_1970;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const DAY: u64 = 24 * 60 * 60;

/// Year, month (from 1) and day (from 1) of a day, counted since 1970.
fn date(day: u64) -> (u64, u64, u64) {
    // Years that begin in March have the day that may be missing at their end; 400 of them have always as many days.
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year + u64::from(month <= 2);
    (year, month, of_year - (153 * from_march + 2) / 5 + 1)
}

/// `2026-11-28T14:01:01.000735Z`.
pub(super) fn rfc3339(out: &mut String, now: SystemTime) {
    let (seconds, micros) = since_1970(now);
    let ((year, month, day), time) = (date(seconds / DAY), seconds % DAY);
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    for (place, value) in [
        (0..4, year),
        (5..7, month),
        (8..10, day),
        (11..13, time / 3600),
        (14..16, time / 60 % 60),
        (17..19, time % 60),
        (20..26, micros.into()),
    ] {
        let mut rest = value;
        for digit in text[place].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
    // Digits and signs are text.
    out.push_str(std::str::from_utf8(&text).unwrap_or_default());
}

/// `28/Nov/2026:14:01:01 +0000`.
pub fn clf(out: &mut String, now: SystemTime) {
    let (seconds, _) = since_1970(now);
    let ((year, month, day), time) = (date(seconds / DAY), seconds % DAY);
    let month = MONTHS[month as usize - 1];
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    let _ = write!(out, "{day:02}/{month}/{year}:{hour:02}:{minute:02}:{second:02} +0000");
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use tracing_subscriber::fmt::format::Writer;
    use tracing_subscriber::fmt::time::FormatTime;

    use super::*;

    #[test]
    fn time_is_that_of_the_log_whatever_the_day() {
        let mut clf_of_leap_day = String::new();
        clf(&mut clf_of_leap_day, UNIX_EPOCH + Duration::from_secs(951_827_696));
        assert_eq!(clf_of_leap_day, "29/Feb/2000:12:34:56 +0000");
        let mut first = String::new();
        rfc3339(&mut first, UNIX_EPOCH);
        assert_eq!(first, "1970-01-01T00:00:00.000000Z");
        let (mut ours, mut theirs) = (String::new(), String::new());
        rfc3339(&mut ours, SystemTime::now());
        tracing_subscriber::fmt::time::SystemTime
            .format_time(&mut Writer::new(&mut theirs))
            .unwrap();
        assert_eq!(ours[..17], theirs[..17]);
        assert_eq!(ours.len(), theirs.len());
        // Each day of two centuries follows the one before.
        let mut before = (1969, 12, 31);
        for day in 0..73_414 {
            let next = date(day);
            assert!(
                next > before && (next.2 == before.2 + 1 || next.2 == 1),
                "{before:?} {next:?}"
            );
            before = next;
        }
        assert_eq!(before, (2170, 12, 31));
    }
}
