//! SCTP associations as chunk sequences: the state table, the verification tags, and what must stand alone.

use pinhole_sansio::Instant;

use super::table::ROWS;
use super::{Sctp, SctpState, kind, next_state};
use crate::settings::Timeouts;
use crate::status::{Direction, Status};
use crate::track::{Change, Context, Judgement};

/// The table as the facts about Linux give it: what is not said keeps the state. Chunks by their rows, `o` and `r` for the
/// side, `-` for any.
const EXCEPTIONS: &str = "
    NONE o heartbeat HEARTBEAT_SENT; NONE o shutdown_ack SHUTDOWN_ACK_SENT; NONE o * CLOSED; NONE r * x;
    HEARTBEAT_SENT r abort x; * - abort CLOSED;
    CLOSED r init_ack COOKIE_WAIT; COOKIE_WAIT - cookie_echo COOKIE_ECHOED; COOKIE_ECHOED - cookie_ack ESTABLISHED;
    COOKIE_ECHOED r error CLOSED; ESTABLISHED o shutdown SHUTDOWN_SENT; ESTABLISHED r shutdown SHUTDOWN_RECD;
    SHUTDOWN_SENT - shutdown_ack SHUTDOWN_ACK_SENT; SHUTDOWN_RECD - shutdown_ack SHUTDOWN_ACK_SENT;
    SHUTDOWN_SENT o init CLOSED; SHUTDOWN_RECD o init CLOSED; SHUTDOWN_ACK_SENT - shutdown_complete CLOSED;
    HEARTBEAT_SENT o init COOKIE_WAIT; HEARTBEAT_SENT o shutdown_ack SHUTDOWN_ACK_SENT;
    HEARTBEAT_SENT o heartbeat HEARTBEAT_SENT; HEARTBEAT_SENT o heartbeat_ack HEARTBEAT_SENT; HEARTBEAT_SENT o * CLOSED;
    HEARTBEAT_SENT r heartbeat HEARTBEAT_SENT; HEARTBEAT_SENT r heartbeat_ack ESTABLISHED; HEARTBEAT_SENT r * x";

const NAMES: [&str; 11] = [
    "init",
    "init_ack",
    "abort",
    "shutdown",
    "shutdown_ack",
    "error",
    "cookie_echo",
    "cookie_ack",
    "shutdown_complete",
    "heartbeat",
    "heartbeat_ack",
];

#[test]
fn every_cell_of_the_table_is_as_in_linux() {
    let rules: Vec<Vec<&str>> = EXCEPTIONS.split(';').map(|rule| rule.split_whitespace().collect()).collect();
    for (side, direction) in [("o", Direction::Original), ("r", Direction::Reply)] {
        for state in SctpState::ALL {
            for (row, name) in ROWS.into_iter().zip(NAMES) {
                let applies = |rule: &&Vec<&str>| {
                    [state.name(), "*"].contains(&rule[0])
                        && [side, "-"].contains(&rule[1])
                        && [name, "*"].contains(&rule[2])
                };
                let expected = rules.iter().find(applies).map_or(state.name(), |rule| rule[3]);
                let found = next_state(direction, state, row).map_or("x", SctpState::name);
                assert_eq!(found, expected, "{} {side} {name}", state.name());
            }
        }
    }
}

/// A chunk with a value of four bytes.
fn chunk(kind: u8) -> Vec<u8> {
    vec![kind, 0, 0, 8, 0, 0, 0, 0]
}

/// An INIT or INIT ACK that tells the other side to use `tag`.
fn init(kind: u8, tag: u32) -> Vec<u8> {
    [&[kind, 0, 0, 20][..], &tag.to_be_bytes(), &[0; 12]].concat()
}

/// An association and its entry.
#[derive(Default)]
struct Flow {
    entry: Option<Sctp>,
    status: Status,
}

impl Flow {
    fn send(&mut self, direction: Direction, tag: u32, chunks: &[Vec<u8>]) -> Judgement {
        let body = [&[0x9c, 0x40, 0, 80][..], &tag.to_be_bytes(), &[0; 4], &chunks.concat()].concat();
        if self.entry.is_none() {
            self.entry = Sctp::begin(&body, &mut ());
        }
        let Some(sctp) = &mut self.entry else { return Judgement::INVALID };
        let (now, status, timeouts) = (Instant::EPOCH, self.status, Timeouts::default());
        let context = Context { now, direction, status, remaining: timeouts.generic, seqadj: None };
        let judgement = sctp.next(&body, &context, &timeouts, &mut ());
        if let Judgement::Accept(Change { assured, .. }) = judgement {
            self.status |= Status::CONFIRMED;
            if assured {
                self.status |= Status::ASSURED;
            }
        }
        judgement
    }

