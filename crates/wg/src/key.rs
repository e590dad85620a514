//! The three kinds of 32-byte keys, kept apart by type so that a secret is never shown or sent by mistake.

use core::fmt;
use core::str::FromStr;

use blake2::Blake2sMac256;
use blake2::digest::{FixedOutput, KeyInit, Update};
use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};

/// Why a text is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyError;

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a WireGuard key: expected 32 bytes as 44 characters of base64, as `wg genkey` prints them")
    }
}

impl std::error::Error for KeyError {}

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The key with these 32 bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Its 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Whether all its bytes are zero, which WireGuard reads as "none".
            pub fn is_zero(&self) -> bool {
                self.0 == [0; 32]
            }

            /// Reads the 64 hexadecimal digits of the UAPI, either case.
            pub fn from_hex(text: &str) -> Result<Self, KeyError> {
                let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| KeyError)?;
                bytes.try_into().map(Self).map_err(|_| KeyError)
            }

            /// The 64 hexadecimal digits of the UAPI.
            pub fn to_hex(&self) -> String {
                HEXLOWER.encode(&self.0)
            }

            /// The 44 characters of base64 that `wg` prints.
            pub fn to_base64(&self) -> String {
                BASE64.encode(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = KeyError;

            fn from_str(text: &str) -> Result<Self, KeyError> {
                let bytes = BASE64.decode(text.as_bytes()).map_err(|_| KeyError)?;
                bytes.try_into().map(Self).map_err(|_| KeyError)
            }
        }
    };
}

key! {
    /// A public key: the name of a peer.
    Key
}
key! {
    /// A private key. Its `Debug` shows nothing of it.
    PrivateKey
}
key! {
    /// A preshared key. Its `Debug` shows nothing of it. All zero means "none", as in the kernel.
    PresharedKey
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

impl Key {
    /// The first eight characters of its base64, for logs and tables.
    pub fn short(&self) -> String {
        self.to_base64()[..8].to_owned()
    }
}

impl PrivateKey {
    /// A key made of 32 bytes of the caller's randomness, clamped (RFC 7748 section 5) as `wg genkey` does it.
    pub const fn generate(mut random: [u8; 32]) -> Self {
        random[0] &= 0b1111_1000;
        random[31] = random[31] & 0b0111_1111 | 0b0100_0000;
        Self(random)
    }

    /// The public key that belongs to it. The bytes are clamped for the computation, whatever they are.
    pub fn public(&self) -> Key {
        Key(x25519_dalek::x25519(self.0, x25519_dalek::X25519_BASEPOINT_BYTES))
    }

    /// 32 bytes that only the two who have these keys can compute, for one purpose (no two of which have the same name):
    /// keyed BLAKE2s of its name, the key being their X25519 secret. `None` if the peer's key is one of the few points that
    /// give no secret (RFC 7748 §6.1).
    pub fn agree(&self, peer: &Key, purpose: &str) -> Option<[u8; 32]> {
        let shared = x25519_dalek::x25519(self.0, peer.0);
        if shared == [0; 32] {
            return None;
        }
        let mut mac = Blake2sMac256::new_from_slice(&shared).expect("BLAKE2s takes keys of 32 bytes");
        mac.update(purpose.as_bytes());
        Some(mac.finalize_fixed().into())
    }
}

impl PresharedKey {
    /// A key made of 32 bytes of the caller's randomness.
    pub const fn generate(random: [u8; 32]) -> Self {
        Self(random)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(…)")
    }
}

#[cfg(test)]
mod tests;
