use super::*;

#[test]
fn a_question_is_four_octets_and_comes_back() {
    let ask = Ask { kind: Kind::Watch, wait_ms: 20_000 };
    assert_eq!(ask.encode(), [1, 2, 0x4e, 0x20]);
    assert_eq!(Ask::decode(&ask.encode()), Some(ask));
}

#[test]
fn an_answer_comes_back_with_either_family_or_none() {
    for observed in [None, Some("203.0.113.7:51820"), Some("[2001:db8::7]:1")] {
        let observed = observed.map(|text| text.parse().expect("an endpoint"));
        for (simultaneous, initiate) in [(false, false), (true, false), (true, true)] {
            let told = Told { simultaneous, initiate, observed };
            assert_eq!(Told::decode(&told.encode()), Some(told));
        }
    }
}

#[test]
fn what_is_not_ours_is_nothing() {
    for data in [&[][..], &[1], &[2, 1, 0, 0], &[1, 9, 0, 0], &[1, 1, 0], &[1, 1, 0, 0, 0]] {
        assert_eq!(Ask::decode(data), None, "{data:?}");
    }
    for data in [&[][..], &[1, 0], &[2, 0, 0], &[1, 0, 4, 0, 1, 10, 0, 0], &[1, 0, 0, 0], &[1, 0, 5]] {
        assert_eq!(Told::decode(data), None, "{data:?}");
    }
}
