//! What comes before the window check: pick-up, new connections over old ones, packets that are remembered, resets.

use super::super::window::SideFlags;
use super::*;
use Direction::{Original, Reply};

#[test]
fn a_flow_is_picked_up_by_an_ack_and_by_nothing_else_in_the_middle() {
    for line in ["> S. 1000 5000", "> F. 1000 5000", "> R 1000 0", "> R. 1000 5000"] {
        Flow::new().refuses(&[line]);
    }
    let mut flow = Flow::new();
    flow.accepts(&["> . 1000 5000 len 10 win 0"]);
    flow.expect(TcpState::Established, 300);
    assert_eq!((flow.side(Original).end, flow.side(Original).maxend), (1_010, 1_011), "a window of zero counts as one");
    flow.accepts(&["< . 5000 1010"]);
    assert!(flow.status.contains(Status::SEEN_REPLY));
    flow.accepts(&["> . 1010 5000"]);
    assert!(flow.status.contains(Status::ASSURED));
    flow.expect(TcpState::Established, 432_000);
}

#[test]
fn nothing_is_picked_up_if_tcp_loose_is_off() {
    let mut flow = Flow::with(Settings { tcp_loose: false, ..Settings::default() });
    flow.refuses(&["> . 1000 5000"]);
    flow.accepts(&["> S 1000 0"]);
}

#[test]
fn a_simultaneous_open_is_established_by_the_reply_sides_ack_too() {
    let mut flow = Flow::new();
    flow.accepts(&["> S 1000 0", "< S 5000 0"]);
    flow.expect(TcpState::SynSent2, 120);
    flow.accepts(&["> S. 1000 5001"]);
    flow.expect(TcpState::SynRecv, 60);
    flow.accepts(&["< . 5001 1001"]);
    flow.expect(TcpState::Established, 432_000);
    assert!(flow.status.contains(Status::ASSURED));
    let mut ordinary = Flow::new();
    ordinary.accepts(&["> S 1000 0", "< S. 5000 1001", "< . 5001 1001"]);
    ordinary.expect(TcpState::SynRecv, 60);
}

#[test]
fn a_close_goes_through_all_its_states() {
    let mut flow = Flow::established();
    for (line, state, timeout) in [
        ("> F. 1001 5001", TcpState::FinWait, 120),
        ("< . 5001 1002", TcpState::CloseWait, 60),
        ("< F. 5001 1002", TcpState::LastAck, 30),
        ("> . 1002 5002", TcpState::TimeWait, 120),
    ] {
        flow.accepts(&[line]);
        flow.expect(state, timeout);
    }
    assert!(flow.side(Original).flags.contains(SideFlags::CLOSE_INIT));
    assert!(!flow.side(Reply).flags.contains(SideFlags::CLOSE_INIT));
}

#[test]
fn a_syn_after_a_close_that_we_saw_restarts_the_flow() {
    let close = ["> F. 1001 5001", "< F. 5001 1002", "> . 1002 5002"];
    let mut flow = Flow::established();
    flow.accepts(&close);
    assert_eq!(flow.judge("> S 9000 0"), Judgement::Restart);
    let mut flow = Flow::established();
    flow.accepts(&close);
    assert_eq!(flow.judge("< S 9000 0"), Judgement::Restart, "of either side");
}

#[test]
fn a_syn_after_a_reset_restarts_the_flow_only_if_the_same_side_has_reset_it() {
    let mut flow = Flow::established();
    flow.accepts(&["> R 1001 0"]);
    assert_eq!(flow.judge("> S 9000 0"), Judgement::Restart);
    let mut flow = Flow::established();
    flow.accepts(&["< R 5001 0"]);
    assert_eq!(flow.judge("> S 9000 0"), Judgement::PASS, "let through and remembered");
    flow.expect(TcpState::Close, 10);
}

#[test]
fn a_remembered_syn_that_is_answered_puts_the_flow_in_step_again() {
    let mut flow = Flow::established();
    assert_eq!(flow.judge("> S 90000 0 win 700 wscale 4 sackok"), Judgement::PASS);
    flow.accepts(&["< S. 70000 90001 win 800 wscale 5 sackok"]);
    flow.expect(TcpState::SynRecv, 60);
    let (original, reply) = (flow.side(Original), flow.side(Reply));
    assert_eq!((original.end, original.maxwin, original.scale), (90_001, 700, 4));
    assert_eq!((reply.end, reply.scale), (70_001, 5));
    flow.accepts(&["> . 90001 70001"]);
    flow.expect(TcpState::Established, 432_000);
}

