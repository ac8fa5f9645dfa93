//! Address that a request comes from, and the addresses that count as one.
//!
//! Pure: it knows neither sockets nor limits.

use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::config::ClientAddressHeader;

/// The addresses that one subscriber has: a single IPv4 address, or the /64 of
/// an IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Block {
    V4(u32),
    V6(u64),
}

impl From<IpAddr> for Block {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// The proxies whose word on the client's address is taken.
#[derive(Debug, Clone)]
pub(crate) struct Proxies {
    pub networks: Vec<IpNet>,
    pub header: ClientAddressHeader,
}

impl Proxies {
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// The address that a request on a connection from `peer` came from: the last hop
    /// that is not a trusted proxy. Hops before it may be forged.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut nearest = peer.to_canonical();
        if !self.trusts(nearest) {
            return nearest;
        }
        for hop in self.hops(headers).iter().rev() {
            let Some(address) = hop.as_deref().and_then(parse_hop) else { break };
            nearest = address;
            if !self.trusts(nearest) {
                break;
            }
        }
        nearest
    }

    /// The hops in the order in which they were added; `None` for one without an
    /// address.
    fn hops(&self, headers: &HeaderMap) -> Vec<Option<String>> {
        let name = match self.header {
            ClientAddressHeader::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
            ClientAddressHeader::Forwarded => FORWARDED,
        };
        let lines = headers.get_all(name).iter().map(|line| line.to_str().unwrap_or_default());
        let elements = lines.flat_map(|line| line.split(','));
        let read = |element: &str| match self.header {
            ClientAddressHeader::XForwardedFor => Some(element.trim().to_owned()),
            ClientAddressHeader::Forwarded => forwarded_for(element),
        };
        elements.map(read).collect()
    }
}

/// The `for` of one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<String> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// An address with or without a port; that of IPv6 may be in brackets.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let plain = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']')).unwrap_or(hop);
    let address = plain
        .parse::<IpAddr>()
        .or_else(|_| hop.parse::<SocketAddr>().map(|address| address.ip()))
        .ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(networks: &[&str], header: ClientAddressHeader) -> Proxies {
        let networks = networks.iter().map(|text| text.parse().expect("a network")).collect();
        Proxies { networks, header }
    }

    fn client(proxies: &Proxies, peer: &str, headers: &[(&'static str, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), value.parse().expect("a value"));
        }
        proxies.client(peer.parse().expect("an address"), &map).to_string()
    }

    #[test]
    fn one_subscriber_is_one_block() {
        let block = |text: &str| Block::from(text.parse::<IpAddr>().expect("an address"));
        assert_eq!(block("2001:db8:1:2::1"), block("2001:db8:1:2:ffff::9"));
        assert_ne!(block("2001:db8:1:2::1"), block("2001:db8:1:3::1"));
        assert_eq!(block("::ffff:192.0.2.1"), block("192.0.2.1"));
        assert_ne!(block("192.0.2.1"), block("192.0.2.2"));
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let proxies = proxies(&["10.0.0.0/8", "::1/128"], ClientAddressHeader::XForwardedFor);
        let from = |peer, hops| client(&proxies, peer, &[("x-forwarded-for", hops)]);
        assert_eq!(from("10.0.0.1", "192.0.2.7"), "192.0.2.7");
        assert_eq!(from("::1", "2001:db8::7"), "2001:db8::7");
        assert_eq!(from("203.0.113.9", "192.0.2.7"), "203.0.113.9");
        // The client wrote the first; the proxy the last.
        assert_eq!(from("10.0.0.1", "127.0.0.1, 192.0.2.7"), "192.0.2.7");
        // Two proxies in a row.
        assert_eq!(from("10.0.0.1", "127.0.0.1, 192.0.2.7, 10.0.0.2"), "192.0.2.7");
        // Nothing that can be used: the proxy itself.
        assert_eq!(from("10.0.0.1", "unknown"), "10.0.0.1");
        assert_eq!(client(&proxies, "10.0.0.1", &[]), "10.0.0.1");
        // The other header is the client's own.
        let forwarded = [("forwarded", "for=192.0.2.7")];
        assert_eq!(client(&proxies, "10.0.0.1", &forwarded), "10.0.0.1");
    }

    #[test]
    fn the_last_line_counts_and_ports_do_not() {
        let proxies = proxies(&["10.0.0.0/8"], ClientAddressHeader::XForwardedFor);
        let lines = [("x-forwarded-for", "127.0.0.1"), ("x-forwarded-for", "192.0.2.7:4711")];
        assert_eq!(client(&proxies, "10.0.0.1", &lines), "192.0.2.7");
    }

    #[test]
    fn the_standard_header_is_read_too() {
        let proxies = proxies(&["10.0.0.0/8"], ClientAddressHeader::Forwarded);
        let from = |value| client(&proxies, "10.0.0.1", &[("forwarded", value)]);
        assert_eq!(from("for=192.0.2.7;proto=https;by=10.0.0.1"), "192.0.2.7");
        assert_eq!(from("for=127.0.0.1, For=\"[2001:db8::7]:4711\""), "2001:db8::7");
        assert_eq!(from("for=_hidden"), "10.0.0.1");
        assert_eq!(from("proto=https"), "10.0.0.1");
    }
}
