use super::*;

fn natures() -> [Nature; 3] {
    let given = |(age, port)| Given { age: Duration::from_millis(age), port };
    let ports: Vec<Given> = [(900, 40_000), (40, 40_002)].map(given).to_vec();
    [
        Nature::default(),
        Nature { mapping: Mapping::Independent, ports: Vec::new() },
        Nature { mapping: Mapping::Dependent, ports },
    ]
}

#[test]
fn a_question_is_a_few_octets_and_comes_back() {
    for nature in natures() {
        let ask = Ask { kind: Kind::Watch, wait_ms: 20_000, nature };
        assert_eq!(Ask::decode(&ask.encode()), Some(ask));
    }
    let plain = Ask { kind: Kind::Watch, wait_ms: 20_000, nature: Nature::default() };
    assert_eq!(plain.encode(), [1, 2, 0x4e, 0x20], "as before natures were told");
    let hard =
        Nature { mapping: Mapping::Dependent, ports: vec![Given { age: Duration::from_secs(99), port: 0x1234 }] };
    let ask = Ask { kind: Kind::Seek, wait_ms: 0, nature: hard };
    assert_eq!(ask.encode(), [1, 1, 0, 0, 2, 0xff, 0xff, 0x12, 0x34], "ages end at 65 s");
}

#[test]
fn an_answer_comes_back_with_either_family_or_none_and_any_number_of_parties() {
    for observed in [None, Some("203.0.113.7:51820"), Some("[2001:db8::7]:1")] {
        let observed = observed.map(|text| text.parse().expect("an endpoint"));
        for (simultaneous, initiate) in [(false, false), (true, false), (true, true)] {
            for count in 0..=natures().len() {
                let party = |nature| Party { session: *b"session!", nature };
                let parties = natures().into_iter().take(count).map(party).collect();
                let told = Told { simultaneous, initiate, observed, parties };
                assert_eq!(Told::decode(&told.encode()), Some(told));
            }
        }
    }
}

#[test]
fn more_ports_than_are_told_are_cut_and_what_a_later_version_adds_is_passed_over() {
    let ports = vec![Given { age: Duration::ZERO, port: 1 }; 40];
    let ask = Ask { kind: Kind::Seek, wait_ms: 1, nature: Nature { mapping: Mapping::Dependent, ports } };
    assert_eq!(Ask::decode(&ask.encode()).map(|ask| ask.nature.ports.len()), Some(MAX_PORTS));
    assert_eq!(Ask::decode(&[1, 1, 0, 0, 77, 1, 2]).map(|ask| ask.nature), Some(Nature::default()));
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
