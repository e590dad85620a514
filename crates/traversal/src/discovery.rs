//! Which NAT is this? RFC 5780's questions and more, as a sans-IO machine.
//!
//! A [`Discovery`] finds out, for one transport and one family of addresses, how mappings depend on the remote endpoint, who
//! may send to them, how their ports are chosen and from how many addresses, whether hosts inside reach each other by them,
//! whether early packets poison them, how far away the outermost filter is, and, if asked to, how long they live. One server
//! that knows RFC 5780 is enough for all; of several that only know Binding the mapping shows, and of the rest what a NAT
//! shows to packets to its own address.
//!
//! The parts run side by side, each with sockets of its own, since a socket that has sent to an endpoint can no longer tell
//! whether that one is let in unasked. Questions are repeated until they are answered or have been lost more often than
//! chance allows; conclusions are [drawn by elimination](Verdict) from all that was [observed](Observation), at the end.
//!
//! Sockets are effects: the machine asks for them ([`Output::Bind`]), is told of them, and gives them back.
//!
//! Not here: how many NATs there are, what a first hop would grant, and what follows for a connection: the
//! [diagnosis](crate::diagnosis) says these from more than servers can tell.

mod allocation;
mod calls;
mod depth;
mod desk;
mod evidence;
mod filtering;
mod hairpin;
mod lifetime;
mod mapping;
mod report;
mod rounds;
mod samples;
mod server;
mod terms;
mod verdict;

use core::net::SocketAddr;

use pinhole_sansio::{Deadline, Duration, Instant, Machine};
use pinhole_stun::client::{self, Request, Schedule, SocketId, Transport};

pub(crate) use allocation::{spread, step};
pub use evidence::{Observation, Outcome, Question};
pub use report::{Report, Server, is_udp_blocked};
pub use terms::{Allocation, Classic, Dependence, Hairpin, Lifetime, Pooling, Translation};
pub use verdict::{Confidence, Note, Verdict};

use desk::{Desk, Settled};
use report::Asked;
use server::{Behaviour, Known};

/// How long to wait for a server that knows RFC 5780, once one has answered that does not.
const GRACE: Duration = Duration::from_millis(400);
/// Servers that are asked first; more would only be more traffic.
pub const MAX_SERVERS: usize = 16;

/// What is to be found out.
#[derive(Clone, Debug)]
pub struct Settings {
    /// By what.
    pub transport: Transport,
    /// Whom to ask, all of one family; the first [`MAX_SERVERS`] count.
    pub servers: Vec<SocketAddr>,
    /// The port of the first socket that looks at mappings.
    pub port: Option<u16>,
    /// Look for lifetimes up to this one.
    pub lifetime: Option<Duration>,
    /// Makes transaction ids and ports: take it from the system's generator.
    pub seed: u64,
}

/// What happens to it.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed.
    Timeout,
    /// A socket is there.
    Bound {
        /// This one.
        socket: SocketId,
        /// With the address from which it reaches where it was wanted for.
        local: SocketAddr,
    },
    /// A socket cannot be had.
    Unbound {
        /// This one.
        socket: SocketId,
    },
    /// A datagram came.
    Datagram {
        /// To this socket.
        socket: SocketId,
        /// From here.
        from: SocketAddr,
        /// With this in it.
        bytes: Vec<u8>,
    },
    /// A message came by a connection of ours.
    Message {
        /// Of this socket's port.
        socket: SocketId,
        /// To here.
        server: SocketAddr,
        /// The message, as [`stream::next`](pinhole_stun::stream::next) cuts it.
        bytes: Vec<u8>,
    },
    /// A connection of ours could not be made or was closed.
    Closed {
        /// Of this socket's port.
        socket: SocketId,
        /// To here.
        server: SocketAddr,
    },
    /// A connection to a socket came about: somebody's, or by two knocks that crossed.
    Accepted {
        /// To this one.
        socket: SocketId,
        /// From here.
        from: SocketAddr,
    },
}

