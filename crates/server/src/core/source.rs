//! Who counts as one address.

use std::net::{IpAddr, Ipv6Addr};

/// Bits of an IPv6 address that a provider gives to one customer.
const CUSTOMER: u128 = !0 << 64;

/// The address under which attempts are counted: all of an IPv4 address, the first half of an IPv6 one, since whoever has
/// one of these has all.
pub(crate) fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & CUSTOMER)),
        ip @ IpAddr::V4(_) => ip,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_customer_is_one_source() {
        let of = |text: &str| source(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
    }
}
