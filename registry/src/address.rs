//! What can be told from an address alone: loopback, link-local, inside a network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Splits `host[:port]`; brackets stay with an IPv6 address.
pub(crate) fn split_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !port.contains(']') => port
            .parse()
            .map_or((authority, None), |port| (host, Some(port))),
        _ => (authority, None),
    }
}

/// Returns the address that `host` literally is; IPv6 with or without brackets.
pub(crate) fn literal(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    bare.parse().ok()
}

/// True if `host` (no port) is this machine by name or by literal address.
///
/// Names are not looked up: a DNS answer must not decide whether TLS is needed.
pub(crate) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || literal(host).is_some_and(|address| match address {
            IpAddr::V4(v4) => v4.is_loopback(),
            IpAddr::V6(v6) => {
                v6.is_loopback() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
            }
        })
}

/// True for addresses that only mean something on this link, where clouds serve instance
/// credentials to whoever asks.
pub(crate) fn is_link_local(address: IpAddr) -> bool {
    /// Amazon's instance metadata over IPv6 is in a unique local network, not a link-local one.
    const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || v6 == METADATA_V6
                || embedded_v4(v6).is_some_and(|v4| v4.is_link_local())
        }
    }
}

/// IPv4 inside `::ffff:0:0/96` (mapped) or `64:ff9b::/96` (NAT64).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    if let Some(v4) = address.to_ipv4_mapped() {
        return Some(v4);
    }
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}

/// True if `host` may be a number that the resolver, unlike us, reads as an IPv4 address
/// (`2852039166`, `0xa9.0xfe.0xa9.0xfe`).
pub(crate) fn is_disguised_number(host: &str) -> bool {
    let last = host
        .trim_end_matches('.')
        .rsplit('.')
        .next()
        .unwrap_or_default();
    let numeric = last.starts_with(|c: char| c.is_ascii_digit())
        && last
            .trim_start_matches("0x")
            .trim_start_matches("0X")
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit());
    let all_digits = last.bytes().all(|byte| byte.is_ascii_digit());
    let is_hex = last
        .get(..2)
        .is_some_and(|start| start.eq_ignore_ascii_case("0x"));
    !last.is_empty() && numeric && (all_digits || is_hex) && literal(host).is_none()
}

/// A network in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

impl Network {
    /// Parses `10.0.0.0/8`, `fd00::/8`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let prefix_bits: u8 = bits.parse().ok()?;
        let widest = if address.is_ipv4() { 32 } else { 128 };
        (prefix_bits <= widest).then_some(Self {
            address,
            prefix_bits,
        })
    }

    /// True if `address` is in the network.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let bits = u32::from(self.prefix_bits);
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(host)) => {
                let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
                network.to_bits() & mask == host.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(host)) => {
                let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
                network.to_bits() & mask == host.to_bits() & mask
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        assert_eq!(split_port("host:5000"), ("host", Some(5000)));
        assert_eq!(split_port("[::1]:5000"), ("[::1]", Some(5000)));
        assert_eq!(split_port("[::1]"), ("[::1]", None));
        assert_eq!(split_port("host"), ("host", None));
    }

    #[test]
    fn loopback_is_decided_by_name_or_literal() {
        for host in [
            "localhost",
            "LOCALHOST",
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "localhost.evil.example",
            "10.0.0.1",
            "127.0.0.1.nip.io",
            "[fe80::1]",
            "0.0.0.0",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn link_local() {
        for address in [
            "169.254.169.254",
            "fe80::1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "fd00:ec2::254",
        ] {
            assert!(is_link_local(address.parse().unwrap()), "{address}");
        }
        for address in ["169.253.0.1", "10.0.0.1", "::1", "fd00::1"] {
            assert!(!is_link_local(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn disguised_numbers() {
        for host in [
            "2852039166",
            "0xa9fea9fe",
            "0xa9.0xfe.0xa9.0xfe",
            "169.254.43518",
            "0251.254.169.254",
            "169.254.169.254.",
        ] {
            assert!(is_disguised_number(host), "{host}");
        }
        for host in [
            "169.254.169.254",
            "example.com",
            "a1",
            "host.5a",
            "dead.beef",
            "[::1]",
        ] {
            assert!(!is_disguised_number(host), "{host}");
        }
    }

    #[test]
    fn networks() {
        let network = Network::parse("10.1.0.0/16").unwrap();
        assert!(network.contains("10.1.255.255".parse().unwrap()));
        assert!(!network.contains("10.2.0.0".parse().unwrap()));
        assert!(!network.contains("::1".parse().unwrap()));
        assert!(
            Network::parse("0.0.0.0/0")
                .unwrap()
                .contains("9.9.9.9".parse().unwrap())
        );
        assert!(
            Network::parse("::/0")
                .unwrap()
                .contains("::1".parse().unwrap())
        );
        assert_eq!(Network::parse("10.0.0.0/33"), None);
        assert_eq!(Network::parse("host/8"), None);
    }
}
