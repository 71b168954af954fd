//! Whose word about a request's client and scheme counts: the value of `--trusted-proxies`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use super::value_by_text;

/// Proxies in front of the web server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    /// Those that reach the web server over a unix socket, and so have no address.
    unix: bool,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxiesError {
    #[error("{0:?} is neither an IP address nor a network such as 10.0.0.0/8 nor the word unix")]
    NoAddress(String),
    #[error("{0} is an address inside of the network {1}: write the one or the other")]
    InsideNetwork(String, IpNet),
}

/// Who has handed a request on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hop {
    Address(IpAddr),
    /// Over a unix socket.
    Unix,
}

impl TrustedProxies {
    /// Whether the peer of a web server, as it stands in REMOTE_ADDR, is one of them.
    pub fn trusts(&self, remote_addr: &str) -> bool {
        let hop = match remote_addr {
            // What web servers send for a peer without an address.
            "" | "@" => Some(Hop::Unix),
            _ => hop(remote_addr),
        };
        hop.is_some_and(|hop| self.contains(hop))
    }

    /// The last address of an X-Forwarded-For list that isn't one of theirs: proxies append, so what stands before it
    /// may be invented. What is no address ends the search, and the proxy that has passed it on is as far as one can
    /// see.
    pub fn client(&self, list: &str) -> Option<IpAddr> {
        let mut client = None;
        for hop in list.rsplit(',').map_while(hop) {
            if let Hop::Address(address) = hop {
                client = Some(address);
            }
            if !self.contains(hop) {
                break;
            }
        }
        client
    }

    fn contains(&self, hop: Hop) -> bool {
        match hop {
            Hop::Address(address) => self.networks.iter().any(|network| network.contains(&address)),
            Hop::Unix => self.unix,
        }
    }
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`, or nginx's `unix:`.
fn hop(entry: &str) -> Option<Hop> {
    let entry = entry.trim();
    if entry.starts_with("unix:") {
        return Some(Hop::Unix);
    }
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || entry.parse::<SocketAddr>().ok().map(|address| address.ip());
    let address: IpAddr = entry.parse().ok().or_else(bracketed).or_else(with_port)?;
    Some(Hop::Address(address.to_canonical()))
}

impl FromStr for TrustedProxies {
    type Err = ProxiesError;

    fn from_str(list: &str) -> Result<Self, ProxiesError> {
        let (mut networks, mut unix) = (Vec::new(), false);
        for entry in list.split(',').map(str::trim) {
            match entry {
                "unix" => unix = true,
                _ => networks.push(network(entry)?),
            }
        }
        Ok(Self { networks, unix })
    }
}

fn network(entry: &str) -> Result<IpNet, ProxiesError> {
    if let Ok(address) = entry.parse::<IpAddr>() {
        return Ok(address.to_canonical().into());
    }
    let network: IpNet = entry.parse().map_err(|_| ProxiesError::NoAddress(entry.into()))?;
    if network.trunc() != network {
        return Err(ProxiesError::InsideNetwork(entry.into(), network.trunc()));
    }
    Ok(canonical(network))
}

/// ::ffff:10.0.0.0/104 is 10.0.0.0/8: addresses are compared in their shorter form.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let v4 = v6.network().to_ipv4_mapped();
    let length = v6.prefix_len().checked_sub(96);
    match v4.zip(length).map(|(address, length)| Ipv4Net::new(address, length)) {
        Some(Ok(v4)) => v4.into(),
        Some(Err(_)) | None => network,
    }
}

/// As it is read: networks of one address as the address.
impl fmt::Display for TrustedProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks = self
            .networks
            .iter()
            .map(|network| match network.prefix_len() == network.max_prefix_len() {
                true => network.addr().to_string(),
                false => network.to_string(),
            });
        let entries: Vec<_> = networks.chain(self.unix.then(|| "unix".to_owned())).collect();
        f.write_str(&entries.join(","))
    }
}

value_by_text!(TrustedProxies, "LIST");

#[cfg(test)]
mod tests {
    use super::*;

    fn list(typed: &str) -> TrustedProxies {
        typed.parse().unwrap()
    }

    #[track_caller]
    fn covers(proxies: &TrustedProxies, address: &str) -> bool {
        proxies.trusts(address)
    }

    #[test]
    fn addresses_and_networks_are_told_apart_from_their_neighbours() {
        let proxies = list("192.0.2.7, 10.0.0.0/8,2001:db8::/32, ::1");
        for inside in ["192.0.2.7", "10.255.0.1", "2001:db8:1::5", "::1"] {
            assert!(covers(&proxies, inside), "{inside}");
        }
        for outside in ["192.0.2.8", "11.0.0.0", "2001:db9::1", "::2", "127.0.0.1"] {
            assert!(!covers(&proxies, outside), "{outside}");
        }
    }

    #[test]
    fn mapped_addresses_are_the_ones_they_stand_for() {
        assert!(covers(&list("10.0.0.0/8"), "::ffff:10.1.2.3"));
        assert!(covers(&list("::ffff:10.1.2.3"), "10.1.2.3"));
        assert!(covers(&list("::ffff:10.0.0.0/104"), "10.1.2.3"));
        assert!(!covers(&list("::ffff:10.0.0.0/104"), "11.1.2.3"));
    }

    #[test]
    fn client_is_the_last_that_is_no_proxy() {
        let proxies = list("10.0.0.0/8");
        let client = |forwarded: &str| proxies.client(forwarded).map(|address| address.to_string());
        assert_eq!(
            client("198.51.100.1, [2001:db8::9]:80,10.0.0.1"),
            Some("2001:db8::9".into())
        );
        assert_eq!(client("198.51.100.1, unix:, 10.0.0.1"), Some("10.0.0.1".into()));
        assert_eq!(client("198.51.100.1, nonsense"), None);
    }

    #[test]
    fn everybody_can_be_trusted_if_that_is_said() {
        let proxies = list("0.0.0.0/0,::/0");
        assert!(covers(&proxies, "203.0.113.9") && covers(&proxies, "2001:db8::9"));
    }

    #[test]
    fn unix_alone_trusts_no_address() {
        let proxies = list("unix");
        for peer in ["unix:", "unix:/run/front.sock", "", "@"] {
            assert!(covers(&proxies, peer), "{peer:?}");
            assert!(!covers(&list("127.0.0.1"), peer), "{peer:?}");
        }
        assert!(!covers(&proxies, "127.0.0.1"));
    }

    #[test]
    fn what_is_no_address_is_named() {
        for wrong in [
            "",
            "10.0.0.1,",
            "localhost",
            "10.0.0",
            "10.0.0.0/33",
            "10.0.0.1:80",
            "*",
            "Unix",
            "10.0.0.1 10.0.0.2",
        ] {
            let error = wrong.parse::<TrustedProxies>().unwrap_err();
            assert!(matches!(error, ProxiesError::NoAddress(_)), "{wrong:?}: {error}");
        }
    }

    #[test]
    fn address_with_a_prefix_length_is_not_taken_for_its_network() {
        let error = "10.1.2.3/8".parse::<TrustedProxies>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "10.1.2.3/8 is an address inside of the network 10.0.0.0/8: write the one or the other"
        );
    }

    #[test]
    fn lists_survive_the_way_to_a_leader() {
        let proxies = list("192.0.2.7,10.0.0.0/8,::1,unix");
        let sent = serde_json::to_string(&proxies).unwrap();
        assert_eq!(serde_json::from_str::<TrustedProxies>(&sent).unwrap(), proxies);
        assert_eq!(proxies.to_string(), "192.0.2.7,10.0.0.0/8,::1,unix");
    }
}
