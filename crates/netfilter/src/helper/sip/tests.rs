use core::net::Ipv4Addr;

use super::*;
use crate::helper::tests::{CLIENT, Flow, GATEWAY, SERVER, edited};
use crate::nat::Range;
use crate::status::Direction;
use crate::tuple::Tuple;

use Direction::{Original, Reply};

/// Lines, each with a line end.
fn text(lines: &[&str]) -> String {
    lines.iter().flat_map(|line| [line, "\r\n"]).collect()
}

/// A message with the description of an audio stream, and its right length.
fn with_audio(start: &str, headers: &[&str], address: &str, port: u16) -> String {
    let (owner, connection) = (format!("o=me 1 1 IN IP4 {address}"), format!("c=IN IP4 {address}"));
    let body = text(&["v=0", &owner, "s=-", &connection, "t=0 0", &format!("m=audio {port} RTP/AVP 0")]);
    let length = format!("Content-Length: {}", body.len());
    let mut lines = vec![start];
    lines.extend_from_slice(headers);
    lines.extend([length.as_str(), ""]);
    text(&lines) + &body
}

fn invite(address: &str, port: u16) -> String {
    let via = format!("Via: SIP/2.0/UDP {address}:5000;branch=z9hG4bK1;rport");
    let contact = format!("Contact: <sip:me@{address}:5000>");
    let headers = [&via, "From: <sip:me@example.com>;tag=1", "To: <sip:you@192.0.2.1>", "CSeq: 1 INVITE", &contact];
    with_audio("INVITE sip:you@192.0.2.1 SIP/2.0", &headers, address, port)
}

fn register(expires: u32) -> String {
    text(&[
        "REGISTER sip:192.0.2.1 SIP/2.0",
        "Via: SIP/2.0/UDP 10.0.0.2:5000;branch=z9hG4bK1",
        "CSeq: 7 REGISTER",
        &format!("Contact: <sip:me@10.0.0.2:5000>;expires={expires}"),
        "Content-Length: 0",
        "",
    ])
}

fn registered(contact: &str, expires: u32) -> String {
    let contact = format!("Contact: <sip:me@{contact}>;expires={expires}");
    text(&["SIP/2.0 200 OK", "CSeq: 7 REGISTER", &contact, "Content-Length: 0", ""])
}

fn verdict(flow: &mut Flow<Ipv4Addr>, direction: Direction, payload: &str) -> Verdict {
    flow.send(direction, payload).verdict
}

#[test]
fn streams_of_an_invitation_and_its_answer_are_expected_in_pairs() {
    let mut flow = Flow::direct(Helper::Sip);
    let outcome = flow.send(Original, invite("10.0.0.2", 40_000));
    assert_eq!(outcome, Outcome { timeout: Some(Duration::from_secs(3_600)), ..Outcome::ACCEPT });
    let from_server = ["192.0.2.1 any > 10.0.0.2 40000 udp", "192.0.2.1 any > 10.0.0.2 40001 udp"];
    assert_eq!(flow.expected(), from_server);
    let ok = with_audio("SIP/2.0 200 OK", &["CSeq: 1 INVITE"], "192.0.2.1", 30_001);
    flow.send(Reply, ok);
    assert_eq!(flow.expected()[..2], from_server);
    assert_eq!(
        flow.expected()[2..],
        ["10.0.0.2 any > 192.0.2.1 30000 udp", "10.0.0.2 any > 192.0.2.1 30001 udp"],
        "an odd port is that of RTCP"
    );
    flow.send(Original, "BYE sip:you@192.0.2.1 SIP/2.0\r\nCSeq: 2 BYE\r\n\r\n");
    assert!(flow.expected().is_empty());
}

#[test]
fn a_refused_invitation_takes_back_its_streams_and_another_ones_does_not() {
    let mut flow = Flow::direct(Helper::Sip);
    flow.send(Original, invite("10.0.0.2", 40_000));
    flow.send(Reply, "SIP/2.0 486 Busy Here\r\nCSeq: 9 INVITE\r\n\r\n");
    assert_eq!(flow.expected().len(), 2);
    flow.send(Reply, "SIP/2.0 486 Busy Here\r\nCSeq: 1 INVITE\r\n\r\n");
    assert!(flow.expected().is_empty());
}

