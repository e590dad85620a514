use super::*;

#[test]
fn the_sample_is_a_valid_configuration_with_every_role() {
    let config = Config::parse(include_str!("../../../../pinhole.sample.toml")).expect("the sample parses");
    assert!(!config.wireguard.is_empty() && config.registry.is_some() && !config.agent.is_empty());
    assert!(config.stun.is_some());
}

/// A registry with a zone of `wg0` that has these keys.
macro_rules! zone {
    ($keys:literal) => {
        concat!("[registry]\n[[registry.zone]]\ndevice='wg0'\n", $keys)
    };
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (text, expected) in [
        ("", "names no role"),
        ("[registry]\nzone = []", "has no zone"),
        ("[registry]\n", "missing field `zone`"),
        ("[[agent]]\ndevice='wg0'\nzone='z.'\nserver='10.0.0.1'\ncolour='red'", "unknown field `colour`"),
        ("[[agent]]\ndevice='wg0'\nzone='z.'\nserver='nonsense'", "`nonsense` is not an address"),
        (
            "[[agent]]\ndevice='a'\nzone='z.'\nserver='10.0.0.1'\n[[agent]]\ndevice='a'\nzone='y.'\nserver='10.0.0.1'",
            "two [[agent]]",
        ),
        ("[[agent]]\ndevice='wg0'\nzone='a..b'\nserver='10.0.0.1'", "the zone `a..b`"),
        ("[[wireguard]]\nconfig='/a/wg0.conf'\n[[wireguard]]\nconfig='/b/wg0.conf'", "two [[wireguard]]"),
        ("[stun]\nlisten=['x']", "`x` is not an address"),
        ("[stun]\nsecond=['192.0.2.2']", "listen at one address, not at 0.0.0.0:3478"),
        ("[stun]\nlisten=['192.0.2.1']\npartner=['192.0.2.2']", "partner and partner_key"),
        ("[stun]\ntls_cert='/c'", "TLS needs a certificate and its key"),
        ("nonsense", "line 1"),
        (zone!("name='e..z'\n"), "`e..z` is not a domain name"),
        (zone!("name='z'\nself={ endpoint='192.0.2.1' }"), "`self` is true, false or { endpoint ="),
        (zone!("name='z'\nself={ endpont='192.0.2.1:51820' }"), "`self` is true, false or { endpoint ="),
        (zone!("name='z'\n[[registry.zone]]\ndevice='wg1'\nname='Z.'"), "the zone Z. is there twice"),
        ("[registry]\nallow=['10.0.0.0/33']\nzone=[]", "`10.0.0.0/33` is not a prefix"),
    ] {
        let error = format!("{:#}", Config::parse(text).expect_err(text));
        assert!(error.contains(expected), "{text:?} gave {error:?}");
    }
}

#[test]
fn self_is_a_flag_or_a_table() {
    let zone = |value: &str| {
        let text = format!("[registry]\n[[registry.zone]]\nname='z.'\ndevice='wg0'\nself={value}");
        Config::parse(&text).expect("valid").registry.expect("a registry").zone.remove(0).itself
    };
    assert_eq!(zone("true"), Itself::Flag(true));
    let given = zone("{ endpoint = '192.0.2.1:51820', allowed_ips = ['10.0.0.254/32'] }");
    let expected = Itself::Given {
        endpoint: Some("192.0.2.1:51820".parse().expect("an endpoint")),
        allowed_ips: vec!["10.0.0.254/32".parse().expect("a prefix")],
    };
    assert_eq!(given, expected);
}

#[test]
fn a_prefix_may_be_a_bare_address() {
    for (text, expected) in [("10.0.0.1", "10.0.0.1/32"), ("fd00::1", "fd00::1/128"), ("10.0.0.1/24", "10.0.0.0/24")] {
        assert_eq!(parse_prefix(text).map(|prefix| prefix.to_string()), Ok(expected.to_owned()));
    }
}

#[test]
fn a_dns_address_has_port_53_unless_it_says_otherwise() {
    for (text, expected) in [
        ("10.0.0.254", "10.0.0.254:53"),
        ("10.0.0.254:5353", "10.0.0.254:5353"),
        ("fd00::1", "[fd00::1]:53"),
        ("[fd00::1]", "[fd00::1]:53"),
        ("[fd00::1]:5353", "[fd00::1]:5353"),
    ] {
        assert_eq!(parse_dns_address(text).map(|address| address.to_string()), Ok(expected.to_owned()));
    }
}
