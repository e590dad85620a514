use super::*;

fn written(packets: &[(Duration, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new()).expect("memory");
    for (at, packet) in packets {
        writer.write(*at, packet).expect("memory");
    }
    writer.finish().expect("memory")
}

#[test]
fn a_file_begins_with_the_magic_and_link_type_of_raw_ip() {
    let header = written(&[]);
    assert_eq!(header, [0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 101, 0, 0, 0]);
}

#[test]
fn what_is_written_reads_back() {
    let packets: [(Duration, &[u8]); 3] = [
        (Duration::from_nanos(1), b"one"),
        (Duration::new(1_700_000_000, 999_999_999), b""),
        (Duration::ZERO, b"three"),
    ];
    let file = written(&packets);
    let read: Vec<_> = Reader::new(&file).expect("a file").map(|record| record.expect("a record")).collect();
    let expected: Vec<_> =
        packets.iter().map(|&(at, packet)| Record { at, original_len: packet.len(), packet }).collect();
    assert_eq!(read, expected);
}

#[test]
fn files_of_either_byte_order_and_resolution_are_read() {
    for (magic, ticks) in [(0xa1b2_c3d4, 500_000), (0xa1b2_3c4d, 500_000_000)] {
        for to_bytes in [u32::to_be_bytes, u32::to_le_bytes] {
            let words = [magic, 0x0002_0004, 0, 0, 65_535, 101, 10, ticks, 2, 60];
            let file = [words.map(to_bytes).concat(), b"ab".to_vec()].concat();
            let record = Record { at: Duration::from_millis(10_500), original_len: 60, packet: b"ab" };
            assert_eq!(Reader::new(&file).expect("a file").collect::<Vec<_>>(), [Ok(record)], "{magic:x}");
        }
    }
}

#[test]
fn damaged_files_end_with_the_reason() {
    let file = written(&[(Duration::ZERO, b"packet")]);
    for end in 0..FILE_HEADER_LEN {
        assert_eq!(first(&file[..end]), Err(PcapError::Truncated));
    }
    for end in FILE_HEADER_LEN + 1..file.len() {
        assert_eq!(first(&file[..end]), Ok(Some(Err(PcapError::Truncated))));
        assert_eq!(Reader::new(&file[..end]).expect("a header").count(), 1, "reading ends at the error");
    }
    let edited = |at: usize, value: [u8; 4]| {
        let mut file = file.clone();
        file[at..at + 4].copy_from_slice(&value);
        Reader::new(&file).map(|mut reader| reader.next().map(|record| record.map(|_| ())))
    };
    assert_eq!(edited(0, [0x0a, 0x0d, 0x0d, 0x0a]), Err(PcapError::Magic));
    assert_eq!(edited(20, [1, 0, 0, 0]), Err(PcapError::LinkType(1)));
    assert_eq!(edited(32, [0xff; 4]), Ok(Some(Err(PcapError::TooLong(u32::MAX)))));
}

#[test]
fn a_packet_that_no_reader_accepts_is_not_written() {
    let mut writer = Writer::new(Vec::new()).expect("memory");
    assert!(writer.write(Duration::ZERO, &vec![0; MAX_PACKET + 1]).is_err());
    assert_eq!(writer.finish().expect("memory").len(), FILE_HEADER_LEN);
}

fn first(file: &[u8]) -> Result<Option<Result<Record<'_>, PcapError>>, PcapError> {
    Reader::new(file).map(|mut reader| reader.next())
}
