//! What a server says of itself at the beginning of a NONCE (RFC 8489 §9.2, §18.1).

/// How such a nonce begins.
const COOKIE: &[u8; 9] = b"obMatJos2";
/// Bytes of the cookie and the features.
pub const PREFIX: usize = COOKIE.len() + 4;

const PASSWORD_ALGORITHMS: u32 = 1 << 0;
const USERNAME_ANONYMITY: u32 = 1 << 1;

/// What a server of RFC 8489 can do. A client that saw it is not talked out of it: the nonce is authenticated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// PASSWORD-ALGORITHMS is sent, and has to be repeated.
    pub password_algorithms: bool,
    /// USERHASH is understood in place of USERNAME.
    pub username_anonymity: bool,
}

impl Features {
    /// Reads the value of NONCE. `None` if it says nothing.
    pub fn read(nonce: &[u8]) -> Option<Self> {
        let (cookie, rest) = nonce.split_first_chunk::<9>()?;
        let coded = rest.first_chunk::<4>().filter(|_| cookie == COOKIE)?;
        let mut bits = 0;
        for character in coded {
            bits = bits << 6 | base64(*character)?;
        }
        let has = |bit: u32| bits & bit != 0;
        Some(Self { password_algorithms: has(PASSWORD_ALGORITHMS), username_anonymity: has(USERNAME_ANONYMITY) })
    }

    /// What a nonce begins with that says so.
    pub fn prefix(self) -> [u8; PREFIX] {
        let bit = |set: bool, bit: u32| if set { bit } else { 0 };
        let bits =
            bit(self.password_algorithms, PASSWORD_ALGORITHMS) | bit(self.username_anonymity, USERNAME_ANONYMITY);
        let mut prefix = [b'A'; PREFIX];
        prefix[..9].copy_from_slice(COOKIE);
        // Of 24 bits only the last two are in use: the last character.
        prefix[PREFIX - 1] = b'A' + (bits & 0x3f) as u8;
        prefix
    }
}

/// The six bits of a character (RFC 4648 §4).
fn base64(character: u8) -> Option<u32> {
    let bits = match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(bits))
}

#[cfg(test)]
mod tests {
    use super::Features;

    #[test]
    fn the_nonce_of_rfc_8489_says_that_userhash_is_understood() {
        let nonce = b"obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA";
        let features = Features { password_algorithms: false, username_anonymity: true };
        assert_eq!(Features::read(nonce), Some(features));
        assert_eq!(&features.prefix(), b"obMatJos2AAAC");
    }

    #[test]
    fn a_nonce_without_the_cookie_says_nothing() {
        for nonce in [&b"f//499k954d6OL34oL9FSTvy64sA"[..], b"obMatJos2AA", b"obMatJos2A!AC", b""] {
            assert_eq!(Features::read(nonce), None, "{nonce:?}");
        }
    }
}