    /// Sends what is accepted; the state after it and the new timeout in seconds, if it was refreshed.
    #[track_caller]
    fn accepts(&mut self, direction: Direction, tag: u32, chunks: &[Vec<u8>]) -> (SctpState, Option<u64>) {
        match self.send(direction, tag, chunks) {
            Judgement::Accept(change) => {
                let state = self.entry.as_ref().expect("there is an entry").state();
                (state, change.timeout.map(|timeout| timeout.as_secs()))
            }
            judgement => panic!("{judgement:?}"),
        }
    }

    /// An association whose original side is told to send with tag 7, and whose reply side with tag 5.
    fn established() -> Self {
        let mut flow = Self::default();
        let states = [
            flow.accepts(ORIGINAL, 0, &[init(kind::INIT, 5)]),
            flow.accepts(REPLY, 5, &[init(kind::INIT_ACK, 7)]),
            flow.accepts(ORIGINAL, 7, &[chunk(kind::COOKIE_ECHO), chunk(kind::DATA)]),
            flow.accepts(REPLY, 5, &[chunk(kind::COOKIE_ACK)]),
        ];
        let expected = [
            (SctpState::Closed, Some(10)),
            (SctpState::CookieWait, Some(3)),
            (SctpState::CookieEchoed, Some(3)),
            (SctpState::Established, Some(210)),
        ];
        assert_eq!(states, expected);
        assert!(flow.status.contains(Status::ASSURED));
        flow
    }
}

const ORIGINAL: Direction = Direction::Original;
const REPLY: Direction = Direction::Reply;

#[test]
fn an_association_is_set_up_and_shut_down() {
    let mut flow = Flow::established();
    let shutdown = [
        flow.accepts(ORIGINAL, 7, &[chunk(kind::SHUTDOWN)]),
        flow.accepts(REPLY, 5, &[chunk(kind::SHUTDOWN_ACK)]),
        flow.accepts(ORIGINAL, 7, &[chunk(kind::SHUTDOWN_COMPLETE)]),
    ];
    let expected =
        [(SctpState::ShutdownSent, Some(3)), (SctpState::ShutdownAckSent, Some(3)), (SctpState::Closed, Some(10))];
    assert_eq!(shutdown, expected);
}

#[test]
fn a_wrong_verification_tag_is_invalid() {
    for (direction, right) in [(ORIGINAL, 7), (REPLY, 5)] {
        let mut flow = Flow::established();
        assert_eq!(flow.send(direction, 6, &[chunk(kind::DATA)]), Judgement::INVALID);
        assert_eq!(flow.send(direction, 6, &[chunk(kind::COOKIE_ECHO)]), Judgement::INVALID);
        assert_eq!(flow.send(direction, 6, &[chunk(kind::ABORT)]), Judgement::INVALID);
        assert_eq!(flow.send(direction, right, &[init(kind::INIT, 9)]), Judgement::INVALID, "an INIT carries no tag");
        assert_eq!(flow.accepts(direction, right, &[chunk(kind::DATA)]), (SctpState::Established, Some(210)));
        assert_eq!(flow.accepts(direction, right, &[chunk(kind::ABORT)]), (SctpState::Closed, Some(10)));
    }
}

#[test]
fn with_the_t_bit_an_abort_carries_the_tag_of_the_other_direction() {
    let reflected = vec![kind::ABORT, 1, 0, 4];
    let mut flow = Flow::established();
    assert_eq!(flow.send(ORIGINAL, 7, std::slice::from_ref(&reflected)), Judgement::INVALID);
    assert_eq!(flow.accepts(ORIGINAL, 5, &[reflected]), (SctpState::Closed, Some(10)));
}

#[test]
fn an_init_again_does_not_prolong_the_entry() {
    let mut flow = Flow::default();
    assert_eq!(flow.accepts(ORIGINAL, 0, &[init(kind::INIT, 5)]), (SctpState::Closed, Some(10)));
    assert_eq!(flow.accepts(ORIGINAL, 0, &[init(kind::INIT, 5)]), (SctpState::Closed, None));
}