#[test]
fn what_a_description_may_say() {
    let invite_of = |sdp: &[&str]| text(&["INVITE sip:you@192.0.2.1 SIP/2.0", "CSeq: 1 INVITE", ""]) + &text(sdp);
    let cases: [(&[&str], Verdict, &[u16]); 7] = [
        (
            &["v=0", "c=IN IP4 10.0.0.2", "m=audio 4000 RTP/AVP 0", "m=video 5000 RTP/AVP 1"],
            Verdict::Accept,
            &[4_000, 4_001, 5_000, 5_001],
        ),
        (&["v=0", "m=audio 4000 RTP/AVP 0", "c=IN IP4 10.0.0.2"], Verdict::Accept, &[4_000, 4_001]),
        (&["v=0", "c=IN IP4 10.0.0.2", "m=audio 0 RTP/AVP 0", "m=text 4000 RTP/AVP 1"], Verdict::Accept, &[]),
        (&["v=0", "c=IN IP4 10.0.0.9", "m=audio 4000 RTP/AVP 0"], Verdict::Accept, &[]),
        (&["v=0", "m=audio 4000 RTP/AVP 0"], Verdict::Drop, &[]),
        (&["v=0", "c=IN IP4 10.0.0.2", "m=audio 80 RTP/AVP 0"], Verdict::Drop, &[]),
        (&["v=0", "c=IN IP4 10.0.0.2", "m=audio 99999 RTP/AVP 0"], Verdict::Drop, &[]),
    ];
    for (sdp, expected_verdict, ports) in cases {
        let mut flow = Flow::direct(Helper::Sip);
        assert_eq!(verdict(&mut flow, Original, &invite_of(sdp)), expected_verdict, "{sdp:?}");
        let expected: Vec<u16> = flow.expectations.iter().map(|(_, e)| e.tuple.dst_id).collect();
        assert_eq!(expected, ports, "{sdp:?}");
    }
}

#[test]
fn what_is_wrong_is_dropped_and_what_is_strange_passes() {
    let cases = [
        (Original, "INVITE sip:you@192.0.2.1 SIP/2.0\r\n\r\n", Verdict::Drop),
        (Original, "INVITE sip:you@192.0.2.1 SIP/2.0\r\nCSeq: x\r\n\r\n", Verdict::Drop),
        (Reply, "SIP/2.0 2 OK\r\n\r\n", Verdict::Drop),
        (Reply, "SIP/2.0 abc OK\r\nCSeq: 1 INVITE\r\n\r\n", Verdict::Drop),
        (Original, "OPTIONS sip:you@192.0.2.1 SIP/2.0\r\n\r\n", Verdict::Accept),
        (Original, "INVITED to something else", Verdict::Accept),
        (Original, "\r\n\r\n", Verdict::Accept),
        (Original, "REGISTER sip:a SIP/2.0\r\nCSeq: 1 REGISTER\r\nm: <sip:me@10.0.0.2:99>\r\n\r\n", Verdict::Accept),
        (Original, "REGISTER sip:a SIP/2.0\r\nCSeq: 1 REGISTER\r\nm: <sip:me@10.0.0.3>\r\n\r\n", Verdict::Accept),
    ];
    for (direction, payload, expected) in cases {
        let mut flow = Flow::direct(Helper::Sip);
        assert_eq!(verdict(&mut flow, direction, payload), expected, "{payload:?}: {}", flow.last_note());
        assert!(flow.expected().is_empty());
    }
}

#[test]
fn a_registered_host_is_called_once_the_registrar_agrees_and_as_long_as_it_says() {
    let mut flow = Flow::direct(Helper::Sip);
    flow.send(Original, register(600));
    assert_eq!(flow.expected(), ["192.0.2.1 any > 10.0.0.2 5000 udp"]);
    let call = Tuple { src: SERVER, dst: CLIENT, src_id: 5_060, dst_id: 5_000, protocol: UDP };
    assert_eq!(flow.expectations.find(flow.now, 0, &call, |_| true), None, "not yet");
    flow.send(Reply, registered("10.0.0.2:5000", 600));
    assert_eq!(flow.expectations.poll_timeout(), Some(flow.now + Duration::from_secs(600)));
    let met = flow.expectations.find(flow.now, 0, &call, |_| true).expect("it is registered");
    assert_eq!(met.attach, Some(Helper::Sip));
    assert!(flow.expectations.find(flow.now, 0, &call, |_| true).is_some(), "again and again");
    flow.send(Original, register(0));
    flow.send(Reply, text(&["SIP/2.0 200 OK", "CSeq: 7 REGISTER", ""]));
    assert!(flow.expected().is_empty(), "it has gone");
}

