//! Answers from the driver: an XDP program in front of the sockets.
//!
//! A public server is asked one plain question over and over, and three quarters of the time that its sockets take is the
//! kernel's. Here a [`program`] takes such questions where packets come in, and sends them back as answers before the kernel has
//! made packets of them. All else goes on to the sockets, which stay the whole truth: where there is no program, because driver,
//! kernel or privilege are missing, they answer everything.
//!
//! What is owned is a link per interface, which holds the program there. It goes with this process, in whatever way that ends.
//! A program of somebody else is never replaced.
//!
//! What such an answer passes by: the firewall, connection tracking, reverse path filters and captures of this host. It leaves by
//! the interface that the question came from, to the neighbour that sent it.

mod limit;
mod program;
mod wish;

use std::net::{IpAddr, SocketAddr};

use pinhole_stun::HEADER;
use pinhole_stun::binding::PlainAnswers;
use pinhole_stun::server::limit::RateLimit;

use super::counters::{Counter, Counters};
use crate::bpf::{AttachMode, Map, Program, XdpLink};
use crate::netlink::route::{self, Interface};
use program::{COUNTS, Memory, Place, Plan};
pub use wish::{Behind, Refusal, Report, State, Which, Wish};

/// Addresses and ports that a program serves, at most: it compares with one after another.
const PLACES: usize = 64;

/// The programs in front of a server.
#[derive(Debug)]
pub(super) struct Xdp {
    wishes: Vec<Wish>,
    /// What each socket is bound to, and answers.
    sockets: Vec<(SocketAddr, PlainAnswers)>,
    limit: RateLimit,
    seed: u64,
    memory: Option<Memory>,
    attached: Vec<Attached>,
    /// What was reported last.
    told: Vec<Report>,
}

/// A program at an interface.
#[derive(Debug)]
struct Attached {
    index: u32,
    state: State,
    ethernet: [u8; 6],
    places: Vec<Place>,
    link: XdpLink,
}

impl Xdp {
    /// Nothing yet; [`follow`](Self::follow) attaches.
    pub(super) fn new(
        wishes: Vec<Wish>,
        sockets: Vec<(SocketAddr, PlainAnswers)>,
        limit: RateLimit,
        seed: u64,
    ) -> Self {
        Self { wishes, sockets, limit, seed, memory: None, attached: Vec::new(), told: Vec::new() }
    }

    /// Looks at the interfaces and has a program at those that are wished for, made for the addresses that there are now. What has
    /// changed since the last time. Where the interfaces cannot be listed, all stays as it is.
    pub(super) fn follow(&mut self) -> Vec<Report> {
        let reports = match route::open().and_then(|mut socket| route::interfaces(&mut socket)) {
            Ok(interfaces) => self.look_at(&interfaces),
            Err(error) if self.told.is_empty() => {
                let refusal = Refusal::Kernel(format!("the interfaces cannot be listed: {error}"));
                self.wishes.iter().map(|wish| Report::without(wish, refusal.clone())).collect()
            }
            Err(_) => return Vec::new(),
        };
        let news = reports.iter().filter(|report| !self.told.contains(report)).cloned().collect();
        self.told = reports;
        news
    }

    fn look_at(&mut self, interfaces: &[Interface]) -> Vec<Report> {
        let places = self.places(interfaces);
        let mut reports = Vec::new();
        let mut kept = Vec::new();
        for wish in self.wishes.clone() {
            let chosen: Vec<&Interface> =
                interfaces.iter().filter(|interface| chooses(&wish, interface, &places)).collect();
            if chosen.is_empty() {
                let refusal = match wish.interface {
                    Which::All => Refusal::NoneFits,
                    Which::Named(_) => Refusal::Missing,
                };
                reports.push(Report::without(&wish, refusal));
            }
            for Interface { link, .. } in chosen {
                if kept.contains(&link.index) {
                    continue;
                }
                kept.push(link.index);
                let state = match link.ethernet {
                    Some(ethernet) => {
                        let is_veth = link.kind.as_deref() == Some("veth");
                        self.serve(link.index, ethernet, &places, wish.mode, is_veth).unwrap_or_else(State::Sockets)
                    }
                    None => State::Sockets(Refusal::NotEthernet),
                };
                reports.push(Report { interface: link.name.clone(), state });
            }
        }
        self.attached.retain(|attached| kept.contains(&attached.index));
        reports
    }

