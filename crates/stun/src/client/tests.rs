//! The client against scripted servers in virtual time.

use core::net::SocketAddr;

use pinhole_sansio::{Duration, Instant, Machine, conformance};

use super::{
    Answer, Client, CredentialKind, Credentials, Dialect, Expect, Failure, Input, MAX_TRANSACTIONS, Output, Request,
    RequestId, Schedule, SocketId,
};
use crate::behaviour::Change;
use crate::credentials::{Key, PasswordAlgorithm, userhash};
use crate::nonce::Features;
use crate::{AttributeType, Class, ErrorCode, Integrity, Message, Method, Writer};

const A: &str = "192.0.2.1:3478";
const B: &str = "192.0.2.2:3479";
const ME: &str = "203.0.113.7:40000";
const SOCKET: SocketId = SocketId(3);

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ms(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// A datagram on its way to the client.
struct Reply {
    from: SocketAddr,
    bytes: Vec<u8>,
}

/// What servers do with a request.
type Serve<'a> = dyn FnMut(Instant, SocketAddr, &Message<'_>) -> Vec<Reply> + 'a;

/// A response to `request` with what `fill` writes.
fn respond(request: &Message<'_>, class: Class, fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = [0; 1_024];
    let mut writer = Writer::new(&mut out, class, Method::BINDING, request.transaction_id());
    fill(&mut writer);
    let len = writer.finish().unwrap();
    out[..len].to_vec()
}

fn good(request: &Message<'_>) -> Vec<u8> {
    respond(request, Class::Success, |writer| {
        writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, at(ME));
    })
}

fn refuse(request: &Message<'_>, code: u16) -> Vec<u8> {
    respond(request, Class::Error, |writer| {
        writer.error(ErrorCode::standard(code));
    })
}

fn reply(from: &str, bytes: Vec<u8>) -> Vec<Reply> {
    vec![Reply { from: at(from), bytes }]
}

/// What the world saw of a run.
#[derive(Debug, Default)]
struct Seen {
    sent: Vec<(Instant, SocketAddr)>,
    strays: Vec<SocketAddr>,
}

/// Runs until the request is done; every reply takes 10 ms.
fn run(
    client: &mut Client,
    request: RequestId,
    serve: &mut Serve<'_>,
) -> (Result<Box<Answer>, Failure>, Instant, Seen) {
    let mut now = ms(0);
    let mut wire: Vec<(Instant, Input)> = Vec::new();
    let mut seen = Seen::default();
    for _ in 0..10_000 {
        for output in conformance::drain(client) {
            match output {
                Output::Done { request: id, answer } if id == request => return (answer, now, seen),
                Output::Done { .. } => {}
                Output::Stray { from, .. } => seen.strays.push(from),
                Output::Transmit { socket, server, bytes, .. } => {
                    seen.sent.push((now, server));
                    let message = Message::read(&bytes).expect("the client sends STUN");
                    wire.extend(serve(now, server, &message).into_iter().map(|Reply { from, bytes }| {
                        (now + Duration::from_millis(10), Input::Datagram { socket, from, bytes })
                    }));
                }
                Output::Stream { request, server, bytes } => {
                    seen.sent.push((now, server));
                    let message = Message::read(&bytes).expect("the client sends STUN");
                    wire.extend(serve(now, server, &message).into_iter().map(|Reply { bytes, .. }| {
                        (now + Duration::from_millis(10), Input::Message { request, bytes })
                    }));
                }
            }
        }
        conformance::spurious_timeout_does_nothing(client, now);
        wire.sort_by_key(|(at, _)| *at);
        let deadline = client.poll_timeout().expect("a request has a deadline").at;
        if wire.first().is_some_and(|(at, _)| *at <= deadline) {
            let (at, input) = wire.remove(0);
            now = at;
            client.handle_input(now, input);
        } else {
            now = deadline;
            client.handle_input(now, Input::Timeout);
        }
    }
    panic!("the client does not come to an end");
}

fn start(request: Request) -> (Client, RequestId) {
    let mut client = Client::new(7);
    let id = client.ask(ms(0), request);
    (client, id)
}

