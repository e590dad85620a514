use super::{Key, PresharedKey, PrivateKey};

#[test]
fn public_keys_are_those_that_others_compute() {
    // The first pair is Bob's of RFC 7748 section 6.1; the second, not clamped, is what `wg pubkey` makes of it.
    let bob = PrivateKey::from_hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb").unwrap();
    assert_eq!(bob.public().to_hex(), "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
    let counting: PrivateKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".parse().unwrap();
    assert_eq!(counting.public().to_string(), "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8=");
}

#[test]
fn a_generated_key_is_clamped_and_keeps_its_public_key() {
    for fill in [0x00, 0x55, 0xaa, 0xff] {
        let key = PrivateKey::generate([fill; 32]);
        assert_eq!(key.as_bytes()[0] & 7, 0);
        assert_eq!(key.as_bytes()[31] >> 6, 1);
        assert_eq!(key.public(), PrivateKey::from_bytes([fill; 32]).public());
    }
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    assert_eq!(format!("{:?}", PrivateKey::generate([7; 32])), "PrivateKey(…)");
    assert_eq!(format!("{:?}", PresharedKey::generate([7; 32])), "PresharedKey(…)");
}

#[test]
fn what_is_not_a_key_is_refused() {
    for text in
        ["", "AAAA", "xScVkH3fUGUv4RrJFfmcqm8rs3SEHr41km6+yffAHw4", "xScVkH3fUGUv4RrJFfmcqm8rs3SEHr41km6+yffAHw4= "]
    {
        assert!(text.parse::<Key>().is_err(), "{text:?}");
    }
    for text in ["", "00", &"0".repeat(63), &"0".repeat(66), &"g".repeat(64)] {
        assert!(Key::from_hex(text).is_err(), "{text:?}");
    }
}

#[test]
fn both_sides_agree_on_a_secret_that_is_another_for_every_purpose() {
    let [ours, theirs] = [PrivateKey::generate([1; 32]), PrivateKey::generate([2; 32])];
    let secret = ours.agree(&theirs.public(), "a").unwrap();
    assert_eq!(theirs.agree(&ours.public(), "a"), Some(secret));
    assert_ne!(ours.agree(&theirs.public(), "b"), Some(secret));
    assert_ne!(PrivateKey::generate([3; 32]).agree(&theirs.public(), "a"), Some(secret));
    assert_eq!(ours.agree(&Key::from_bytes([0; 32]), "a"), None, "a point of low order");
}
