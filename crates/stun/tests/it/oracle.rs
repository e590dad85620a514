//! stun-types reads what we write and writes what we read.

use core::net::SocketAddr;

use pinhole_sansio::Rng;
use pinhole_stun::credentials::{Key, PasswordAlgorithm};
use pinhole_stun::{
    AttributeType, Class, ErrorCode, Fingerprint, Integrity, Malformed, Message, Method, TransactionId, Writer, address,
};
use stun_types::attribute::{self as theirs, Attribute as _};
use stun_types::message::{
    IntegrityAlgorithm, LongTermCredentials, Message as Theirs, MessageHeader, MessageWrite, MessageWriteExt,
    MessageWriteVec, ShortTermCredentials, StunParseError,
};

/// Runs; a failure names its seed.
const SEEDS: u64 = 2_000;

fn id(rng: &mut Rng) -> TransactionId {
    let mut random = [0; 12];
    random.fill_with(|| rng.next_u64() as u8);
    TransactionId::new(random)
}

fn some_address(rng: &mut Rng) -> SocketAddr {
    let port = rng.next_u64() as u16;
    match rng.chance(0.5) {
        true => SocketAddr::new((rng.next_u64() as u32).to_be_bytes().into(), port),
        // Not one that is IPv4 in disguise.
        false => SocketAddr::new((1 << 127 | u128::from(rng.next_u64())).to_be_bytes().into(), port),
    }
}

fn some_bytes(rng: &mut Rng, most: u64) -> Vec<u8> {
    (0..rng.below(most)).map(|_| rng.next_u64() as u8).collect()
}

/// A message of ours with some attributes in it, authenticated and signed or not.
fn some_message(rng: &mut Rng, key: &Key) -> Vec<u8> {
    let mut out = [0; 2_048];
    let classes = [Class::Request, Class::Indication, Class::Success, Class::Error];
    let class = classes[rng.below(4) as usize];
    let mut writer = Writer::new(&mut out, class, Method(rng.below(0x1000) as u16), id(rng));
    for _ in 0..rng.below(6) {
        // Types that neither side gives a meaning to, and those with addresses.
        match rng.below(3) {
            0 => writer.attribute(AttributeType(0x9000 + rng.below(0x1000) as u16), &some_bytes(rng, 40)),
            1 => writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, some_address(rng)),
            _ => writer.attribute(AttributeType::SOFTWARE, b"some program"),
        };
    }
    match rng.below(4) {
        0 => writer.integrity(key),
        1 => writer.integrity_sha256(key),
        2 => writer.integrity(key).integrity_sha256(key),
        _ => &mut writer,
    };
    if rng.chance(0.5) {
        writer.fingerprint();
    }
    let len = writer.finish().unwrap();
    out[..len].to_vec()
}

#[test]
fn they_read_what_we_write() {
    let key = Key::short_term("password");
    let their_key = ShortTermCredentials::new("password".to_owned()).make_key();
    for seed in 0..SEEDS {
        let bytes = some_message(&mut Rng::from_seed(seed), &key);
        let ours = Message::read(&bytes).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let theirs = Theirs::from_bytes(&bytes).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(theirs.method().value(), ours.method().0, "seed {seed}");
        let found: Vec<_> =
            theirs.iter_attributes().map(|(at, raw)| (at, raw.get_type().value(), raw.value.to_vec())).collect();
        let expected: Vec<_> =
            ours.attributes().map(|attribute| (attribute.at, attribute.kind.0, attribute.value.to_vec())).collect();
        assert_eq!(found, expected, "seed {seed}");
        let right = theirs.validate_integrity_with_key(&their_key).is_ok();
        assert_eq!(right, ours.integrity(&key) == Integrity::Right, "seed {seed}");
        if let Ok(xored) = theirs.attribute::<theirs::XorMappedAddress>() {
            let value = ours.value(AttributeType::XOR_MAPPED_ADDRESS).unwrap();
            assert_eq!(address::read_xor(value, &ours.transaction_id()), Some(xored.addr(theirs.transaction_id())));
        }
    }
}