/// What it wants done or known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a socket: for datagrams, or one that listens and whose port connections are made from.
    Bind {
        /// Call it so.
        socket: SocketId,
        /// At this port; at any if absent.
        port: Option<u16>,
        /// Say which address of this host reaches there.
        toward: SocketAddr,
    },
    /// Send a datagram.
    Send {
        /// From this socket.
        socket: SocketId,
        /// To here.
        to: SocketAddr,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Send by the connection from this socket's port to there; make it if there is none. It stays open until the socket is
    /// closed.
    Stream {
        /// From this socket's port.
        socket: SocketId,
        /// To here.
        to: SocketAddr,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Send this datagram, or try to connect. Nobody waits for what comes of it.
    Knock {
        /// From this socket, or its port.
        socket: SocketId,
        /// To here.
        to: SocketAddr,
        /// The datagram.
        bytes: Vec<u8>,
        /// It dies after so many hops; as usual for `None`. For datagrams only.
        hops: Option<u8>,
    },
    /// Close a socket and the connections from its port.
    Close {
        /// This one.
        socket: SocketId,
    },
    /// Something was observed.
    Progress(Progress),
    /// All is found out that can be.
    Done(Box<Report>),
}

/// An observation, when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Its place among them.
    pub place: usize,
    /// The observation.
    pub observation: Observation,
}

/// Its timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A question is due to be asked again, or given up.
    Retransmission,
    /// Servers that have not answered yet are no longer waited for.
    Grace,
    /// The next socket is due to ask for its port.
    Sample,
    /// The next packet to one's own mapping is due.
    Hairpin,
    /// A call is no longer waited for.
    Call,
    /// A silent mapping is due to be looked for.
    Lifetime,
}

/// The machine. See the [module](self).
#[derive(Debug)]
pub struct Discovery {
    settings: Settings,
    desk: Desk,
    stage: Stage,
    /// What came of asking each server first.
    asked: Vec<(SocketAddr, Option<Asked>)>,
    /// The server with which the rest was asked.
    used: Option<SocketAddr>,
}

#[derive(Debug)]
enum Stage {
    /// Whom is there to ask?
    Reaching {
        /// The socket that asks all servers.
        socket: SocketId,
        /// When not to wait any longer.
        grace: Option<Instant>,
    },
    /// Everything at once.
    Asking(Box<Tracks>),
    Over,
}

/// The parts that run side by side.
#[derive(Debug)]
struct Tracks {
    rounds: rounds::Track,
    samples: samples::Track,
    hairpin: hairpin::Track,
    /// By UDP, with a server that answers from elsewhere.
    depth: Option<depth::Track>,
    /// By TCP, with a server that may call back.
    calls: Option<calls::Track>,
    lifetimes: Vec<lifetime::Track>,
    with_behaviour: bool,
}

impl Discovery {
    /// Begins.
    pub fn new(now: Instant, mut settings: Settings) -> Self {
        settings.servers.truncate(MAX_SERVERS);
        let mut desk = Desk::new(settings.transport, settings.seed, now);
        let asked: Vec<(SocketAddr, Option<Asked>)> = settings.servers.iter().map(|server| (*server, None)).collect();
        let stage = match settings.servers.first() {
            Some(first) => Stage::Reaching { socket: desk.open(None, *first), grace: None },
            None => Stage::Over,
        };
        let mut discovery = Self { settings, desk, stage, asked, used: None };
        if discovery.settings.servers.is_empty() {
            discovery.finish(now, false);
        }
        discovery
    }

    fn on_bound(&mut self, now: Instant, socket: SocketId, local: SocketAddr) {
        self.desk.on_bound(socket, local);
        match &mut self.stage {
            Stage::Reaching { socket: own, .. } if *own == socket => {
                for (server, _) in &self.asked {
                    let request = Request::binding(*server, socket).with_schedule(Schedule::IMPATIENT);
                    self.desk.ask_patiently(now, Question::Reach, request);
                }
            }
            Stage::Asking(tracks) => {
                tracks.rounds.on_bound(now, &mut self.desk, socket);
                tracks.samples.on_bound(now, &mut self.desk, socket);
                tracks.hairpin.on_bound(now, &mut self.desk, socket);
                if let Some(track) = &mut tracks.depth {
                    track.on_bound(now, &mut self.desk, socket);
                }
                if let Some(track) = &mut tracks.calls {
                    track.on_bound(now, &mut self.desk, socket);
                }
                for track in &mut tracks.lifetimes {
                    track.on_bound(now, &mut self.desk, socket);
                }
            }
            Stage::Reaching { .. } | Stage::Over => {}
        }
    }

