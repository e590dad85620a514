//! The behaviours that the kernel's own six packet scripts hold it to, re-created as sequences of both sides' packets.

use super::*;

#[test]
fn the_first_segment_again_after_a_long_one_way_stream_is_not_invalid() {
    // "ack loss stall": the receiver's acknowledgments got lost behind us, so the sender goes back to its very first segment.
    let mut flow = Flow::new();
    flow.accepts(&["> S 0 0 win 65535", "< S. 0 1 win 65535", "> . 1 1 win 65535"]);
    for n in 0..90 {
        let (data, ack) = (format!("> . {} 1 len 1000", 1 + n * 1000), format!("< . 1 {} win 65535", 1001 + n * 1000));
        flow.accepts(&[&data, &ack]);
    }
    flow.accepts(&["> . 1 1 len 1000"]);
    assert!(flow.was_told("window condition II fails"));
    flow.accepts(&["< . 1 90001 win 65535"]);
    flow.expect(TcpState::Established, 432_000);
}

#[test]
fn a_stray_reset_with_an_old_number_after_the_end_is_not_invalid() {
    // "inexact RST".
    let mut flow = Flow::established();
    flow.accepts(&["< F. 5001 1001", "> . 1001 5002"]);
    flow.expect(TcpState::CloseWait, 60);
    flow.accepts(&["> R. 1001 5002"]);
    flow.expect(TcpState::Close, 10);
    flow.accepts(&["< R 1 0"]);
    flow.expect(TcpState::Close, 10);
}

#[test]
fn resets_that_do_not_hit_the_number_are_invalid_and_the_exact_one_closes() {
    // "invalid RST": zero, far outside, small, and one below what is expected.
    let mut flow = Flow::established();
    flow.accepts(&["> . 1001 5001 len 100", "< . 5001 1101"]);
    flow.refuses(&["> R 0 0", "> R 900000 0", "> R 42 0", "> R 1100 0"]);
    flow.expect(TcpState::Established, 432_000);
    flow.accepts(&["> R 1101 0"]);
    flow.expect(TcpState::Close, 10);
}

#[test]
fn a_challenge_ack_of_an_older_connection_and_its_reset_leave_the_syn_in_place() {
    // "SYN challenge ACK": the server still has an old connection, which it defends; the client resets it.
    let mut flow = Flow::new();
    flow.accepts(&["> S 1000 0"]);
    assert_eq!(flow.judge("< . 7000 600"), Judgement::PASS);
    flow.accepts(&["> R 600 0"]);
    flow.expect(TcpState::Close, 10);
    flow.accepts(&["> S 1000 0"]);
    flow.expect(TcpState::SynSent, 120);
    assert!(!flow.status.contains(Status::SEEN_REPLY), "a new entry, as UNREPLIED as the first");
    flow.accepts(&["< S. 5000 1001", "> . 1001 5001"]);
    flow.expect(TcpState::Established, 432_000);
    assert!(flow.status.contains(Status::ASSURED));
}

#[test]
fn a_syn_ack_of_an_older_connection_is_invalid_once_and_the_right_one_establishes() {
    // "old SYN+ACK": the right one may have a lower sequence number than the old one, though not by
    // more than a window: with that, Linux 6.18 too lets it through and stays in SYN_SENT.
    let mut flow = Flow::new();
    flow.accepts(&["> S 1000 0 win 65535"]);
    flow.refuses(&["< S. 145824453 643160523"]);
    flow.accepts(&["> S 1000 0 win 65535"]);
    flow.expect(TcpState::SynSent, 120);
    flow.accepts(&["< S. 145794453 1001", "> . 1001 145794454"]);
    flow.expect(TcpState::Established, 432_000);
}

#[test]
fn a_new_syn_over_an_established_flow_gets_through_by_challenge_and_reset() {
    // "SYN reuse": the client has forgotten the connection and uses its port again.
    let mut flow = Flow::established();
    flow.accepts(&["> S 90000 0", "< . 5001 1001", "> R 1001 0"]);
    flow.expect(TcpState::Close, 10);
    flow.accepts(&["> S 90000 0", "< S. 70000 90001"]);
    flow.expect(TcpState::SynRecv, 60);
    flow.accepts(&["> . 90001 70001"]);
    flow.expect(TcpState::Established, 432_000);
}