#[test]
fn what_they_accept_of_damaged_messages_we_read_the_same() {
    let key = Key::short_term("password");
    let mut accepted = 0;
    for seed in 0..SEEDS {
        let mut rng = Rng::from_seed(seed);
        let mut bytes = some_message(&mut rng, &key);
        for _ in 0..1 + rng.below(3) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.next_u64() as u8;
        }
        if rng.chance(0.2) {
            bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize);
        }
        let theirs = match Theirs::from_bytes(&bytes) {
            Ok(theirs) => theirs,
            Err(StunParseError::FingerprintMismatch) => {
                // They stop at the first error; we may have found another one before.
                let fingerprint = Message::read(&bytes).map(|message| message.fingerprint());
                assert_ne!(fingerprint, Ok(Fingerprint::Right), "seed {seed}");
                continue;
            }
            Err(_) => continue,
        };
        let ours = match Message::read(&bytes) {
            Ok(ours) => ours,
            // They take what a lying length leaves over; a datagram is a message or it is none.
            Err(Malformed::Length) => continue,
            Err(error) => panic!("seed {seed}: {error}"),
        };
        accepted += 1;
        let found: Vec<_> = theirs.iter_attributes().map(|(_, raw)| raw.value.to_vec()).collect();
        let expected: Vec<_> = ours.attributes().map(|attribute| attribute.value.to_vec()).collect();
        // Where something that does not count follows MESSAGE-INTEGRITY they stop, and we go on to what counts after it.
        assert!(expected.starts_with(&found), "seed {seed}: {found:?} {expected:?}");
        let sealed = ours.attributes().skip(found.len()).all(|attribute| {
            matches!(attribute.kind, AttributeType::MESSAGE_INTEGRITY_SHA256 | AttributeType::FINGERPRINT)
        });
        assert!(sealed, "seed {seed}: {ours:?}");
    }
    assert!(accepted > SEEDS / 10, "only {accepted} were accepted");
}

#[test]
fn we_read_what_they_write() {
    for seed in 0..SEEDS {
        let mut rng = Rng::from_seed(seed);
        let (mapped, other) = (some_address(&mut rng), some_address(&mut rng));
        let request = Theirs::builder_request(stun_types::message::BINDING, MessageWriteVec::new()).finish();
        let request = Theirs::from_bytes(&request).unwrap();
        let mut writer = Theirs::builder_success(&request, MessageWriteVec::new());
        let xored = theirs::XorMappedAddress::new(mapped, request.transaction_id());
        writer.add_attribute(&xored).unwrap();
        writer.add_attribute(&theirs::AlternateServer::new(other)).unwrap();
        let long = LongTermCredentials::new("name".to_owned(), "password".to_owned()).to_key("realm".to_owned());
        let sha256 = rng.chance(0.5);
        let algorithm = if sha256 { IntegrityAlgorithm::Sha256 } else { IntegrityAlgorithm::Sha1 };
        let their_key = long.make_key(algorithm);
        writer.add_message_integrity_with_key(&their_key, algorithm).unwrap();
        writer.add_fingerprint().unwrap();
        let bytes = writer.finish();
        let message = Message::read(&bytes).unwrap();
        let value = |kind| message.value(kind).unwrap();
        let id = message.transaction_id();
        assert_eq!(address::read_xor(value(AttributeType::XOR_MAPPED_ADDRESS), &id), Some(mapped));
        assert_eq!(address::read(value(AttributeType::ALTERNATE_SERVER)), Some(other));
        let password = if sha256 { PasswordAlgorithm::Sha256 } else { PasswordAlgorithm::Md5 };
        assert_eq!(message.integrity(&Key::long_term(password, "name", "realm", "password")), Integrity::Right);
        assert_eq!(message.fingerprint(), Fingerprint::Right);
        assert_eq!(MessageHeader::from_bytes(&bytes).unwrap().data_length() as usize + 20, bytes.len());
    }
}

#[test]
fn errors_mean_the_same_to_both() {
    for code in (300..700).filter(|code| code % 100 < 100) {
        let written = theirs::ErrorCode::new(code, "a reason");
        let mut out = [0; 100];
        let mut writer = Writer::new(&mut out, Class::Error, Method::BINDING, TransactionId::new([0; 12]));
        writer.error(ErrorCode { code, reason: "a reason" });
        let len = writer.finish().unwrap();
        let theirs = Theirs::from_bytes(&out[..len]).unwrap();
        let read = theirs.attribute::<theirs::ErrorCode>().unwrap();
        assert_eq!((read.code(), read.reason()), (code, "a reason"));
        assert_eq!(written.unwrap().code(), code);
        let message = Message::read(&out[..len]).unwrap();
        let value = message.value(AttributeType::ERROR_CODE).unwrap();
        assert_eq!(ErrorCode::read(value), Some(ErrorCode { code, reason: "a reason" }));
    }
}
