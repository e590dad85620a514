//! The first hop: clients of PCP, NAT-PMP and UPnP at routers that lie.

use core::fmt::Debug;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use core::time::Duration;

use pinhole_sansio::{Instant, Machine, conformance};
use pinhole_traversal::firsthop::client::{Client, Dialect, Input, Output};
use pinhole_traversal::firsthop::{Protocol, natpmp, pcp, upnp};

use crate::Choices;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
const OWN: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);
/// Who may answer: the gateway, a neighbour, a stranger.
const PLACES: [&str; 3] = ["192.168.1.1:5351", "192.168.1.66:5351", "203.0.113.9:1900"];
/// What a router may be asked for.
const PATIENCE: [Duration; 3] = [Duration::ZERO, Duration::from_millis(900), Duration::from_secs(20)];

/// Any bytes as what a router does to one of the three clients.
pub(crate) fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let server = SocketAddr::new(GATEWAY.into(), pcp::PORT);
    match choices.below(3) {
        0 => {
            let client = pcp::Client::new(server, OWN.into(), u64::from(choices.word()));
            lease(
                client,
                server,
                &mut choices,
                pcp_request,
                |request, bytes| {
                    let _ = request.response(bytes);
                },
                pcp_answer,
            );
        }
        1 => {
            let client = natpmp::Client::new(server);
            let read = |request: &natpmp::Request, bytes: &[u8]| {
                let _ = request.response(bytes);
            };
            lease(client, server, &mut choices, natpmp_request, read, natpmp_answer);
        }
        _ => gateway(&mut choices),
    }
}

/// A client that leases ports: every request ends once, nobody but the server ends it with an answer, and nothing goes to
/// anybody else.
fn lease<D: Dialect<Request: Debug, Reply: Debug, Refusal: Debug>>(
    mut client: Client<D>,
    server: SocketAddr,
    choices: &mut Choices<'_>,
    ask: impl Fn(&mut Choices<'_>) -> D::Request,
    read: impl Fn(&D::Request, &[u8]),
    answer: impl Fn(&[u8], &mut Choices<'_>) -> Vec<u8>,
) {
    let mut now = Instant::EPOCH;
    let (mut asked, mut ended, mut sent) = (0, 0, Vec::new());
    let take = |client: &mut Client<D>, may_be_answered: bool, ended: &mut usize, sent: &mut Vec<u8>| {
        for output in conformance::drain(client) {
            match output {
                Output::Transmit { to, bytes } => {
                    assert_eq!(to, server);
                    *sent = bytes;
                }
                Output::Done(result) => {
                    assert!(may_be_answered || result.is_err(), "{result:?} by nobody");
                    *ended += 1;
                }
                Output::Restarted => assert!(may_be_answered),
            }
        }
    };
    while !choices.is_over() {
        let mut is_server = false;
        let input = match choices.below(5) {
            0 => {
                let request = ask(choices);
                asked += 1;
                read(&request, choices.bytes(80));
                Input::Ask { request, patience: *choices.one_of(&PATIENCE) }
            }
            1 | 2 => {
                let from: SocketAddr = choices.one_of(&PLACES).parse().expect("an address");
                is_server = from == server;
                let mut bytes = answer(&sent, choices);
                choices.mutate(&mut bytes);
                Input::Datagram { from, bytes }
            }
            3 => {
                now = client.poll_timeout().map_or(now, |deadline| deadline.at).max(now);
                now += Duration::from_millis(u64::from(choices.word()) / 8);
                Input::Timeout
            }
            _ => Input::Unreachable,
        };
        client.handle_input(now, input);
        take(&mut client, is_server, &mut ended, &mut sent);
        while client.poll_timeout().is_some_and(|deadline| deadline.at <= now) {
            client.handle_input(now, Input::Timeout);
            take(&mut client, false, &mut ended, &mut sent);
        }
        conformance::spurious_timeout_does_nothing(&mut client, now);
    }
    while let Some(deadline) = client.poll_timeout() {
        now = deadline.at.max(now);
        client.handle_input(now, Input::Timeout);
        take(&mut client, false, &mut ended, &mut sent);
    }
    assert_eq!(asked, ended, "every request ends once");
}

fn protocol(choices: &mut Choices<'_>) -> Protocol {
    *choices.one_of(&[Protocol::Udp, Protocol::Tcp])
}

fn pcp_request(choices: &mut Choices<'_>) -> pcp::Request {
    let suggested = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), choices.word());
    match choices.below(4) {
        0 => pcp::Request::Announce,
        _ => pcp::Request::Map {
            nonce: [choices.byte() % 2; 12],
            protocol: protocol(choices),
            internal: choices.word(),
            suggested,
            lifetime: u32::from(choices.word()),
        },
    }
}