fn plain() -> Request {
    Request::binding(at(A), SOCKET)
}

fn long_term() -> Option<Credentials> {
    Some(Credentials { name: "ann".into(), password: "secret".into(), kind: CredentialKind::LongTerm })
}

#[test]
fn a_request_without_an_answer_is_sent_on_schedule_and_then_given_up() {
    for (schedule, times) in [
        (Schedule::STANDARD, &[0, 500, 1_500, 3_500, 7_500, 15_500, 31_500, 39_500][..]),
        (Schedule::IMPATIENT, &[0, 150, 450, 950, 1_450, 1_950, 2_950]),
    ] {
        let (mut client, id) = start(plain().with_schedule(schedule));
        let (answer, end, seen) = run(&mut client, id, &mut |_, _, _| vec![]);
        let attempts = schedule.attempts;
        assert_eq!(answer, Err(Failure::TimedOut { attempts, stray: None, unauthentic: false }));
        let mut found: Vec<Instant> = seen.sent.iter().map(|(at, _)| *at).collect();
        found.push(end);
        assert_eq!(found, times.iter().map(|time| ms(*time)).collect::<Vec<_>>());
        assert!(client.poll_timeout().is_none());
    }
}

#[test]
fn a_stream_is_asked_once_and_waited_for_as_long() {
    let (mut client, id) = start(plain().by_stream());
    let (answer, end, seen) = run(&mut client, id, &mut |_, _, _| vec![]);
    assert_eq!((seen.sent.len(), end), (1, ms(39_500)));
    assert!(matches!(answer, Err(Failure::TimedOut { attempts: 1, .. })));
    let (mut client, id) = start(plain().by_stream());
    let (answer, _, _) = run(&mut client, id, &mut |_, _, request| reply(A, good(request)));
    assert_eq!(answer.unwrap().mapped, at(ME));
    let (mut client, id) = start(plain().by_stream());
    client.handle_input(ms(1), Input::Closed { request: id });
    assert_eq!(conformance::drain(&mut client).pop(), Some(Output::Done { request: id, answer: Err(Failure::Closed) }));
}

#[test]
fn an_answer_says_what_the_server_saw_and_how_long_it_took() {
    let (mut client, id) = start(plain());
    let mut asked = 0;
    let (answer, end, _) = run(&mut client, id, &mut |_, _, request| {
        asked += 1;
        if asked < 3 {
            return vec![];
        }
        reply(
            A,
            respond(request, Class::Success, |writer| {
                writer
                    .address(AttributeType::MAPPED_ADDRESS, at("198.51.100.1:1"))
                    .xor_address(AttributeType::XOR_MAPPED_ADDRESS, at(ME))
                    .address(AttributeType::RESPONSE_ORIGIN, at(A))
                    .address(AttributeType::OTHER_ADDRESS, at(B))
                    .attribute(AttributeType::SOFTWARE, b"some server")
                    .fingerprint();
            }),
        )
    });
    let answer = answer.unwrap();
    assert_eq!((answer.mapped, answer.plain), (at(ME), Some(at("198.51.100.1:1"))));
    assert_eq!((answer.origin, answer.other), (Some(at(A)), Some(at(B))));
    assert_eq!((answer.is_xored, answer.is_from_elsewhere(), answer.is_authentic), (true, false, false));
    assert_eq!((answer.attempts, answer.round_trip, answer.at), (3, Duration::from_millis(10), end));
    assert_eq!((answer.socket, answer.software.as_deref()), (SOCKET, Some("some server")));
}

#[test]
fn a_server_of_rfc_3489_is_spoken_to_in_its_own_language() {
    let (mut client, id) = start(Request { dialect: Dialect::Rfc3489, ..plain() });
    let (answer, _, _) = run(&mut client, id, &mut |_, _, request| {
        assert!(request.transaction_id().is_legacy());
        reply(
            A,
            respond(request, Class::Success, |writer| {
                writer
                    .address(AttributeType::MAPPED_ADDRESS, at(ME))
                    .address(AttributeType::SOURCE_ADDRESS, at(A))
                    .address(AttributeType::CHANGED_ADDRESS, at(B));
            }),
        )
    });
    let answer = answer.unwrap();
    assert_eq!((answer.mapped, answer.is_xored), (at(ME), false));
    assert_eq!((answer.origin, answer.other), (Some(at(A)), Some(at(B))));
}

