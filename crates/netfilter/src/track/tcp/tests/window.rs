//! The window check: each condition at its edge, the way a side begins, and what a good segment teaches.

use super::super::window::SideFlags;
use super::*;
use Direction::{Original, Reply};

#[test]
fn what_a_handshake_teaches_is_what_linux_knows() {
    let mut flow = Flow::new();
    flow.accepts(&["> S 1000 0 win 500 wscale 7 sackok"]);
    let syn = Side { end: 1_001, maxend: 1_001, maxwin: 500, scale: 7, flags: SideFlags(0x03), ..Side::default() };
    assert_eq!(flow.side(Original), syn);
    flow.accepts(&["< S. 5000 1001 win 600 wscale 2 sackok"]);
    let (original, reply) = (flow.side(Original), flow.side(Reply));
    assert_eq!((original.maxend, original.scale), (1_601, 7), "the window of a SYN is not scaled");
    assert_eq!((reply.end, reply.maxwin, reply.maxack, reply.scale), (5_001, 600, 1_001, 2));
    assert_eq!(reply.flags, SideFlags::WINDOW_SCALE | SideFlags::SACK_PERM | SideFlags::MAXACK_SET);
    flow.accepts(&["> . 1001 5001 win 500"]);
    assert_eq!((flow.side(Reply).maxend, flow.side(Original).maxwin), (5_001 + (500 << 7), 500 << 7));
}

#[test]
fn a_scale_is_at_most_14_and_only_counts_if_both_sides_have_one() {
    let mut flow = Flow::new();
    flow.accepts(&["> S 1000 0 wscale 200"]);
    assert_eq!(flow.side(Original).scale, 14);
    flow.accepts(&["< S. 5000 1001"]);
    assert_eq!((flow.side(Original).scale, flow.side(Reply).scale), (0, 0));
}

#[test]
fn condition_i_refuses_what_the_receiver_has_not_allowed() {
    // The reply side has allowed 1001 + 1000. One byte more than the window still passes if it is only that; a start past
    // it by more than the window does not.
    let mut flow = Flow::established();
    flow.accepts(&["> . 2001 5001"]);
    let mut flow = Flow::established();
    flow.accepts(&["> . 2002 5001 len 10"]);
    assert!(flow.was_told("window condition I fails") && flow.was_told("only I fails, and by 12 bytes"));
    assert_eq!(flow.side(Original).end, 2_012, "so that the receiver's acknowledgment of it is not refused");
    let mut flow = Flow::established();
    flow.refuses(&["> . 3001 5001"]);
    flow.accepts(&["> . 3000 5001"]);
    let mut flow = Flow::established();
    flow.refuses(&["> . 2002 6000 len 10"]);
    assert!(flow.was_told("window condition I fails"), "and III, so it is refused");
}

#[test]
fn condition_ii_lets_old_segments_through_and_learns_nothing() {
    let mut flow = Flow::established();
    flow.accepts(&["> . 1 5001 len 1"]);
    assert!(!flow.was_told("window condition II fails"), "it ends within a window of the end: 1001 - 1000");
    flow.accepts(&["> . 0 5001 len 0 win 9"]);
    assert!(flow.was_told("window condition II fails"));
    assert_eq!(flow.judge("> . 0 5001 len 0 win 9"), Judgement::PASS);
}

#[test]
fn condition_iii_refuses_acknowledgments_of_what_was_not_sent() {
    let mut flow = Flow::established();
    flow.accepts(&["> . 1001 5001"]);
    flow.refuses(&["> . 1001 5002"]);
    assert!(flow.was_told("window condition III fails: it acknowledges 5002, 1 past 5001"));
}

#[test]
fn condition_iv_lets_very_old_acknowledgments_through_and_learns_nothing() {
    let mut flow = Flow::established();
    flow.accepts(&["> . 1001 -60999"]);
    assert!(!flow.was_told("window condition IV fails"), "exactly 66,000 before 5001");
    flow.accepts(&["> . 1001 -61000"]);
    assert!(flow.was_told("window condition IV fails"));
}

