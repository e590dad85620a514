//! FINGERPRINT: tells STUN from what shares its port (RFC 8489 §14.7).

use crate::{AttributeType, Message};

/// What the CRC is xored with, so that it is no other protocol's CRC by chance.
const XOR: u32 = 0x5354_554e;

/// What a message's FINGERPRINT says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fingerprint {
    /// There is none.
    Absent,
    /// It is that of the message.
    Right,
    /// The message is damaged, or not STUN.
    Wrong,
}

impl Message<'_> {
    /// Checks FINGERPRINT, which is the last attribute of a message that has one.
    pub fn fingerprint(&self) -> Fingerprint {
        let bytes = self.as_bytes();
        let Some((before, &[kind_high, kind_low, 0, 4, a, b, c, d])) = bytes.split_last_chunk::<8>() else {
            return Fingerprint::Absent;
        };
        // The bytes before the end may look like it and be another attribute's value.
        let is_one = AttributeType(u16::from_be_bytes([kind_high, kind_low])) == AttributeType::FINGERPRINT
            && self.attributes().last().is_some_and(|last| last.kind == AttributeType::FINGERPRINT);
        match is_one {
            false => Fingerprint::Absent,
            true if u32::from_be_bytes([a, b, c, d]) == of(before) => Fingerprint::Right,
            true => Fingerprint::Wrong,
        }
    }
}

/// The value for a message that `before` begins and that already counts FINGERPRINT in its length.
pub(crate) fn of(before: &[u8]) -> u32 {
    crc32(before) ^ XOR
}

/// CRC-32 of ITU-T V.42, eight bytes at a time.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    let (chunks, rest) = bytes.as_chunks::<8>();
    for chunk in chunks {
        let word = u64::from_le_bytes(*chunk) ^ u64::from(crc);
        let byte = |at: usize| TABLES[7 - at][(word >> (8 * at) & 0xff) as usize];
        crc = byte(0) ^ byte(1) ^ byte(2) ^ byte(3) ^ byte(4) ^ byte(5) ^ byte(6) ^ byte(7);
    }
    !rest.iter().fold(crc, |crc, byte| crc >> 8 ^ TABLES[0][((crc ^ u32::from(*byte)) & 0xff) as usize])
}

static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut slice = 1;
    while slice < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before: u32 = tables[slice - 1][byte];
            tables[slice][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        slice += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::crc32;

    #[test]
    fn the_crc_is_that_of_the_standard() {
        // The check value of CRC-32/ISO-HDLC.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }
}
