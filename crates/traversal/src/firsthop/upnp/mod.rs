//! A client of UPnP's Internet gateways, versions 1 and 2: found by SSDP, described in XML, called by SOAP.
//!
//! The machine sends datagrams and asks for *exchanges*: a connection, a request, the whole response. Routers that describe
//! a version and do something else are met half way: a lease that must be permanent is asked for permanently, a port that is
//! taken is replaced, a version 2 that does not know AddAnyPortMapping is called as version 1.
//!
//! The default gateway is believed at once, another device only if that one is silent; whoever answers is called only at the
//! address that it answered from.
//!
//! Pinholes of IPv6 (WANIPv6FirewallControl) are those of the same gateway, described over IPv4, and called over IPv6: a gateway
//! opens one only for who asks from that address.
//!
//! Not here: events, searches over IPv6, remote hosts.

pub mod http;
mod soap;
mod ssdp;
mod xml;

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::collections::VecDeque;

use pinhole_sansio::{Deadline, Duration, Instant, Machine};

use super::Protocol;
use http::Progress;
use soap::{Call, Lease, Pinhole, Returned, Service};
use ssdp::Location;
pub use ssdp::MULTICAST;
use xml::Element;

/// When searches leave, after the first: they may get lost, and some routers limit how many answers they give a second.
const SEARCH_AT: [Duration; 3] = [Duration::ZERO, Duration::from_millis(500), Duration::from_millis(1_500)];
/// So long the default gateway is waited for when others have answered. Answers may take a second (`MX`).
const PREFER_GATEWAY: Duration = Duration::from_millis(2_500);
/// After this nobody answers any more: the last search, a second for the answer, and as much as networks take.
const NOBODY: Duration = Duration::from_millis(3_000);
/// An exchange that takes longer is given up.
const EXCHANGE: Duration = Duration::from_secs(4);
/// Devices that are remembered; further ones are ignored.
const MAX_CANDIDATES: usize = 8;
/// Calls for one mapping: a router that has always another objection is not argued with longer.
const MAX_CALLS: u32 = 6;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The gateway's outside address.
    ExternalAddress,
    /// A port that leads inside.
    Map {
        /// Of this protocol.
        protocol: Protocol,
        /// To this address of ours.
        client: Ipv4Addr,
        /// And this port.
        internal: u16,
        /// From this one outside, if it can be had.
        suggested: u16,
        /// Seconds; zero for ever.
        lifetime: u32,
    },
    /// The end of a mapping.
    Unmap {
        /// Of this protocol.
        protocol: Protocol,
        /// And this port outside.
        external: u16,
    },
    /// A pinhole in the gateway's IPv6 firewall, for everybody.
    Open {
        /// The gateway's address; its port is that of the description.
        gateway: SocketAddrV6,
        /// Of this protocol.
        protocol: Protocol,
        /// To this address of ours, from which the gateway is called.
        client: Ipv6Addr,
        /// And this port.
        port: u16,
        /// Seconds, one at least.
        lifetime: u32,
    },
    /// The end of a pinhole.
    Close {
        /// The gateway's address; its port is that of the description.
        gateway: SocketAddrV6,
        /// The number that it was given.
        id: u16,
    },
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The gateway's outside address; `None` if it has none.
    ExternalAddress(Option<IpAddr>),
    /// A port that leads inside.
    Mapped {
        /// The port outside.
        external: u16,
        /// Seconds; zero for ever, which some routers insist on.
        lifetime: u32,
    },
    /// The mapping is gone.
    Unmapped,
    /// A pinhole.
    Opened {
        /// The number by which it is closed.
        id: u16,
    },
    /// The pinhole is gone.
    Closed,
}

/// Why a request came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No Internet gateway answers.
    NoGateway,
    /// One answers, and has no control of an IPv6 firewall.
    NoFirewall,
    /// One answers, and then does not say what it should.
    Broken,
    /// It refuses.
    Refused {
        /// The error code of UPnP.
        code: u16,
        /// Its words, without control characters, 80 at most.
        text: String,
    },
}

/// Which exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExchangeId(u64);

/// What happens to the client.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed.
    Timeout,
    /// Ask this, for so long.
    Ask {
        /// What.
        request: Request,
        /// How long to wait for an answer, all steps together.
        patience: Duration,
    },
    /// A datagram came.
    Datagram {
        /// From here.
        from: SocketAddr,
        /// With this in it.
        bytes: Vec<u8>,
    },
    /// An exchange has brought this: a whole response ([`http::is_whole`]), or all until the other side closed.
    Response {
        /// Which one.
        exchange: ExchangeId,
        /// All of it.
        bytes: Vec<u8>,
    },
    /// An exchange could not be made.
    Failed {
        /// Which one.
        exchange: ExchangeId,
    },
}

