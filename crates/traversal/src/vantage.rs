//! How the NAT in front of one port maps: the one thing that decides which technique two peers need.
//!
//! A port whose mapping is the same towards everybody can be called at the endpoint that the registry sees. One that gets
//! another mapping towards each destination cannot, and its peer has to look for it. So a few STUN servers are asked from the
//! port itself, which WireGuard may own, and what they see is laid beside what the registry sees. [`discovery`](crate::discovery)
//! finds out everything about a NAT, in minutes and with sockets of its own; this costs a packet per server.

use core::net::SocketAddr;
use std::collections::{BTreeMap, VecDeque};

use pinhole_sansio::{Deadline, Duration, Instant, Machine};
use pinhole_stun::client::{self, Client, Request, RequestId, Schedule, SocketId};

/// How often it is looked again: a NAT does not change its ways, but a host changes its NAT without noticing (a router
/// behind the router).
const LOOK_AGAIN: Duration = Duration::from_secs(300);

/// Servers asked at once; each is a mapping at the NAT.
const MAX_SERVERS: usize = 8;

/// When a server is asked again. Somebody waits for a path, and a request has 20 bytes: so once more before a first answer can
/// be there, then more patiently, given up after 2.5 s.
const SCHEDULE: Schedule = Schedule {
    first: Duration::from_millis(15),
    longest: Duration::from_millis(500),
    attempts: 8,
    last: Duration::from_secs(1),
    stream: Duration::from_secs(5),
};

/// How the NAT maps (RFC 4787 §4.1), as far as a peer must know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mapping {
    /// Fewer than two have seen the port.
    #[default]
    Unknown,
    /// All have seen the same endpoint: whoever knows it can call it.
    Independent,
    /// Different ones have seen different endpoints.
    Dependent,
}

/// What happens to it.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed.
    Timeout,
    /// The servers to ask. Others than before are asked at once.
    Servers(Vec<SocketAddr>),
    /// Look again now: the network has changed.
    LookAgain,
    /// This one, who is no STUN server, has seen the port here.
    Seen {
        /// Who.
        by: SocketAddr,
        /// Where.
        at: SocketAddr,
    },
    /// A datagram came to the port. What is no answer of a server is ignored.
    Received {
        /// From here.
        from: SocketAddr,
        /// With this in it.
        bytes: Vec<u8>,
    },
}

/// What it wants done or known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this from the port.
    Transmit {
        /// To a server.
        to: SocketAddr,
        /// The request.
        bytes: Vec<u8>,
    },
    /// The verdict is another one.
    Changed(Mapping),
}

/// Why it wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is time to look again.
    LookAgain,
    /// A request is to be repeated or given up.
    Request,
}

/// See the module.
#[derive(Debug)]
pub struct Vantage {
    client: Client,
    servers: Vec<SocketAddr>,
    asking: BTreeMap<RequestId, SocketAddr>,
    /// Who has seen the port where, most recently.
    seen: BTreeMap<SocketAddr, SocketAddr>,
    mapping: Mapping,
    look_again: Option<Instant>,
    outputs: VecDeque<Output>,
}

impl Vantage {
    /// Knows nothing and asks nobody yet.
    pub fn new(seed: u64) -> Self {
        Self {
            client: Client::new(seed),
            servers: Vec::new(),
            asking: BTreeMap::new(),
            seen: BTreeMap::new(),
            mapping: Mapping::Unknown,
            look_again: None,
            outputs: VecDeque::new(),
        }
    }

    /// The verdict.
    pub const fn mapping(&self) -> Mapping {
        self.mapping
    }

    fn set_servers(&mut self, now: Instant, mut servers: Vec<SocketAddr>) {
        servers.truncate(MAX_SERVERS);
        if servers != self.servers {
            self.seen.retain(|by, _| !self.servers.contains(by));
            self.servers = servers;
            self.look(now);
        }
    }

    /// Asks every server that is not being asked. What a server saw before counts no more; the verdict stands until there is
    /// another.
    fn look(&mut self, now: Instant) {
        self.seen.retain(|by, _| !self.servers.contains(by));
        for &server in &self.servers {
            if !self.asking.values().any(|asked| *asked == server) {
                let request = Request::binding(server, SocketId::default()).with_schedule(SCHEDULE);
                self.asking.insert(self.client.ask(now, request), server);
            }
        }
        self.look_again = (!self.servers.is_empty()).then(|| now + LOOK_AGAIN);
    }

    fn drain_client(&mut self, now: Instant) {
        while let Some(output) = self.client.poll_output() {
            match output {
                client::Output::Transmit { server, bytes, .. } => {
                    self.outputs.push_back(Output::Transmit { to: server, bytes });
                }
                client::Output::Done { request, answer } => {
                    let Some(server) = self.asking.remove(&request) else { continue };
                    if let Ok(answer) = answer {
                        self.on_seen(now, server, answer.mapped);
                    }
                }
                client::Output::Stream { .. } | client::Output::Stray { .. } => {}
            }
        }
    }

    fn on_seen(&mut self, now: Instant, by: SocketAddr, at: SocketAddr) {
        if self.seen.get(&by).is_some_and(|before| *before != at) {
            // The mapping has moved: a NAT was restarted, or is another. What others saw before is not comparable.
            self.seen.clear();
            self.look(now);
        }
        self.seen.insert(by, at);
        let mapping = judge(&self.seen);
        if mapping != Mapping::Unknown && mapping != self.mapping {
            self.mapping = mapping;
            self.outputs.push_back(Output::Changed(mapping));
        }
    }
}

/// Views of the two families are about different NATs; those of one family are compared.
fn judge(seen: &BTreeMap<SocketAddr, SocketAddr>) -> Mapping {
    let of = |v4: bool| seen.values().filter(move |at| at.is_ipv4() == v4);
    let differ = |v4| of(v4).any(|at| Some(at) != of(v4).next());
    match (differ(true) || differ(false), of(true).count().max(of(false).count())) {
        (true, _) => Mapping::Dependent,
        (false, 0 | 1) => Mapping::Unknown,
        (false, _) => Mapping::Independent,
    }
}

impl Machine for Vantage {
    type Input = Input;
    type Output = Output;
    type Why = Why;

    fn timeout() -> Input {
        Input::Timeout
    }

    fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Timeout => {
                self.client.handle_input(now, client::Input::Timeout);
                if self.look_again.is_some_and(|at| at <= now) {
                    self.look(now);
                }
            }
            Input::Servers(servers) => self.set_servers(now, servers),
            Input::LookAgain => self.look(now),
            Input::Seen { by, at } => self.on_seen(now, by, at),
            Input::Received { from, bytes } => {
                let socket = SocketId::default();
                self.client.handle_input(now, client::Input::Datagram { socket, from, bytes });
            }
        }
        self.drain_client(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline<Why>> {
        let request = self.client.poll_timeout().map(|deadline| Deadline::new(deadline.at, Why::Request));
        Deadline::earlier(request, self.look_again.map(|at| Deadline::new(at, Why::LookAgain)))
    }
}

#[cfg(test)]
mod tests;
