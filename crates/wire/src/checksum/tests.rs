use super::*;

/// RFC 1071 §3: the sum of these bytes is ddf2.
const RFC_1071: [u8; 8] = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];

/// The plain definition, to hold the fast one to.
fn by_definition(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[test]
fn the_example_of_rfc_1071_sums_to_ddf2() {
    assert_eq!(of(&RFC_1071), !0xddf2);
}

#[test]
fn a_known_ipv4_header_has_the_checksum_that_its_sender_wrote() {
    let header = [
        0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8,
        0x00, 0xc7,
    ];
    assert!(Sum::new().bytes(&header).is_valid());
}

#[test]
fn every_length_sums_as_the_definition_says() {
    let bytes: Vec<u8> = (0..200u32).map(|n| (n * 167 + 13) as u8).collect();
    for end in 0..bytes.len() {
        assert_eq!(of(&bytes[..end]), by_definition(&bytes[..end]), "{end} bytes");
    }
    assert_eq!(of(&[0xff; 65_536]), 0, "carries of the largest packet");
}

#[test]
fn an_adjusted_checksum_is_that_of_the_edited_bytes() {
    // RFC 1624 §4: HC = dd2f, m = 5555, m' = 3285 gives 0000, where RFC 1141 gave ffff.
    assert_eq!(adjust(0xdd2f, 0x5555, 0x3285), 0x0000);
    for (old, new) in [(0, 0xffff), (0xffff, 0), (0x1234, 0x1234), (0xffff, 1), (0x8000, 0x7fff)] {
        let mut bytes = RFC_1071;
        bytes[2..4].copy_from_slice(&u16::to_be_bytes(old));
        let before = of(&bytes);
        bytes[2..4].copy_from_slice(&u16::to_be_bytes(new));
        assert_eq!(adjust(before, old, new), of(&bytes), "{old:04x} to {new:04x}");
    }
}

#[test]
fn an_adjusted_address_is_summed_in_either_family() {
    for (old, new) in [("10.0.0.1", "203.0.113.7"), ("255.255.255.255", "0.0.0.0"), ("fd00::1", "2001:db8::ffff")] {
        let [old, new]: [IpAddr; 2] = [old, new].map(|text| text.parse().expect("an address"));
        let rest = Sum::new().bytes(&RFC_1071);
        let adjusted = adjust_address(rest.address(old).finish(), old, new);
        assert_eq!(adjusted, rest.address(new).finish(), "{old} to {new}");
    }
}

#[test]
fn a_32_bit_field_is_adjusted_as_its_two_halves() {
    let rest = Sum::new().bytes(&RFC_1071);
    let (old, new) = (0x0102_fffe, 0xffff_0001);
    assert_eq!(adjust_u32(rest.long(old).finish(), old, new), rest.long(new).finish());
}