/// What the client wants done or known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this as a datagram.
    Transmit {
        /// To here, which may be [`MULTICAST`].
        to: SocketAddr,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Connect by TCP, send this, and hand in the response.
    Exchange {
        /// Its number, for the response.
        exchange: ExchangeId,
        /// To here.
        to: SocketAddr,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The request has ended.
    Done(Result<Reply, Failure>),
}

/// The client's timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A search is due to be sent again.
    Search,
    /// The default gateway, or everyone, has had its time.
    Settle,
    /// An exchange takes too long.
    Exchange,
    /// The request is given up.
    GiveUp,
}

/// The machine. See the [module](self).
#[derive(Debug)]
pub struct Client {
    gateway: IpAddr,
    /// Kept from one request to the next.
    known: Option<Known>,
    asked: Option<Asked>,
    next_exchange: u64,
    outputs: VecDeque<Output>,
}

/// A gateway that has been found.
#[derive(Clone, Debug)]
struct Known {
    location: Location,
    service: Service,
    /// What opens pinholes, and where.
    firewall: Option<(Location, Service)>,
}

#[derive(Clone, Debug)]
struct Asked {
    request: Request,
    until: Instant,
    candidates: Vec<Location>,
    phase: Phase,
}

#[derive(Clone, Debug)]
enum Phase {
    /// Who is a gateway?
    Searching { started: Instant, sent: usize },
    /// What can this one do?
    Describing { exchange: ExchangeId, location: Location, until: Instant },
    /// Do it.
    Calling { exchange: ExchangeId, call: Call, calls: u32, until: Instant },
}

impl Client {
    /// A client whose default gateway is this.
    pub const fn new(gateway: IpAddr) -> Self {
        Self { gateway, known: None, asked: None, next_exchange: 0, outputs: VecDeque::new() }
    }

    fn ask(&mut self, now: Instant, request: Request, patience: Duration) {
        if self.asked.is_some() {
            self.end(Err(Failure::NoGateway));
        }
        let phase = Phase::Searching { started: now, sent: 0 };
        self.asked = Some(Asked { request, until: now + patience, candidates: Vec::new(), phase });
        match self.known {
            Some(_) => self.call(now, call_for(request), 0),
            None => self.pass(now),
        }
    }

    fn pass(&mut self, now: Instant) {
        let gateway = self.gateway;
        let Some(asked) = &mut self.asked else { return };
        if now >= asked.until {
            let failure = match asked.phase {
                Phase::Searching { .. } => Failure::NoGateway,
                Phase::Describing { .. } | Phase::Calling { .. } => Failure::Broken,
            };
            return self.end(Err(failure));
        }
        match &mut asked.phase {
            Phase::Searching { started, sent } => {
                let is_due = |sent: usize| SEARCH_AT.get(sent).is_some_and(|&after| *started + after <= now);
                if is_due(*sent) {
                    while is_due(*sent) {
                        *sent += 1;
                    }
                    // Some networks lose what goes to groups; a gateway answers a search of its own as well (§1.3.2).
                    for to in [MULTICAST, SocketAddr::new(gateway, MULTICAST.port())] {
                        let searches = ssdp::TARGETS.iter().map(|target| ssdp::search(target));
                        self.outputs.extend(searches.map(|bytes| Output::Transmit { to, bytes }));
                    }
                }
                if now >= *started + NOBODY && asked.candidates.is_empty() {
                    return self.end(Err(Failure::NoGateway));
                }
                if now >= *started + PREFER_GATEWAY && !asked.candidates.is_empty() {
                    let location = asked.candidates.remove(0);
                    self.describe(now, location);
                }
            }
            Phase::Describing { until, .. } if now >= *until => self.try_next(now),
            Phase::Calling { until, .. } if now >= *until => self.end(Err(Failure::Broken)),
            Phase::Describing { .. } | Phase::Calling { .. } => {}
        }
    }