#[test]
fn a_syn_ack_for_another_number_leaves_the_flow_as_it_is() {
    let mut flow = Flow::established();
    assert_eq!(flow.judge("> S 90000 0"), Judgement::PASS);
    assert_eq!(flow.judge("< S. 70000 90002"), Judgement::PASS);
    flow.expect(TcpState::Established, 432_000);
    assert_eq!(flow.side(Reply).end, 5_001);
}

#[test]
fn a_challenge_ack_in_last_ack_is_not_taken_for_the_last_one_but_once() {
    let mut flow = Flow::established();
    flow.accepts(&["> F. 1001 5001", "< F. 5001 1002"]);
    flow.expect(TcpState::LastAck, 30);
    flow.accepts(&["> S 9000 0"]);
    assert_eq!(flow.judge("< . 5002 1002"), Judgement::PASS);
    flow.expect(TcpState::LastAck, 30);
    flow.accepts(&["< . 5002 1002"]);
    flow.expect(TcpState::TimeWait, 120);
}

#[test]
fn a_reset_must_be_exact_while_established() {
    // The reply side has acknowledged up to 1001: that is the only number at which the original side may reset.
    let mut flow = Flow::established();
    flow.refuses(&["> R 0 0", "> R 1000 0"]);
    flow.accepts(&["> R 1002 0"]);
    assert!(flow.was_told("the state stays"));
    flow.expect(TcpState::Established, 10);
    flow.accepts(&["> R 1001 0"]);
    flow.expect(TcpState::Close, 10);
}

#[test]
fn a_reset_that_follows_the_senders_own_last_segment_is_exact_enough() {
    let mut flow = Flow::established();
    flow.accepts(&["> . 1001 5001 len 19", "> R 1020 0"]);
    flow.expect(TcpState::Close, 10);
}

#[test]
fn resets_before_what_is_acknowledged_are_left_to_the_window_if_so_set() {
    let mut flow = Flow::established();
    flow.settings.tcp_ignore_invalid_rst = true;
    flow.accepts(&["> R 1000 0"]);
    assert_eq!(flow.state(), TcpState::Established);
}

#[test]
fn a_reset_before_any_reply_ends_the_entry() {
    let mut flow = Flow::new();
    flow.accepts(&["> S 1000 0"]);
    assert_eq!(flow.judge("< R. 0 1001"), Judgement::Kill);
    let mut flow = Flow::new();
    flow.accepts(&["> S 1000 0"]);
    assert_eq!(flow.judge("< R. 0 1003"), Judgement::INVALID, "it acknowledges what was not sent");
}

#[test]
fn once_the_end_has_begun_any_reset_is_believed() {
    for before in [&["> F. 1001 5001"][..], &["> F. 1001 5001", "< F. 5001 1002"], &["> R 1001 0"]] {
        let mut flow = Flow::established();
        flow.accepts(before);
        flow.accepts(&["< R 77 0"]);
        flow.expect(TcpState::Close, 10);
    }
}

#[test]
fn a_reset_that_answers_a_remembered_syn_is_believed_only_of_the_other_side() {
    let mut flow = Flow::established();
    flow.accepts(&["> S 90000 0", "< R. 0 90001"]);
    flow.expect(TcpState::Close, 10);
    let mut flow = Flow::established();
    flow.accepts(&["> S 90000 0"]);
    flow.refuses(&["> R. 800000 90001"]);
    assert_eq!(flow.state(), TcpState::Established);
}

#[test]
fn only_what_is_nearly_over_may_be_evicted_or_dropped_early() {
    let mut flow = Flow::established();
    let check = |flow: &Flow, closing, evicted| {
        let tcp = flow.entry.as_ref().expect("there is an entry");
        assert_eq!((tcp.state().is_closing(), tcp.may_be_evicted()), (closing, evicted), "{}", tcp.state());
    };
    check(&flow, false, false);
    flow.accepts(&["> F. 1001 5001"]);
    check(&flow, true, false);
    flow.accepts(&["< F. 5001 1002", "> . 1002 5002"]);
    check(&flow, true, true);
}