#[test]
fn nat_rewrites_an_invitation_and_its_length() {
    let mut flow = Flow::masqueraded(Helper::Sip);
    let sent = invite("10.0.0.2", 40_000);
    let outcome = flow.send(Original, &sent);
    let expected = invite("203.0.113.1", 40_000).replace("203.0.113.1:5000", "203.0.113.1:61000");
    assert_eq!(edited(&outcome, &sent), expected);
    assert_eq!(flow.expected(), ["192.0.2.1 any > 203.0.113.1 40000 udp", "192.0.2.1 any > 203.0.113.1 40001 udp"]);

    let stream = Tuple { src: SERVER, dst: GATEWAY, src_id: 30_000, dst_id: 40_000, protocol: UDP };
    let met = flow.expectations.find(flow.now, 0, &stream, |_| true).expect("it is expected");
    let translation = flow.expectations.translation(&met, &stream, &flow.tuples);
    assert_eq!(translation.destination, Some(Range { ports: Some((40_000, 40_000)), ..Range::address(CLIENT) }));
    assert_eq!(translation.source, Some(Range::address(SERVER)));
}

#[test]
fn a_stream_that_goes_out_has_the_port_that_was_announced_for_it() {
    let mut flow = Flow::masqueraded(Helper::Sip);
    flow.send(Original, invite("10.0.0.2", 40_000));
    flow.send(Reply, with_audio("SIP/2.0 200 OK", &["CSeq: 1 INVITE"], "192.0.2.1", 30_000));
    let stream = Tuple { src: CLIENT, dst: SERVER, src_id: 40_000, dst_id: 30_000, protocol: UDP };
    let met = flow.expectations.find(flow.now, 0, &stream, |_| true).expect("it is expected");
    let translation = flow.expectations.translation(&met, &stream, &flow.tuples);
    assert_eq!(translation.source, Some(Range { ports: Some((40_000, 40_000)), ..Range::address(GATEWAY) }));
}

#[test]
fn nat_takes_the_next_pair_of_ports_if_one_of_a_pair_is_taken() {
    let mut flow = Flow::masqueraded(Helper::Sip);
    let from = (None, None);
    let taken = Expectation::new(Helper::Ftp, crate::expect::MasterId(9), 0, UDP, from, (GATEWAY, 40_001));
    flow.expectations.add(flow.now, taken, Policy::new(1, 300)).expect("there is room");
    let sent = invite("10.0.0.2", 40_000);
    let becomes = edited(&flow.send(Original, &sent), &sent);
    assert!(becomes.contains("m=audio 40002 RTP"), "{becomes}");
    assert_eq!(
        flow.expected()[1..],
        ["192.0.2.1 any > 203.0.113.1 40002 udp", "192.0.2.1 any > 203.0.113.1 40003 udp"]
    );
}

#[test]
fn nat_drops_a_description_of_unknown_length() {
    let mut flow = Flow::masqueraded(Helper::Sip);
    let sent = invite("10.0.0.2", 40_000).replace("Content-Length", "X-Length");
    assert_eq!(verdict(&mut flow, Original, &sent), Verdict::Drop);
}

#[test]
fn a_description_of_unknown_length_is_dropped_at_its_first_change_and_what_comes_behind_is_not_expected() {
    let mut flow = Flow::masqueraded(Helper::Sip);
    let described = ["v=0", "o=me 1 1 IN IP4 10.0.0.2", "c=IN IP4 10.0.0.2", "m=audio 4000 RTP/AVP 0"];
    let more = ["c=IN IP4 10.0.0.2", "m=video 5000 RTP/AVP 31"];
    let sent = text(&["INVITE sip:you@192.0.2.1 SIP/2.0", "CSeq: 1 INVITE", ""]) + &text(&described) + &text(&more);
    assert_eq!(verdict(&mut flow, Original, &sent), Verdict::Drop);
    let ports: Vec<u16> = flow.expectations.iter().map(|(_, e)| e.tuple.dst_id).collect();
    assert_eq!(ports, [4_000, 4_001], "the first stream's address would have changed before the second is read");
}