    fn on_unbound(&mut self, now: Instant, socket: SocketId) {
        match &mut self.stage {
            Stage::Reaching { .. } => self.finish(now, false),
            Stage::Asking(tracks) => {
                tracks.rounds.on_unbound(socket);
                tracks.samples.on_unbound(socket);
                tracks.hairpin.on_unbound(socket);
                if let Some(track) = &mut tracks.depth {
                    track.on_unbound(socket);
                }
                if let Some(track) = &mut tracks.calls {
                    track.on_unbound(socket);
                }
                for track in &mut tracks.lifetimes {
                    track.on_unbound(&mut self.desk, socket);
                }
            }
            Stage::Over => {}
        }
    }

    fn on_datagram(&mut self, now: Instant, socket: SocketId, from: SocketAddr, bytes: Vec<u8>) {
        if let Stage::Asking(tracks) = &mut self.stage
            && tracks.hairpin.on_datagram(now, &mut self.desk, socket, from, &bytes)
        {
            return;
        }
        self.desk.client.handle_input(now, client::Input::Datagram { socket, from, bytes });
    }

    fn on_settled(&mut self, now: Instant, settled: Settled) {
        match &mut self.stage {
            Stage::Reaching { grace, .. } => {
                if settled.answer.is_ok() {
                    grace.get_or_insert(now + GRACE);
                }
                if let Some((_, asked)) = self.asked.iter_mut().find(|(server, _)| *server == settled.server) {
                    *asked = Some(settled.answer);
                }
            }
            Stage::Asking(tracks) => {
                if settled.question == Question::Reach {
                    let late = self.asked.iter_mut().find(|(server, _)| *server == settled.server);
                    if let Some((_, asked)) = late {
                        *asked = Some(settled.answer);
                    }
                    return;
                }
                tracks.rounds.on_settled(now, &mut self.desk, &settled);
                tracks.samples.on_settled(&settled);
                tracks.hairpin.on_settled(now, &mut self.desk, &settled);
                if let Some(track) = &mut tracks.depth {
                    track.on_settled(now, &mut self.desk, &settled);
                }
                if let Some(track) = &mut tracks.calls {
                    track.on_settled(now, &mut self.desk, &settled);
                }
                for track in &mut tracks.lifetimes {
                    track.on_settled(now, &mut self.desk, &settled);
                }
            }
            Stage::Over => {}
        }
    }

    /// Whom to ask the rest, if it is time to decide.
    fn choose(&self, now: Instant) -> Option<Option<Known>> {
        let Stage::Reaching { grace, .. } = &self.stage else { return None };
        let answers = || self.asked.iter().filter_map(|(_, asked)| asked.as_ref()?.as_ref().ok());
        if let Some(behaviour) = answers().find_map(|answer| Behaviour::of(answer)) {
            return Some(Some(Known::with_behaviour(behaviour)));
        }
        let all = self.asked.iter().all(|(_, asked)| asked.is_some());
        let late = grace.is_some_and(|grace| grace <= now);
        (all || late).then(|| Known::plain(answers().map(|answer| answer.server)))
    }

    fn begin(&mut self, now: Instant, known: Known) {
        let (server, with_behaviour) = (known.first(), known.behaviour().is_some());
        self.used = Some(server);
        let desk = &mut self.desk;
        let lifetimes = match (self.settings.lifetime, self.settings.transport) {
            (Some(longest), Transport::Datagram) => {
                [false, true].map(|stream| lifetime::Track::start(desk, server, stream, longest)).into()
            }
            (Some(longest), Transport::Stream) => vec![lifetime::Track::start(desk, server, false, longest)],
            (None, _) => Vec::new(),
        };
        let calls = match self.settings.transport {
            Transport::Stream if with_behaviour => Some(calls::Track::start(desk, known.clone())),
            Transport::Stream | Transport::Datagram => None,
        };
        let depth = match self.settings.transport {
            Transport::Datagram if with_behaviour => Some(depth::Track::start(desk, known.clone())),
            Transport::Stream | Transport::Datagram => None,
        };
        let tracks = Tracks {
            rounds: rounds::Track::start(desk, known, self.settings.port),
            samples: samples::Track::start(now, server),
            hairpin: hairpin::Track::start(desk, server),
            depth,
            calls,
            lifetimes,
            with_behaviour,
        };
        self.stage = Stage::Asking(Box::new(tracks));
    }

