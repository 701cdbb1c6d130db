//! Networks: an address, or all that share its first bits.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A network in CIDR notation, or a single address. An IPv4 address that comes mapped into IPv6 is the IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// What `text` writes, unless it writes IPv4 mapped into IPv6: for rules, whose authors would read such a mask as one
    /// of IPv6.
    pub fn unmapped(text: &str) -> Option<Self> {
        let address: IpAddr = text.split_once('/').map_or(text, |(address, _)| address).parse().ok()?;
        if address.to_canonical() == address { text.parse().ok() } else { None }
    }

    /// Whether `address` lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => leading4(own, self.bits) == leading4(other, self.bits),
            (IpAddr::V6(own), IpAddr::V6(other)) => leading6(own, self.bits) == leading6(other, self.bits),
            _ => false,
        }
    }
}

fn leading4(address: Ipv4Addr, bits: u8) -> u32 {
    u32::from(address).checked_shr(32 - u32::from(bits)).unwrap_or(0)
}

fn leading6(address: Ipv6Addr, bits: u8) -> u128 {
    u128::from(address).checked_shr(128 - u32::from(bits)).unwrap_or(0)
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, bits) = match text.split_once('/') {
            None => (text, None),
            Some((address, bits)) => (address, Some(digits(bits).ok_or(())?)),
        };
        let written: IpAddr = address.parse().map_err(|_| ())?;
        let address = written.to_canonical();
        let (written_max, max) = (width(written), width(address));
        let bits = bits.unwrap_or(written_max);
        // `::ffff:192.0.2.0/120` is `192.0.2.0/24`; one that reaches beyond the mapped addresses is no network of either.
        let bits = bits.checked_sub(written_max - max).filter(|bits| *bits <= max).ok_or(())?;
        Ok(Self { address, bits })
    }
}

/// A number of bits, without a sign.
fn digits(text: &str) -> Option<u8> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_what_shares_its_first_bits() {
        let cases = [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.0/24", "::ffff:192.0.2.9", true),
            ("::ffff:192.0.2.0/120", "192.0.2.9", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
        ];
        for (network, address, inside) in cases {
            let found = network.parse::<Network>().unwrap().contains(address.parse().unwrap());
            assert_eq!(found, inside, "{address} in {network}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "192.0.2.0/33",
            "2001:db8::/129",
            "192.0.2/24",
            "host",
            "1.2.3.4/-1",
            "1.2.3.4/+1",
            "::ffff:1.2.3.4/90",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn rules_do_not_write_mapped_addresses() {
        assert_eq!(Network::unmapped("192.0.2.0/24"), "192.0.2.0/24".parse().ok());
        assert_eq!(Network::unmapped("::ffff:192.0.2.0/120"), None);
    }
}