#[test]
fn an_answer_from_the_wrong_address_is_told_of_and_does_not_count() {
    let (mut client, id) = start(plain());
    let (answer, _, seen) = run(&mut client, id, &mut |_, _, request| reply(B, good(request)));
    assert_eq!(answer, Err(Failure::TimedOut { attempts: 7, stray: Some(at(B)), unauthentic: false }));
    assert_eq!((seen.strays, client.counters().stray), (vec![at(B); 4], 7));
}

#[test]
fn a_changed_answer_counts_from_where_it_was_announced_or_from_anywhere() {
    for (expected, from, counts) in
        [(Some(B), B, true), (Some(B), A, false), (None, B, true), (None, A, true), (Some(B), "192.0.2.2:3478", false)]
    {
        let (mut client, id) = start(Request::changed(at(A), SOCKET, Change::BOTH, expected.map(at)));
        let (answer, _, _) = run(&mut client, id, &mut |_, server, request| {
            let change = request.value(AttributeType::CHANGE_REQUEST).and_then(Change::read);
            assert_eq!((server, change), (at(A), Some(Change::BOTH)));
            reply(from, good(request))
        });
        let found = answer.map(|answer| (answer.from, answer.is_from_elsewhere()));
        assert_eq!(found.ok(), counts.then_some((at(from), from != A)), "{expected:?} {from}");
    }
}

#[test]
fn response_port_padding_and_attributes_of_the_caller_are_sent() {
    let request = Request {
        response_port: Some(5_000),
        padding: 1_500,
        attributes: vec![(AttributeType::CALL_BACK, vec![1, 2, 3])],
        fingerprint: true,
        ..plain()
    };
    let (mut client, id) = start(request);
    let (answer, _, _) = run(&mut client, id, &mut |_, _, request| {
        let value = |kind| request.value(kind);
        assert_eq!(value(AttributeType::RESPONSE_PORT), Some(&[0x13, 0x88][..]));
        assert_eq!(value(AttributeType::PADDING).map(<[u8]>::len), Some(1_500));
        assert_eq!(value(AttributeType::CALL_BACK), Some(&[1, 2, 3][..]));
        assert_eq!(request.fingerprint(), crate::Fingerprint::Right);
        reply(A, good(request))
    });
    assert!(answer.is_ok());
}

