use super::*;

/// A message of `len` bytes: type, three zeros, then each byte its own place: 4, 5, 6 …
fn message(message_type: u8, len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
    bytes[..4].copy_from_slice(&[message_type, 0, 0, 0]);
    bytes
}

#[test]
fn the_indices_are_little_endian_and_where_the_paper_puts_them() {
    let (at_4, at_8) = (0x0706_0504, 0x0b0a_0908);
    for (message_type, len, kind, sender, receiver) in [
        (1, 148, Kind::HandshakeInitiation, Some(at_4), None),
        (2, 92, Kind::HandshakeResponse, Some(at_4), Some(at_8)),
        (3, 64, Kind::CookieReply, None, Some(at_4)),
        (4, 32, Kind::Transport, None, Some(at_4)),
        (4, 1452, Kind::Transport, None, Some(at_4)),
    ] {
        let packet = Packet::new_checked(message(message_type, len)).expect("a message");
        assert_eq!((packet.kind(), packet.sender(), packet.receiver()), (kind, sender, receiver));
        assert_eq!(packet.counter(), (message_type == 4).then_some(0x0f0e_0d0c_0b0a_0908));
        assert_eq!(packet.is_keepalive(), (message_type, len) == (4, 32));
    }
}

#[test]
fn everything_else_on_the_socket_is_refused() {
    let stun = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (what, bytes, why) in [
        ("nothing", vec![], Malformed::Truncated),
        ("three bytes", vec![1, 0, 0], Malformed::Truncated),
        ("STUN", stun.to_vec(), Malformed::Version),
        ("type 0", message(0, 148), Malformed::Version),
        ("type 5", message(5, 148), Malformed::Version),
        ("a short initiation", message(1, 147), Malformed::Length),
        ("a long initiation", message(1, 149), Malformed::Length),
        ("a short response", message(2, 91), Malformed::Length),
        ("a long cookie", message(3, 65), Malformed::Length),
        ("a short transport message", message(4, 31), Malformed::Length),
    ] {
        assert_eq!(Packet::new_checked(bytes), Err(why), "{what}");
    }
    let mut reserved = message(1, 148);
    reserved[2] = 1;
    assert_eq!(Packet::new_checked(reserved), Err(Malformed::Version));
}