/// The request as it was sent, with the bits of an answer, a result and a clock.
fn pcp_answer(sent: &[u8], choices: &mut Choices<'_>) -> Vec<u8> {
    let mut bytes = sent.to_vec();
    if let Some(head) = bytes.get_mut(..24) {
        head[1] |= 0x80;
        head[3] = if choices.rarely(3) { choices.byte() % 16 } else { 0 };
        head[8..12].copy_from_slice(&u32::from(choices.word()).to_be_bytes());
    }
    bytes
}

fn natpmp_request(choices: &mut Choices<'_>) -> natpmp::Request {
    match choices.below(3) {
        0 => natpmp::Request::ExternalAddress,
        _ => natpmp::Request::Map {
            protocol: protocol(choices),
            internal: choices.word(),
            suggested: choices.word(),
            lifetime: u32::from(choices.word()),
        },
    }
}

fn natpmp_answer(sent: &[u8], choices: &mut Choices<'_>) -> Vec<u8> {
    let mut bytes = vec![0, sent.get(1).copied().unwrap_or(0) | 0x80, 0, 0];
    bytes[3] = if choices.rarely(3) { choices.byte() % 8 } else { 0 };
    bytes.extend(u32::from(choices.word()).to_be_bytes());
    bytes.extend(sent.get(4..8).unwrap_or_default());
    bytes.extend(choices.bytes(4));
    bytes.extend([0, 0, 0, 60]);
    bytes
}

/// UPnP: connections only to who has answered a search, or to the same gateway over IPv6, and no request that a stranger's text
/// has put a line into.
fn gateway(choices: &mut Choices<'_>) {
    let mut client = upnp::Client::new(GATEWAY.into());
    let mut now = Instant::EPOCH;
    let (mut asked, mut ended) = (0, 0);
    let (mut answered, mut exchanges) = (Vec::<IpAddr>::new(), Vec::new());
    let over = SocketAddrV6::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), 0, 0, 2);
    let take = |client: &mut upnp::Client, answered: &[IpAddr], exchanges: &mut Vec<_>, ended: &mut usize| {
        for output in conformance::drain(client) {
            match output {
                upnp::Output::Transmit { to, .. } => assert!(to == upnp::MULTICAST || to.ip() == IpAddr::V4(GATEWAY)),
                upnp::Output::Exchange { exchange, to, bytes } => {
                    let is_over = matches!(to, SocketAddr::V6(to) if to.ip() == over.ip());
                    assert!(is_over || answered.contains(&to.ip()), "{to} has not answered");
                    let text = String::from_utf8(bytes).expect("text");
                    let head = text.split("\r\n\r\n").next().expect("a head");
                    assert!(head.lines().next().is_some_and(|line| line.ends_with(" HTTP/1.1")), "{head}");
                    assert!(head.lines().count() <= 7 && head.split('\n').all(|line| !line.starts_with(' ')), "{head}");
                    exchanges.push(exchange);
                }
                upnp::Output::Done(_) => *ended += 1,
            }
        }
    };
    while !choices.is_over() {
        let input = match choices.below(6) {
            0 => {
                asked += 1;
                upnp::Input::Ask { request: upnp_request(choices, over), patience: *choices.one_of(&PATIENCE) }
            }
            1 | 2 => {
                let from: SocketAddr = choices.one_of(&PLACES).parse().expect("an address");
                answered.push(from.ip());
                let mut bytes = found(from.ip(), choices);
                choices.mutate(&mut bytes);
                upnp::Input::Datagram { from, bytes }
            }
            3 => {
                now = client.poll_timeout().map_or(now, |deadline| deadline.at).max(now);
                now += Duration::from_millis(u64::from(choices.word()) / 8);
                upnp::Input::Timeout
            }
            _ => match exchanges.pop() {
                Some(exchange) if choices.rarely(8) => upnp::Input::Failed { exchange },
                Some(exchange) => {
                    let mut bytes = response(choices);
                    choices.mutate(&mut bytes);
                    assert!(upnp::http::is_whole(&bytes) || bytes.len() < upnp::http::MAX_RESPONSE);
                    upnp::Input::Response { exchange, bytes }
                }
                None => upnp::Input::Timeout,
            },
        };
        client.handle_input(now, input);
        take(&mut client, &answered, &mut exchanges, &mut ended);
        while client.poll_timeout().is_some_and(|deadline| deadline.at <= now) {
            client.handle_input(now, upnp::Input::Timeout);
            take(&mut client, &answered, &mut exchanges, &mut ended);
        }
        conformance::spurious_timeout_does_nothing(&mut client, now);
    }
    while let Some(deadline) = client.poll_timeout() {
        now = deadline.at.max(now);
        client.handle_input(now, upnp::Input::Timeout);
        take(&mut client, &answered, &mut exchanges, &mut ended);
    }
    assert_eq!(asked, ended, "every request ends once");
}

