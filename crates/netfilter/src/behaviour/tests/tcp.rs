//! What RFC 5382 and RFC 7857 want of TCP. Types of mapping and filtering: `types`.

use pinhole_wire::text::Line;

use super::world::{Outcome, World, socket};
use crate::behaviour::{Reason, Side};

const HOST: &str = "192.168.1.2:5000";
const EXTERNAL: &str = "203.0.113.1:5000";
const PEER: &str = "198.51.100.1:80";

/// Segments between host and peer, as `>S <S. >.`; all arrive.
fn exchange(world: &mut World, segments: &str) {
    for segment in segments.split_whitespace() {
        let (direction, flags) = segment.split_at(1);
        let outcome = match direction {
            ">" => world.tcp(Side::Inside, HOST, PEER, flags),
            _ => world.tcp(Side::Outside, PEER, EXTERNAL, flags),
        };
        assert!(outcome.has_arrived(), "{segment}: {outcome:?}");
    }
}

/// Exchanges segments, and says whether the session is still there after a time without any.
fn lives_for(text: &str, segments: &str, seconds: f64) -> bool {
    let mut world = World::of(text);
    exchange(&mut world, segments);
    world.wait(seconds);
    world.nat.mappings() > 0
}

#[test]
fn connections_open_in_every_valid_way() {
    for segments in [">S <S. >. <P. >F. <F. >.", ">S <S >S. <S. >. <.", ">S <S <S. >S. >.", ">S >S <S. >. <R"] {
        exchange(&mut World::of("rfc4787"), segments);
    }
    // From outside, where that is permitted.
    let mut world = World::of("rfc4787");
    exchange(&mut world, ">S");
    for (side, flags) in [(Side::Outside, "S"), (Side::Inside, "S."), (Side::Outside, ".")] {
        let (src, dst) = match side {
            Side::Inside => (HOST, "192.0.2.7:4000"),
            Side::Outside => ("192.0.2.7:4000", EXTERNAL),
        };
        assert!(world.tcp(side, src, dst, flags).has_arrived(), "{flags}");
    }
    let listed = world.nat.list();
    let session = listed.iter().find(|listed| listed.remote == socket("192.0.2.7:4000")).expect("a session");
    assert_eq!(session.remaining.as_secs(), 7_440, "it is established");
}

#[test]
fn a_simultaneous_open_works_where_others_are_filtered() {
    exchange(&mut World::of("rfc4787 tcp=ei/apd"), ">S <S >S. <S. >.");
}

#[test]
fn an_unexpected_syn_is_answered_after_six_seconds_and_not_at_all_if_one_goes_out_by_then() {
    for (text, port) in [("rfc4787", "203.0.113.1:6000"), ("rfc4787 tcp=ei/apd", EXTERNAL)] {
        let mut world = World::of(text);
        exchange(&mut world, ">S");
        assert_eq!(world.tcp(Side::Outside, "192.0.2.7:4000", port, "S"), Outcome::Lost(Reason::SynHeld), "{text}");
        world.wait(5.9);
        assert_eq!(world.nat.poll_output(), None, "{text}: not yet");
        world.wait(0.2);
        let (side, error) = world.nat.poll_output().expect("an answer");
        let line = Line::of(&error).expect("a packet").to_string();
        assert_eq!(
            line,
            format!(
                "203.0.113.1 > 192.0.2.7 icmp port-unreachable (192.0.2.7:4000 > {port} tcp S seq 1000 ack 2000 win 100 0)"
            )
        );
        assert_eq!((side, world.nat.poll_output()), (Side::Outside, None), "{text}");
    }
    let mut world = World::of("rfc4787");
    assert_eq!(world.tcp(Side::Outside, PEER, EXTERNAL, "S"), Outcome::Lost(Reason::SynHeld));
    world.wait(3.0);
    exchange(&mut world, ">S <S");
    world.wait(10.0);
    assert_eq!(world.nat.poll_output(), None, "REQ-4: silently dropped");
}

#[test]
fn an_unexpected_syn_may_be_reset_or_dropped_instead() {
    let mut world = World::of("rfc4787 syn=reset");
    let outcome = world.tcp(Side::Outside, PEER, EXTERNAL, "S");
    let line = Line::of(outcome.answer()).expect("a packet").to_string();
    assert_eq!(line, "203.0.113.1:5000 > 198.51.100.1:80 tcp R. seq 0 ack 1001 win 0 0");
    let mut world = World::of("rfc4787 syn=silence");
    assert_eq!(world.tcp(Side::Outside, PEER, EXTERNAL, "S"), Outcome::Lost(Reason::NoMapping));
    world.wait(10.0);
    assert_eq!(world.nat.poll_output(), None);
}

