//! Each row of what was measured on 6.18, with a TUN peer that sent the segments. `pinhole`'s tests do so again on every kernel.

use super::*;

const NXT: u32 = 1000;
const HOST: Host = Host { listens: false, rfc1337: false, version: Version::new(6, 18) };
const LISTENER: Host = Host { listens: true, ..HOST };
/// Segments of the peer: where it stands, with a timestamp that is not older.
const PLAIN: Segment =
    Segment { seq: NXT, len: 0, syn: false, fin: false, rst: false, ack: false, timestamp: Some(500) };
const ACK: Segment = Segment { ack: true, ..PLAIN };
const SYN: Segment = Segment { syn: true, ..PLAIN };
const RST: Segment = Segment { rst: true, ..PLAIN };
const FIN: Segment = Segment { fin: true, ack: true, ..PLAIN };

fn bucket(state: State) -> Bucket {
    let timestamp = Some(Timestamp { value: 500, age_s: 3 });
    Bucket { state, rcv_nxt: NXT, rcv_wnd: 64_000, snd_nxt: 77, timestamp }
}

#[track_caller]
fn check(state: State, host: &Host, segment: Segment, expected: (Reply, Fate)) {
    let outcome = meet(&bucket(state), &segment, host);
    assert_eq!((outcome.reply, outcome.fate), expected, "{segment:?}: {:?}", outcome.rule);
}

#[test]
fn acks_start_the_minute_anew() {
    let restarted = (Reply::Ack, Fate::Restarted);
    for segment in [
        Segment { seq: NXT - 1, ..FIN },
        Segment { seq: NXT - 100, ..ACK },
        Segment { seq: NXT + 100, ..ACK },
        Segment { seq: NXT, len: 10, ..ACK },
    ] {
        check(State::TimeWait, &HOST, segment, restarted);
        check(State::TimeWait, &HOST, Segment { timestamp: None, ..segment }, restarted);
    }
    check(State::TimeWait, &HOST, ACK, (Reply::None, Fate::Restarted));
}

#[test]
fn what_is_too_old_by_its_timestamp_starts_it_anew_every_time() {
    let old = Some(499);
    check(State::TimeWait, &HOST, Segment { timestamp: old, ..ACK }, (Reply::Ack, Fate::Restarted));
    for host in [HOST, LISTENER] {
        check(State::TimeWait, &host, Segment { timestamp: old, seq: NXT + 9, ..SYN }, (Reply::Ack, Fate::Restarted));
    }
    check(State::TimeWait, &HOST, Segment { timestamp: old, ..RST }, (Reply::None, Fate::Unchanged));
}

#[test]
fn what_has_no_ack_changes_nothing() {
    check(State::TimeWait, &HOST, Segment { len: 5, ..PLAIN }, (Reply::Ack, Fate::Unchanged));
    check(State::TimeWait, &HOST, Segment { seq: NXT + 9, ..SYN }, (Reply::Ack, Fate::Unchanged));
}

#[test]
fn a_reset_in_its_place_kills_unless_rfc1337_is_on() {
    for timestamp in [Some(500), Some(501), None] {
        check(State::TimeWait, &HOST, Segment { timestamp, ..RST }, (Reply::None, Fate::Killed));
    }
    check(State::TimeWait, &HOST, Segment { seq: NXT + 1, ..RST }, (Reply::None, Fate::Unchanged));
    check(State::TimeWait, &HOST, Segment { seq: NXT - 1, ..RST }, (Reply::None, Fate::Unchanged));
    let rfc1337 = Host { rfc1337: true, ..HOST };
    check(State::TimeWait, &rfc1337, RST, (Reply::None, Fate::Unchanged));
    let old = Host { version: Version::new(3, 10), ..rfc1337 };
    check(State::TimeWait, &old, RST, (Reply::None, Fate::Restarted));
}

