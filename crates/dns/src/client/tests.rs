//! The client against scripted servers in virtual time.

use core::net::SocketAddr;

use pinhole_sansio::{Duration, Instant, Machine, conformance};

use super::{Ask, Client, Config, Failure, Input, MAX_QUESTIONS, Output, QuestionId, Schedule};
use crate::answers::{Answers, Asker, Outcome};
use crate::edns::{self, cookie};
use crate::message::{Header, Message};
use crate::zone::Zone;
use crate::{Name, RData, Rcode, Record, Type};

const A: &str = "192.0.2.1:53";
const B: &str = "192.0.2.2:53";

fn server(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ask(servers: &[&str]) -> Ask {
    Ask {
        name: Name::parse("k._wireguard._udp.z").unwrap(),
        qtype: Type::A,
        options: vec![(65_001, b"me".to_vec())],
        servers: servers.iter().map(|text| server(text)).collect(),
        schedule: None,
    }
}

fn ms(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// What a server does with a query.
type Serve<'a> = dyn FnMut(Instant, SocketAddr, &Message, bool) -> Option<Message> + 'a;

/// Runs until the client is done; `serve` sees each query (the flag says TCP) and may answer after 10 ms.
fn run(client: &mut Client, question: QuestionId, serve: &mut Serve<'_>) -> (Result<Message, Failure>, Instant) {
    let mut now = ms(0);
    let mut wire: Vec<(Instant, Input)> = Vec::new();
    for _ in 0..1_000 {
        for output in conformance::drain(client) {
            match output {
                Output::Done { question: id, answer } if id == question => {
                    return (answer.map(|message| *message), now);
                }
                Output::Done { .. } => {}
                Output::Transmit { server, bytes, .. } => {
                    if let Some(response) = serve(now, server, &Message::decode(&bytes).unwrap(), false) {
                        let datagram = Input::Datagram { server, bytes: response.encode() };
                        wire.push((now + Duration::from_millis(10), datagram));
                    }
                }
                Output::Exchange { question, server, bytes } => {
                    let response = serve(now, server, &Message::decode(&bytes).unwrap(), true).map(|m| m.encode());
                    wire.push((now + Duration::from_millis(30), Input::Exchanged { question, response }));
                }
            }
        }
        conformance::spurious_timeout_does_nothing(client, now);
        wire.sort_by_key(|(at, _)| *at);
        let deadline = client.poll_timeout().expect("a question has a deadline").at;
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

fn response(query: &Message, rcode: Rcode) -> Message {
    Message {
        header: Header { flags: Header::QR | rcode.0 & 0xf, ..query.header },
        questions: query.questions.clone(),
        ..Message::default()
    }
}

fn good(query: &Message) -> Message {
    let record = Record { owner: query.questions[0].name.clone(), ttl: 0, data: RData::A([1, 2, 3, 4].into()) };
    Message { answers: vec![record], ..response(query, Rcode::NOERROR) }
}

fn start(config: Config, servers: &[&str]) -> (Client, QuestionId) {
    let mut client = Client::new(config, 7);
    let question = client.ask(ms(0), ask(servers));
    (client, question)
}

#[test]
fn a_lost_question_is_asked_again_on_schedule_and_then_given_up() {
    for (schedule, times) in [
        (Schedule::CONVENTIONAL, &[0, 500, 1_500, 3_500, 7_500][..]),
        (Schedule::IMPATIENT, &[0, 100, 300, 700, 1_500, 2_500, 3_500, 4_500, 5_500]),
    ] {
        let (mut client, question) = start(Config { schedule, ..Config::default() }, &[A]);
        let mut seen = Vec::new();
        let (answer, at) = run(&mut client, question, &mut |now, _, _, _| {
            seen.push(now);
            None
        });
        seen.push(at);
        assert_eq!(answer, Err(Failure::TimedOut));
        assert_eq!(seen, times.iter().map(|t| ms(*t)).collect::<Vec<_>>());
        assert!(client.poll_timeout().is_none());
    }
}

#[test]
fn servers_take_turns_and_one_that_fails_is_left_out() {
    let (mut client, question) = start(Config::default(), &[A, B]);
    let mut seen = Vec::new();
    let (answer, at) = run(&mut client, question, &mut |_, from, query, _| {
        seen.push(from);
        match seen.len() {
            1 => None,
            2 => Some(response(query, Rcode::SERVFAIL)),
            _ => Some(good(query)),
        }
    });
    assert_eq!(seen, [A, B, A].map(server));
    assert_eq!((answer.unwrap().answers.len(), at), (1, ms(520)));
}

#[test]
fn when_all_servers_fail_their_answer_is_the_answer() {
    let (mut client, question) = start(Config::default(), &[A, B]);
    let (answer, at) = run(&mut client, question, &mut |_, _, query, _| Some(response(query, Rcode::REFUSED)));
    assert_eq!((answer.unwrap().rcode(), at), (Rcode::REFUSED, ms(20)));
}

#[test]
fn a_server_without_edns_is_asked_without() {
    for with_question in [true, false] {
        for rcode in [Rcode::FORMERR, Rcode::NOTIMP] {
            let (mut client, question) = start(Config::default(), &[A]);
            let (answer, at) = run(&mut client, question, &mut |_, _, query, _| match &query.edns {
                Some(_) if with_question => Some(response(query, rcode)),
                Some(_) => Some(Message { questions: Vec::new(), ..response(query, rcode) }),
                None => Some(good(query)),
            });
            assert_eq!((answer.unwrap().answers.len(), at), (1, ms(20)), "{rcode}");
        }
    }
}

#[test]
fn a_truncated_answer_is_fetched_by_tcp_and_stands_in_where_tcp_fails() {
    for (tcp_works, truncated, millis) in [(true, false, 40), (false, true, 40)] {
        let (mut client, question) = start(Config::default(), &[A]);
        let (answer, at) = run(&mut client, question, &mut |_, _, query, tcp| {
            let mut message = good(query);
            match tcp {
                true => tcp_works.then_some(message),
                false => {
                    message.header.flags |= Header::TC;
                    Some(message)
                }
            }
        });
        let answer = answer.unwrap();
        assert_eq!((answer.header.has(Header::TC), at), (truncated, ms(millis)));
        assert_eq!(answer.answers.len(), 1);
    }
}

#[test]
fn a_tcp_exchange_that_never_ends_is_given_up() {
    let (mut client, _) = start(Config::default(), &[A]);
    let Some(Output::Transmit { bytes, .. }) = client.poll_output() else { panic!("no query") };
    let mut truncated = good(&Message::decode(&bytes).unwrap());
    truncated.header.flags |= Header::TC;
    client.handle_input(ms(1), Input::Datagram { server: server(A), bytes: truncated.encode() });
    assert!(matches!(client.poll_output(), Some(Output::Exchange { .. })));
    client.handle_input(ms(5_001), Input::Timeout);
    assert!(matches!(client.poll_output(), Some(Output::Done { answer: Ok(_), .. })));
}

/// Changes a good answer and where it comes from.
type Forge = fn(&mut Message, &mut SocketAddr);

#[test]
fn only_the_server_that_was_asked_with_id_and_question_is_believed() {
    let config = Config { random_case: true, ..Config::default() };
    let forgeries: [(&str, Forge); 10] = [
        ("another server", |_, from| *from = server(B)),
        ("another port", |_, from| from.set_port(54)),
        ("another id", |message, _| message.header.id ^= 1),
        ("another name", |message, _| message.questions[0].name = Name::parse("other.z").unwrap()),
        ("another type", |message, _| message.questions[0].qtype = Type::AAAA),
        ("a query", |message, _| message.header.flags = 0),
        ("no question", |message, _| message.questions.clear()),
        ("two questions", |message, _| message.questions.push(message.questions[0].clone())),
        ("another case", |message, _| message.questions[0].name = message.questions[0].name.to_lowercase()),
        ("another client's cookie", |message, _| {
            let options = vec![(10, vec![9; 24])];
            message.edns = Some(crate::message::Edns { options, ..Default::default() });
        }),
    ];
    for (what, forge) in forgeries {
        let (mut client, _) = start(config, &[A]);
        let Some(Output::Transmit { bytes, .. }) = client.poll_output() else { panic!("no query") };
        let query = Message::decode(&bytes).unwrap();
        assert_ne!(query.questions[0].name.wire(), query.questions[0].name.to_lowercase().wire());
        let (mut message, mut from) = (good(&query), server(A));
        forge(&mut message, &mut from);
        client.handle_input(ms(1), Input::Datagram { server: from, bytes: message.encode() });
        assert_eq!(client.poll_output(), None, "{what}");
        client.handle_input(ms(2), Input::Datagram { server: server(A), bytes: good(&query).encode() });
        assert!(matches!(client.poll_output(), Some(Output::Done { answer: Ok(_), .. })), "after {what}");
    }
}

#[test]
fn options_and_cookies_are_sent_and_the_servers_half_is_returned() {
    let mut client = Client::new(Config::default(), 7);
    let jar = cookie::Cookies::new([1; 16]);
    let mut lengths = Vec::new();
    for _ in 0..2 {
        let question = client.ask(ms(0), ask(&[A]));
        let (answer, _) = run(&mut client, question, &mut |_, _, query, _| {
            assert_eq!(query.option(65_001), Some(&b"me"[..]));
            let cookie = query.option(edns::COOKIE).unwrap();
            lengths.push(cookie.len());
            let full = jar.answer(cookie, [10, 0, 0, 1].into(), 5).unwrap();
            let edns = crate::message::Edns { options: vec![(edns::COOKIE, full.to_vec())], ..Default::default() };
            Some(Message { edns: Some(edns), ..good(query) })
        });
        answer.unwrap();
    }
    assert_eq!(lengths, [8, 24]);
}

#[test]
fn it_talks_to_our_own_answers() {
    let origin = Name::parse("z").unwrap();
    let mut zone = Zone::new(origin.clone(), Zone::soa_for(&origin, 1), 5);
    let owner = Name::parse("k._wireguard._udp.z").unwrap();
    for index in 0..200u8 {
        zone.add(owner.clone(), 0, RData::A([10, 0, 0, index].into())).unwrap();
    }
    let answers = Answers::compile(&[zone]);
    let (mut client, question) = start(Config { random_case: true, ..Config::default() }, &[A]);
    let (answer, _) = run(&mut client, question, &mut |_, _, query, tcp| {
        let mut out = vec![0; 65_535];
        let asker = if tcp { Asker::tcp() } else { Asker::udp(false) };
        let Outcome::Reply(len) = answers.answer(&query.encode(), &asker, &mut out) else { panic!("no reply") };
        Some(Message::decode(&out[..len]).unwrap())
    });
    assert_eq!(answer.unwrap().answers.len(), 200);
}

#[test]
fn questions_are_bounded_and_can_be_cancelled() {
    let mut client = Client::new(Config::default(), 7);
    let none = client.ask(ms(0), ask(&[]));
    assert_eq!(client.poll_output(), Some(Output::Done { question: none, answer: Err(Failure::NoServer) }));
    let ids: Vec<QuestionId> = (0..MAX_QUESTIONS).map(|_| client.ask(ms(0), ask(&[A]))).collect();
    conformance::drain(&mut client);
    let refused = client.ask(ms(0), ask(&[A]));
    let done = Output::Done { question: refused, answer: Err(Failure::TooManyQuestions) };
    assert_eq!(client.poll_output(), Some(done));
    ids.iter().for_each(|id| client.cancel(*id));
    assert!(client.poll_timeout().is_none() && client.poll_output().is_none());
}

#[test]
fn noise_neither_panics_nor_answers() {
    let mut rng = pinhole_sansio::Rng::from_seed(3);
    let (mut client, _) = start(Config { cookies: false, ..Config::default() }, &[A]);
    let Some(Output::Transmit { bytes, .. }) = client.poll_output() else { panic!("no query") };
    let response = good(&Message::decode(&bytes).unwrap()).encode();
    for _ in 0..100_000 {
        let mut bytes = response.clone();
        // The id stays right; one of the bytes that make it an answer to the question goes wrong.
        let at = 12 + rng.below(20) as usize;
        bytes[at] = bytes[at].wrapping_add(1 + rng.below(30) as u8) ^ 0x80;
        bytes.truncate(bytes.len() - rng.below(3) as usize);
        client.handle_input(ms(1), Input::Datagram { server: server(A), bytes });
        assert_eq!(client.poll_output(), None);
    }
}
