//! The protocols whose state is little or nothing: UDP, UDP-Lite, ICMP, GRE, and those without a tracker.

use core::net::{Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use pinhole_sansio::Instant;

use crate::settings::Settings;
use crate::status::{Direction, Status};
use crate::track::{Change, Context, Judgement, Kind, State, Upper, kind, untracked};
use crate::tuple::Address;

/// The judgement of a packet at `ms` of an entry with this status, which gets timeouts in whole seconds.
fn judge(state: &mut State, body: &[u8], ms: u64, status: Status) -> Judgement {
    let settings = Settings::default();
    let context = Context {
        now: Instant::from_millis(ms),
        direction: Direction::Original,
        status,
        remaining: Duration::from_secs(30),
        seqadj: None,
    };
    state.next(Upper { protocol: 0, body }, &context, &settings, &settings.timeouts, &mut ())
}

fn begin<A: Address>(protocol: u8, body: &[u8]) -> Option<State> {
    State::begin::<A>(Upper { protocol, body }, &Settings::default(), &mut ())
}

/// The entry lives so long from now on, and becomes ASSURED or not.
fn lives(secs: u64, assured: bool) -> Judgement {
    Judgement::Accept(Change { timeout: Some(Duration::from_secs(secs)), assured, protoinfo: false })
}

const CONFIRMED: Status = Status::CONFIRMED;
const REPLIED: Status = Status(Status::CONFIRMED.0 | Status::SEEN_REPLY.0);
const ASSURED: Status = Status(REPLIED.0 | Status::ASSURED.0);
const CLASHED: Status = Status(REPLIED.0 | Status::NAT_CLASH.0);

const DATAGRAM: [u8; 9] = [0, 1, 0, 2, 0, 9, 0, 0, 7];

#[test]
fn udp_is_a_stream_when_it_was_answered_and_is_older_than_two_seconds() {
    let mut udp = begin::<Ipv4Addr>(17, &DATAGRAM).expect("a datagram begins a flow");
    assert_eq!(judge(&mut udp, &DATAGRAM, 1_000, Status::default()), lives(30, false));
    assert_eq!(judge(&mut udp, &DATAGRAM, 9_000, CONFIRMED), lives(30, false), "old, but not answered");
    assert_eq!(
        judge(&mut udp, &DATAGRAM, 3_000, REPLIED),
        lives(30, false),
        "answered, but not older than two seconds"
    );
    assert_eq!(judge(&mut udp, &DATAGRAM, 3_001, REPLIED), lives(120, true));
    assert_eq!(judge(&mut udp, &DATAGRAM, 3_001, ASSURED), lives(120, false), "it is already");
    assert_eq!(judge(&mut udp, &DATAGRAM, 3_001, CLASHED), lives(120, false), "never after a lost clash");
}

#[test]
fn udp_is_invalid_if_its_length_is_not_between_its_header_and_the_packets_end() {
    for (length, valid) in [(0, false), (7, false), (8, true), (9, true), (10, false)] {
        let mut body = DATAGRAM;
        body[5] = length;
        let mut udp = begin::<Ipv4Addr>(17, &body).expect("its length is judged by what comes next");
        assert_eq!(judge(&mut udp, &body, 0, CONFIRMED) == Judgement::INVALID, !valid, "{length}");
    }
    let mut udp = begin::<Ipv4Addr>(17, &DATAGRAM).expect("a datagram begins a flow");
    assert_eq!(judge(&mut udp, &DATAGRAM[..7], 0, CONFIRMED), Judgement::INVALID);
}

#[test]
fn udp_lite_is_a_stream_with_its_first_reply_and_must_have_a_checksum() {
    let with = |coverage, checksum| [0, 1, 0, 2, 0, coverage, 0, checksum, 7];
    let mut lite = State::UdpLite;
    assert_eq!(judge(&mut lite, &with(8, 1), 0, CONFIRMED), lives(30, false));
    assert_eq!(judge(&mut lite, &with(8, 1), 0, REPLIED), lives(120, true));
    for (coverage, checksum, valid) in [(0, 1, true), (9, 1, true), (7, 1, false), (10, 1, false), (8, 0, false)] {
        let judgement = judge(&mut lite, &with(coverage, checksum), 0, CONFIRMED);
        assert_eq!(judgement == Judgement::INVALID, !valid, "coverage {coverage}, checksum {checksum}");
    }
}

#[test]
fn only_queries_begin_an_icmp_flow_and_every_packet_refreshes_it() {
    let message = |message_type| [message_type, 0, 0, 0, 0, 7, 0, 1];
    let begins = |protocol, message_type| begin::<Ipv4Addr>(protocol, &message(message_type)).is_some();
    let v4: Vec<u8> = (0..=255).filter(|&message_type| begins(1, message_type)).collect();
    assert_eq!(v4, [8, 13, 15, 17]);
    let v6 = |message_type: &u8| begin::<Ipv6Addr>(58, &message(*message_type)).is_some();
    assert_eq!((0..=255).filter(v6).collect::<Vec<u8>>(), [128, 139]);
    assert!(!begins(58, 128), "ICMPv6 in IPv4");
    assert!(begin::<Ipv6Addr>(1, &message(8)).is_none(), "ICMP in IPv6");
    assert!(begin::<Ipv4Addr>(1, &message(8)[..7]).is_none(), "not a whole header");
    for (mut state, status) in [(State::Icmp, CONFIRMED), (State::Icmpv6, REPLIED)] {
        assert_eq!(judge(&mut state, &message(0), 0, status), lives(30, false));
    }
}

#[test]
fn what_kind_of_icmp_message_it_is_is_what_linux_says() {
    let kinds = |kind_of: fn(u8) -> Kind, wanted| (0..=255).filter(|&t| kind_of(t) == wanted).collect::<Vec<u8>>();
    let v4 = |message_type| kind::<Ipv4Addr>(Upper { protocol: 1, body: &[message_type, 0, 0, 0, 0, 0, 0, 0] });
    let v6 = |message_type| kind::<Ipv6Addr>(Upper { protocol: 58, body: &[message_type, 0, 0, 0, 0, 0, 0, 0] });
    assert_eq!(kinds(v4, Kind::Error), [3, 4, 5, 11, 12]);
    assert_eq!(kinds(v4, Kind::Invalid), (19..=255).collect::<Vec<u8>>());
    assert_eq!(kinds(v6, Kind::Error), (0..128).collect::<Vec<u8>>());
    assert_eq!(kinds(v6, Kind::Untracked), [130, 131, 132, 133, 134, 135, 136, 143, 151, 152]);
    assert_eq!(kinds(v6, Kind::Redirect), [137]);
    assert!(untracked::<Ipv6Addr>(Upper { protocol: 58, body: &[135; 8] }));
    assert!(!untracked::<Ipv6Addr>(Upper { protocol: 17, body: &[135; 8] }), "it is UDP");
    assert!(!untracked::<Ipv4Addr>(Upper { protocol: 1, body: &[135; 8] }));
}

#[test]
fn gre_is_a_stream_with_its_first_reply_and_a_helper_may_make_it_live_longer() {
    let mut gre = begin::<Ipv4Addr>(47, &[0; 4]).expect("any packet begins a flow");
    let set = |gre: &mut State| match gre {
        State::Gre(gre) => gre.set_timeouts(Duration::from_secs(600), Duration::from_secs(18_000)),
        other => panic!("{other:?}"),
    };
    set(&mut gre);
    assert_eq!(judge(&mut gre, &[], 0, Status::default()), lives(30, false), "the first packet overwrites it");
    assert_eq!(judge(&mut gre, &[], 0, REPLIED), lives(180, true));
    set(&mut gre);
    assert_eq!(judge(&mut gre, &[], 0, CONFIRMED), lives(600, false));
    assert_eq!(judge(&mut gre, &[], 0, ASSURED), lives(18_000, false));
}

#[test]
fn a_protocol_without_a_tracker_lives_ten_minutes() {
    let mut generic = begin::<Ipv4Addr>(89, &[]).expect("any packet begins a flow");
    assert_eq!(generic, State::Generic);
    assert_eq!(judge(&mut generic, &[], 0, REPLIED), lives(600, false));
    assert_eq!((generic.name(), generic.is_closing()), (None, false));
}
