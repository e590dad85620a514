//! What a discovery has found, all of it: verdicts, and the observations that they are made from.

use core::net::SocketAddr;

use pinhole_sansio::Duration;
use pinhole_stun::client::{Failure, Transport};

use super::evidence::{Observation, Question};
use super::terms::{Allocation, Classic, Dependence, Hairpin, Lifetime, Pooling, Translation};
use super::verdict::{Confidence, Note, Verdict};
use super::{allocation, depth, filtering, hairpin, lifetime, mapping};

/// A server that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its address.
    pub address: SocketAddr,
    /// As whom it saw the first socket, or why it did not say.
    pub answer: Result<SocketAddr, Failure>,
    /// The other address that it says it has.
    pub other: Option<SocketAddr>,
    /// Its SOFTWARE.
    pub software: Option<String>,
    /// Whether it is the one with which mapping and filtering were looked at.
    pub is_used: bool,
}

/// The findings about one family of addresses and one transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// By what.
    pub transport: Transport,
    /// How long it took.
    pub took: Duration,
    /// Who was asked.
    pub servers: Vec<Server>,
    /// The address of the first socket.
    pub local: Option<SocketAddr>,
    /// As whom it was seen.
    pub mapped: Option<SocketAddr>,
    /// Whether there is a NAT.
    pub translation: Verdict<Translation>,
    /// When an inside endpoint gets another external endpoint.
    pub mapping: Verdict<Dependence>,
    /// Who may send to it.
    pub filtering: Verdict<Dependence>,
    /// Whether hosts inside reach each other by it.
    pub hairpin: Verdict<Hairpin>,
    /// How its port is chosen.
    pub allocation: Verdict<Allocation>,
    /// Whether even ports get even ones.
    pub parity: Verdict<bool>,
    /// Whether there is one external address.
    pub pooling: Verdict<Pooling>,
    /// Whether a packet that comes too early takes its sender's mapping away.
    pub poisoning: Verdict<bool>,
    /// How many hops away the outermost filter is that keeps strangers out; 0 is this host's own.
    pub outermost_filter: Verdict<u8>,
    /// Who may send through what is beyond the first hop.
    pub filtering_beyond: Verdict<Dependence>,
    /// How long a silent mapping lives that has carried one exchange; by TCP, one of an open connection.
    pub lifetime: Verdict<Lifetime>,
    /// The same for one that has carried packets for some seconds.
    pub stream_lifetime: Verdict<Lifetime>,
    /// All that was observed.
    pub observations: Vec<Observation>,
}

impl Report {
    pub(super) fn new(
        transport: Transport,
        took: Duration,
        servers: Vec<Server>,
        with_behaviour: bool,
        observations: Vec<Observation>,
    ) -> Self {
        let seen = &observations[..];
        let translation = mapping::translation(seen);
        let mapping = mapping::judge(seen, with_behaviour);
        let reachable = |change| is_reachable(seen, change);
        let mut filtering = filtering::judge(seen, reachable);
        let has_nat = translation.value() != Some(&Translation::None);
        let mut hairpin = hairpin::judge(seen, &mapping, &filtering);
        if filtering.confidence == Confidence::Unknown {
            let note = match transport {
                Transport::Datagram if !with_behaviour => Some(Note::OnlyBinding),
                Transport::Stream => Some(Note::NeedsCalls),
                Transport::Datagram => None,
            };
            filtering = filtering::by_hairpin(seen, &mapping, &hairpin).unwrap_or(filtering);
            filtering = note.into_iter().fold(filtering, Verdict::with);
        }
        let mut allocation = allocation::judge(seen);
        let mut parity = allocation::parity(seen);
        let mut pooling = allocation::pooling(seen);
        if !has_nat {
            hairpin = Verdict::unknown_since(Note::NoNat);
            allocation = Verdict::unknown_since(Note::NoNat);
            parity = Verdict::unknown_since(Note::NoNat);
            pooling = Verdict::unknown_since(Note::NoNat);
        }
        let outermost_filter = depth::outermost(seen, &mapping, &filtering);
        let filtering_beyond = depth::beyond(seen, &mapping, reachable);
        let lifetime = |stream| lifetime::judge(seen, transport, stream, &allocation);
        let first = seen.iter().find(|observation| observation.mapped().is_some());
        Self {
            transport,
            took,
            servers,
            local: first.and_then(|observation| observation.local),
            mapped: first.and_then(Observation::mapped),
            poisoning: poisoning(seen, &mapping, &filtering),
            outermost_filter,
            filtering_beyond,
            lifetime: lifetime(false),
            stream_lifetime: lifetime(true),
            translation,
            mapping,
            filtering,
            hairpin,
            allocation,
            parity,
            pooling,
            observations,
        }
    }

    /// True if any server answered.
    pub fn is_answered(&self) -> bool {
        self.servers.iter().any(|server| server.answer.is_ok())
    }

