//! What is written, read back.

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
    let [first, second] = ["10.0.0.1:1 > 10.0.0.2:2 udp 3", "[fd00::1]:1 > [fd00::2]:2 udp 0"]
        .map(|line| crate::text::read(line).expect("a packet"));
    let begin = Duration::new(1_700_000_000, 999_999_999);
    let file = written(&[(begin, &first), (begin + Duration::from_nanos(2), &second)]);
    let mut capture = Capture::new(&file[..], None).expect("a capture");
    let read: Vec<_> = core::iter::from_fn(|| capture.next_packet().expect("whole")).collect();
    assert_eq!(read, [(Duration::ZERO, first), (Duration::from_nanos(2), second)]);
}

#[test]
fn a_packet_that_no_reader_accepts_is_not_written() {
    let mut writer = Writer::new(Vec::new()).expect("memory");
    assert!(writer.write(Duration::ZERO, &vec![0; MAX_PACKET + 1]).is_err());
    assert_eq!(writer.finish().expect("memory").len(), FILE_HEADER_LEN);
}
