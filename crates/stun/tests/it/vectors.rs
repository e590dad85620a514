//! The messages of RFC 5769 and of RFC 8489 appendix B.1 (with its erratum 6268), verbatim.

use pinhole_stun::credentials::{Key, PasswordAlgorithm, userhash};
use pinhole_stun::nonce::Features;
use pinhole_stun::{AttributeType, Class, Fingerprint, Integrity, Message, Method, TransactionId, Writer, address};

/// "マトリックス", as both RFCs have it.
const MATRIX: &str = "\u{30de}\u{30c8}\u{30ea}\u{30c3}\u{30af}\u{30b9}";
/// RFC 5769 §2: of the first three messages.
const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";
/// After SASLprep, and after OpaqueString too.
const PREPARED: &str = "TheMatrIX";

/// RFC 5769 §2.1.
const REQUEST: &str = "
    00010058 2112a442 b7e7a701 bc34d686 fa87dfae
    80220010 5354554e 20746573 7420636c 69656e74
    00240004 6e0001ff
    80290008 932ff9b1 51263b36
    00060009 6576746a 3a683676 59202020
    00080014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2
    80280004 e57a3bcf";

/// RFC 5769 §2.2.
const IPV4_RESPONSE: &str = "
    0101003c 2112a442 b7e7a701 bc34d686 fa87dfae
    8022000b 74657374 20766563 746f7220
    00200008 0001a147 e112a643
    00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7
    80280004 c07d4c96";

/// RFC 5769 §2.3.
const IPV6_RESPONSE: &str = "
    01010048 2112a442 b7e7a701 bc34d686 fa87dfae
    8022000b 74657374 20766563 746f7220
    00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9
    00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41
    80280004 c8fb0b4c";

/// RFC 5769 §2.4.
const LONG_TERM_REQUEST: &str = "
    00010060 2112a442 78ad3433 c6ad72c0 29da412e
    00060012 e3839ee3 8388e383 aae38383 e382afe3 82b90000
    0015001c 662f2f34 39396b39 35346436 4f4c3334 6f4c3946 53547679 36347341
    0014000b 6578616d 706c652e 6f726700
    00080014 f6702465 6dd64a3e 02b8e071 2e85c9a2 8ca89666";

/// RFC 8489 appendix B.1, as its erratum 6268 corrects it.
const SHA256_REQUEST: &str = "
    00010090 2112a442 78ad3433 c6ad72c0 29da412e
    001e0020 4a3cf38f ef6992bd a952c678 0417da0f 24819415 569e60b2 05c46e41 407f1704
    00150029 6f624d61 744a6f73 32414141 43662f2f 3439396b 39353464 364f4c33 346f4c39 46535476 79363473 41000000
    0014000b 6578616d 706c652e 6f726700
    001d0004 00020000
    001c0020 b5c7bf00 5b6c52a2 1c51c5e8 92f81924 136296cb 927c4314 9309278c c6518e65";

pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// Every vector with the key it was written with.
fn all() -> Vec<(Vec<u8>, Key)> {
    let short = Key::short_term(PASSWORD);
    let md5 = Key::long_term(PasswordAlgorithm::Md5, MATRIX, "example.org", PREPARED);
    let sha256 = Key::long_term(PasswordAlgorithm::Sha256, MATRIX, "example.org", PREPARED);
    vec![
        (bytes(REQUEST), short.clone()),
        (bytes(IPV4_RESPONSE), short.clone()),
        (bytes(IPV6_RESPONSE), short),
        (bytes(LONG_TERM_REQUEST), md5),
        (bytes(SHA256_REQUEST), sha256),
    ]
}

#[test]
fn the_sample_request_reads_as_the_rfc_says() {
    let bytes = bytes(REQUEST);
    let message = Message::read(&bytes).unwrap();
    assert_eq!((message.class(), message.method()), (Class::Request, Method::BINDING));
    assert_eq!(message.value(AttributeType::SOFTWARE), Some(&b"STUN test client"[..]));
    assert_eq!(message.value(AttributeType::USERNAME), Some(&b"evtj:h6vY"[..]));
    assert_eq!(message.fingerprint(), Fingerprint::Right);
    // PRIORITY and ICE-CONTROLLED are not ours; only the first must be understood.
    let unknown: Vec<_> =
        message.unknown_required(&[AttributeType::USERNAME, AttributeType::MESSAGE_INTEGRITY]).collect();
    assert_eq!(unknown, [AttributeType(0x0024)]);
}