    /// Adds what the programs have done.
    pub(super) fn count(&self, counters: &mut Counters) {
        let Some(Ok([answered, bytes_out, limited])) =
            self.memory.as_ref().map(|memory| memory.counters.sum::<COUNTS>())
        else {
            return;
        };
        let requests = answered + limited;
        for (counter, count) in [
            (Counter::UdpReceived, requests),
            (Counter::UdpBytesIn, requests * HEADER as u64),
            (Counter::Sent, answered),
            (Counter::SentByXdp, answered),
            (Counter::UdpBytesOut, bytes_out),
            (Counter::Limited, limited),
        ] {
            counters.add(counter, usize::try_from(count).unwrap_or(usize::MAX));
        }
    }

    /// Where this host can be asked from outside, and what is answered there.
    fn places(&self, interfaces: &[Interface]) -> Vec<Place> {
        let addresses = interfaces.iter().flat_map(|interface| &interface.addresses);
        let addresses: Vec<IpAddr> =
            addresses.filter(|address| address.is_usable_globally()).map(|address| address.net.addr()).collect();
        let mut places: Vec<Place> = Vec::new();
        for (bound, answers) in &self.sockets {
            let of_socket = |ip: &&IpAddr| {
                ip.is_ipv4() == bound.is_ipv4()
                    && !ip.is_loopback()
                    && (bound.ip().is_unspecified() || **ip == bound.ip())
            };
            for ip in addresses.iter().filter(of_socket) {
                let at = SocketAddr::new(*ip, bound.port());
                if places.iter().all(|place| place.at != at) {
                    places.push(Place { at, answers: answers.clone() });
                }
            }
        }
        places
    }

    /// Has the right program at an interface.
    fn serve(
        &mut self,
        index: u32,
        ethernet: [u8; 6],
        places: &[Place],
        mode: Option<AttachMode>,
        is_veth: bool,
    ) -> Result<State, Refusal> {
        let at = self.attached.iter().position(|attached| attached.index == index);
        if places.is_empty() || places.len() > PLACES {
            at.map(|at| self.attached.remove(at));
            return Err(Refusal::NoAddress);
        }
        if let Some(attached) = at.map(|at| &self.attached[at])
            && attached.ethernet == ethernet
            && attached.places == places
        {
            return Ok(attached.state.clone());
        }
        if self.memory.is_none() {
            self.memory = Some(memory().map_err(|error| Refusal::of(&error))?);
        }
        let Some(memory) = &self.memory else { return Err(Refusal::Permission) };
        let plan = Plan { ethernet, places, limit: self.limit, seed: self.seed, memory };
        let program = Program::load("pinhole_stun", &program::assemble(&plan))?;
        if let Some(at) = at {
            let attached = &mut self.attached[at];
            if attached.link.replace(&program).is_ok() {
                (attached.ethernet, attached.places) = (ethernet, places.to_vec());
                return Ok(attached.state.clone());
            }
            // The link has lost its interface; another one has the number now.
            self.attached.remove(at);
        }
        let (link, state) = attach(&program, index, mode, is_veth)?;
        let places = places.to_vec();
        self.attached.push(Attached { index, state: state.clone(), ethernet, places, link });
        Ok(state)
    }
}

fn memory() -> std::io::Result<Memory> {
    let counters = Map::counters::<COUNTS>("stun_counters")?;
    Ok(Memory { counters, limits: Map::memory("stun_limits", limit::TABLE)? })
}

/// Whether `wish` means this interface.
fn chooses(wish: &Wish, interface: &Interface, places: &[Place]) -> bool {
    let link = &interface.link;
    match &wish.interface {
        Which::Named(name) => link.name == *name,
        Which::All => {
            let is_served = |ip: IpAddr| places.iter().any(|place| place.at.ip() == ip);
            link.is_up()
                && !link.is_loopback()
                && link.ethernet.is_some()
                && link.master.is_none()
                && interface.addresses.iter().any(|address| is_served(address.net.addr()))
        }
    }
}

/// Attaches in the driver, or behind it.
fn attach(program: &Program, index: u32, mode: Option<AttachMode>, is_veth: bool) -> Result<(XdpLink, State), Refusal> {
    let behind = match mode {
        Some(AttachMode::Generic) => Behind::Asked,
        None if is_veth => Behind::Veth,
        Some(AttachMode::Native) | None => match XdpLink::attach(program, index, AttachMode::Native) {
            Ok(link) => return Ok((link, State::Native)),
            Err(error) if mode.is_some() => return Err(Refusal::of(&error)),
            Err(error) => match Refusal::of(&error) {
                Refusal::Kernel(said) => Behind::Driver(said),
                refusal => return Err(refusal),
            },
        },
    };
    let link = XdpLink::attach(program, index, AttachMode::Generic).map_err(|error| Refusal::of(&error))?;
    Ok((link, State::Generic(behind)))
}

#[cfg(test)]
mod tests;