#[test]
fn held_syns_are_bounded() {
    let mut world = World::of("rfc4787");
    for n in 0..2_000 {
        let outcome = world.tcp(Side::Outside, &format!("192.0.2.7:{}", 10_000 + n), EXTERNAL, "S");
        let expected = if n < 1_024 { Reason::SynHeld } else { Reason::TooManySyns };
        assert_eq!(outcome, Outcome::Lost(expected));
    }
    world.wait(6.1);
    assert_eq!(std::iter::from_fn(|| world.nat.poll_output()).count(), 1_024);
    assert_eq!(world.tcp(Side::Outside, "192.0.2.7:9", EXTERNAL, "S"), Outcome::Lost(Reason::SynHeld), "room again");
}

#[test]
fn a_session_lives_as_long_as_its_phase_wants() {
    let check = |segments: &str, seconds: f64| {
        assert!(lives_for("rfc4787", segments, seconds - 0.1), "{segments}: {seconds} s");
        assert!(!lives_for("rfc4787", segments, seconds + 0.1), "{segments}: {seconds} s");
    };
    check(">S", 240.0);
    check(">S <S.", 240.0);
    check(">S <S. >.", 7_440.0);
    check(">S <S. >. >F.", 7_440.0);
    check(">S <S. >. >F. <F. >.", 240.0);
    // RFC 7857 §2.2: after a reset, and as before if somebody goes on talking.
    check(">S <S. >. <R", 240.0);
    check(">S <S. >. <R >P.", 7_440.0);
}

#[test]
fn a_connection_that_was_long_open_closes_as_fast_as_any() {
    let mut world = World::of("rfc4787");
    exchange(&mut world, ">S <S. >.");
    world.wait(5_000.0);
    exchange(&mut world, ">F. <F. >.");
    world.wait(239.9);
    assert_eq!(world.nat.mappings(), 1);
    world.wait(0.2);
    assert_eq!(world.nat.mappings(), 0);
}

#[test]
fn opening_and_closing_have_timers_of_their_own() {
    let text = "rfc4787 tcp-opening=50 tcp-closing=70 tcp-reset=90";
    for (segments, seconds) in [(">S", 50.0), (">S <S. >. >F. <F.", 70.0), (">S <S. >. <R", 90.0)] {
        assert!(lives_for(text, segments, seconds - 0.1) && !lives_for(text, segments, seconds + 0.1), "{segments}");
    }
}

#[test]
fn a_reset_from_inside_keeps_nothing_alive() {
    let mut world = World::of("rfc4787");
    exchange(&mut world, ">S");
    world.wait(200.0);
    exchange(&mut world, ">R");
    world.wait(40.1);
    assert_eq!(world.nat.mappings(), 0);
}

#[test]
fn a_connection_that_nobody_began_is_picked_up_only_where_that_is_wanted() {
    let mut world = World::of("rfc4787");
    assert_eq!(world.tcp(Side::Inside, HOST, PEER, "."), Outcome::Lost(Reason::NoConnection));
    let mut world = World::of("rfc4787 pick-up=yes");
    assert_eq!(world.tcp(Side::Inside, HOST, PEER, "R"), Outcome::Lost(Reason::NoConnection));
    exchange(&mut world, ">. <P.");
    world.wait(7_000.0);
    assert_eq!(world.nat.mappings(), 1, "it is established");
}

#[test]
fn tcp_is_hairpinned_with_the_external_source() {
    let mut world = World::of("rfc4787");
    exchange(&mut world, ">S");
    let out = world.tcp(Side::Inside, "192.168.1.3:6000", EXTERNAL, "S").flow();
    assert_eq!((out.src, out.dst), (socket("203.0.113.1:6000"), socket(HOST)));
    let back = world.tcp(Side::Inside, HOST, "203.0.113.1:6000", "S.").flow();
    assert_eq!((back.src, back.dst), (socket(EXTERNAL), socket("192.168.1.3:6000")));
}

#[test]
fn a_hairpinned_syn_that_nobody_waits_for_is_answered_inside() {
    let mut world = World::of("rfc4787");
    assert_eq!(world.tcp(Side::Inside, HOST, "203.0.113.1:9", "S"), Outcome::Lost(Reason::SynHeld));
    world.wait(6.1);
    assert_eq!(world.nat.poll_output().map(|(side, _)| side), Some(Side::Inside));
}

#[test]
fn udp_and_tcp_have_mappings_and_filters_of_their_own() {
    // RFC 7857 §5 and §6.
    let mut world = World::of("rfc4787 udp=ei/ei tcp=ei/apd");
    world.mapped(HOST, PEER);
    assert_eq!(world.tcp(Side::Outside, PEER, EXTERNAL, "."), Outcome::Lost(Reason::NoMapping));
    exchange(&mut world, ">S");
    assert!(world.udp(Side::Outside, "192.0.2.7:9", EXTERNAL).has_arrived());
    assert_eq!(world.tcp(Side::Outside, "192.0.2.7:9", EXTERNAL, "."), Outcome::Lost(Reason::Filtered));
}
