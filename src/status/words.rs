//! Numbers as people read them in a table: short, with a unit.

/// Three digits and a unit: `12 ms`, `1.2 s`, `45 min`.
pub fn time(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    match seconds {
        s if s < 0.000_999_5 => format!("{:.0} us", s * 1e6),
        s if s < 0.009_995 => format!("{:.1} ms", s * 1e3),
        s if s < 0.999_5 => format!("{:.0} ms", s * 1e3),
        s if s < 9.95 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", (s / 60.0).floor()),
        s if s < 172_800.0 => format!("{:.0} h", (s / 3600.0).floor()),
        s => format!("{:.0} d", (s / 86_400.0).floor()),
    }
}

/// `812 KiB`, `120 MiB`, `1.5 GiB`.
pub fn memory(bytes: u64) -> String {
    let kib = bytes as f64 / 1024.0;
    match kib {
        kib if kib < 999.5 => format!("{kib:.0} KiB"),
        kib if kib < 999.5 * 1024.0 => format!("{:.0} MiB", kib / 1024.0),
        kib => format!("{:.1} GiB", kib / 1024.0 / 1024.0),
    }
}

/// Up to a million in full, then `1.23 M`.
pub fn count(number: u64) -> String {
    match number {
        0..1_000_000 => number.to_string(),
        1_000_000..1_000_000_000 => format!("{:.2} M", number as f64 / 1e6),
        _ => format!("{:.2} G", number as f64 / 1e9),
    }
}

/// Of something that is counted, in a second: `0.25`, `1.5`, `120`.
pub fn rate(per_second: f64) -> String {
    match per_second.max(0.0) {
        0.0 => "0".to_owned(),
        few if few < 0.995 => format!("{few:.2}"),
        some if some < 99.95 => format!("{some:.1}"),
        many => count(many.round() as u64),
    }
}

/// Control characters escaped, since a terminal obeys them, and cut to so many characters.
pub fn cut(text: &str, longest: usize) -> String {
    let text = contract::log::escape(text);
    match text.char_indices().nth(longest) {
        None => text,
        Some(_) => text
            .chars()
            .take(longest.saturating_sub(3))
            .chain("...".chars())
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let times = [
            0.0, 0.000_25, 0.001_25, 0.012, 0.9994, 1.25, 59.6, 119.0, 120.0, 7199.0, 90_000.0, 1e6,
        ];
        let texts = times.map(time);
        let expected = [
            "0 us", "250 us", "1.2 ms", "12 ms", "999 ms", "1.2 s", "60 s", "119 s", "2 min", "119 min", "25 h", "11 d",
        ];
        assert_eq!(texts, expected.map(str::to_owned));
        assert_eq!(
            [0, 812 * 1024, 120 << 20, 3 << 29].map(memory),
            ["0 KiB", "812 KiB", "120 MiB", "1.5 GiB"].map(str::to_owned)
        );
        assert_eq!(
            [999_999, 1_234_567, 12_345_678_901].map(count),
            ["999999", "1.23 M", "12.35 G"].map(str::to_owned)
        );
        assert_eq!(
            [0.0, 0.2, 1.0, 12.34, 99.96, 1234.5, 2e6].map(rate),
            ["0", "0.20", "1.0", "12.3", "100", "1235", "2.00 M"].map(str::to_owned)
        );
    }

    #[test]
    fn texts_are_cut_to_their_column_and_can_not_steer_a_terminal() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abc...");
        assert_eq!(cut("a\x1b[2J", 20), "a\\u{1b}[2J");
    }
}
