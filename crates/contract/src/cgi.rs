//! What the environment of a CGI process says of its request, for those who have no Python yet (RFC 3875).

/// How long the body is that the web server sends; 0 where it does not say.
pub fn content_length() -> u64 {
    let value = std::env::var("CONTENT_LENGTH").ok();
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{in_a_process, is_in_a_process};

    #[test]
    fn body_is_as_long_as_the_web_server_says() {
        if is_in_a_process() {
            let expected = std::env::var("EXPECTED_LENGTH").unwrap();
            return assert_eq!(content_length().to_string(), expected);
        }
        for (said, length) in [("4097", "4097"), ("", "0"), ("-1", "0"), ("many", "0")] {
            let environment = [("CONTENT_LENGTH", said), ("EXPECTED_LENGTH", length)];
            in_a_process("cgi::tests::body_is_as_long_as_the_web_server_says", &environment);
        }
    }
}
