//! Filters as they are typed, against flows; what the kernel is asked to do of them; and what a wrong value says.

use clap::Parser;
use pinhole_host::netlink::conntrack::{Icmp, State, TcpState, Tuple};

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    filter: Filter,
}

fn filter(line: &str) -> Filter {
    parse(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn parse(line: &str) -> Result<Filter, clap::Error> {
    Line::try_parse_from(std::iter::once("x").chain(line.split_whitespace())).map(|line| line.filter)
}

fn tuple(protocol: u8, source: &str, destination: &str) -> Tuple {
    Tuple::new(protocol, source.parse().unwrap(), destination.parse().unwrap())
}

const DONE: u32 = status::SRC_NAT_DONE | status::DST_NAT_DONE;

/// A web connection of the inside through a NAT.
fn web() -> Entry {
    Entry {
        status: status::SEEN_REPLY | status::ASSURED | status::SRC_NAT | DONE,
        state: Some(State::Tcp { state: TcpState::Established, sides: [None; 2] }),
        timeout_s: Some(431_999),
        mark: Some(0x2a),
        zone: Some(5),
        labels: Some(1 << 5 | 1 << 100),
        helper: Some("ftp".into()),
        ..Entry::new(tuple(6, "10.0.0.2:40000", "198.51.100.7:443"), tuple(6, "198.51.100.7:443", "203.0.113.1:1024"))
    }
}

/// Its name service, over IPv6 and redirected.
fn name() -> Entry {
    let (original, reply) = ("[fd00::2]:5000", "[fd00::99]:5353");
    Entry {
        status: status::DST_NAT | DONE,
        ..Entry::new(tuple(17, original, "[fd00::1]:53"), tuple(17, reply, original))
    }
}

/// An echo that nobody translates, where a NAT has been asked.
fn echo() -> Entry {
    let with = |kind, tuple: Tuple| Tuple { icmp: Some(Icmp { kind, code: 0, id: 77 }), ..tuple };
    let (here, there) = ("10.0.0.2:0", "192.0.2.9:0");
    Entry { status: DONE, ..Entry::new(with(8, tuple(1, here, there)), with(0, tuple(1, there, here))) }
}

/// Which of [`web`], [`name`] and [`echo`] pass.
fn passing(line: &str) -> [bool; 3] {
    let filter = filter(line);
    [web(), name(), echo()].map(|entry| filter.matches(&entry))
}

#[test]
fn each_filter_takes_what_it_names_and_nothing_else() {
    const WEB: [bool; 3] = [true, false, false];
    const NAME: [bool; 3] = [false, true, false];
    const ECHO: [bool; 3] = [false, false, true];
    const NONE: [bool; 3] = [false; 3];
    let cases = [
        ("", [true; 3]),
        ("-s 10.0.0.0/24", [true, false, true]),
        ("--orig-src 10.0.0.3", NONE),
        ("-s fd00::/16", NAME),
        ("-d 198.51.100.7", WEB),
        ("-r fd00::99", NAME),
        ("-q 203.0.113.1", WEB),
        ("--host 203.0.113.0/24", WEB),
        ("-p udp", NAME),
        ("-p icmp", ECHO),
        ("-p 6", WEB),
        ("-f ipv6", NAME),
        ("-f inet", [true, false, true]),
        ("--sport 40000", WEB),
        ("--dport 1-500", [true, true, false]),
        ("--reply-port-src 5353", NAME),
        ("--reply-port-dst 1024", WEB),
        ("--port 5353", NAME),
        ("--sport 0", NONE),
        ("--icmp-type 8 --icmp-id 77 --icmp-code 0", ECHO),
        ("--icmp-id 78", NONE),
        ("--state established,time-wait", WEB),
        ("--state CLOSE", NONE),
        ("-u ASSURED,seen_reply", WEB),
        ("-u UNREPLIED", [false, true, true]),
        ("-u !unreplied", WEB),
        ("-u !SNAT,DST_NAT", NAME),
        ("-n", WEB),
        ("-n 203.0.113.1", WEB),
        ("-n 203.0.113.1:1024", WEB),
        ("-n 203.0.113.1:1025", NONE),
        ("-g", NAME),
        ("-g [fd00::99]:5353", NAME),
        ("-g fd00::98", NONE),
        ("-j", [true, true, false]),
        ("-j 203.0.113.1", WEB),
        ("-n -g", NONE),
        ("-m 42", WEB),
        ("-m 0x8/0xf", NONE),
        ("-m 0xa/0xf", WEB),
        ("-m 0/0x1", [true; 3]),
        ("-w 5", WEB),
        ("-w 0", [false, true, true]),
        ("--orig-zone 5", NONE),
        ("-l 5,100", WEB),
        ("-l 5,6", NONE),
        ("-t 1000-", WEB),
        ("-t 0-1000", NONE),
        ("--helper ftp", WEB),
        ("--helper tftp", NONE),
        ("-p tcp -d 198.51.100.7 --dport 443 -n 203.0.113.1", WEB),
    ];
    for (line, expected) in cases {
        assert_eq!(passing(line), expected, "{line}");
    }
}

#[test]
fn a_zone_of_one_direction_is_not_that_of_both() {
    let mut entry = name();
    entry.original.zone = Some(9);
    assert!(filter("--orig-zone 9").matches(&entry) && filter("-w 0").matches(&entry));
    assert!(!filter("-w 9").matches(&entry) && !filter("--reply-zone 9").matches(&entry));
}

#[test]
fn the_kernel_sorts_out_what_it_can() {
    let select = |line| filter(line).select();
    assert_eq!(select(""), Select::default());
    assert_eq!(select("-d fd00::1").family, Some(Family::V6));
    assert_eq!(select("-m 0x20/0xf0").mark, Some((0x20, 0xf0)));
    assert_eq!(select("-u UNREPLIED,ASSURED").status, Some((status::ASSURED, status::ASSURED | status::SEEN_REPLY)));
    // The kernel's idea of the default zone is narrower than conntrack(8)'s.
    assert_eq!((select("-w 7").zone, select("-w 0").zone), (Some(7), None));
}

#[test]
fn a_wrong_value_says_what_was_expected() {
    let cases = [
        ("-s 10.0.0", "expected an address as in 10.0.0.2"),
        ("-p tpc", "tcp, udp"),
        ("--dport 70000", "expected a number as in 80"),
        ("--dport 20-10", "expected a number as in 80"),
        ("--state OPENED", "SYN_SENT"),
        ("-u ASURED", "ASSURED"),
        ("-m x", "0x20/0xf0"),
        ("-n 1.2.3", "192.0.2.1:51820"),
        ("-f ipx", "ipv4 or ipv6"),
        ("-j -n", "cannot be used with"),
    ];
    for (line, expected) in cases {
        let error = parse(line).expect_err(line).to_string();
        assert!(error.contains(expected), "{line}: {error}");
    }
}