#[test]
fn several_servers_are_asked_at_once_and_an_answer_goes_to_its_request() {
    let mut client = Client::new(1);
    let first = client.ask(ms(0), plain());
    let second = client.ask(ms(0), Request::binding(at(B), SocketId(9)));
    let sent: Vec<(SocketAddr, SocketId, Vec<u8>)> = conformance::drain(&mut client)
        .into_iter()
        .map(|output| match output {
            Output::Transmit { server, socket, bytes, .. } => (server, socket, bytes),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!((sent[0].0, sent[1].0, sent[1].1), (at(A), at(B), SocketId(9)));
    // The first server's answer with the second's id is a stray, whoever sends it.
    let forged = good(&Message::read(&sent[1].2).unwrap());
    client.handle_input(ms(5), Input::Datagram { socket: SOCKET, from: at(A), bytes: forged.clone() });
    let stray = Output::Stray { request: second, from: at(A), socket: SOCKET };
    assert_eq!(conformance::drain(&mut client), [stray]);
    client.handle_input(ms(6), Input::Datagram { socket: SocketId(9), from: at(B), bytes: forged });
    assert!(
        matches!(&conformance::drain(&mut client)[..], [Output::Done { request, answer: Ok(_) }] if *request == second)
    );
    let bytes = good(&Message::read(&sent[0].2).unwrap());
    client.handle_input(ms(7), Input::Datagram { socket: SOCKET, from: at(A), bytes });
    assert!(
        matches!(&conformance::drain(&mut client)[..], [Output::Done { request, answer: Ok(_) }] if *request == first)
    );
}

#[test]
fn forged_replayed_and_foreign_datagrams_are_counted_and_ignored() {
    let (mut client, id) = start(plain());
    let (answer, _, _) = run(&mut client, id, &mut |_, _, request| {
        let mut forged = good(request);
        forged[19] ^= 1;
        let mut damaged = respond(request, Class::Success, |writer| {
            writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, at("6.6.6.6:6")).fingerprint();
        });
        *damaged.last_mut().unwrap() ^= 1;
        [forged, damaged, request.as_bytes().to_vec(), b"\x80rtp".to_vec(), good(request), good(request)]
            .into_iter()
            .map(|bytes| Reply { from: at(A), bytes })
            .collect()
    });
    let answer = answer.unwrap();
    assert_eq!(answer.mapped, at(ME));
    client.handle_input(ms(20), Input::Datagram { socket: SOCKET, from: at(A), bytes: answer.bytes });
    let counted = client.counters();
    assert_eq!((counted.unknown, counted.damaged, counted.foreign, counted.late), (1, 1, 2, 1));
    assert!(client.poll_output().is_none());
}

#[test]
fn an_error_ends_the_request_with_what_the_server_said() {
    for (code, expected) in [
        (400, Failure::Refused { code: 400, reason: "Bad Request".into() }),
        (401, Failure::Refused { code: 401, reason: "Unauthenticated".into() }),
        (500, Failure::Refused { code: 500, reason: "Server Error".into() }),
        (420, Failure::NotUnderstood(vec![])),
        (300, Failure::BadAlternate),
    ] {
        let (mut client, id) = start(plain());
        let (answer, _, seen) = run(&mut client, id, &mut |_, _, request| reply(A, refuse(request, code)));
        assert_eq!((answer, seen.sent.len()), (Err(expected), 1));
    }
    let (mut client, id) = start(Request::changed(at(A), SOCKET, Change::PORT, None));
    let (answer, _, _) = run(&mut client, id, &mut |_, _, request| {
        reply(
            A,
            respond(request, Class::Error, |writer| {
                writer.error(ErrorCode::standard(420)).unknown([AttributeType::CHANGE_REQUEST].into_iter());
            }),
        )
    });
    assert_eq!(answer, Err(Failure::NotUnderstood(vec![AttributeType::CHANGE_REQUEST])));
}

#[test]
fn an_answer_without_an_address_or_with_what_must_be_understood_is_no_answer() {
    let (mut client, id) = start(plain());
    let (answer, _, _) = run(&mut client, id, &mut |_, _, request| reply(A, respond(request, Class::Success, |_| {})));
    assert_eq!(answer, Err(Failure::NoAddress));
    let (mut client, id) = start(plain());
    let (answer, _, _) = run(&mut client, id, &mut |_, _, request| {
        reply(
            A,
            respond(request, Class::Success, |writer| {
                writer
                    .xor_address(AttributeType::XOR_MAPPED_ADDRESS, at(ME))
                    .attribute(AttributeType(0x7ffe), b"")
                    .attribute(AttributeType(0xfffe), b"");
            }),
        )
    });
    assert_eq!(answer, Err(Failure::Incomprehensible(vec![AttributeType(0x7ffe)])));
}

/// A 300 that names `server`.
fn alternate(request: &Message<'_>, server: SocketAddr) -> Vec<u8> {
    respond(request, Class::Error, |writer| {
        writer.error(ErrorCode::standard(300)).address(AttributeType::ALTERNATE_SERVER, server);
    })
}

#[test]
fn a_server_that_names_another_is_followed() {
    let (mut client, id) = start(plain());
    let mut ids = Vec::new();
    let (answer, _, seen) = run(&mut client, id, &mut |_, server, request| {
        ids.push(request.transaction_id());
        let bytes = if server == at(A) { alternate(request, at(B)) } else { good(request) };
        vec![Reply { from: server, bytes }]
    });
    assert_eq!(answer.unwrap().server, at(B));
    assert_eq!(seen.sent, [(ms(0), at(A)), (ms(10), at(B))]);
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn a_circle_a_long_chain_and_another_family_are_not_followed() {
    let name: [fn(SocketAddr) -> SocketAddr; 4] = [
        |server| if server == at(A) { at(B) } else { at(A) },
        |server| SocketAddr::new(server.ip(), server.port() + 1),
        |_| at("[2001:db8::1]:3478"),
        |server| SocketAddr::new(server.ip(), 0),
    ];
    for (name, asked) in name.into_iter().zip([2, 5, 1, 1]) {
        let (mut client, id) = start(plain());
        let (answer, _, seen) = run(&mut client, id, &mut |_, server, request| {
            vec![Reply { from: server, bytes: alternate(request, name(server)) }]
        });
        assert_eq!((answer, seen.sent.len()), (Err(Failure::BadAlternate), asked));
    }
}

#[test]
fn short_term_credentials_are_shown_at_once_and_the_answer_must_be_authentic() {
    let credentials = Credentials { name: "u".into(), password: "p".into(), kind: CredentialKind::ShortTerm };
    for (password, sha256, right) in [("p", false, true), ("p", true, true), ("q", true, false)] {
        let (mut client, id) = start(Request { credentials: Some(credentials.clone()), ..plain() });
        let (answer, _, _) = run(&mut client, id, &mut |_, _, request| {
            assert_eq!(request.integrity(&Key::short_term("p")), Integrity::Right);
            assert!(request.attribute(AttributeType::MESSAGE_INTEGRITY).is_some());
            reply(
                A,
                respond(request, Class::Success, |writer| {
                    writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, at(ME));
                    let key = Key::short_term(password);
                    if sha256 {
                        writer.integrity_sha256(&key)
                    } else {
                        writer.integrity(&key)
                    };
                }),
            )
        });
        match answer {
            Ok(answer) => assert!(right && answer.is_authentic),
            Err(failure) => {
                assert!(!right);
                assert_eq!(failure, Failure::TimedOut { attempts: 7, stray: None, unauthentic: true });
            }
        }
    }
    let (mut client, id) = start(Request { credentials: Some(credentials), ..plain() });
    let (answer, _, _) = run(&mut client, id, &mut |_, _, request| reply(A, good(request)));
    assert!(matches!(answer, Err(Failure::TimedOut { unauthentic: true, .. })), "an answer without integrity");
    assert_eq!(client.counters().unauthentic, 7);
}

/// A server with long-term credentials: what it offers, and whether its first nonce is stale by the time it comes back.
fn authenticate(features: Features, stale: bool) -> (Result<Box<Answer>, Failure>, usize) {
    let (mut client, id) = start(Request { credentials: long_term(), ..plain() });
    let mut nonces = 0;
    let (answer, _, seen) = run(&mut client, id, &mut |_, _, request| {
        let mut nonce = features.prefix().to_vec();
        nonce.extend(format!("nonce {nonces}").bytes());
        let challenge = |code| {
            let mut nonce = features.prefix().to_vec();
            nonce.extend(format!("nonce {}", nonces + 1).bytes());
            respond(request, Class::Error, |writer| {
                writer
                    .error(ErrorCode::standard(code))
                    .attribute(AttributeType::REALM, b"example.org")
                    .attribute(AttributeType::NONCE, &nonce);
                if features.password_algorithms {
                    writer.attribute(AttributeType::PASSWORD_ALGORITHMS, &[0, 2, 0, 0, 0, 1, 0, 0]);
                }
            })
        };
        let bytes = match request.value(AttributeType::NONCE) {
            None => challenge(401),
            Some(_) if stale && nonces == 1 => challenge(438),
            Some(sent) => {
                assert_eq!(sent, nonce);
                let algorithm = match features.password_algorithms {
                    true => PasswordAlgorithm::Sha256,
                    false => PasswordAlgorithm::Md5,
                };
                let named = request.value(AttributeType::PASSWORD_ALGORITHM).and_then(PasswordAlgorithm::read);
                assert_eq!(named, features.password_algorithms.then_some(algorithm));
                match features.username_anonymity {
                    true => {
                        let hash = userhash("ann", "example.org");
                        assert_eq!(request.value(AttributeType::USERHASH), Some(&hash[..]));
                    }
                    false => assert_eq!(request.value(AttributeType::USERNAME), Some(&b"ann"[..])),
                }
                let key = Key::long_term(algorithm, "ann", "example.org", "secret");
                assert_eq!(request.integrity(&key), Integrity::Right);
                respond(request, Class::Success, |writer| {
                    writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, at(ME)).integrity(&key);
                })
            }
        };
        nonces += 1;
        reply(A, bytes)
    });
    (answer, seen.sent.len())
}

