//! wgsd as a server, with its quirks, and the resolver that may stand in front of it.
//!
//! wgsd answers `A` and `AAAA` with the endpoint's own family, knows no NODATA, says NXDOMAIN to everything else and ignores
//! EDNS options. Before 0.3 it named the SRV target without the service and had no TXT. A recursive resolver passes on the
//! Answer section only.

use pinhole_agent::naming;
use pinhole_dns::message::{Edns, Header, Message};
use pinhole_dns::{Name, RData, Record, Srv, Type};
use pinhole_wg::{Device, Peer};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// wgsd 0.3.
    Current,
    /// wgsd up to 0.2.
    Old,
    /// wgsd 0.3 behind a recursive resolver.
    Resolved,
}

pub fn answer(dialect: Dialect, device: &Device, query: &[u8]) -> Option<Vec<u8>> {
    let query = Message::decode(query).ok()?;
    let question = query.questions.first()?;
    let origin: Name = "example.com.".parse().expect("a name");
    let service: Name = "_wireguard._udp.example.com.".parse().expect("a name");
    let mut answer = Message {
        header: Header { id: query.header.id, flags: Header::QR | Header::AA, ..Header::default() },
        questions: query.questions.clone(),
        edns: query.edns.as_ref().map(|_| Edns { udp_size: 1_232, ..Edns::default() }),
        ..Message::default()
    };
    let record = |owner: &Name, data| Record { owner: owner.clone(), ttl: 0, data };
    if question.name == service && question.qtype == Type::PTR {
        for peer in device.peers.iter().filter(|peer| peer.endpoint.is_some()) {
            let label = naming::label(&peer.public_key);
            let label = if dialect == Dialect::Old { label.to_uppercase() } else { label };
            let target = service.child(label).expect("a name");
            answer.answers.push(record(&service, RData::Ptr(target)));
        }
    } else if let Some((peer, name)) = find(device, &question.name, &service, &origin, dialect) {
        let endpoint = peer.endpoint.expect("a found peer has one");
        let address = match endpoint.ip() {
            std::net::IpAddr::V4(v4) => RData::A(v4),
            std::net::IpAddr::V6(v6) => RData::Aaaa(v6),
        };
        let target = if dialect == Dialect::Old {
            origin.child(naming::label(&peer.public_key)).expect("a name")
        } else {
            name.clone()
        };
        let srv = RData::Srv(Srv { priority: 0, weight: 0, port: endpoint.port(), target: target.clone() });
        let allowed: Vec<String> = peer.allowed_ips.iter().map(ToString::to_string).collect();
        let texts =
            ["txtvers=1".to_owned(), format!("pub={}", peer.public_key), format!("allowed={}", allowed.join(","))];
        match question.qtype {
            Type::SRV => {
                answer.answers.push(record(&name, srv));
                answer.additional.push(record(&target, address));
                if dialect != Dialect::Old {
                    answer.additional.push(record(&name, RData::txt(texts)));
                }
            }
            Type::A | Type::AAAA => answer.answers.push(record(&question.name, address)),
            Type::TXT if dialect != Dialect::Old => answer.answers.push(record(&name, RData::txt(texts))),
            _ => {}
        }
    }
    if answer.answers.is_empty() {
        answer.header.flags |= 3;
    }
    if dialect == Dialect::Resolved {
        answer.additional.clear();
        answer.header.flags = answer.header.flags & !Header::AA | Header::RA;
    }
    Some(answer.encode())
}

/// The peer with an endpoint that a name stands for, and the name in lower case.
fn find<'a>(
    device: &'a Device,
    name: &Name,
    service: &Name,
    origin: &Name,
    dialect: Dialect,
) -> Option<(&'a Peer, Name)> {
    let key = naming::parse_label(name.labels().next()?)?;
    let below = name.parent()?;
    let known = below == *service || dialect == Dialect::Old && below == *origin;
    let peer = device.peers.iter().find(|peer| peer.public_key == key && peer.endpoint.is_some())?;
    known.then(|| (peer, name.to_lowercase()))
}
