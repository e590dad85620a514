use pinhole_traversal::ports::Sequence;

use super::*;

fn guesses() -> [Option<Guess>; 3] {
    [None, Some(Guess::Fixed), Some(Guess::Sequential(Sequence { next: 40_002, step: 2, others: 35, age_ms: 150 }))]
}

#[test]
fn a_question_is_a_few_octets_and_comes_back() {
    for nat in guesses() {
        let ask = Ask { kind: Kind::Watch, wait_ms: 20_000, nat };
        assert_eq!(Ask::decode(&ask.encode()), Some(ask));
    }
    let plain = Ask { kind: Kind::Watch, wait_ms: 20_000, nat: None };
    assert_eq!(plain.encode(), [1, 2, 0x4e, 0x20]);
}

#[test]
fn an_answer_comes_back_with_either_family_or_none_and_any_number_of_parties() {
    for observed in [None, Some("203.0.113.7:51820"), Some("[2001:db8::7]:1")] {
        let observed = observed.map(|text| text.parse().expect("an endpoint"));
        for (simultaneous, initiate) in [(false, false), (true, false), (true, true)] {
            for count in 0..=guesses().len() {
                let relay = NonZero::new(u16::from(initiate) * 51_900);
                let party = |ours| Party { session: *b"session!", relay, ours, theirs: Some(Guess::Unknown) };
                let parties = guesses().into_iter().take(count).map(party).collect();
                let told = Told { simultaneous, initiate, observed, parties };
                assert_eq!(Told::decode(&told.encode()), Some(told));
            }
        }
    }
}

#[test]
fn what_a_later_version_says_of_a_nat_is_passed_over() {
    assert_eq!(Ask::decode(&[1, 1, 0, 0, 77, 1, 2]).map(|ask| ask.nat), Some(None));
    let told = Told::decode(&[1, 1, 0, 14, 1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 2, 77, 1, 0]).expect("readable");
    let session = [1, 2, 3, 4, 5, 6, 7, 8];
    assert_eq!(told.parties, [Party { session, relay: NonZero::new(9), ours: None, theirs: Some(Guess::Fixed) }]);
}

#[test]
fn what_is_not_ours_is_nothing() {
    for data in [&[][..], &[1], &[2, 1, 0, 0], &[1, 9, 0, 0], &[1, 1, 0]] {
        assert_eq!(Ask::decode(data), None, "{data:?}");
    }
    for data in
        [&[][..], &[1, 0], &[2, 0, 0], &[1, 0, 4, 0, 1, 10, 0, 0], &[1, 0, 5], &[1, 0, 0, 0], &[1, 0, 0, 9, 1, 2]]
    {
        assert_eq!(Told::decode(data), None, "{data:?}");
    }
}