#[test]
fn long_term_credentials_are_shown_when_asked_for_in_the_way_the_server_knows() {
    for password_algorithms in [false, true] {
        for username_anonymity in [false, true] {
            for stale in [false, true] {
                let (answer, asked) = authenticate(Features { password_algorithms, username_anonymity }, stale);
                assert!(answer.unwrap().is_authentic);
                assert_eq!(asked, if stale { 3 } else { 2 });
            }
        }
    }
}

#[test]
fn a_wrong_password_and_nonces_without_end_are_given_up() {
    for (code, asked) in [(401, 2), (438, 4)] {
        let (mut client, id) = start(Request { credentials: long_term(), ..plain() });
        let (answer, _, seen) = run(&mut client, id, &mut |_, _, request| {
            let code = if request.value(AttributeType::NONCE).is_some() { code } else { 401 };
            reply(
                A,
                respond(request, Class::Error, |writer| {
                    writer
                        .error(ErrorCode::standard(code))
                        .attribute(AttributeType::REALM, b"r")
                        .attribute(AttributeType::NONCE, b"n");
                }),
            )
        });
        assert!(matches!(answer, Err(Failure::Refused { code: found, .. }) if found == code), "{answer:?}");
        assert_eq!(seen.sent.len(), asked);
    }
}