#[test]
fn a_newer_syn_gets_a_listener_s_answer() {
    let replaced = (Reply::SynAck { isn: Some(77 + 65_537) }, Fate::Replaced);
    for timestamp in [Some(501), Some(500), None] {
        check(State::TimeWait, &LISTENER, Segment { seq: NXT + 1, timestamp, ..SYN }, replaced);
    }
    check(State::TimeWait, &LISTENER, Segment { seq: NXT - 9, timestamp: Some(501), ..SYN }, replaced);
    for timestamp in [Some(500), None] {
        check(State::TimeWait, &LISTENER, Segment { seq: NXT - 9, timestamp, ..SYN }, (Reply::Ack, Fate::Unchanged));
        check(State::TimeWait, &LISTENER, Segment { timestamp, ..SYN }, (Reply::Ack, Fate::Unchanged));
    }
    let mut at_the_end = bucket(State::TimeWait);
    at_the_end.snd_nxt = 0u32.wrapping_sub(65_537);
    let outcome = meet(&at_the_end, &Segment { seq: NXT + 1, ..SYN }, &LISTENER);
    assert_eq!(outcome.reply, Reply::SynAck { isn: Some(1) }, "zero means none");
}

#[test]
fn fin_wait_2_becomes_time_wait_with_the_fin_and_dies_of_data() {
    check(State::FinWait2, &HOST, FIN, (Reply::Ack, Fate::Restarted));
    for segment in [
        Segment { len: 10, ..ACK },
        Segment { seq: NXT + 5, ..FIN },
        Segment { len: 10, ..FIN },
        Segment { seq: NXT + 10, ..SYN },
    ] {
        check(State::FinWait2, &HOST, segment, (Reply::Reset, Fate::Killed));
    }
    check(State::FinWait2, &HOST, RST, (Reply::None, Fate::Killed));
    check(State::FinWait2, &HOST, Segment { seq: NXT + 100, ..RST }, (Reply::None, Fate::Killed));
    check(State::FinWait2, &HOST, ACK, (Reply::None, Fate::Unchanged));
    check(State::FinWait2, &HOST, Segment { seq: NXT - 50, ..SYN }, (Reply::Ack, Fate::Unchanged));
    check(State::FinWait2, &HOST, Segment { seq: NXT + 70_000, ..RST }, (Reply::Ack, Fate::Unchanged));
    check(State::FinWait2, &HOST, Segment { timestamp: Some(1), ..FIN }, (Reply::Ack, Fate::Unchanged));
}

#[test]
fn an_old_timestamp_is_forgotten_in_time() {
    let mut held = bucket(State::TimeWait);
    held.timestamp = Some(Timestamp { value: 500, age_s: 60 });
    assert_eq!(meet(&held, &Segment { timestamp: Some(1), ..RST }, &HOST).rule, Rule::Reset);
    assert_eq!(meet(&held, &Segment { timestamp: Some(1), ..ACK }, &HOST).rule, Rule::Paws);
    held.timestamp = Some(Timestamp { value: 500, age_s: 24 * 86_400 });
    assert_eq!(meet(&held, &Segment { timestamp: Some(1), ..ACK }, &HOST).rule, Rule::AckInPlace);
}

#[test]
fn only_what_a_rule_says_kills_or_restarts() {
    let mut rng = pinhole_sansio::Rng::from_seed(3);
    for _ in 0..50_000 {
        let bits = rng.next_u64();
        let flag = |n: u32| bits >> n & 1 != 0;
        let segment = Segment {
            seq: NXT.wrapping_add(rng.below(5) as u32).wrapping_sub(2),
            len: rng.below(3) as u32,
            syn: flag(0),
            fin: flag(1),
            rst: flag(2),
            ack: flag(3),
            timestamp: flag(4).then(|| 499 + rng.below(3) as u32),
        };
        let host = Host { listens: flag(5), rfc1337: flag(6), ..HOST };
        let outcome = meet(&bucket(State::TimeWait), &segment, &host);
        assert!(outcome.fate != Fate::Killed || (segment.rst && !host.rfc1337), "{segment:?}");
        assert!(!segment.rst || outcome.reply == Reply::None, "nothing answers an RST: {segment:?}");
        assert_eq!(outcome.fate == Fate::Replaced, matches!(outcome.reply, Reply::SynAck { .. }), "{segment:?}");
        assert!(outcome.fate != Fate::Replaced || host.listens);
    }
}
