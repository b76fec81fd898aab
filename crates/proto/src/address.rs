//! A server's address: `sotto://HOST:PORT/FINGERPRINT`, `HOST:PORT` or `HOST`.

use std::fmt;

use thiserror::Error;

use crate::ids::{base32, parse_base32};

/// The port where none is given.
pub const DEFAULT_PORT: u16 = 7777;
/// The longest DNS name (RFC 1035, section 2.3.4); IPv6 literals are shorter.
const MAX_HOST: usize = 253;

/// Why an address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressError {
    /// No host.
    #[error("the address has no host; write HOST, HOST:PORT or sotto://HOST:PORT/FINGERPRINT")]
    NoHost,
    /// Too long, or with characters no host has.
    #[error("the host is not a name or an IP address")]
    Host,
    /// Not 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// Not 52 base32 characters.
    #[error("the fingerprint is not 52 characters of base32; copy the whole address")]
    Fingerprint,
}

/// Where a server is, and which key it must show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// SHA-256 of the server key's DER SubjectPublicKeyInfo.
    pub fingerprint: Option<[u8; 32]>,
}

impl Address {
    /// Upper case, as a QR code holds it: its alphanumeric mode then fits an 80x24 terminal.
    pub fn to_qr_text(&self) -> String {
        self.to_string().to_ascii_uppercase()
    }

    /// `HOST:PORT`, with brackets around an IPv6 address.
    pub fn host_port(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fingerprint {
            Some(fingerprint) => write!(f, "sotto://{}/{}", self.host_port(), base32(fingerprint)),
            None => f.write_str(&self.host_port()),
        }
    }
}

impl std::str::FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let rest = text
            .get(..8)
            .filter(|scheme| scheme.eq_ignore_ascii_case("sotto://"))
            .map_or(text, |scheme| text.get(scheme.len()..).unwrap_or_default());
        let (authority, fingerprint) = match rest.split_once('/') {
            Some((authority, "")) => (authority, None),
            Some((authority, text)) => {
                (authority, Some(parse_base32(text).map_err(|_| AddressError::Fingerprint)?))
            }
            None => (rest, None),
        };
        let (host, port) = if let Some(bracketed) = authority.strip_prefix('[') {
            let (host, after) = bracketed.split_once(']').ok_or(AddressError::Host)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| AddressError::Host)?;
            let port = if after.is_empty() {
                None
            } else {
                Some(after.strip_prefix(':').ok_or(AddressError::Host)?)
            };
            (host, port)
        } else if authority.parse::<std::net::Ipv6Addr>().is_ok() {
            (authority, None)
        } else {
            authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)))
        };
        if host.is_empty() {
            return Err(AddressError::NoHost);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.len() > MAX_HOST || !host.chars().all(allowed) {
            return Err(AddressError::Host);
        }
        let port = match port {
            None => DEFAULT_PORT,
            // Digits only: the integer parser would also take a sign.
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                port.parse().ok().filter(|port| *port != 0).ok_or(AddressError::Port)?
            }
            Some(_) => return Err(AddressError::Port),
        };
        Ok(Self { host: host.to_ascii_lowercase(), port, fingerprint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, AddressError> {
        text.parse()
    }

    #[test]
    fn every_form_is_read_and_printed() -> Result<(), AddressError> {
        let full = Address { host: "chat.example".into(), port: 7000, fingerprint: Some([7; 32]) };
        assert_eq!(parse(&full.to_string())?, full);
        assert_eq!(parse(&full.to_qr_text())?, full);
        assert_eq!(parse("chat.example")?, Address { port: 7777, fingerprint: None, ..full.clone() });
        assert_eq!(parse("chat.example:7000")?, Address { fingerprint: None, ..full });
        for text in ["::1", "[::1]", "[::1]:7777"] {
            assert_eq!(parse(text)?, Address { host: "::1".into(), port: 7777, fingerprint: None }, "{text}");
        }
        assert_eq!(parse("::1")?.to_string(), "[::1]:7777");
        Ok(())
    }

    #[test]
    fn bad_addresses_say_what_is_wrong() {
        assert_eq!(parse(""), Err(AddressError::NoHost));
        assert_eq!(parse(":7777"), Err(AddressError::NoHost));
        assert_eq!(parse("a b"), Err(AddressError::Host));
        assert_eq!(parse("a:0"), Err(AddressError::Port));
        assert_eq!(parse("a:65536"), Err(AddressError::Port));
        assert_eq!(parse("a:b"), Err(AddressError::Port));
        assert_eq!(parse("sotto://a:1/short"), Err(AddressError::Fingerprint));
        assert_eq!(parse("[::1"), Err(AddressError::Host));
    }
}
