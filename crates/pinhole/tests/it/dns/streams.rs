//! DNS over TCP: in a row, in pieces, too slowly, half open, and all at once.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

use super::golden::{ONE, readme};
use super::stage::{PATIENCE, PUBLIC, stage};
use super::wire::*;

#[test]
fn a_connection_carries_many_questions_answered_in_order() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme());
    let (_registry, _) = stage.public_registry(&[]);
    let mut stream = stage.connect(PUBLIC).expect("a connection");
    let mut sent = Vec::new();
    for id in 0..200 {
        // Every third is a miss, for which the device may be read.
        let name =
            if id % 3 == 0 { "x.example.com.".to_owned() } else { format!("{ONE}._wireguard._udp.example.com.") };
        let query = Query::new(&name, SRV).id(id).bytes();
        sent.extend_from_slice(&(query.len() as u16).to_be_bytes());
        sent.extend_from_slice(&query);
    }
    stream.write_all(&sent).expect("all are taken");
    stream.shutdown(Shutdown::Write).expect("half closed");
    let mut ids: Vec<u16> =
        (0..200).map(|_| Answer::read(&read_framed(&stream).expect("an answer")).message.header.id).collect();
    assert_eq!(stream.read(&mut [0; 1]).expect("the end"), 0, "and then it is closed");
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..200));
}

#[test]
fn a_question_may_come_byte_by_byte() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme());
    let (_registry, _) = stage.public_registry(&[]);
    let mut stream = stage.connect(PUBLIC).expect("a connection");
    stream.set_nodelay(true).expect("an option");
    let query = Query::new("example.com.", SOA).bytes();
    for byte in (query.len() as u16).to_be_bytes().iter().chain(&query) {
        stream.write_all(&[*byte]).expect("it is taken");
    }
    assert_eq!(Answer::read(&read_framed(&stream).expect("an answer")).rcode(), NOERROR);
}

#[test]
fn slow_and_silent_connections_are_closed_in_bounded_time_and_keep_nobody_out_of_udp() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme());
    let (_registry, client) = stage.public_registry(&[]);
    let streams: Vec<_> = (0..300).filter_map(|_| stage.connect(PUBLIC).ok()).collect();
    // A part of a question, over and over, makes no progress.
    for stream in streams.iter().take(100) {
        let _ = (&*stream).write_all(&[0, 200, 1]);
    }
    assert_eq!(client.ask(&Query::new("example.com.", SOA)).rcode(), NOERROR);
    for mut stream in &streams {
        stream.set_read_timeout(Some(PATIENCE * 3)).expect("a timeout");
        match stream.read(&mut [0; 1]) {
            Ok(0) => {}
            Ok(_) => panic!("an answer to nothing"),
            // A reset is an end too; the end of our patience is not.
            Err(error) => assert!(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}"),
        }
    }
    let stream = stage.connect(PUBLIC).expect("a connection");
    write_framed(&stream, &Query::new("example.com.", SOA).bytes()).expect("it is taken");
    assert_eq!(Answer::read(&read_framed(&stream).expect("an answer")).rcode(), NOERROR);
}

#[test]
fn a_message_of_64_kib_and_one_of_nothing_are_defined() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme());
    let (_registry, _) = stage.public_registry(&[]);
    let query = Query::new("example.com.", SOA).bytes();
    for filler in [0x00, 0xc0, 0xff] {
        let mut huge = query.clone();
        huge.resize(65_535, filler);
        let stream = stage.connect(PUBLIC).expect("a connection");
        write_framed(&stream, &huge).expect("it is taken");
        let answer = read_framed(&stream).expect("an answer");
        assert_eq!(answer[3] & 0xf, FORMERR as u8);
        write_framed(&stream, b"").expect("it is taken");
        write_framed(&stream, &query).expect("it is taken");
        assert_eq!(Answer::read(&read_framed(&stream).expect("an answer")).rcode(), NOERROR, "nothing has no answer");
    }
}