/// What another call, whose signalling goes by `protocol`, expects: a stream to the gateway, for this host behind it.
fn announced(flow: &mut Flow<Ipv4Addr>, protocol: u8, host: (Ipv4Addr, u16)) {
    let other = Expectation::new(Helper::Sip, crate::expect::MasterId(9), 0, UDP, (None, None), (GATEWAY, 40_000));
    let nat = ChildNat::Sip { direction: Original, address: host.0, port: host.1 };
    let other = Expectation { class: Class::AUDIO, master_protocol: protocol, nat, ..other };
    flow.expectations.add(flow.now, other, Policy::new(4, 180)).expect("there is room");
}

#[test]
fn a_stream_to_a_host_behind_the_same_nat_goes_straight_to_it() {
    let mut flow = Flow::masqueraded(Helper::Sip);
    flow.settings.sip_direct_media = false;
    announced(&mut flow, UDP, (Ipv4Addr::new(10, 0, 0, 9), 7_001));
    let sent = with_audio("ACK sip:you@192.0.2.1 SIP/2.0", &["CSeq: 1 ACK"], "203.0.113.1", 40_000);
    let becomes = edited(&flow.send(Original, &sent), &sent);
    let direct = with_audio("ACK sip:you@192.0.2.1 SIP/2.0", &["CSeq: 1 ACK"], "10.0.0.9", 7_000);
    assert_eq!(becomes, direct);
    assert_eq!(flow.expected()[1..], ["any any > 10.0.0.9 7000 udp", "any any > 10.0.0.9 7001 udp"]);
}

#[test]
fn a_stream_that_a_call_over_the_other_protocol_expects_counts_as_another_helpers() {
    for (protocol, expected) in [(UDP, 1), (TCP, 2)] {
        let mut flow = Flow::direct(Helper::Sip);
        flow.settings.sip_direct_media = false;
        announced(&mut flow, protocol, (GATEWAY, 40_000));
        let stream = |host| with_audio("ACK sip:you@192.0.2.1 SIP/2.0", &["CSeq: 1 ACK"], host, 40_000);
        let first = flow.send(Original, stream("203.0.113.1"));
        assert_eq!(first.verdict, Verdict::Accept);
        // The very same is taken for expected; its RTCP is new.
        assert_eq!(flow.expected().len(), expected, "{protocol}");
    }
}

#[test]
fn a_contact_behind_one_that_has_become_shorter_by_more_than_lies_between_them_is_left() {
    let mut flow = Flow::forwarded(Helper::Sip);
    let contacts = |first: &str, second: &str| format!("OPTIONS sip:a SIP/2.0\r\nm: sip:{first},sip:{second} \r\n");
    let (outside, inside) = ("203.0.113.1:5060", "10.0.0.2:5060");
    let sent = contacts(outside, outside);
    assert_eq!(edited(&flow.send(Original, &sent), &sent), contacts(inside, outside), "the comma was skipped");
    let sent = sent.replace(",sip", "      ,sip");
    let becomes = contacts(inside, inside).replace(",sip", "      ,sip");
    assert_eq!(edited(&flow.send(Original, &sent), &sent), becomes);
}

#[test]
fn nat_rewrites_a_registration_there_and_back() {
    let mut flow = Flow::masqueraded(Helper::Sip);
    let sent = register(600);
    let becomes = sent.replace("10.0.0.2:5000", "203.0.113.1:61000");
    assert_eq!(edited(&flow.send(Original, &sent), &sent), becomes);
    assert_eq!(flow.expected(), ["192.0.2.1 any > 203.0.113.1 61000 udp"]);
    let answer = registered("203.0.113.1:61000", 600)
        .replace("CSeq", "Via: SIP/2.0/UDP 203.0.113.1:61000;received=203.0.113.1;rport=61000\r\nCSeq");
    let becomes = answer.replace("203.0.113.1", "10.0.0.2").replace("61000", "5000");
    assert_eq!(edited(&flow.send(Reply, &answer), &answer), becomes);
    let call = Tuple { src: SERVER, dst: GATEWAY, src_id: 5_060, dst_id: 61_000, protocol: UDP };
    assert!(flow.expectations.find(flow.now, 0, &call, |_| true).is_some(), "it is registered");
}

