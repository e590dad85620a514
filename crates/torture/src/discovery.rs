//! Behaviour discovery among servers that lie: forged and replayed answers, from wrong places, late, twice, or never.

use std::collections::BTreeSet;

use core::net::SocketAddr;
use core::time::Duration;

use pinhole_sansio::{Instant, Machine, conformance};
use pinhole_stun::client::{SocketId, Transport};
use pinhole_stun::server::call::{CallRequest, CallResult};
use pinhole_stun::{AttributeType, Class, ErrorCode, Message, Method, Writer};
use pinhole_traversal::discovery::{Discovery, Input, Output, Settings};

use crate::Choices;

/// Where servers are, where answers come from, and whom the host is told it is.
const PLACES: [&str; 6] = [
    "203.0.113.1:3478",
    "203.0.113.1:3479",
    "203.0.113.2:3478",
    "203.0.113.2:3479",
    "198.51.100.1:40000",
    "192.168.1.2:40000",
];
/// Operations after which servers fall silent: a discovery of many questions would otherwise take as long as there are bytes.
const MOST: usize = 600;

/// Any bytes as what servers and routers do to a discovery: it comes to its end, once, with all its sockets closed.
pub(crate) fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let transport = *choices.one_of(&[Transport::Datagram, Transport::Stream]);
    let servers = PLACES[..=choices.below(4)].iter().map(|place| place.parse().expect("an address")).collect();
    let lifetime = choices.rarely(3).then_some(Duration::from_secs(20));
    let settings = Settings { transport, servers, port: None, lifetime, seed: u64::from(choices.word()) };
    let mut world = World::new(transport);
    let mut machine = Discovery::new(world.now, settings);
    world.drain(&mut machine, &mut choices);
    for _ in 0..MOST {
        if world.is_done || choices.is_over() {
            break;
        }
        match choices.below(6) {
            0 => world.pass(&mut machine, Duration::from_millis(u64::from(choices.word()) / 256)),
            1 => world.accept(&mut machine, &mut choices),
            _ => world.answer(&mut machine, &mut choices),
        }
        world.drain(&mut machine, &mut choices);
        if !world.is_done {
            conformance::spurious_timeout_does_nothing(&mut machine, world.now);
        }
    }
    // Left alone it comes to its end.
    while let Some(deadline) = machine.poll_timeout() {
        world.now = deadline.at.max(world.now);
        machine.handle_input(world.now, Input::Timeout);
        world.drain(&mut machine, &mut choices);
    }
    assert!(world.is_done && world.open.is_empty(), "{:?}", world.open);
}

struct World {
    transport: Transport,
    now: Instant,
    is_done: bool,
    open: BTreeSet<SocketId>,
    /// What was sent and may be answered, more than once.
    sent: Vec<(SocketId, SocketAddr, Vec<u8>)>,
}

impl World {
    fn new(transport: Transport) -> Self {
        Self { transport, now: Instant::EPOCH, is_done: false, open: BTreeSet::new(), sent: Vec::new() }
    }

    fn pass(&mut self, machine: &mut Discovery, time: Duration) {
        self.now = machine.poll_timeout().map_or(self.now, |deadline| deadline.at).max(self.now) + time;
        machine.handle_input(self.now, Input::Timeout);
    }

    fn accept(&mut self, machine: &mut Discovery, choices: &mut Choices<'_>) {
        if let Some(&(socket, ..)) = self.sent.last() {
            machine.handle_input(self.now, Input::Accepted { socket, from: place(choices) });
        }
    }

    fn answer(&mut self, machine: &mut Discovery, choices: &mut Choices<'_>) {
        if self.sent.is_empty() {
            return;
        }
        let (socket, server, request) = self.sent[choices.below(self.sent.len())].clone();
        let mut bytes = respond(&request, choices);
        if choices.rarely(4) {
            choices.mutate(&mut bytes);
        }
        let from = if choices.rarely(4) { place(choices) } else { server };
        let input = match self.transport {
            Transport::Datagram => Input::Datagram { socket, from, bytes },
            Transport::Stream if choices.rarely(6) => Input::Closed { socket, server },
            Transport::Stream => Input::Message { socket, server, bytes },
        };
        machine.handle_input(self.now, input);
    }

    /// Does what the machine wants, until it wants nothing more.
    fn drain(&mut self, machine: &mut Discovery, choices: &mut Choices<'_>) {
        while let Some(output) = machine.poll_output() {
            assert!(!self.is_done, "{output:?} after the end");
            match output {
                Output::Bind { socket, port, .. } => {
                    assert!(self.open.insert(socket), "{socket:?} is open");
                    let port = port.unwrap_or_else(|| choices.word().max(1));
                    let input = match choices.rarely(30) {
                        true => Input::Unbound { socket },
                        false => Input::Bound { socket, local: SocketAddr::new([192, 168, 1, 2].into(), port) },
                    };
                    machine.handle_input(self.now, input);
                }
                Output::Send { socket, to, bytes } | Output::Stream { socket, to, bytes } => {
                    assert!(self.open.contains(&socket), "{socket:?} is closed");
                    self.sent.push((socket, to, bytes));
                }
                Output::Knock { socket, hops, .. } => {
                    assert!(self.open.contains(&socket) && hops != Some(0));
                }
                Output::Close { socket } => assert!(self.open.remove(&socket), "{socket:?} is not open"),
                Output::Progress(_) => {}
                Output::Done(report) => {
                    self.is_done = true;
                    let places = report.observations.len();
                    let all = [&report.mapping.evidence, &report.filtering.evidence, &report.allocation.evidence];
                    assert!(all.iter().all(|evidence| evidence.iter().all(|place| *place < places)));
                }
            }
        }
        let kept = self.sent.len().saturating_sub(60);
        self.sent.drain(..kept);
    }
}

fn place(choices: &mut Choices<'_>) -> SocketAddr {
    choices.one_of(&PLACES).parse().expect("an address")
}

/// An answer to a request: rightly formed, and with whatever in it.
fn respond(request: &[u8], choices: &mut Choices<'_>) -> Vec<u8> {
    let request = Message::read(request).expect("a discovery sends STUN");
    let mut out = [0; 512];
    let class = if choices.rarely(5) { Class::Error } else { Class::Success };
    let mut writer = Writer::new(&mut out, class, Method::BINDING, request.transaction_id());
    if class == Class::Error {
        writer.error(ErrorCode::standard(*choices.one_of(&[300, 400, 401, 420, 500])));
    }
    writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, place(choices));
    if !choices.rarely(4) {
        writer.address(AttributeType::OTHER_ADDRESS, place(choices));
    }
    if let Some(call) = request.value(AttributeType::CALL_BACK).and_then(CallRequest::read) {
        let result = *choices.one_of(&[CallResult::Calling, CallResult::Busy, CallResult::NotOffered]);
        writer.attribute(AttributeType::CALL_BACK_RESULT, &result.value(&call));
    }
    let len = writer.finish().expect("it fits");
    out[..len].to_vec()
}
