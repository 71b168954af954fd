//! Which hosts a request may name. A page of any site in somebody's browser may point a name of its own at this machine (DNS
//! rebinding) and would then read what is meant for him alone, be it an application with its tracebacks and data or how a server
//! is doing: only names that mean this machine pass.
//!
//! Knows the Host header's text, no HTTP.

use std::net::{IpAddr, Ipv6Addr};

#[derive(Debug, Clone)]
pub struct Hosts {
    /// Where requests arrive.
    pub bound: IpAddr,
    /// Further names; one that begins with a dot means all names that end so, too.
    pub names: Vec<String>,
}

impl Hosts {
    /// Whether a request for `host`, with or without a port, is meant for what listens there.
    pub fn allow(&self, host: &str) -> bool {
        let host = without_port(host);
        if let Some(address) = address(host) {
            // No name server has a say in an address; from outside, this machine has some that it does not know itself.
            return address.is_loopback() || address == self.bound || !self.bound.is_loopback();
        }
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let is_below = |parent: &str| host.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'));
        host == "localhost"
            || is_below("localhost")
            || self.names.iter().any(|name| match name.strip_prefix('.') {
                Some(parent) => host.eq_ignore_ascii_case(parent) || is_below(&parent.to_ascii_lowercase()),
                None => host.eq_ignore_ascii_case(name),
            })
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

fn address(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(bound: &str, names: &[&str]) -> Hosts {
        Hosts {
            bound: bound.parse().unwrap(),
            names: names.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    #[test]
    fn names_of_this_machine_pass() {
        let hosts = hosts("127.0.0.1", &[]);
        for host in [
            "localhost",
            "localhost:8000",
            "LocalHost:8000",
            "localhost.",
            "blog.localhost:8000",
            "127.0.0.1",
            "127.0.0.1:8000",
            "127.0.0.2:8000",
            "[::1]",
            "[::1]:8000",
        ] {
            assert!(hosts.allow(host), "{host}");
        }
    }

    #[test]
    fn other_names_are_refused() {
        let hosts = hosts("127.0.0.1", &[]);
        for host in [
            "evil.example",
            "evil.example:8000",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1.evil.example",
            "192.0.2.1:8000",
            "[2001:db8::1]:8000",
            "localhost:80:80",
            "localhost@evil.example",
            "",
            ".localhost.evil",
        ] {
            assert!(!hosts.allow(host), "{host}");
        }
    }

    #[test]
    fn named_hosts_pass_and_with_a_dot_those_below() {
        let hosts = hosts("127.0.0.1", &["Blog.test", ".shop.test"]);
        for host in ["blog.test", "BLOG.test:8000", "shop.test", "a.b.shop.test"] {
            assert!(hosts.allow(host), "{host}");
        }
        for host in ["x.blog.test", "myshop.test", "test"] {
            assert!(!hosts.allow(host), "{host}");
        }
    }

    #[test]
    fn addresses_pass_where_somebody_listens_beyond_this_machine() {
        for bound in ["0.0.0.0", "::", "192.0.2.1"] {
            let hosts = hosts(bound, &[]);
            for host in ["192.0.2.7:8000", "[2001:db8::1]", "0.0.0.0:8000", "localhost"] {
                assert!(hosts.allow(host), "{host}");
            }
            assert!(!hosts.allow("evil.example"));
        }
    }
}