    fn receive(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        let Some(location) = Location::of_answer(bytes, from) else { return };
        let Some(asked) = &mut self.asked else { return };
        if asked.candidates.contains(&location) || asked.candidates.len() >= MAX_CANDIDATES {
            return;
        }
        match asked.phase {
            Phase::Searching { .. } if from.ip() == self.gateway => self.describe(now, location),
            Phase::Searching { .. } => asked.candidates.push(location),
            Phase::Describing { location: ref described, .. } if *described != location => {
                asked.candidates.push(location);
            }
            Phase::Describing { .. } | Phase::Calling { .. } => {}
        }
    }

    fn describe(&mut self, now: Instant, location: Location) {
        let exchange = self.exchange(location.host, http::get(location.host, &location.path));
        let Some(asked) = &mut self.asked else { return };
        asked.phase = Phase::Describing { exchange, location, until: now + EXCHANGE };
    }

    /// The next device, if this one is no gateway.
    fn try_next(&mut self, now: Instant) {
        let Some(asked) = &mut self.asked else { return };
        if asked.candidates.is_empty() {
            return self.end(Err(Failure::Broken));
        }
        let location = asked.candidates.remove(0);
        self.describe(now, location);
    }

    fn call(&mut self, now: Instant, call: Call, calls: u32) {
        let (Some(known), Some(asked)) = (&self.known, &self.asked) else { return };
        let (location, service, over) = match asked.request {
            Request::Open { gateway, .. } | Request::Close { gateway, .. } => {
                let Some((location, service)) = &known.firewall else { return self.end(Err(Failure::NoFirewall)) };
                (location, service, Some(gateway))
            }
            Request::ExternalAddress | Request::Map { .. } | Request::Unmap { .. } => {
                (&known.location, &known.service, None)
            }
        };
        let call = match call {
            Call::Add(lease) if service.is_version_2() && calls == 0 => Call::AddAny(lease),
            call => call,
        };
        let mut host = location.host;
        if let Some(mut gateway) = over {
            gateway.set_port(host.port());
            host = gateway.into();
        }
        let path = location.path.clone();
        let bytes = http::post(host, &path, &call.action(service), &call.body(service));
        let exchange = self.exchange(host, bytes);
        let Some(asked) = &mut self.asked else { return };
        asked.phase = Phase::Calling { exchange, call, calls, until: now + EXCHANGE };
    }

    fn exchange(&mut self, to: SocketAddr, bytes: Vec<u8>) -> ExchangeId {
        let exchange = ExchangeId(self.next_exchange);
        self.next_exchange += 1;
        self.outputs.push_back(Output::Exchange { exchange, to, bytes });
        exchange
    }

    /// What an exchange has brought; nothing if it could not be made.
    fn answered(&mut self, now: Instant, exchange: ExchangeId, bytes: Option<&[u8]>) {
        let Some(asked) = &self.asked else { return };
        let response = bytes.map(|bytes| http::parse(bytes, true));
        let response = match response {
            Some(Progress::Whole(response)) => Some(response),
            Some(Progress::More | Progress::Malformed) | None => None,
        };
        match asked.phase.clone() {
            Phase::Describing { exchange: ours, location, .. } if ours == exchange => {
                let described = response.filter(|response| response.status == 200);
                match described.and_then(|response| Known::of(&location, &response.body)) {
                    Some(known) => {
                        let request = asked.request;
                        self.known = Some(known);
                        self.call(now, call_for(request), 0);
                    }
                    None => self.try_next(now),
                }
            }
            Phase::Calling { exchange: ours, call, calls, .. } if ours == exchange => {
                let returned = response.map_or(Returned::Nonsense, |response| Returned::of(&call, &response.body));
                self.returned(now, call, calls, returned);
            }
            Phase::Searching { .. } | Phase::Describing { .. } | Phase::Calling { .. } => {}
        }
    }

    fn returned(&mut self, now: Instant, call: Call, calls: u32, returned: Returned) {
        let result = match (returned, &call) {
            (Returned::ExternalAddress(address), _) => Ok(Reply::ExternalAddress(address)),
            (Returned::Added(port), Call::Add(lease) | Call::AddAny(lease)) => {
                Ok(Reply::Mapped { external: port.unwrap_or(lease.external), lifetime: lease.lifetime })
            }
            (Returned::Deleted, Call::Close { .. }) => Ok(Reply::Closed),
            (Returned::Deleted, _) => Ok(Reply::Unmapped),
            (Returned::Opened(id), _) => Ok(Reply::Opened { id }),
            (Returned::Fault { code, text }, _) => match other_call(&call, code) {
                Some(call) if calls < MAX_CALLS => return self.call(now, call, calls + 1),
                Some(_) | None => Err(Failure::Refused { code, text }),
            },
            (Returned::Added(_), Call::ExternalAddress | Call::Delete { .. } | Call::Open(_) | Call::Close { .. })
            | (Returned::Nonsense, _) => {
                self.known = None;
                Err(Failure::Broken)
            }
        };
        self.end(result);
    }

