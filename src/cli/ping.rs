//! The arguments of `wsgi-fpm ping`.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::str::FromStr;

use clap::Args;
use settings::values::{Address, SizeLimit, Timeout, Value, Variable};

/// What each exit code means.
pub const EXIT_CODES: &[(&str, &str)] = &[
    ("0", "answered, with a status that --expect names"),
    ("1", "anything that is not listed here"),
    ("2", "what was typed makes no sense"),
    ("3", "answered, with another status"),
    ("4", "no connection: nobody listens there, or this user may not connect"),
    ("5", "no whole answer within --timeout"),
    (
        "6",
        "closed before the end of the answer, or what was sent is no FastCGI response",
    ),
];

fn exit_codes() -> String {
    let lines = EXIT_CODES.iter().map(|(code, meaning)| format!("  {code}  {meaning}"));
    format!("Exit codes:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

#[derive(Debug, Args)]
#[command(after_help = exit_codes())]
pub struct PingArgs {
    /// Where the responder listens, as for serve: /path/to.sock, unix:/path, 127.0.0.1:9000, [::1]:9000 or :9000
    #[arg(value_parser = parse_address)]
    pub address: Address,
    /// What to ask for, perhaps with a query: /health?full=1 [default: no page, but the responder's FCGI_* values]
    #[arg(value_parser = parse_path)]
    pub path: Option<String>,
    /// Statuses that are fine, separated by commas; 2xx for all from 200 to 299
    #[arg(long, value_name = "STATUS", default_value = "2xx,3xx,4xx", help_heading = "Result")]
    pub expect: Expect,
    /// Longest time for all of it, from connecting to the end of the answer; 0: no limit
    #[arg(long, value_name = "TIME", default_value = "5s", help_heading = "Result")]
    pub timeout: Timeout,
    /// Print the body; what else there is to say goes to standard error
    #[arg(long, help_heading = "Result")]
    pub body: bool,
    /// Print the head, before the body if that is printed too
    #[arg(long, help_heading = "Result")]
    pub head: bool,
    /// Read no more of a body than this; 0: no limit
    #[arg(long, value_name = "SIZE", default_value = "1m", help_heading = "Result")]
    pub body_max: SizeLimit,
    /// Print nothing: the exit code says all
    #[arg(short, long, conflicts_with_all = ["body", "head"], help_heading = "Result")]
    pub quiet: bool,
    /// Method of the request, which has no body
    #[arg(long, value_name = "METHOD", default_value = "GET", help_heading = "Request")]
    pub method: String,
    /// A header, such as Host=blog.example.org; can be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = parse_header, help_heading = "Request")]
    pub headers: Vec<(String, String)>,
    /// A FastCGI param, in place of that which would be sent, such as HTTPS=on; can be repeated
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parse_param, help_heading = "Request")]
    pub params: Vec<Variable>,
    /// For php-fpm: the script that PATH is for, such as /srv/blog/index.php; for its ping.path and pm.status_path the
    /// same as PATH
    #[arg(long, value_name = "FILE", help_heading = "Request")]
    pub script_filename: Option<OsString>,
}

/// Statuses that are fine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    written: String,
    ranges: Vec<RangeInclusive<u16>>,
}

impl Expect {
    pub fn has(&self, status: u16) -> bool {
        self.ranges.iter().any(|range| range.contains(&status))
    }

    /// As it was typed.
    pub fn as_str(&self) -> &str {
        &self.written
    }
}

impl FromStr for Expect {
    type Err = &'static str;

    fn from_str(typed: &str) -> Result<Self, Self::Err> {
        let ranges = typed.split(',').map(|part| match part.as_bytes() {
            [class @ b'2'..=b'5', b'x' | b'X', b'x' | b'X'] => {
                let first = u16::from(class - b'0') * 100;
                Ok(first..=first + 99)
            }
            [b'2'..=b'5', _, _] => match part.parse() {
                Ok(status) => Ok(status..=status),
                Err(_) => Err(()),
            },
            _ => Err(()),
        });
        match ranges.collect() {
            Ok(ranges) => Ok(Self {
                written: typed.to_owned(),
                ranges,
            }),
            Err(()) => Err("write statuses or classes of them, such as 200, 2xx or 2xx,404"),
        }
    }
}

fn parse_address(typed: &str) -> Result<Address, String> {
    match typed.parse() {
        Ok(Address::Fd(_) | Address::Named(_)) => Err(
            "ping connects, and nobody can connect to a descriptor: write the socket's path, or its \
                                   address and port"
                .to_owned(),
        ),
        Ok(Address::Tcp(address)) if address.port() == 0 => {
            Err("nobody listens on port 0: write the real one".to_owned())
        }
        Ok(address) => Ok(address),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_path(typed: &str) -> Result<String, String> {
    if let Some((host, path)) = typed
        .split_once("://")
        .map(|(_, rest)| rest.split_once('/').unwrap_or((rest, "")))
    {
        return Err(format!(
            "write the path alone, /{path}, and the host as --header Host={host}"
        ));
    }
    match typed.starts_with('/') || typed == "*" {
        true => Ok(typed.to_owned()),
        false => Err(format!("write a path with a slash in front: /{typed}")),
    }
}

/// As curl writes them, too: `Host: blog.example.org`.
fn parse_header(typed: &str) -> Result<(String, String), &'static str> {
    match typed.split_once(['=', ':']) {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.trim_ascii().to_owned())),
        _ => Err("write NAME=VALUE, such as Host=blog.example.org"),
    }
}

fn parse_param(typed: &str) -> Result<Variable, String> {
    Variable::parse(typed.as_ref()).map_err(|_| "write NAME=VALUE, such as HTTPS=on".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_classes_are_expected() {
        let expect: Expect = "2xx,404".parse().unwrap();
        assert!(expect.has(200) && expect.has(299) && expect.has(404));
        assert!(!expect.has(199) && !expect.has(300) && !expect.has(403));
        for wrong in ["", "2", "xx", "1xx", "6xx", "200,", "2x0", "+20", "ok", "2xx 3xx"] {
            assert!(wrong.parse::<Expect>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn headers_are_written_in_two_ways() {
        let header = |typed| parse_header(typed).map(|(name, value)| format!("{name}|{value}"));
        assert_eq!(header("Host=a.test:80").as_deref(), Ok("Host|a.test:80"));
        assert_eq!(header("X-Token: a=b").as_deref(), Ok("X-Token|a=b"));
        assert_eq!(header("X-Empty=").as_deref(), Ok("X-Empty|"));
        assert!(header("Host").is_err() && header("=x").is_err());
    }

    #[test]
    fn what_was_meant_is_what_is_said() {
        assert_eq!(
            parse_path("http://blog.test/a/b"),
            Err("write the path alone, /a/b, and the host as --header Host=blog.test".to_owned())
        );
        assert_eq!(
            parse_path("health"),
            Err("write a path with a slash in front: /health".to_owned())
        );
        assert!(parse_address("fd:3").is_err() && parse_address(":0").is_err());
    }
}