#[test]
fn password_algorithms_that_are_taken_out_on_the_way_are_noticed() {
    let (mut client, id) = start(Request { credentials: long_term(), ..plain() });
    let nonce = Features { password_algorithms: true, username_anonymity: false }.prefix();
    let (answer, _, _) = run(&mut client, id, &mut |_, _, request| {
        reply(
            A,
            respond(request, Class::Error, |writer| {
                writer
                    .error(ErrorCode::standard(401))
                    .attribute(AttributeType::REALM, b"r")
                    .attribute(AttributeType::NONCE, &nonce);
            }),
        )
    });
    assert_eq!(answer, Err(Failure::BidDown));
}

#[test]
fn a_request_that_is_cancelled_says_nothing_more() {
    let (mut client, id) = start(plain());
    client.cancel(id);
    assert!(client.poll_output().is_none() && client.poll_timeout().is_none());
}

#[test]
fn requests_have_ids_of_their_own_and_a_bound() {
    let mut client = Client::new(1);
    for _ in 0..MAX_TRANSACTIONS {
        client.ask(ms(0), plain());
    }
    let mut ids: Vec<_> = conformance::drain(&mut client)
        .into_iter()
        .map(|output| match output {
            Output::Transmit { bytes, .. } => Message::read(&bytes).unwrap().transaction_id(),
            other => panic!("{other:?}"),
        })
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), MAX_TRANSACTIONS);
    let refused = client.ask(ms(0), plain());
    assert_eq!(conformance::drain(&mut client), [Output::Done { request: refused, answer: Err(Failure::TooMany) }]);
}

#[test]
fn a_request_that_fits_no_message_fails_at_once() {
    let request = Request { padding: 65_000, attributes: vec![(AttributeType::SOFTWARE, vec![0; 700])], ..plain() };
    assert_eq!(request.expect, Expect::Server);
    let (mut client, id) = start(request);
    assert_eq!(conformance::drain(&mut client), [Output::Done { request: id, answer: Err(Failure::TooLong) }]);
}
