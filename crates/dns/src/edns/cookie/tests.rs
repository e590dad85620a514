//! The vectors of SipHash and of RFC 9018 appendix A.

use super::{Cookies, sip_hash_2_4};

#[test]
fn siphash_gives_the_vectors_of_its_authors() {
    let key: [u8; 16] = core::array::from_fn(|i| i as u8);
    let input: Vec<u8> = (0..15).collect();
    assert_eq!(sip_hash_2_4(&key, &input), 0xa129_ca61_49be_45e5);
    assert_eq!(sip_hash_2_4(&key, &[]), 0x726f_db47_dd0e_0e31);
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

#[test]
fn a_server_cookie_is_that_of_rfc_9018_appendix_a_1() {
    let cookies = Cookies::new(bytes("e5e973e5a6b2a43f48e7dc849e37bfcf").try_into().unwrap());
    let client = "198.51.100.100".parse().unwrap();
    let made = cookies.answer(&bytes("2464c4abcf10c957"), client, 1_559_731_985).unwrap();
    assert_eq!(made.to_vec(), bytes("2464c4abcf10c957010000005cf79f111f8130c3eee29480"));
}

#[test]
fn a_cookie_proves_its_own_client_for_an_hour_and_is_renewed_after_half_of_it() {
    let cookies = Cookies::new([7; 16]);
    let client = "192.0.2.1".parse().unwrap();
    let made = cookies.answer(&[1; 8], client, 1_000_000).unwrap();
    for (seconds, proves, kept) in
        [(0, true, true), (1_799, true, true), (1_800, true, false), (3_600, true, false), (3_601, false, false)]
    {
        let now = 1_000_000 + seconds;
        assert_eq!(cookies.proves(&made, client, now), proves, "{seconds} s");
        assert_eq!(cookies.answer(&made, client, now) == Some(made), kept, "{seconds} s");
    }
    assert!(cookies.proves(&made, client, 1_000_000 - 300) && !cookies.proves(&made, client, 1_000_000 - 301));
    assert!(!cookies.proves(&made, "192.0.2.2".parse().unwrap(), 1_000_000));
    assert!(!Cookies::new([8; 16]).proves(&made, client, 1_000_000));
    for at in 0..made.len() {
        let mut forged = made;
        forged[at] ^= 1;
        assert!(!cookies.proves(&forged, client, 1_000_000), "byte {at}");
    }
    for short in 0..made.len() {
        assert!(!cookies.proves(&made[..short], client, 1_000_000));
    }
}
