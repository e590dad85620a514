use super::*;

/// Runs one attempt to its end: what happens at which millisecond.
fn script(settings: Settings) -> Vec<(u64, Action)> {
    let start = Instant::from_millis(1_000);
    let mut punch = Punch::new(start, settings);
    let mut done = Vec::new();
    while let Some(deadline) = punch.poll_timeout() {
        let early = deadline.at - Duration::from_nanos(1);
        if early >= start {
            assert_eq!(punch.poll_action(early), None, "nothing is due before its time");
        }
        while let Some(action) = punch.poll_action(deadline.at) {
            done.push((deadline.at.since(start).as_millis() as u64, action));
        }
    }
    done
}

fn settings(role: Role) -> Settings {
    Settings { role, attempt: 0, can_open: true, first_gap: Duration::from_millis(200) }
}

#[test]
fn the_initiator_opens_then_knocks_at_once_and_again_with_growing_gaps() {
    let open = Action::Open { ttl: 4 };
    assert_eq!(
        script(settings(Role::Initiator)),
        [
            (0, open),
            (0, Action::Knock),
            (12, open),
            (50, open),
            (200, Action::Knock),
            (440, Action::Knock),
            (728, Action::Knock),
            (1_073, Action::Knock),
            (1_488, Action::Knock),
            (1_985, Action::Knock),
            (2_583, Action::Knock),
            (3_299, Action::Knock),
            (4_000, Action::GiveUp),
        ]
    );
}

#[test]
fn the_opener_opens_and_does_not_knock_while_the_initiator_may_still_come_through() {
    let done = script(settings(Role::Opener));
    let first_knock = done.iter().find(|(_, action)| *action == Action::Knock);
    assert_eq!(first_knock, Some(&(2_500, Action::Knock)));
    assert_eq!(done.iter().filter(|(_, action)| matches!(action, Action::Open { .. })).count(), 3);
}

#[test]
fn an_opener_without_a_raw_socket_knocks_after_the_initiators_first_knock_is_gone() {
    let done = script(Settings { can_open: false, ..settings(Role::Opener) });
    assert_eq!(done[0], (120, Action::Knock));
    assert!(done.iter().all(|(_, action)| !matches!(action, Action::Open { .. })));
}

#[test]
fn later_attempts_send_openers_that_reach_farther() {
    let ttl = |attempt| match script(Settings { attempt, ..settings(Role::Opener) })[0].1 {
        Action::Open { ttl } => ttl,
        Action::Knock | Action::GiveUp => 0,
    };
    assert_eq!([0, 1, 2, 3, 99].map(ttl), [4, 4, 8, 64, 64]);
}

#[test]
fn a_late_wake_up_sends_one_opener_and_not_three() {
    let start = Instant::EPOCH;
    let mut punch = Punch::new(start, settings(Role::Opener));
    let late = start + Duration::from_millis(300);
    assert_eq!(punch.poll_action(late), Some(Action::Open { ttl: 4 }));
    assert_eq!(punch.poll_action(late), None);
}