fn upnp_request(choices: &mut Choices<'_>, gateway: SocketAddrV6) -> upnp::Request {
    let (internal, suggested) = (choices.word(), choices.word());
    match choices.below(5) {
        0 => upnp::Request::ExternalAddress,
        1 => upnp::Request::Unmap { protocol: protocol(choices), external: suggested },
        2 => upnp::Request::Close { gateway, id: suggested },
        3 => {
            let client = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);
            upnp::Request::Open { gateway, protocol: protocol(choices), client, port: internal, lifetime: 60 }
        }
        _ => upnp::Request::Map { protocol: protocol(choices), client: OWN, internal, suggested, lifetime: 60 },
    }
}

/// An answer to a search.
fn found(at: IpAddr, choices: &mut Choices<'_>) -> Vec<u8> {
    let kind =
        *choices.one_of(&["device:InternetGatewayDevice:1", "service:WANIPConnection:2", "device:MediaServer:1"]);
    let path = String::from_utf8_lossy(choices.bytes(6)).into_owned();
    format!("HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:{kind}\r\nLOCATION: http://{at}:5000/{path}\r\n\r\n").into()
}

/// What comes back by a connection: a description, a reply, a fault, in a whole response or not.
fn response(choices: &mut Choices<'_>) -> Vec<u8> {
    let body = match choices.below(4) {
        0 => {
            let service = |kind: &str, control: &str| {
                format!(
                    "<service><serviceType>urn:schemas-upnp-org:service:{kind}</serviceType>\
                     <controlURL>{control}</controlURL></service>"
                )
            };
            let control = String::from_utf8_lossy(choices.bytes(8)).into_owned();
            let kind = *choices.one_of(&["WANIPConnection:1", "WANIPConnection:2", "WANPPPConnection:1"]);
            let base =
                *choices.one_of(&["", "<URLBase>http://192.168.1.1:1/</URLBase>", "<URLBase>http://x/</URLBase>"]);
            format!("<root>{base}{}{}</root>", service(kind, &control), service("WANIPv6FirewallControl:1", "/fw"))
        }
        1 => {
            const ACTIONS: [&str; 6] = [
                "GetExternalIPAddress",
                "AddPortMapping",
                "AddAnyPortMapping",
                "DeletePortMapping",
                "AddPinhole",
                "DeletePinhole",
            ];
            let (action, value) = (*choices.one_of(&ACTIONS), choices.word());
            format!(
                "<e><u:{action}Response><NewExternalIPAddress>198.51.100.{0}</NewExternalIPAddress>\
                 <NewReservedPort>{value}</NewReservedPort><UniqueID>{value}</UniqueID></u:{action}Response></e>",
                value % 300
            )
        }
        2 => {
            let code = *choices.one_of(&[401, 402, 501, 606, 701, 702, 718, 724, 725, 729]);
            format!("<e><errorCode>{code}</errorCode><errorDescription>x</errorDescription></e>")
        }
        _ => String::from_utf8_lossy(choices.bytes(60)).into_owned(),
    };
    match choices.below(3) {
        0 => format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
        1 => format!("HTTP/1.1 500 X\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        _ => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
    }
    .into()
}
