//! The matrix that was measured on 6.18, and what decides beside it.

use super::*;

const NONE: Options = Options { reuse_addr: false, reuse_port: false };
const ADDR: Options = Options { reuse_addr: true, reuse_port: false };
const PORT: Options = Options { reuse_addr: false, reuse_port: true };
const BOTH: Options = Options { reuse_addr: true, reuse_port: true };

const HELD: Held =
    Held { state: State::TimeWait, options: BOTH, timestamps: true, age_ms: 500, left_ms: 60_000, loopback: false };
const EXPLICIT: Claim = Claim { options: BOTH, port: Port::Explicit, same_peer: true };
const CHOSEN: Claim = Claim { options: NONE, port: Port::Chosen, same_peer: true };

fn rules() -> Rules {
    Rules::defaults(Version::new(6, 18))
}

#[test]
fn bind_follows_the_sixteen_cells_whatever_tw_reuse_says() {
    let all = [NONE, ADDR, PORT, BOTH];
    let ok = [
        [false, false, false, false],
        [false, true, false, true],
        [false, false, true, true],
        [false, true, true, true],
    ];
    for (first, row) in all.into_iter().zip(ok) {
        for (second, ok) in all.into_iter().zip(row) {
            for tw_reuse in 0..=2 {
                let rules = Rules { tw_reuse, ..rules() };
                let held = Held { options: first, ..HELD };
                let answer = ask(Some(&held), &Claim { options: second, ..EXPLICIT }, &rules);
                let says = [answer.bind, answer.connect, answer.listen];
                let expected = if ok { [Says::Ok; 3] } else { [Says::InUse, Says::NotReached, Says::NotReached] };
                assert_eq!(says, expected, "{first:?} then {second:?}, tw_reuse {tw_reuse}");
                assert_eq!(answer.wait_ms, if ok { 0 } else { 60_000 });
                assert_eq!(answer.remedies.is_empty(), ok);
            }
        }
    }
}

#[test]
fn without_timestamps_bind_and_listen_work_and_connect_does_not() {
    let held = Held { timestamps: false, ..HELD };
    let answer = ask(Some(&held), &EXPLICIT, &rules());
    assert_eq!([answer.bind, answer.connect, answer.listen], [Says::Ok, Says::NotAvailable, Says::Ok]);
    assert_eq!((answer.rule, answer.wait_ms, answer.remedies[0]), (Rule::NoTimestamps, 60_000, Remedy::Listen));
    let other = Claim { same_peer: false, ..EXPLICIT };
    assert_eq!(ask(Some(&held), &other, &rules()).connect, Says::Ok);
}

#[test]
fn an_explicit_port_is_had_from_fin_wait_2_too() {
    let held = Held { state: State::FinWait2, age_ms: 0, ..HELD };
    let answer = ask(Some(&held), &EXPLICIT, &Rules { tw_reuse: 0, ..rules() });
    assert_eq!((answer.connect, answer.rule), (Says::Ok, Rule::TimestampsSuffice));
}

#[test]
fn connect_chooses_a_dead_port_by_tw_reuse_only() {
    let check = |held: Held, tw_reuse, expected| {
        let rules = Rules { tw_reuse, ..rules() };
        let answer = ask(Some(&held), &CHOSEN, &rules);
        assert_eq!(answer.rule, expected, "{held:?} tw_reuse {tw_reuse}");
        assert_eq!(answer.connect == Says::Ok, expected == Rule::TwReuse);
    };
    let old = Held { age_ms: 1001, ..HELD };
    check(old, 0, Rule::TwReuseOff);
    check(old, 1, Rule::TwReuse);
    check(old, 2, Rule::TwReuseLoopbackOnly);
    check(Held { loopback: true, ..old }, 2, Rule::TwReuse);
    check(HELD, 1, Rule::TooYoung);
    check(Held { age_ms: 1000, ..HELD }, 1, Rule::TooYoung);
    check(Held { timestamps: false, ..old }, 1, Rule::NoTimestamps);
    check(Held { state: State::FinWait2, ..old }, 1, Rule::StillFinWait2);
}

#[test]
fn the_delay_is_the_settings_or_that_of_whole_seconds() {
    let wait = |version, delay_ms, age_ms| {
        let rules = Rules { tw_reuse: 1, tw_reuse_delay_ms: delay_ms, version, ..rules() };
        ask(Some(&Held { age_ms, ..HELD }), &CHOSEN, &rules).wait_ms
    };
    let (new, old, older) = (Version::new(6, 14), Version::new(6, 13), Version::new(4, 18));
    assert_eq!([wait(new, 1000, 0), wait(new, 250, 0), wait(new, 1, 0), wait(new, 1000, 1001)], [1001, 251, 2, 0]);
    assert_eq!([wait(old, 1, 0), wait(old, 1, 1001)], [1001, 0]);
    assert_eq!([wait(older, 1, 0), wait(older, 1, 2001)], [2001, 0]);
}

#[test]
fn port_zero_takes_nothing_that_is_held() {
    let claim = Claim { port: Port::BoundToAny, ..EXPLICIT };
    let answer = ask(Some(&HELD), &claim, &rules());
    assert_eq!((answer.bind, answer.rule), (Says::InUse, Rule::AnyPortUnknownPeer));
    assert_eq!(answer.remedies[0], Remedy::ChooseAtConnect);
    assert_eq!(ask(Some(&HELD), &claim, &Rules { autobind_reuse: true, ..rules() }).bind, Says::Ok);
    let no_option = Claim { options: PORT, ..claim };
    assert_eq!(ask(Some(&HELD), &no_option, &Rules { autobind_reuse: true, ..rules() }).bind, Says::InUse);
}

#[test]
fn the_first_remedy_makes_it_work() {
    let remedied = |held: Held, claim: Claim| {
        let first = ask(Some(&held), &claim, &rules()).remedies[0];
        let options = match first {
            Remedy::SetReuseAddr => Options { reuse_addr: true, ..claim.options },
            Remedy::SetReusePort => Options { reuse_port: true, ..claim.options },
            other => panic!("{other:?}"),
        };
        ask(Some(&held), &Claim { options, ..claim }, &rules()).connect
    };
    for dead in [ADDR, PORT, BOTH] {
        for new in [NONE, ADDR, PORT] {
            let (held, claim) = (Held { options: dead, ..HELD }, Claim { options: new, ..EXPLICIT });
            if ask(Some(&held), &claim, &rules()).bind == Says::InUse {
                assert_eq!(remedied(held, claim), Says::Ok, "{dead:?} then {new:?}");
            }
        }
    }
}

#[test]
fn nothing_there_is_free_for_all() {
    let answer = ask(None, &CHOSEN, &rules());
    assert_eq!((answer.bind, answer.connect, answer.wait_ms), (Says::Ok, Says::Ok, 0));
}