    fn end(&mut self, result: Result<Reply, Failure>) {
        self.asked = None;
        self.outputs.push_back(Output::Done(result));
    }
}

impl Known {
    fn of(location: &Location, body: &[u8]) -> Option<Self> {
        let description = Element::parse(&String::from_utf8_lossy(body));
        let base = description.find_text("URLBase").and_then(|base| location.join(base));
        let base = base.unwrap_or_else(|| location.clone());
        let located = |service: Service| Some((base.join(&service.control)?, service));
        let firewall = Service::firewall(&description).and_then(located);
        let (location, service) = Service::all(&description).into_iter().find_map(located)?;
        Some(Self { location, service, firewall })
    }
}

fn call_for(request: Request) -> Call {
    match request {
        Request::ExternalAddress => Call::ExternalAddress,
        Request::Map { protocol, client, internal, suggested, lifetime } => {
            Call::Add(Lease { protocol, client, internal, external: suggested, lifetime })
        }
        Request::Unmap { protocol, external } => Call::Delete { protocol, external },
        Request::Open { protocol, client, port, lifetime, gateway: _ } => {
            Call::Open(Pinhole { protocol, client, port, lifetime })
        }
        Request::Close { id, gateway: _ } => Call::Close { id },
    }
}

/// What may be granted where `call` was refused with `code` (WANIPConnection:2 §2.5.16, §2.5.19).
fn other_call(call: &Call, code: u16) -> Option<Call> {
    let (lease, any) = match call {
        Call::Add(lease) => (*lease, false),
        Call::AddAny(lease) => (*lease, true),
        Call::ExternalAddress | Call::Delete { .. } | Call::Open(_) | Call::Close { .. } => return None,
    };
    match code {
        // Invalid action, or not implemented: a version 2 in name only.
        401 | 602 if any => Some(Call::Add(lease)),
        // Invalid arguments, or only permanent leases.
        402 | 725 if lease.lifetime != 0 => Some(Call::Add(Lease { lifetime: 0, ..lease })),
        // The outside port must be the inside one.
        724 if lease.external != lease.internal => Some(Call::Add(Lease { external: lease.internal, ..lease })),
        // Taken by another host, or by something else.
        718 | 729 => Some(Call::Add(Lease { external: another_port(lease.external), ..lease })),
        _ => None,
    }
}

/// Another unprivileged port: far from those that a neighbour tries.
const fn another_port(port: u16) -> u16 {
    let next = port.wrapping_add(7_919);
    if next < 1_024 { next + 1_024 } else { next }
}

impl Machine for Client {
    type Input = Input;
    type Output = Output;
    type Why = Why;

    fn timeout() -> Input {
        Input::Timeout
    }

    fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Timeout => self.pass(now),
            Input::Ask { request, patience } => self.ask(now, request, patience),
            Input::Datagram { from, bytes } => self.receive(now, from, &bytes),
            Input::Response { exchange, bytes } => self.answered(now, exchange, Some(&bytes)),
            Input::Failed { exchange } => self.answered(now, exchange, None),
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline<Why>> {
        let asked = self.asked.as_ref()?;
        let give_up = Deadline::new(asked.until, Why::GiveUp);
        let first = match &asked.phase {
            Phase::Searching { started, sent } => {
                let search = SEARCH_AT.get(*sent).map(|&after| Deadline::new(*started + after, Why::Search));
                let settle = if asked.candidates.is_empty() { NOBODY } else { PREFER_GATEWAY };
                Deadline::earlier(search, Some(Deadline::new(*started + settle, Why::Settle)))
            }
            Phase::Describing { until, .. } | Phase::Calling { until, .. } => {
                Some(Deadline::new(*until, Why::Exchange))
            }
        };
        Deadline::earlier(first, Some(give_up))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoGateway => f.write_str("no Internet gateway answers"),
            Self::NoFirewall => f.write_str("the gateway has no control of its IPv6 firewall"),
            Self::Broken => f.write_str("the gateway's answer makes no sense"),
            Self::Refused { code, text } => write!(f, "error {code} {text}"),
        }
    }
}

#[cfg(test)]
mod tests;