#[test]
fn a_telephone_that_listens_elsewhere_gets_its_answers_there() {
    let mut flow = Flow::masqueraded(Helper::Sip);
    let sent = "OPTIONS sip:you@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2:5060\r\nCSeq: 1 OPTIONS\r\n\r\n";
    assert_eq!(flow.send(Original, sent).dst_port, None);
    assert_eq!(flow.send(Reply, "SIP/2.0 200 OK\r\nCSeq: 1 OPTIONS\r\n\r\n").dst_port, Some(5_060));
}

#[test]
fn the_flows_own_ends_are_rewritten_wherever_they_stand() {
    // As Linux 6.18 rewrites it (measured): the request line and To get the port at which the caller listens.
    let mut flow = Flow::masqueraded(Helper::Sip);
    flow.send(Original, "OPTIONS sip:192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2:6060\r\n\r\n");
    let sent = text(&[
        "OPTIONS sip:you@192.0.2.1 SIP/2.0",
        "Via: SIP/2.0/UDP 10.0.0.2:5000;maddr=10.0.0.2",
        "m: <sip:a@10.0.0.2:5000>, <sip:10.0.0.2:5000>;x=1,",
        " <sip:b@10.0.0.2:5000>",
        "From: sip:10.0.0.2:5000",
        "t: <sip:192.0.2.1>",
    ]);
    let becomes = text(&[
        "OPTIONS sip:you@192.0.2.1:6060 SIP/2.0",
        "Via: SIP/2.0/UDP 203.0.113.1:61000;maddr=203.0.113.1",
        "m: <sip:a@203.0.113.1:61000>, <sip:203.0.113.1:61000>;x=1,",
        " <sip:b@203.0.113.1:61000>",
        "From: sip:203.0.113.1:61000",
        "t: <sip:192.0.2.1:6060>",
    ]);
    assert_eq!(edited(&flow.send(Original, &sent), &sent), becomes);
}

#[test]
fn what_begins_with_the_version_alone_is_rewritten_as_a_response() {
    let mut flow = Flow::masqueraded(Helper::Sip);
    let sent = "SIP/2.0!180 Ringing\r\nVia: SIP/2.0/UDP 203.0.113.1:61000\r\nCSeq: 2 REGISTER\r\n\r\n";
    let becomes = sent.replace("203.0.113.1:61000", "10.0.0.2:5000");
    assert_eq!(edited(&flow.send(Reply, sent), sent), becomes);
}

#[test]
fn under_nat_the_port_that_another_flow_has_announced_drops() {
    // Measured on Linux 6.18: the same expectation of another master is refused, and no other port is tried.
    let mut flow = Flow::masqueraded(Helper::Sip);
    let from = (Some(SERVER), None);
    let taken = Expectation::new(Helper::Sip, crate::expect::MasterId(9), 0, UDP, from, (GATEWAY, 40_000));
    flow.expectations.add(flow.now, taken, Policy::new(4, 180)).expect("there is room");
    assert_eq!(verdict(&mut flow, Original, &invite("10.0.0.2", 40_000)), Verdict::Drop);
}

#[test]
fn each_message_of_a_segment_is_rewritten() {
    let mut flow = Flow::masqueraded(Helper::Sip);
    for tuple in &mut flow.tuples {
        tuple.protocol = TCP;
    }
    let one = invite("10.0.0.2", 40_000).replace("/UDP", "/TCP");
    let sent = one.clone() + &one + "INVITE sip:half";
    let outcome = flow.send(Original, &sent);
    let becomes =
        invite("203.0.113.1", 40_000).replace("203.0.113.1:5000", "203.0.113.1:61000").replace("/UDP", "/TCP");
    assert_eq!(edited(&outcome, &sent), becomes.clone() + &becomes + "INVITE sip:half");
}

#[test]
fn headers_are_found_in_long_and_compact_form_and_continued() {
    let message =
        b"X: y\r\nm : <sip:a@10.0.0.2>,\r\n <sip:b@10.0.0.3:6000>\r\nmx: 1\r\nContact: sip:10.0.0.4\r\nl: 5\r\n";
    let mut contacts = Uris::new(Header::Contact);
    let mut found = Vec::new();
    while let Some(contact) = contacts.next::<Ipv4Addr>(message) {
        found.push(format!("{}:{}", contact.address, contact.port));
    }
    assert_eq!(found, ["10.0.0.2:5060", "10.0.0.3:6000", "10.0.0.4:5060"]);
    assert_eq!(header::number_in(message, Header::ContentLength).map(|(length, _)| length), Some(5));
}