#[test]
fn nothing_is_outside_the_window_of_a_liberal_side_or_setting() {
    let mut flow = Flow::established();
    flow.settings.tcp_be_liberal = true;
    let before = flow.side(Original);
    flow.accepts(&["> . 900000 9000 len 10", "> . 1001 6000", "> . 0 5001"]);
    assert_eq!(flow.side(Original), before, "but nothing is learnt of it either");
    let mut flow = Flow::established();
    flow.entry.as_mut().expect("there is an entry").set_liberal();
    flow.accepts(&["> . 900000 9000 len 10", "< . 900000 9000 len 10"]);
}

#[test]
fn numbers_wrap() {
    let mut flow = Flow::new();
    flow.accepts(&["> S -2 0", "< S. -1 -1", "> . -1 0", "> . -1 0 len 500", "< . 0 499 len 500", "> . 499 500"]);
    assert_eq!((flow.side(Original).end, flow.side(Reply).end), (499, 500));
    flow.refuses(&["> . 499 501"]);
}

#[test]
fn a_sack_counts_only_if_the_peer_permits_it() {
    let open = |permit: &str| {
        let mut flow = Flow::new();
        flow.accepts(&[&format!("> S 1000 0 {permit}"), "< S. 5000 1001 sackok", "> . 1001 5001"]);
        flow
    };
    // What the reply side acknowledges selectively was not sent: condition III, unless nobody looks.
    open("sackok").refuses(&["< . 5001 1001 sack 1500-1600"]);
    open("").accepts(&["< . 5001 1001 sack 1500-1600"]);
    let mut flow = open("sackok");
    flow.accepts(&["> . 1001 5001 len 600", "< . 5001 1001 win 100 sack 1500-1600"]);
    assert_eq!(flow.side(Original).maxend, 2_001, "1600 + 100 is less than what was allowed");
    assert_eq!(flow.side(Reply).maxwin, 1_000, "100 + 1600 - 1001 is less than it was");
    flow.accepts(&["< . 5001 1001 win 900 sack 1500-1600"]);
    assert_eq!((flow.side(Original).maxend, flow.side(Reply).maxwin), (2_500, 900 + 599), "seen from the ack");
}

#[test]
fn acknowledgments_are_corrected_by_the_adjustment_of_the_peers_numbers() {
    let mut flow = Flow::established();
    flow.accepts(&["> . 1001 5001 len 10"]);
    flow.refuses(&["< . 5001 1016"]);
    let mut seqadj = Seqadj::default();
    seqadj.change(Original, 1_001, 5);
    flow.seqadj = Some(seqadj);
    flow.accepts(&["< . 5001 1016"]);
    assert_eq!(flow.side(Reply).maxack, 1_011, "in the numbers of who has sent it");
    flow.refuses(&["< . 5001 1017"]);
    let mut shorter = Flow::established();
    shorter.accepts(&["> . 1001 5001 len 10"]);
    let mut seqadj = Seqadj::default();
    seqadj.change(Original, 1_001, -5);
    shorter.seqadj = Some(seqadj);
    shorter.accepts(&["< . 5001 1006"]);
    assert_eq!(shorter.side(Reply).maxack, 1_011);
    shorter.expect(TcpState::Established, 432_000);
}

#[test]
fn a_keepalive_answer_is_not_past_what_was_sent() {
    let mut flow = Flow::new();
    flow.accepts(&["> . 1000 5000"]);
    // The reply side is new to us and acknowledges one more than we have seen.
    flow.accepts(&["< . 5000 1001"]);
    assert_eq!(flow.side(Original).end, 1_001);
}

#[test]
fn a_syn_past_the_last_one_begins_the_side_anew() {
    let mut flow = Flow::new();
    flow.accepts(&["> S 1000 0 wscale 3", "> S 9000 0 win 77"]);
    let side = flow.side(Original);
    assert_eq!((side.end, side.maxend, side.maxwin), (9_001, 9_001, 77));
    assert_eq!((side.scale, side.flags.contains(SideFlags::WINDOW_SCALE)), (3, true), "no options take nothing back");
}

#[test]
fn data_is_unacknowledged_until_all_of_it_is_acknowledged() {
    let mut flow = Flow::established();
    let open = |flow: &Flow| flow.side(Original).flags.contains(SideFlags::DATA_UNACKNOWLEDGED);
    flow.accepts(&["> . 1001 5001 len 10"]);
    assert!(open(&flow));
    flow.accepts(&["< . 5001 1010"]);
    assert!(open(&flow));
    flow.accepts(&["< . 5001 1011"]);
    assert!(!open(&flow));
}