#[test]
fn the_sample_responses_read_as_the_rfc_says() {
    for (text, address) in
        [(IPV4_RESPONSE, "192.0.2.1:32853"), (IPV6_RESPONSE, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")]
    {
        let bytes = bytes(text);
        let message = Message::read(&bytes).unwrap();
        assert_eq!((message.class(), message.method()), (Class::Success, Method::BINDING));
        assert_eq!(message.value(AttributeType::SOFTWARE), Some(&b"test vector"[..]));
        let mapped = message.value(AttributeType::XOR_MAPPED_ADDRESS).unwrap();
        assert_eq!(address::read_xor(mapped, &message.transaction_id()), Some(address.parse().unwrap()));
        assert_eq!(message.fingerprint(), Fingerprint::Right);
    }
}

#[test]
fn every_vector_is_authentic_with_its_key_and_no_other() {
    let all = all();
    for (at, (bytes, key)) in all.iter().enumerate() {
        let message = Message::read(bytes).unwrap();
        assert_eq!(message.integrity(key), Integrity::Right, "vector {at}");
        assert_eq!(message.integrity(&Key::short_term("VOkJxbRl1RmTxUk/WvJxBT")), Integrity::Wrong, "vector {at}");
    }
}

#[test]
fn a_vector_with_any_bit_of_it_turned_is_damaged_or_not_authentic() {
    for (good, key) in all() {
        let signed = Message::read(&good).unwrap().attributes().any(|last| last.kind == AttributeType::FINGERPRINT);
        for at in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[at / 8] ^= 1 << (at % 8);
            let Ok(message) = Message::read(&bytes) else { continue };
            let accepted =
                message.integrity(&key) == Integrity::Right && (!signed || message.fingerprint() == Fingerprint::Right);
            assert!(!accepted, "bit {at}: {message:?}");
        }
    }
}

#[test]
fn the_long_term_request_of_rfc_5769_is_written_byte_for_byte() {
    let expected = bytes(LONG_TERM_REQUEST);
    let id = Message::read(&expected).unwrap().transaction_id();
    let key = Key::long_term(PasswordAlgorithm::Md5, MATRIX, "example.org", PREPARED);
    let mut out = [0; 200];
    let mut writer = Writer::new(&mut out, Class::Request, Method::BINDING, id);
    writer
        .attribute(AttributeType::USERNAME, MATRIX.as_bytes())
        .attribute(AttributeType::NONCE, b"f//499k954d6OL34oL9FSTvy64sA")
        .attribute(AttributeType::REALM, b"example.org")
        .integrity(&key);
    let len = writer.finish().unwrap();
    assert_eq!(out[..len], expected[..]);
}

#[test]
fn the_request_of_rfc_8489_is_written_byte_for_byte() {
    let expected = bytes(SHA256_REQUEST);
    let id = Message::read(&expected).unwrap().transaction_id();
    let key = Key::long_term(PasswordAlgorithm::Sha256, MATRIX, "example.org", PREPARED);
    let nonce = b"obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA";
    let mut out = [0; 200];
    let mut writer = Writer::new(&mut out, Class::Request, Method::BINDING, id);
    writer
        .attribute(AttributeType::USERHASH, &userhash(MATRIX, "example.org"))
        .attribute(AttributeType::NONCE, nonce)
        .attribute(AttributeType::REALM, b"example.org")
        .attribute(AttributeType::PASSWORD_ALGORITHM, &PasswordAlgorithm::Sha256.value())
        .integrity_sha256(&key);
    let len = writer.finish().unwrap();
    assert_eq!(out[..len], expected[..]);
    assert!(Features::read(nonce).unwrap().username_anonymity);
}

#[test]
fn a_truncated_sha256_is_right_from_sixteen_bytes_on_in_steps_of_four() {
    let key = Key::short_term(PASSWORD);
    for len in (0..=36_usize).step_by(4).chain([17, 18, 31]) {
        let mut out = [0; 200];
        let id = TransactionId::new([7; 12]);
        let mut writer = Writer::new(&mut out, Class::Request, Method::BINDING, id);
        writer.attribute(AttributeType::USERNAME, b"u").integrity_sha256(&key);
        let whole = writer.finish().unwrap();
        // The value is over a length that ends after it, so a shorter one is another value.
        let at = whole - 36;
        let mut shorter = out[..at].to_vec();
        let padded = len.next_multiple_of(4);
        shorter[2..4].copy_from_slice(&((at + 4 + padded - 20) as u16).to_be_bytes());
        let mac = hmac_sha256(PASSWORD.as_bytes(), &with_length(&shorter, at + 4 + len - 20));
        let mut value = mac.to_vec();
        value.resize(padded.max(32), 0);
        shorter.extend([0x00, 0x1c, 0x00, len as u8]);
        shorter.extend(&value[..padded]);
        let message = Message::read(&shorter).unwrap();
        let right = (16..=32).contains(&len) && len % 4 == 0;
        assert_eq!(message.integrity(&key) == Integrity::Right, right, "{len} bytes");
    }
}

fn with_length(bytes: &[u8], length: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    bytes
}

fn hmac_sha256(key: &[u8], bytes: &[u8]) -> [u8; 32] {
    use hmac::Mac;
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}
