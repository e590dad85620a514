use super::*;

/// Adds messages of these lengths, each to the port beside it, and returns the transmits as (port, lengths of messages).
fn check(messages: &[(u16, usize)], expected: &[(u16, &[usize])]) {
    let mut outbox = Outbox::new();
    for (number, &(port, len)) in messages.iter().enumerate() {
        outbox.message(SocketAddr::from(([192, 0, 2, 1], port)), len, |bytes| bytes.fill(number as u8));
    }
    let made: Vec<(u16, Vec<usize>)> =
        outbox.transmits().map(|t| (t.to.port(), t.messages().map(<[u8]>::len).collect())).collect();
    let expected: Vec<_> = expected.iter().map(|(port, lens)| (*port, lens.to_vec())).collect();
    assert_eq!(made, expected);
    for (number, message) in outbox.transmits().flat_map(|t| t.messages()).enumerate() {
        assert!(message.iter().all(|&byte| byte == number as u8), "message {number} is not what was written");
    }
}

#[test]
fn equal_messages_to_one_place_leave_together_and_a_shorter_one_ends_the_run() {
    check(&[(1, 100), (1, 100), (1, 60), (1, 60), (1, 100)], &[(1, &[100, 100, 60]), (1, &[60]), (1, &[100])]);
}

#[test]
fn another_place_begins_another_run() {
    check(&[(1, 100), (2, 100), (1, 100)], &[(1, &[100]), (2, &[100]), (1, &[100])]);
}

#[test]
fn a_run_holds_no_more_segments_than_the_kernel_takes() {
    let messages = [(1, 32); MAX_SEGMENTS + 1];
    check(&messages, &[(1, &[32; MAX_SEGMENTS]), (1, &[32])]);
}

#[test]
fn a_run_holds_no_more_bytes_than_a_datagram() {
    let full = MAX_BYTES / 1452;
    check(&vec![(1, 1452); full + 1], &[(1, &vec![1452; full]), (1, &[1452])]);
}