    /// The old name, as far as it is certain enough to be given one. For UDP that nobody answers see
    /// [`is_udp_blocked`].
    pub fn classic(&self) -> Option<Classic> {
        use Dependence::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
        match self.translation.value()? {
            Translation::None => Some(match self.filtering.value()? {
                EndpointIndependent => Classic::OpenInternet,
                AddressDependent | AddressAndPortDependent => Classic::SymmetricFirewall,
            }),
            Translation::Translated if self.mapping.value() == Some(&EndpointIndependent) => {
                Some(match self.filtering.value()? {
                    EndpointIndependent => Classic::FullCone,
                    AddressDependent => Classic::RestrictedCone,
                    AddressAndPortDependent => Classic::PortRestrictedCone,
                })
            }
            // RFC 3489 knows no difference between those that depend on something.
            Translation::Translated => {
                let possible = &self.mapping.possible;
                (!possible.is_empty() && !possible.contains(&EndpointIndependent)).then_some(Classic::Symmetric)
            }
        }
    }
}

/// Whether UDP does not come back: no server answers by UDP. That they are alive shows an answer by TCP.
pub fn is_udp_blocked(udp: &Report, tcp: Option<&Report>) -> Verdict<bool> {
    let evidence = (0..udp.observations.len()).collect();
    if udp.is_answered() {
        return Verdict::of(false, Confidence::Certain, evidence);
    }
    let answers_tcp = |server: &Server| {
        let same = |other: &&Server| other.address == server.address && other.answer.is_ok();
        tcp.is_some_and(|tcp| tcp.servers.iter().any(|other| same(&other)))
    };
    match udp.servers.iter().filter(|server| answers_tcp(server)).count() {
        0 if udp.servers.is_empty() => Verdict::unknown(),
        // Servers that are all down look the same.
        0 => Verdict::left(vec![true, false], Confidence::Unsure, evidence),
        1 => Verdict::of(true, Confidence::Likely, evidence),
        _ => Verdict::of(true, Confidence::Certain, evidence),
    }
}

/// Whether the place from which an answer was to come has answered when it was asked directly.
fn is_reachable(observations: &[Observation], change: pinhole_stun::behaviour::Change) -> bool {
    let first = observations.iter().find_map(|observation| match observation.question {
        Question::Filter { .. } => Some(observation.asked),
        Question::Reach
        | Question::Mapping { .. }
        | Question::Control { .. }
        | Question::Call { .. }
        | Question::Poison { .. }
        | Question::Port { .. }
        | Question::HairpinUnasked
        | Question::HairpinAddress
        | Question::HairpinBoth
        | Question::Depth { .. }
        | Question::Lifetime { .. } => None,
    });
    let Some(first) = first else { return false };
    observations.iter().any(|observation| {
        let at = observation.asked;
        matches!(observation.question, Question::Mapping { .. })
            && observation.mapped().is_some()
            && (at.ip() != first.ip()) == change.ip
            && (at.port() != first.port()) == change.port
    })
}

/// A NAT of one mapping for all endpoints that has another one for the endpoint that it did not let in.
fn poisoning(
    observations: &[Observation],
    mapping: &Verdict<Dependence>,
    filtering: &Verdict<Dependence>,
) -> Verdict<bool> {
    if mapping.value() != Some(&Dependence::EndpointIndependent)
        || filtering.value().is_none_or(|value| *value == Dependence::EndpointIndependent)
    {
        return Verdict::unknown();
    }
    let mut evidence = Vec::new();
    let mut possible = vec![true, false];
    for (place, one) in observations.iter().enumerate() {
        let Question::Poison { .. } = one.question else { continue };
        let other = observations[..place].iter().find(|other| other.question == one.question);
        let (Some(here), Some(there)) = (one.mapped(), other.and_then(Observation::mapped)) else { continue };
        possible.retain(|poisons| *poisons == (here != there));
        evidence.push(place);
    }
    let confidence = if evidence.len() > 1 { Confidence::Certain } else { Confidence::Likely };
    Verdict::left(possible, confidence, evidence)
}

/// The servers in the order in which they were given, with what came of asking them first.
pub(super) fn servers(asked: Vec<(SocketAddr, Option<Asked>)>, used: Option<SocketAddr>) -> Vec<Server> {
    let server = |(address, asked): (SocketAddr, Option<Asked>)| {
        let is_used = used == Some(address);
        let silent = Failure::TimedOut { attempts: 1, stray: None, unauthentic: false };
        match asked.unwrap_or(Err(silent)) {
            Ok(answer) => Server {
                address,
                answer: Ok(answer.mapped),
                other: answer.other,
                software: answer.software.clone(),
                is_used,
            },
            Err(failure) => Server { address, answer: Err(failure), other: None, software: None, is_used },
        }
    };
    asked.into_iter().map(server).collect()
}

/// What came of asking a server first.
pub(super) type Asked = Result<Box<pinhole_stun::client::Answer>, Failure>;