    fn finish(&mut self, now: Instant, with_behaviour: bool) {
        self.stage = Stage::Over;
        self.desk.close_all();
        let servers = report::servers(core::mem::take(&mut self.asked), self.used);
        let observations = core::mem::take(&mut self.desk.observations);
        let took = self.desk.elapsed(now);
        let report = Report::new(self.settings.transport, took, servers, with_behaviour, observations);
        self.desk.outputs.push_back(Output::Done(Box::new(report)));
    }

    /// Hands out what is settled, and what is asked because of it.
    fn serve(&mut self, now: Instant) {
        loop {
            let settled = self.desk.settle(now);
            if settled.is_empty() {
                return;
            }
            settled.into_iter().for_each(|settled| self.on_settled(now, settled));
        }
    }

    /// After every input: what is settled goes to who asked, and what is over makes place for what comes next.
    fn advance(&mut self, now: Instant) {
        self.serve(now);
        match self.choose(now) {
            Some(Some(known)) => self.begin(now, known),
            Some(None) => return self.finish(now, false),
            None => {}
        }
        if let Stage::Asking(tracks) = &mut self.stage {
            tracks.samples.on_timeout(now, &mut self.desk);
            tracks.hairpin.on_timeout(now, &mut self.desk);
            tracks.calls.iter_mut().for_each(|track| track.on_timeout(now, &mut self.desk));
            tracks.lifetimes.iter_mut().for_each(|track| track.on_timeout(now, &mut self.desk));
        }
        self.serve(now);
        if let Stage::Asking(tracks) = &self.stage
            && tracks.is_over()
        {
            let with_behaviour = tracks.with_behaviour;
            self.finish(now, with_behaviour);
        }
    }
}

impl Tracks {
    fn is_over(&self) -> bool {
        self.rounds.is_over()
            && self.samples.is_over()
            && self.hairpin.is_over()
            && self.depth.as_ref().is_none_or(depth::Track::is_over)
            && self.calls.as_ref().is_none_or(calls::Track::is_over)
            && self.lifetimes.iter().all(lifetime::Track::is_over)
    }

    fn deadline(&self) -> Option<Deadline<Why>> {
        let deadline = |at: Option<Instant>, why| at.map(|at| Deadline::new(at, why));
        let lifetimes = self.lifetimes.iter().filter_map(lifetime::Track::deadline).min();
        let parts = [
            deadline(self.samples.deadline(), Why::Sample),
            deadline(self.hairpin.deadline(), Why::Hairpin),
            deadline(self.calls.as_ref().and_then(calls::Track::deadline), Why::Call),
            deadline(lifetimes, Why::Lifetime),
        ];
        parts.into_iter().fold(None, Deadline::earlier)
    }
}

impl Machine for Discovery {
    type Input = Input;
    type Output = Output;
    type Why = Why;

    fn timeout() -> Input {
        Input::Timeout
    }

    fn handle_input(&mut self, now: Instant, input: Input) {
        if let Stage::Over = self.stage {
            return;
        }
        match input {
            Input::Timeout => self.desk.client.handle_input(now, client::Input::Timeout),
            Input::Bound { socket, local } => self.on_bound(now, socket, local),
            Input::Unbound { socket } => self.on_unbound(now, socket),
            Input::Datagram { socket, from, bytes } => self.on_datagram(now, socket, from, bytes),
            Input::Message { socket, server, bytes } => self.desk.on_stream(now, socket, server, Some(&bytes)),
            Input::Closed { socket, server } => {
                self.desk.on_stream(now, socket, server, None);
                if let Stage::Asking(tracks) = &mut self.stage {
                    tracks.lifetimes.iter_mut().for_each(|track| track.on_closed(&mut self.desk, socket));
                }
            }
            Input::Accepted { socket, from } => {
                if let Stage::Asking(tracks) = &mut self.stage {
                    tracks.hairpin.on_accepted(now, &mut self.desk, socket, from);
                    if let Some(track) = &mut tracks.calls {
                        track.on_accepted(now, &mut self.desk, socket, from);
                    }
                }
            }
        }
        self.advance(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.desk.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline<Why>> {
        let again = self.desk.client.poll_timeout().map(|deadline| deadline.map(|_| Why::Retransmission));
        let own = match &self.stage {
            Stage::Reaching { grace, .. } => grace.map(|at| Deadline::new(at, Why::Grace)),
            Stage::Asking(tracks) => tracks.deadline(),
            Stage::Over => return None,
        };
        Deadline::earlier(again, own)
    }
}
