//! How long an entry lives, when something is amiss.

use super::*;
use crate::settings::Personality;

#[test]
fn a_syn_again_without_a_reply_does_not_prolong_the_entry() {
    let mut flow = Flow::new();
    flow.accepts(&["> S 1000 0"]);
    flow.expect(TcpState::SynSent, 120);
    flow.timeout = Duration::from_secs(7);
    flow.accepts(&["> S 1000 0"]);
    flow.expect(TcpState::SynSent, 7);
}

#[test]
fn unacknowledged_data_caps_the_timeout_until_it_is_acknowledged() {
    let mut flow = Flow::established();
    flow.accepts(&["> . 1001 5001 len 10"]);
    flow.expect(TcpState::Established, 300);
    flow.accepts(&["< . 5001 1011"]);
    flow.expect(TcpState::Established, 432_000);
}

#[test]
fn the_third_retransmission_caps_the_timeout_and_anything_new_ends_that() {
    let mut flow = Flow::established();
    flow.settings.timeouts.tcp.max_retrans = Duration::from_secs(200);
    for timeout in [432_000, 432_000, 200, 200] {
        flow.accepts(&["> . 1001 5001"]);
        flow.expect(TcpState::Established, timeout);
    }
    flow.accepts(&["> . 1001 5001 win 999"]);
    flow.expect(TcpState::Established, 432_000);
}

#[test]
fn a_window_of_zero_caps_the_timeout() {
    let mut flow = Flow::established();
    flow.accepts(&["> . 1001 5001 win 0"]);
    flow.expect(TcpState::Established, 300);
}

#[test]
fn an_inexact_reset_counts_as_a_close_or_only_caps_the_timeout_from_7_3_and_late_6_12_on() {
    for (personality, timeout) in
        [(Personality::V6_1, 10), (Personality::V6_12, 300), (Personality::V6_18, 10), (Personality::V7_3, 300)]
    {
        let mut flow = Flow::established();
        flow.settings.personality = personality;
        flow.accepts(&["> R 1002 0"]);
        flow.expect(TcpState::Established, timeout);
        flow.accepts(&["> R 1001 0"]);
        flow.expect(TcpState::Close, 10);
    }
}

#[test]
fn two_sides_that_give_up_out_of_window_in_turn_shorten_a_long_timeout() {
    let mut flow = Flow::established();
    flow.refuses(&["> F. 800000 5001"]);
    flow.expect(TcpState::Established, 432_000);
    flow.refuses(&["> F. 800000 5001"]);
    flow.expect(TcpState::Established, 432_000);
    flow.refuses(&["< F. 800000 1001"]);
    flow.expect(TcpState::Established, 300);
}

#[test]
fn that_does_not_happen_to_data_nor_to_entries_that_are_short_fixed_or_not_assured() {
    let give_up = |prepare: fn(&mut Flow), lines: [&str; 2]| {
        let mut flow = Flow::established();
        prepare(&mut flow);
        let before = flow.timeout;
        flow.refuses(&lines);
        assert_eq!(flow.timeout, before);
    };
    let fins = ["> F. 800000 5001", "< F. 800000 1001"];
    give_up(|_| {}, ["> . 800000 5001", "< . 800000 1001"]);
    give_up(|flow| flow.timeout = Duration::from_secs(119), fins);
    give_up(|flow| flow.status |= Status::FIXED_TIMEOUT, fins);
    give_up(|flow| flow.status.clear(Status::ASSURED), fins);
}

#[test]
fn the_timeouts_of_a_policy_are_used_instead_of_those_of_the_settings() {
    let settings = Settings::default();
    let mut policy = settings.timeouts.clone();
    policy.tcp.set(TcpState::SynSent, Duration::from_secs(9));
    let (_, body) = segment("> S 1000 0");
    let mut tcp = Tcp::begin(&body, &settings, &mut ()).expect("a SYN begins a flow");
    let context = Context {
        now: Instant::EPOCH,
        direction: Direction::Original,
        status: Status::default(),
        remaining: Duration::ZERO,
        seqadj: None,
    };
    let change = Change { timeout: Some(Duration::from_secs(9)), protoinfo: true, assured: false };
    assert_eq!(tcp.next(&body, &context, &settings, &policy, &mut ()), Judgement::Accept(change));
}
