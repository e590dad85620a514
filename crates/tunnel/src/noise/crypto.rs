//! The primitives of the WireGuard handshake, under the names of the protocol paper (§5.4), each a call into a library.

use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput, KeyInit, Update};
use blake2::{Blake2s256, Blake2sMac, Digest};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

/// Bytes of a hash, a chaining key or a symmetric key.
pub(crate) const KEY_LEN: usize = 32;
/// Bytes of an authentication tag.
pub(crate) const TAG_LEN: usize = 16;

/// A hash, a chaining key or a symmetric key.
pub(crate) type Secret = [u8; KEY_LEN];

/// `Hash(a || b)`: BLAKE2s with 32 bytes of output.
pub(crate) fn hash(a: &[u8], b: &[u8]) -> Secret {
    Blake2s256::new().chain_update(a).chain_update(b).finalize().into()
}

/// `Mac(key, input)`: keyed BLAKE2s with 16 bytes of output. The key is at most 32 bytes long.
pub(crate) fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let mut mac = <Blake2sMac<U16> as KeyInit>::new_from_slice(key).expect("BLAKE2s takes keys of up to 32 bytes");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize_fixed().into()
}

/// `Hmac(key, input)`: HMAC (RFC 2104) over BLAKE2s.
fn hmac(key: &Secret, parts: &[&[u8]]) -> Secret {
    let mut hmac = <hmac::SimpleHmac<Blake2s256> as KeyInit>::new_from_slice(key).expect("HMAC takes any key");
    parts.iter().for_each(|part| Update::update(&mut hmac, part));
    hmac.finalize_fixed().into()
}

/// `Kdf1(key, input)`.
pub(crate) fn kdf1(key: &Secret, input: &[u8]) -> Secret {
    hmac(&hmac(key, &[input]), &[&[1]])
}

/// `Kdf2(key, input)`.
pub(crate) fn kdf2(key: &Secret, input: &[u8]) -> (Secret, Secret) {
    let extracted = hmac(key, &[input]);
    let first = hmac(&extracted, &[&[1]]);
    let second = hmac(&extracted, &[&first, &[2]]);
    (first, second)
}

/// `Kdf3(key, input)`.
pub(crate) fn kdf3(key: &Secret, input: &[u8]) -> (Secret, Secret, Secret) {
    let extracted = hmac(key, &[input]);
    let first = hmac(&extracted, &[&[1]]);
    let second = hmac(&extracted, &[&first, &[2]]);
    let third = hmac(&extracted, &[&second, &[3]]);
    (first, second, third)
}

/// A ChaCha20-Poly1305 key (RFC 8439).
pub(crate) fn aead_key(key: &Secret) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("ChaCha20-Poly1305 keys are 32 bytes long"))
}

/// The nonce of message `counter`: four zero bytes and the counter, little-endian (§5.4.6).
pub(crate) fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// `Aead(key, 0, plain, auth)` into `out`, which is longer than `plain` by [`TAG_LEN`].
pub(crate) fn seal(key: &Secret, plain: &[u8], auth: &[u8], out: &mut [u8]) {
    let (text, tag) = out.split_at_mut(plain.len());
    text.copy_from_slice(plain);
    let sealed = aead_key(key)
        .seal_in_place_separate_tag(nonce(0), Aad::from(auth), text)
        .expect("handshake fields are far below the limit of the cipher");
    tag.copy_from_slice(sealed.as_ref());
}

/// Opens what [`seal`] made. `N` is the length of the plain text; `None` if the tag is wrong.
pub(crate) fn open<const N: usize>(key: &Secret, sealed: &[u8], auth: &[u8]) -> Option<[u8; N]> {
    // The longest field is a public key with its tag.
    let mut buffer = [0; KEY_LEN + TAG_LEN];
    let buffer = buffer.get_mut(..sealed.len())?;
    buffer.copy_from_slice(sealed);
    let plain = aead_key(key).open_in_place(nonce(0), Aad::from(auth), buffer).ok()?;
    (*plain).try_into().ok()
}

/// Whether two secrets are equal, in a time that does not tell where they differ.
pub(crate) fn same(a: &[u8; 16], b: &[u8; 16]) -> bool {
    a.iter().zip(b).fold(0, |difference, (a, b)| std::hint::black_box(difference | (a ^ b))) == 0
}
