use super::*;

const SECRET: Secret = Secret([7; 32]);
const ABOUT: About = About { socket: 7, port: 40_000 };
const SESSION: Session = Session([1, 2, 3, 4, 5, 6, 7, 8]);

fn language(role: Role) -> Language {
    Language::new(&SECRET, SESSION, role)
}

#[test]
fn each_side_reads_what_the_other_has_written_and_wireguard_would_drop_it() {
    let mut rng = Rng::from_seed(1);
    for role in [Role::Prober, Role::Opener] {
        for word in Word::ALL {
            let bytes = language(role).write(word, ABOUT, &mut rng);
            assert_eq!(bytes.len(), LENGTH);
            let said = language(role.other()).read(&bytes).map(|said| (said.word, said.about));
            assert_eq!(said, Ok((word, ABOUT)));
            assert_eq!(language(role).read(&bytes), Err(Refused::Mirrored), "what comes back is not the peer's");
            let kind = u32::from_le_bytes(bytes[..4].try_into().expect("four bytes"));
            assert!(!(1..=4).contains(&kind), "WireGuard would take it for a message of type {kind}");
        }
    }
}

#[test]
fn no_bit_of_a_word_can_be_changed_and_none_of_its_bytes_left_out() {
    let bytes = language(Role::Prober).write(Word::Nominate, ABOUT, &mut Rng::from_seed(1));
    let reader = language(Role::Opener);
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(reader.read(&changed).is_err(), "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert!(reader.read(&bytes[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn words_of_another_session_or_another_secret_are_refused_by_name() {
    let mut rng = Rng::from_seed(1);
    let reader = language(Role::Opener);
    let other = Language::new(&SECRET, Session([9; 8]), Role::Prober).write(Word::Probe, ABOUT, &mut rng);
    assert_eq!(reader.read(&other), Err(Refused::OtherSession));
    let forged = Language::new(&Secret([8; 32]), SESSION, Role::Prober).write(Word::Probe, ABOUT, &mut rng);
    assert_eq!(reader.read(&forged), Err(Refused::Forged));
    assert_eq!(reader.read(b"\x01\x00\x00\x00 a handshake of WireGuard's"), Err(Refused::Foreign));
}

#[test]
fn a_truncated_hmac_is_none_and_sha1_is_not_enough() {
    let reader = language(Role::Opener);
    let write = |sha1: bool| {
        let mut bytes = vec![0; 100];
        let mut writer = Writer::new(&mut bytes, Class::Indication, Method::BINDING, TransactionId::new([1; 12]));
        writer.attribute(AttributeType::SPRAY, &reader.value(Word::Probe, Role::Prober, ABOUT));
        if sha1 {
            writer.integrity(&reader.key).zeros(AttributeType::PADDING, 8);
        } else {
            writer.integrity_sha256(&reader.key);
        }
        let length = writer.finish().expect("room");
        bytes.truncate(length);
        bytes
    };
    assert_eq!(reader.read(&write(false)).map(|said| said.word), Ok(Word::Probe));
    assert_eq!(write(true).len(), LENGTH, "as long as a word");
    assert_eq!(reader.read(&write(true)), Err(Refused::Foreign));
}
