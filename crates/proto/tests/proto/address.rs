//! Server addresses: every form that is printed is read back, and nothing else is taken for one.

use proptest::{
    option,
    prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest},
    prop_oneof,
};
use sotto_proto::{
    Address,
    address::{AddressError, DEFAULT_PORT},
};

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\\.[a-z0-9]{1,10}){0,3}",
        any::<[u8; 4]>().prop_map(|ip| std::net::Ipv4Addr::from(ip).to_string()),
        any::<[u8; 16]>().prop_map(|ip| std::net::Ipv6Addr::from(ip).to_string()),
    ]
}

proptest! {
    #[test]
    fn addresses_come_back(host in host(), port in 1..=u16::MAX, fingerprint in option::of(any::<[u8; 32]>())) {
        let address = Address { host, port, fingerprint };
        prop_assert_eq!(address.to_string().parse(), Ok(address.clone()));
        prop_assert_eq!(address.to_qr_text().parse(), Ok(address.clone()));
        prop_assert_eq!(format!("  {address}\n").parse(), Ok(address.clone()));
        let bare = Address { port: DEFAULT_PORT, fingerprint: None, ..address.clone() };
        prop_assert_eq!(address.host.parse(), Ok(bare), "a host alone has the default port");
    }

    #[test]
    fn what_is_read_is_printed_in_one_form(text in "(sotto://)?[a-zA-Z0-9.:\\[\\]/@ _-]{0,90}") {
        if let Ok(address) = text.parse::<Address>() {
            prop_assert!(!address.host.is_empty() && address.port != 0);
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }
    }

    #[test]
    fn a_fingerprint_with_any_character_changed_is_another_or_none(
        fingerprint in any::<[u8; 32]>(),
        at in 0..52usize,
        character in "[ -~]",
    ) {
        let address = Address { host: "a".into(), port: 1, fingerprint: Some(fingerprint) };
        let mut text = address.to_string();
        let start = text.len() - 52 + at;
        let same = text[start..=start].eq_ignore_ascii_case(&character);
        text.replace_range(start..=start, &character);
        match text.parse::<Address>() {
            Ok(read) => prop_assert_eq!(read.fingerprint == Some(fingerprint), same),
            Err(error) => prop_assert!(!same && matches!(error, AddressError::Fingerprint), "{}", error),
        }
    }
}

#[test]
fn only_digits_are_a_port() {
    for port in ["+7777", "-1", " 7777", "7777 7", "0x10", "99999999999999999999", ""] {
        assert_eq!(format!("a:{port}").parse::<Address>(), Err(AddressError::Port), "{port:?}");
    }
}

#[test]
fn hosts_are_bounded_and_hold_no_strange_characters() {
    assert!("a".repeat(253).parse::<Address>().is_ok());
    assert_eq!("a".repeat(254).parse::<Address>(), Err(AddressError::Host));
    for host in ["user@host", "host?x", "a#b", "é", "a\u{202e}b", "[1.2.3.4]", "[::1]x", "[fe80::1%eth0]"] {
        assert_eq!(host.parse::<Address>(), Err(AddressError::Host), "{host:?}");
    }
}

#[test]
fn a_qr_code_of_an_ip_address_needs_only_its_alphanumeric_mode() {
    let address = Address { host: "192.0.2.77".into(), port: 7777, fingerprint: Some([0xa5; 32]) };
    let alphanumeric = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || " $%*+-./:".contains(c);
    assert!(address.to_qr_text().chars().all(alphanumeric), "{}", address.to_qr_text());
}
