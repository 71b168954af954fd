//! In which form whoever asks for metrics wants them.

use super::exposition::Format;

/// By the value of the Accept header: what it likes best, and OpenMetrics where that is left open. Browsers want text.
pub fn format(accept: &str) -> Format {
    let mut best = (0.0, Format::OpenMetrics);
    for wanted in accept.split(',') {
        let mut parts = wanted.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut quality = 1.0;
        let mut version = "";
        for part in parts {
            match part.split_once('=') {
                Some(("q", value)) => {
                    quality = value
                        .parse::<f64>()
                        .ok()
                        .filter(|q| (0.0..=1.0).contains(q))
                        .unwrap_or(0.0)
                }
                Some(("version", value)) => version = value.trim_matches('"'),
                _ => {}
            }
        }
        let format = match (media.as_str(), version) {
            ("application/openmetrics-text", "" | "1.0.0") => Format::OpenMetrics,
            ("text/plain", "" | "0.0.4") | ("text/*" | "text/html", _) => Format::Text,
            _ => continue,
        };
        if quality > best.0 {
            best = (quality, format);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_nothing_gets_openmetrics() {
        for accept in ["", "*/*", "application/json", "text/plain;q=0", "text/plain;version=9"] {
            assert_eq!(format(accept), Format::OpenMetrics, "{accept}");
        }
    }

    #[test]
    fn what_is_liked_best_is_given() {
        let prometheus_2 = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let prometheus_3_text = "text/plain;version=0.0.4;q=0.6, application/openmetrics-text;version=1.0.0;q=0.5";
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        assert_eq!(format(prometheus_2), Format::OpenMetrics);
        assert_eq!(format(prometheus_3_text), Format::Text);
        assert_eq!(format(browser), Format::Text);
        assert_eq!(format("text/plain"), Format::Text);
        assert_eq!(format("text/plain; version=\"0.0.4\""), Format::Text);
        assert_eq!(
            format("text/plain;q=x,application/openmetrics-text;q=0.1"),
            Format::OpenMetrics
        );
    }
}
