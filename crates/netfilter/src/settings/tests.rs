//! Names, defaults and bounds as `sysctl -a` of Linux 6.18 shows them.

use core::time::Duration;

use super::{Personality, SettingError, Settings};
use crate::track::TcpState;

#[test]
fn the_defaults_are_those_of_linux_6_18() {
    // `sysctl -a` in a new namespace, without what the engine has not.
    let measured = "nf_conntrack_acct 0 nf_conntrack_checksum 1 nf_conntrack_events 2 nf_conntrack_expect_max 4096 \
        nf_conntrack_generic_timeout 600 nf_conntrack_gre_timeout 30 nf_conntrack_gre_timeout_stream 180 \
        nf_conntrack_icmp_timeout 30 nf_conntrack_icmpv6_timeout 30 nf_conntrack_max 262144 \
        nf_conntrack_sctp_timeout_closed 10 nf_conntrack_sctp_timeout_cookie_echoed 3 \
        nf_conntrack_sctp_timeout_cookie_wait 3 nf_conntrack_sctp_timeout_established 210 \
        nf_conntrack_sctp_timeout_heartbeat_sent 30 nf_conntrack_sctp_timeout_shutdown_ack_sent 3 \
        nf_conntrack_sctp_timeout_shutdown_recd 3 nf_conntrack_sctp_timeout_shutdown_sent 3 \
        nf_conntrack_tcp_be_liberal 0 nf_conntrack_tcp_ignore_invalid_rst 0 nf_conntrack_tcp_loose 1 \
        nf_conntrack_tcp_max_retrans 3 nf_conntrack_tcp_timeout_close 10 nf_conntrack_tcp_timeout_close_wait 60 \
        nf_conntrack_tcp_timeout_established 432000 nf_conntrack_tcp_timeout_fin_wait 120 \
        nf_conntrack_tcp_timeout_last_ack 30 nf_conntrack_tcp_timeout_max_retrans 300 \
        nf_conntrack_tcp_timeout_syn_recv 60 nf_conntrack_tcp_timeout_syn_sent 120 \
        nf_conntrack_tcp_timeout_time_wait 120 nf_conntrack_tcp_timeout_unacknowledged 300 \
        nf_conntrack_timestamp 0 nf_conntrack_udp_timeout 30 nf_conntrack_udp_timeout_stream 120";
    let ours: Vec<String> = Settings::default().iter().map(|(name, value)| format!("{name} {value}")).collect();
    assert_eq!(ours.join(" "), measured);
}

#[test]
fn every_setting_is_set_and_read_under_its_name_with_and_without_the_prefix() {
    let mut settings = Settings::of(Personality::V6_12);
    let names: Vec<&str> = settings.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 43);
    for name in names {
        let before: Vec<_> = settings.iter().filter(|&(other, _)| other != name).collect();
        let (new, full) = (u64::from(settings.get(name) != Ok(1)), format!("net.netfilter.{name}"));
        // The number of expectations may not be zero.
        let new = if name.ends_with("expect_max") { 7 } else { new };
        settings.set(&full, &new.to_string()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(settings.get(name), Ok(new), "{name}");
        assert!(settings.iter().filter(|&(other, _)| other != name).eq(before), "{name} changes nothing else");
    }
    assert_eq!(settings.timeouts.tcp.of(TcpState::Established), Duration::from_secs(1));
}

#[test]
fn what_is_not_a_value_is_refused_and_changes_nothing() {
    let mut settings = Settings::default();
    for (name, value) in [
        ("nf_conntrack_tcp_loose", "2"),
        ("nf_conntrack_tcp_max_retrans", "256"),
        ("nf_conntrack_events", "3"),
        ("nf_conntrack_expect_max", "0"),
        ("nf_conntrack_max", "-1"),
        ("nf_conntrack_udp_timeout", "2147483648"),
        ("nf_conntrack_udp_timeout", "30s"),
        ("nf_conntrack_udp_timeout", ""),
    ] {
        let refused = settings.set(name, value);
        assert!(matches!(refused, Err(SettingError::Value { .. })), "{name} {value}: {refused:?}");
    }
    assert!(matches!(settings.set("nf_conntrack_udp", "1"), Err(SettingError::Unknown(_))));
    assert!(matches!(settings.get("net.netfilter.nf_conntrack_count"), Err(SettingError::NotHere { .. })));
    assert_eq!(settings, Settings::default());
    let error = settings.set("nf_conntrack_tcp_loose", "yes").expect_err("a word is no number");
    assert_eq!(error.to_string(), "nf_conntrack_tcp_loose cannot be \"yes\": give a whole number from 0 to 1");
}

#[test]
fn a_kernel_without_dccp_has_no_settings_for_it() {
    let names = |personality| Settings::of(personality).iter().filter(|(name, _)| name.contains("dccp")).count();
    assert_eq!((names(Personality::V6_12), names(Personality::V6_18)), (8, 0));
}

#[test]
fn a_release_has_the_newest_personality_that_is_not_newer() {
    for (release, name) in [
        ("2.6.16-rc1", Some("2.6")),
        ("4.19.0-27-amd64", Some("2.6")),
        ("6.1.0-56-cloud-amd64", Some("6.1")),
        ("6.6.8", Some("6.1")),
        ("6.12.117+deb13-cloud-amd64", Some("6.12")),
        ("6.18.44", Some("6.18")),
        ("7.2.13+deb14", Some("6.18")),
        ("7.3", Some("7.3")),
        ("10.0.1", Some("7.3")),
        ("2.4.37", None),
        ("linux", None),
        ("", None),
    ] {
        assert_eq!(Personality::of_release(release).map(|personality| personality.name), name, "{release}");
    }
}
