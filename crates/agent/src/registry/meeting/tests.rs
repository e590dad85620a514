use super::*;

const A: Key = Key::from_bytes([1; 32]);
const B: Key = Key::from_bytes([2; 32]);
const C: Key = Key::from_bytes([3; 32]);
const LONG: Duration = Duration::from_secs(20);

fn at(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

fn seek(ticket: Ticket, to: Key, simultaneous: bool, initiate: bool) -> Release {
    Release::Seek { ticket, to, simultaneous, initiate }
}

fn meeting_with(known: &[Key]) -> Meeting {
    let mut meeting = Meeting::default();
    meeting.set_known(at(0), known.iter().copied());
    meeting
}

#[test]
fn two_that_seek_each_other_are_told_together_and_the_smaller_key_knocks() {
    let mut meeting = meeting_with(&[A, B]);
    assert!(meeting.seek(at(0), 10, A, B, LONG));
    assert_eq!(meeting.poll(at(5)), []);
    assert!(meeting.seek(at(20), 20, B, A, LONG));
    assert_eq!(meeting.poll(at(20)), [seek(10, B, true, true), seek(20, A, true, false)]);
    assert_eq!(meeting.poll_timeout(), None);
}

#[test]
fn roles_take_turns_when_a_pair_meets_again() {
    let mut meeting = meeting_with(&[A, B]);
    for (round, a_knocks) in [(0, true), (1, false), (2, true)] {
        meeting.seek(at(round * 1_000), 1, A, B, LONG);
        meeting.seek(at(round * 1_000), 2, B, A, LONG);
        assert_eq!(meeting.poll(at(round * 1_000)), [seek(1, B, true, a_knocks), seek(2, A, true, !a_knocks)]);
    }
}

#[test]
fn a_watcher_is_told_of_its_seekers_in_the_same_moment() {
    let mut meeting = meeting_with(&[A, B, C]);
    meeting.watch(at(0), 1, B, LONG);
    assert_eq!(meeting.poll(at(0)), []);
    meeting.seek(at(100), 2, C, B, LONG);
    let told = Release::Watch { ticket: 1, seekers: vec![C], initiate: true };
    assert_eq!(meeting.poll(at(100)), [seek(2, B, true, false), told]);
}

#[test]
fn seekers_whose_role_differs_wait_for_the_watchers_next_question() {
    let mut meeting = meeting_with(&[A, B, C]);
    meeting.watch(at(0), 1, B, LONG);
    meeting.seek(at(0), 2, A, B, LONG);
    meeting.seek(at(0), 3, C, B, LONG);
    let first = Release::Watch { ticket: 1, seekers: vec![A], initiate: false };
    assert_eq!(meeting.poll(at(0)), [seek(2, B, true, true), first]);
    meeting.watch(at(40), 4, B, LONG);
    let second = Release::Watch { ticket: 4, seekers: vec![C], initiate: true };
    assert_eq!(meeting.poll(at(40)), [seek(3, B, true, false), second]);
}

#[test]
fn a_known_peer_that_runs_no_agent_is_given_away_after_the_grace_time() {
    let mut meeting = meeting_with(&[A, B]);
    meeting.seek(at(1_000), 1, A, B, LONG);
    assert_eq!(meeting.poll_timeout(), Some(at(1_250)));
    assert_eq!(meeting.poll(at(1_249)), []);
    assert_eq!(meeting.poll(at(1_250)), [seek(1, B, false, true)]);
}

#[test]
fn an_unknown_peer_is_waited_for_and_when_it_appears_gets_the_grace_time() {
    let mut meeting = meeting_with(&[A]);
    meeting.seek(at(0), 1, A, B, LONG);
    assert_eq!(meeting.poll(at(5_000)), []);
    meeting.set_known(at(6_000), [A, B].into_iter());
    assert_eq!(meeting.poll_timeout(), Some(at(6_250)));
    meeting.seek(at(6_040), 2, B, A, LONG);
    assert_eq!(meeting.poll(at(6_040)), [seek(1, B, true, true), seek(2, A, true, false)]);
}

#[test]
fn a_peer_that_never_appears_ends_the_wait() {
    let mut meeting = meeting_with(&[A]);
    meeting.seek(at(0), 1, A, B, Duration::from_secs(2));
    assert_eq!(meeting.poll(at(2_000)), [seek(1, B, false, true)]);
}

#[test]
fn a_watch_that_no_one_answers_ends_empty() {
    let mut meeting = meeting_with(&[A]);
    meeting.watch(at(0), 1, A, LONG);
    let nobody = Release::Watch { ticket: 1, seekers: vec![], initiate: false };
    assert_eq!(meeting.poll(at(20_000)), [nobody]);
}

#[test]
fn a_repeated_question_voids_the_ticket_before() {
    let mut meeting = meeting_with(&[A, B]);
    meeting.seek(at(0), 1, A, B, LONG);
    meeting.seek(at(10), 2, A, B, LONG);
    meeting.seek(at(20), 3, B, A, LONG);
    assert_eq!(meeting.poll(at(20)), [seek(2, B, true, true), seek(3, A, true, false)]);
}

#[test]
fn a_flood_of_questions_is_refused_at_the_bound() {
    let mut meeting = meeting_with(&[A]);
    let key = |n: u32| {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        Key::from_bytes(bytes)
    };
    let taken = (0..MAX_HELD as u32 + 10).filter(|&n| meeting.seek(at(0), 1, A, key(n), LONG)).count();
    assert_eq!(taken, MAX_HELD);
}

#[test]
fn a_seek_that_crossed_the_news_on_its_way_is_told_the_same_again() {
    let mut meeting = meeting_with(&[A, B]);
    meeting.watch(at(0), 1, A, LONG);
    meeting.watch(at(0), 2, B, LONG);
    meeting.seek(at(0), 3, A, B, LONG);
    let told = Release::Watch { ticket: 2, seekers: vec![A], initiate: false };
    assert_eq!(meeting.poll(at(0)), [seek(3, B, true, true), told]);
    meeting.seek(at(5), 4, B, A, LONG);
    assert_eq!(meeting.poll(at(5)), [seek(4, A, true, false)], "the same roles, and A is not told twice");
}

#[test]
fn two_that_have_just_met_meet_again_when_something_has_changed() {
    let mut meeting = meeting_with(&[A, B]);
    let meet = |meeting: &mut Meeting, ms| {
        meeting.watch(at(ms), 1, B, LONG);
        meeting.seek(at(ms), 2, A, B, LONG);
        meeting.poll(at(ms)).len()
    };
    assert_eq!(meet(&mut meeting, 0), 2, "both are told");
    assert_eq!(meet(&mut meeting, 100), 1, "the seeker is told the same again");
    meeting.outdate(A);
    assert_eq!(meet(&mut meeting, 200), 2);
    assert_eq!(meeting.met_at(B, A), Some(at(200)));
}