#[test]
fn what_must_stand_alone_or_first_does() {
    let malformed: [&[Vec<u8>]; 6] = [
        &[init(kind::INIT, 5), chunk(kind::DATA)],
        &[chunk(kind::DATA), init(kind::INIT_ACK, 5)],
        &[chunk(kind::SHUTDOWN_COMPLETE), chunk(kind::DATA)],
        &[chunk(kind::DATA), chunk(kind::COOKIE_ECHO)],
        &[vec![kind::DATA, 0, 0, 0]],
        &[],
    ];
    for chunks in malformed {
        let mut flow = Flow::established();
        assert_eq!(flow.send(ORIGINAL, 7, chunks), Judgement::INVALID, "{chunks:?}");
    }
}

#[test]
fn an_abort_a_shutdown_complete_a_cookie_ack_or_plain_data_begins_no_flow() {
    for kind in [kind::ABORT, kind::SHUTDOWN_COMPLETE, kind::COOKIE_ACK, kind::DATA] {
        assert_eq!(Flow::default().send(ORIGINAL, 0, &[chunk(kind)]), Judgement::INVALID, "{kind}");
    }
    assert_eq!(Flow::default().send(ORIGINAL, 1, &[init(kind::INIT, 5)]), Judgement::INVALID, "an INIT with a tag");
    assert_eq!(
        Flow::default().send(ORIGINAL, 0, &[chunk(kind::INIT)]),
        Judgement::INVALID,
        "an INIT without its fields"
    );
}

#[test]
fn a_heartbeat_opens_a_further_path_and_its_answer_establishes_it() {
    let mut flow = Flow::default();
    assert_eq!(flow.accepts(ORIGINAL, 7, &[chunk(kind::HEARTBEAT)]), (SctpState::HeartbeatSent, Some(30)));
    assert_eq!(flow.accepts(REPLY, 5, &[chunk(kind::HEARTBEAT_ACK)]), (SctpState::Established, Some(210)));
    assert_eq!(flow.accepts(REPLY, 5, &[chunk(kind::DATA)]), (SctpState::Established, Some(210)));
}

#[test]
fn a_heartbeat_with_another_tag_passes_but_counts_only_once_it_is_answered() {
    let mut flow = Flow::established();
    assert_eq!(flow.accepts(ORIGINAL, 9, &[chunk(kind::HEARTBEAT)]), (SctpState::Established, None));
    assert_eq!(flow.send(ORIGINAL, 9, &[chunk(kind::HEARTBEAT_ACK)]), Judgement::INVALID, "nobody answers himself");
    assert_eq!(flow.accepts(REPLY, 8, &[chunk(kind::HEARTBEAT_ACK)]), (SctpState::Established, Some(210)));
    let entry = flow.entry.as_ref().expect("there is an entry");
    assert_eq!((entry.tag(REPLY), entry.tag(ORIGINAL)), (8, 0));
}

#[test]
fn what_a_chunk_has_done_stays_if_a_later_one_is_wrong() {
    let mut flow = Flow::default();
    flow.accepts(ORIGINAL, 0, &[init(kind::INIT, 5)]);
    flow.accepts(REPLY, 5, &[init(kind::INIT_ACK, 7)]);
    flow.accepts(ORIGINAL, 7, &[chunk(kind::COOKIE_ECHO)]);
    // Measured on 6.18: the heartbeat spares the tag of the first chunk, and its own is wrong.
    let judgement = flow.send(REPLY, 7, &[chunk(kind::COOKIE_ACK), chunk(kind::HEARTBEAT_ACK)]);
    let state = flow.entry.as_ref().map(Sctp::state);
    assert_eq!((judgement, state), (Judgement::Invalid { timeout: None, assured: true }, Some(SctpState::Established)));
}

#[test]
fn an_init_ack_may_not_contradict_what_is_known_unless_it_answers_an_init() {
    let mut flow = Flow::established();
    assert_eq!(flow.send(REPLY, 5, &[init(kind::INIT_ACK, 8)]), Judgement::INVALID);
    // The original side restarts: its INIT opens the question again.
    flow.accepts(ORIGINAL, 0, &[init(kind::INIT, 6)]);
    flow.accepts(REPLY, 6, &[init(kind::INIT_ACK, 8)]);
    assert_eq!(flow.entry.as_ref().expect("there is an entry").tag(ORIGINAL), 8);
    // A copy of an INIT that we know does not.
    let mut flow = Flow::established();
    flow.accepts(ORIGINAL, 0, &[init(kind::INIT, 5)]);
    assert_eq!(flow.send(REPLY, 5, &[init(kind::INIT_ACK, 8)]), Judgement::INVALID);
}
