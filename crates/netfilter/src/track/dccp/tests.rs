//! DCCP connections as packet sequences.

use pinhole_sansio::Instant;

use super::{Dccp, DccpState, Header, Role, kind};
use crate::settings::Settings;
use crate::status::{Direction, Status};
use crate::track::{Context, Judgement};

const DATA_ACK: u8 = 4;
const CLOSE: u8 = 6;
const SYNC: u8 = 8;

/// A packet with 48-bit sequence numbers.
fn packet(kind: u8, seq: u64, ack: u64) -> Vec<u8> {
    let mut body = vec![0; 28];
    body[4] = 7;
    body[8] = kind << 1 | 1;
    body[10..16].copy_from_slice(&seq.to_be_bytes()[2..]);
    body[18..24].copy_from_slice(&ack.to_be_bytes()[2..]);
    body
}

/// Sends packets one after another to an entry that has seen a reply from the second on; the last judgement.
fn run(packets: &[(Direction, u8)]) -> (Option<Dccp>, Judgement, Status) {
    let settings = Settings::default();
    let (mut entry, mut status, mut judgement) = (None, Status::default(), Judgement::INVALID);
    for (n, &(direction, kind)) in packets.iter().enumerate() {
        // Every packet acknowledges the one before it.
        let body = packet(kind, (1 << 40) + n as u64, (1 << 40) + n as u64 - 1);
        if entry.is_none() {
            entry = Dccp::begin(&body, &settings, &mut ());
        }
        let Some(dccp) = &mut entry else { break };
        let (now, remaining) = (Instant::EPOCH, settings.timeouts.generic);
        let context = Context { now, direction, status, remaining, seqadj: None };
        judgement = dccp.next(&body, &context, &settings.timeouts, &mut ());
        if let Judgement::Accept(change) = judgement {
            status |= Status::CONFIRMED;
            if change.assured {
                status |= Status::ASSURED;
            }
            if direction == Direction::Reply {
                status |= Status::SEEN_REPLY;
            }
        }
    }
    (entry, judgement, status)
}

const O: Direction = Direction::Original;
const R: Direction = Direction::Reply;

#[test]
fn a_connection_is_set_up_used_and_closed() {
    let steps = [
        (O, kind::REQUEST, DccpState::Request, 240),
        (R, kind::RESPONSE, DccpState::Respond, 480),
        (O, kind::ACK, DccpState::Partopen, 480),
        (R, DATA_ACK, DccpState::Open, 43_200),
        (O, kind::DATA, DccpState::Open, 43_200),
        (O, CLOSE, DccpState::Closing, 64),
        (R, kind::RESET, DccpState::Timewait, 240),
    ];
    for n in 1..=steps.len() {
        let packets: Vec<_> = steps[..n].iter().map(|&(direction, kind, ..)| (direction, kind)).collect();
        let (entry, judgement, status) = run(&packets);
        let (_, _, state, timeout) = steps[n - 1];
        let Judgement::Accept(change) = judgement else { panic!("step {n}: {judgement:?}") };
        assert_eq!(entry.expect("there is an entry").state(), state, "step {n}");
        assert_eq!(change.timeout.map(|timeout| timeout.as_secs()), Some(timeout), "step {n}");
        assert_eq!(status.contains(Status::ASSURED), n >= 3, "the Ack of the Response assures it");
    }
}

#[test]
fn only_a_request_begins_a_connection() {
    for kind in 1..=kind::SYNC_ACK {
        assert_eq!(run(&[(O, kind)]).0, None, "type {kind}");
    }
}

#[test]
fn a_reset_before_any_reply_ends_the_entry() {
    assert_eq!(run(&[(O, kind::REQUEST), (R, kind::RESET)]).1, Judgement::Kill);
}

#[test]
fn a_response_to_a_request_that_was_let_through_swaps_the_roles() {
    let (entry, ..) = run(&[(O, kind::REQUEST), (R, kind::REQUEST), (O, kind::RESPONSE)]);
    let entry = entry.expect("there is an entry");
    assert_eq!((entry.state(), entry.role(O), entry.role(R)), (DccpState::Respond, Role::Server, Role::Client));
    assert_eq!(entry.handshake(), (1 << 40) + 2);
}

#[test]
fn syncs_pass_and_change_nothing_and_data_in_the_handshake_is_invalid() {
    assert_eq!(run(&[(O, kind::REQUEST), (R, kind::RESPONSE), (O, SYNC)]).1, Judgement::PASS);
    assert_eq!(run(&[(O, kind::REQUEST), (R, kind::RESPONSE), (O, kind::DATA)]).1, Judgement::INVALID);
}

#[test]
fn a_header_is_read_with_short_and_long_numbers() {
    let long = Header::read(&packet(kind::ACK, 0x0102_0304_0506, 7)).expect("whole");
    assert_eq!((long.seq, long.ack), (0x0102_0304_0506, Some(7)));
    let mut short = packet(kind::DATA, 0, 0);
    (short[8], short[9]) = (kind::DATA << 1, 0x12);
    assert_eq!(Header::read(&short).map(|header| (header.seq, header.ack)), Some((0x12_0000, None)));
    let whole = packet(kind::RESPONSE, 1, 1);
    assert!(Header::read(&whole).is_some() && Header::read(&whole[..27]).is_none());
    assert!(Header::read(&packet(10, 1, 1)).is_none(), "a type that is not known");
}
