//! What holds for all trackers together.

mod datagrams;

use core::net::{Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use pinhole_sansio::{Instant, Rng};

use super::{Context, Judgement, State, Upper, checksum_is_right, untracked};
use crate::Family;
use crate::settings::{Personality, Settings};
use crate::status::{Direction, Status};

#[test]
fn a_state_is_small() {
    assert_eq!(size_of::<super::Tcp>(), 60);
    assert!(size_of::<State>() <= 64, "{}", size_of::<State>());
}

#[test]
fn the_personality_says_whether_udp_lite_and_dccp_have_a_tracker() {
    let (lite, request) = ([0, 1, 0, 2, 0, 0, 0, 1], [0, 1, 0, 2, 4, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    let begin = |personality, protocol, body: &[u8]| {
        let settings = Settings::of(personality);
        State::begin::<Ipv4Addr>(Upper { protocol, body }, &settings, &mut ()).expect("the packet may begin a flow")
    };
    for (personality, has_lite, has_dccp) in [
        (Personality::V2_6, false, false),
        (Personality::V6_12, true, true),
        (Personality::V6_18, true, false),
        (Personality::V7_3, false, false),
    ] {
        assert_eq!(begin(personality, 136, &lite) == State::UdpLite, has_lite, "{}", personality.name);
        assert_eq!(matches!(begin(personality, 33, &request), State::Dccp(_)), has_dccp, "{}", personality.name);
    }
}

#[test]
fn no_bytes_make_a_tracker_panic() {
    no_bytes_panic::<Ipv4Addr>(1);
    no_bytes_panic::<Ipv6Addr>(2);
}

/// Feeds each tracker packets whose bytes, directions and statuses are random, with now and then a plausible start.
fn no_bytes_panic<A: Family>(seed: u64) {
    const PROTOCOLS: [u8; 9] = [1, 6, 17, 33, 47, 58, 132, 136, 200];
    let mut rng = Rng::from_seed(seed);
    let mut judged = [0_u32; 5];
    for round in 0..200_000_u64 {
        let mut settings = Settings::of(Personality::ALL[rng.below(Personality::ALL.len() as u64) as usize]);
        settings.tcp_be_liberal = rng.chance(0.2);
        settings.tcp_ignore_invalid_rst = rng.chance(0.2);
        let protocol = PROTOCOLS[rng.below(PROTOCOLS.len() as u64) as usize];
        let mut state: Option<State> = None;
        for packet in 0..rng.below(12) {
            let mut body: Vec<u8> =
                (0..rng.below(64)).map(|_| if rng.chance(0.3) { 0 } else { rng.next_u64() as u8 }).collect();
            if rng.chance(0.8) {
                make_plausible(&mut body, protocol, &mut rng);
            }
            let upper = Upper { protocol, body: &body };
            let addresses = (A::of_number(rng.next_u64().into()), A::of_number(7));
            checksum_is_right(upper, addresses.0, addresses.1, &settings);
            untracked::<A>(upper);
            let direction = if rng.chance(0.5) { Direction::Original } else { Direction::Reply };
            let context = Context {
                now: Instant::from_millis(round * 100 + packet),
                direction,
                status: Status(rng.next_u64() as u16),
                remaining: Duration::from_secs(rng.below(1_000)),
                seqadj: None,
            };
            let mut notes = Vec::new();
            if state.is_none() {
                state = State::begin::<A>(upper, &settings, &mut notes);
            }
            if let Some(state) = &mut state {
                let judgement = state.next(upper, &context, &settings, &settings.timeouts, &mut notes);
                judged[match judgement {
                    Judgement::Accept(_) => 0,
                    Judgement::Invalid { .. } => 1,
                    Judgement::Restart => 2,
                    Judgement::Kill => 3,
                    Judgement::Drop => 4,
                }] += 1;
            }
        }
    }
    assert!(judged[..4].iter().all(|&count| count > 100), "all kinds of judgements were met: {judged:?}");
}

/// Makes lengths and flags such that a packet often gets past the first checks, and small numbers that often agree.
fn make_plausible(body: &mut Vec<u8>, protocol: u8, rng: &mut Rng) {
    body.resize(body.len().max(36), 0);
    match protocol {
        6 => {
            for at in (4..12).filter(|at| at % 4 != 3) {
                body[at] = 0;
            }
            body[12] = (5 + rng.below(5) as u8) << 4;
            body[13] = [0x02, 0x12, 0x10, 0x11, 0x04, 0x14][rng.below(6) as usize];
        }
        17 | 136 => (body[4], body[5]) = (0, 8),
        33 => {
            (body[4], body[5]) = (4, 0);
            body[8] = (rng.below(10) as u8) << 1 | 1;
        }
        132 => {
            body[4..8].copy_from_slice(&[0, 0, 0, rng.below(2) as u8]);
            body[12..16].copy_from_slice(&[rng.below(16) as u8, 0, 0, 20]);
            body[16..20].copy_from_slice(&[0, 0, 0, 1]);
            body[32..36].copy_from_slice(&[rng.below(16) as u8, 0, 0, 4]);
        }
        1 => body[0] = 8,
        58 => body[0] = 128,
        _ => {}
    }
}
