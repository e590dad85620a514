use pinhole_sansio::conformance;

use super::*;

const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 1));
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);
const PATIENCE: Duration = Duration::from_secs(8);
const MAP: Request =
    Request::Map { protocol: Protocol::Udp, client: CLIENT, internal: 51_820, suggested: 51_820, lifetime: 60 };

/// A description as miniupnpd has it, with `service` in it.
fn description(service: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\n<root xmlns=\"urn:schemas-upnp-org:device-1-0\"><specVersion><major>1</major></specVersion>\
         <device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><serviceList><service>\
         <serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType><controlURL>/ctl/L3F</controlURL></service>\
         </serviceList><deviceList><device><deviceList><device><serviceList>{service}</serviceList></device></deviceList>\
         </device></deviceList></device></root>"
    )
}

fn service(kind: &str) -> String {
    format!(
        "<service><serviceType>urn:schemas-upnp-org:service:{kind}</serviceType><serviceId>x</serviceId><controlURL>/ctl/IPConn\
         </controlURL></service>"
    )
}

fn reply(action: &str, arguments: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body><u:{action}Response \
         xmlns:u=\"urn:schemas-upnp-org:service:WANIPConnection:1\">{arguments}</u:{action}Response></s:Body></s:Envelope>"
    )
}

fn fault(code: u16) -> String {
    format!(
        "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body><s:Fault><faultcode>s:Client</faultcode>\
         <detail><UPnPError xmlns=\"urn:schemas-upnp-org:control-1-0\"><errorCode>{code}</errorCode><errorDescription>No\n!\
         </errorDescription></UPnPError></detail></s:Fault></s:Body></s:Envelope>"
    )
}

/// A router that describes itself and answers each call as it is told; what was called.
struct Router<F> {
    description: String,
    answer: F,
    called: Vec<String>,
}

impl<F: FnMut(&str) -> String> Router<F> {
    fn new(kind: &str, answer: F) -> Self {
        Self { description: description(&service(kind)), answer, called: Vec::new() }
    }

    fn serve(&mut self, request: &[u8]) -> Vec<u8> {
        let text = String::from_utf8(request.to_vec()).expect("text");
        let body = if text.starts_with("GET /rootDesc.xml ") {
            self.description.clone()
        } else {
            assert!(text.starts_with("POST /ctl/IPConn HTTP/1.1\r\n"), "{text}");
            self.called.push(text.clone());
            (self.answer)(&text)
        };
        let status = if body.contains("Fault") { "500 Internal Server Error" } else { "200 OK" };
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    /// Runs `request` to its end.
    fn run(&mut self, request: Request) -> Result<Reply, Failure> {
        let mut client = Client::new(GATEWAY);
        self.run_with(&mut client, Instant::EPOCH, request)
    }

    fn run_with(&mut self, client: &mut Client, now: Instant, request: Request) -> Result<Reply, Failure> {
        client.handle_input(now, Input::Ask { request, patience: PATIENCE });
        let mut answered = false;
        loop {
            conformance_holds(client, now);
            match client.poll_output().expect("it comes to an end") {
                Output::Transmit { .. } if answered => {}
                Output::Transmit { .. } => {
                    answered = true;
                    client.handle_input(now, found(GATEWAY));
                }
                Output::Exchange { exchange, to, bytes } => {
                    assert_eq!(to, SocketAddr::new(GATEWAY, 5000));
                    let bytes = self.serve(&bytes);
                    client.handle_input(now, Input::Response { exchange, bytes });
                }
                Output::Done(result) => return result,
            }
        }
    }
}

/// A spurious timeout while outputs wait must not add any.
fn conformance_holds(client: &mut Client, now: Instant) {
    let before = (client.outputs.len(), client.poll_timeout());
    client.handle_input(now, Input::Timeout);
    assert_eq!(before, (client.outputs.len(), client.poll_timeout()));
}

fn found(at: IpAddr) -> Input {
    let text = format!(
        "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\
         USN: uuid:1::urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nEXT:\r\nSERVER: Debian/12 UPnP/1.1 MiniUPnPd/2.3.1\
         \r\nLOCATION: http://{at}:5000/rootDesc.xml\r\n\r\n"
    );
    Input::Datagram { from: SocketAddr::new(at, 1900), bytes: text.into_bytes() }
}

#[test]
fn the_outside_address_is_asked_for_and_absence_is_told() {
    let answer = |address: &'static str| {
        let arguments = format!("<NewExternalIPAddress>{address}</NewExternalIPAddress>");
        Router::new("WANIPConnection:1", |_| reply("GetExternalIPAddress", &arguments)).run(Request::ExternalAddress)
    };
    let outside = "100.64.0.9".parse().expect("an address");
    assert_eq!(answer("100.64.0.9"), Ok(Reply::ExternalAddress(Some(outside))));
    assert_eq!(answer(""), Ok(Reply::ExternalAddress(None)));
    assert_eq!(answer("0.0.0.0"), Ok(Reply::ExternalAddress(None)));
}

#[test]
fn version_2_chooses_the_port_and_version_1_is_told_it() {
    let mut second =
        Router::new("WANIPConnection:2", |_| reply("AddAnyPortMapping", "<NewReservedPort>40001</NewReservedPort>"));
    assert_eq!(second.run(MAP), Ok(Reply::Mapped { external: 40_001, lifetime: 60 }));
    let mut first = Router::new("WANIPConnection:1", |_| reply("AddPortMapping", ""));
    assert_eq!(first.run(MAP), Ok(Reply::Mapped { external: 51_820, lifetime: 60 }));
    let call = &first.called[0];
    for part in [
        "SOAPAction: \"urn:schemas-upnp-org:service:WANIPConnection:1#AddPortMapping\"\r\n",
        "<NewRemoteHost></NewRemoteHost><NewExternalPort>51820</NewExternalPort><NewProtocol>UDP</NewProtocol>",
        "<NewInternalPort>51820</NewInternalPort><NewInternalClient>192.168.1.10</NewInternalClient>",
        "<NewLeaseDuration>60</NewLeaseDuration>",
    ] {
        assert!(call.contains(part), "{part} in {call}");
    }
    let length: usize = call
        .split("Content-Length: ")
        .nth(1)
        .and_then(|rest| rest.lines().next())
        .expect("a length")
        .parse()
        .expect("a number");
    assert_eq!(call.split("\r\n\r\n").nth(1).map(str::len), Some(length));
}

#[test]
fn objections_of_routers_are_met() {
    let permanent = |text: &str| match text.contains("<NewLeaseDuration>0<") {
        true => reply("AddPortMapping", ""),
        false => fault(725),
    };
    assert_eq!(
        Router::new("WANIPConnection:1", permanent).run(MAP),
        Ok(Reply::Mapped { external: 51_820, lifetime: 0 })
    );
    let taken = |text: &str| match text.contains("<NewExternalPort>51820<") {
        true => fault(718),
        false => reply("AddPortMapping", ""),
    };
    let moved = Router::new("WANIPConnection:1", taken).run(MAP);
    assert!(matches!(moved, Ok(Reply::Mapped { external, lifetime: 60 }) if external != 51_820), "{moved:?}");
    let in_name_only = |text: &str| match text.contains("AddAnyPortMapping") {
        true => fault(401),
        false => reply("AddPortMapping", ""),
    };
    let mapped = Ok(Reply::Mapped { external: 51_820, lifetime: 60 });
    assert_eq!(Router::new("WANIPConnection:2", in_name_only).run(MAP), mapped);
    let mut stubborn = Router::new("WANPPPConnection:1", |_: &str| fault(718));
    assert_eq!(stubborn.run(MAP), Err(Failure::Refused { code: 718, text: "No!".into() }));
    assert!(stubborn.called.len() <= MAX_CALLS as usize + 1);
    let mut forbidding = Router::new("WANIPConnection:1", |_: &str| fault(606));
    assert_eq!(forbidding.run(MAP), Err(Failure::Refused { code: 606, text: "No!".into() }));
    assert_eq!(forbidding.called.len(), 1);
}

#[test]
fn a_gateway_that_is_known_is_not_searched_for_again() {
    let mut router = Router::new("WANIPConnection:1", |text: &str| match text.contains("DeletePortMapping") {
        true => reply("DeletePortMapping", ""),
        false => reply("AddPortMapping", ""),
    });
    let mut client = Client::new(GATEWAY);
    router.run_with(&mut client, Instant::EPOCH, MAP).expect("a mapping");
    conformance::drain(&mut client);
    let unmap = Request::Unmap { protocol: Protocol::Udp, external: 51_820 };
    client.handle_input(Instant::from_millis(10), Input::Ask { request: unmap, patience: PATIENCE });
    assert!(matches!(client.poll_output(), Some(Output::Exchange { .. })));
}

#[test]
fn pinholes_are_opened_over_ipv6_at_the_gateway_that_was_found_and_closed_by_their_number() {
    let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    let gateway = SocketAddrV6::new(link_local, 0, 0, 3);
    let client = Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 0x10);
    let open = Request::Open { gateway, protocol: Protocol::Udp, client, port: 51_820, lifetime: 120 };
    let firewall = service("WANIPv6FirewallControl:1").replace("/ctl/IPConn", "/ctl/FW6");
    let run = |body: &str, kinds: &str, request| {
        let mut machine = Client::new(GATEWAY);
        machine.handle_input(Instant::EPOCH, Input::Ask { request, patience: PATIENCE });
        machine.handle_input(Instant::EPOCH, found(GATEWAY));
        let (mut calls, mut ended) = (Vec::new(), None);
        while let Some(output) = machine.poll_output() {
            match output {
                Output::Transmit { .. } => {}
                Output::Exchange { exchange, to, bytes } => {
                    let text = String::from_utf8(bytes).expect("text");
                    let body = if text.starts_with("GET ") { &description(kinds) } else { body };
                    calls.push((to, text));
                    let bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                    machine.handle_input(Instant::EPOCH, Input::Response { exchange, bytes: bytes.into() });
                }
                Output::Done(result) => ended = Some(result),
            }
        }
        (calls, ended.expect("an end"))
    };
    let both = format!("{}{firewall}", service("WANIPConnection:1"));
    let (calls, ended) = run(&reply("AddPinhole", "<UniqueID>7</UniqueID>"), &both, open);
    assert_eq!(ended, Ok(Reply::Opened { id: 7 }));
    let (to, call) = calls.last().expect("a call");
    assert_eq!(*to, SocketAddrV6::new(link_local, 5000, 0, 3).into());
    for part in [
        "POST /ctl/FW6 HTTP/1.1\r\nHost: [fe80::1]:5000\r\n",
        "<RemoteHost></RemoteHost><RemotePort>0</RemotePort><InternalClient>2001:db8:77::10</InternalClient>",
        "<InternalPort>51820</InternalPort><Protocol>17</Protocol><LeaseTime>120</LeaseTime>",
    ] {
        assert!(call.contains(part), "{part} in {call}");
    }
    let (_, ended) = run(&reply("DeletePinhole", ""), &both, Request::Close { gateway, id: 7 });
    assert_eq!(ended, Ok(Reply::Closed));
    let (_, ended) = run(&fault(702), &both, open);
    assert_eq!(ended, Err(Failure::Refused { code: 702, text: "No!".into() }));
    let (_, ended) = run(&reply("AddPinhole", ""), &both, open);
    assert_eq!(ended, Err(Failure::Broken), "without a number it cannot be closed");
    let (calls, ended) = run("", &service("WANIPConnection:1"), open);
    assert_eq!((calls.len(), ended), (1, Err(Failure::NoFirewall)));
}

#[test]
fn what_is_broken_is_told_and_not_believed() {
    for answer in ["", "<a/>", "<s:Envelope><s:Body><u:OtherResponse/></s:Body></s:Envelope>"] {
        let result = Router::new("WANIPConnection:1", |_: &str| answer.to_owned()).run(Request::ExternalAddress);
        assert_eq!(result, Err(Failure::Broken), "{answer}");
    }
    let mut router = Router::new("WANIPConnection:1", |_: &str| String::new());
    for text in [String::new(), "garbage".into(), description(""), description(&service("Other:1"))] {
        router.description = text;
        assert_eq!(router.run(Request::ExternalAddress), Err(Failure::Broken));
    }
    // A control address elsewhere would make us call a stranger.
    router.description = description(&service("WANIPConnection:1").replace("/ctl/IPConn", "http://192.0.2.66/ctl"));
    assert_eq!(router.run(Request::ExternalAddress), Err(Failure::Broken));
    assert!(router.called.is_empty(), "{:?}", router.called);
}

#[test]
fn silence_ends_after_three_searches_and_the_time_for_an_answer() {
    let mut client = Client::new(GATEWAY);
    client.handle_input(Instant::EPOCH, Input::Ask { request: MAP, patience: PATIENCE });
    let first = conformance::drain(&mut client);
    let to = |to: SocketAddr| {
        first.iter().filter(|output| matches!(output, Output::Transmit { to: at, .. } if *at == to)).count()
    };
    assert_eq!((to(MULTICAST), to(SocketAddr::new(GATEWAY, 1900))), (4, 4));
    let (mut searches, mut ended) = (Vec::new(), None);
    conformance::run_until(&mut client, Instant::from_millis(60_000), |now, output| match output {
        Output::Transmit { .. } => searches.push(now.as_nanos() / 1_000_000),
        Output::Exchange { .. } => panic!("nobody was found"),
        Output::Done(result) => ended = Some((now, result)),
    });
    searches.dedup();
    assert_eq!(searches, [500, 1_500]);
    assert_eq!(ended, Some((Instant::from_millis(3_000), Err(Failure::NoGateway))));
}

#[test]
fn another_device_is_asked_only_if_the_gateway_is_silent() {
    let other: IpAddr = "192.168.1.99".parse().expect("an address");
    let exchange_to = |client: &mut Client| {
        conformance::drain(client).into_iter().find_map(|output| match output {
            Output::Exchange { to, .. } => Some(to.ip()),
            Output::Transmit { .. } | Output::Done(_) => None,
        })
    };
    let start = || {
        let mut client = Client::new(GATEWAY);
        client.handle_input(Instant::EPOCH, Input::Ask { request: MAP, patience: PATIENCE });
        client.handle_input(Instant::from_millis(5), found(other));
        assert_eq!(exchange_to(&mut client), None);
        client
    };
    let mut client = start();
    client.handle_input(Instant::from_millis(900), found(GATEWAY));
    assert_eq!(exchange_to(&mut client), Some(GATEWAY));
    let mut client = start();
    client.handle_input(Instant::from_millis(2_500), Input::Timeout);
    assert_eq!(exchange_to(&mut client), Some(other));
}

#[test]
fn an_exchange_that_hangs_or_fails_ends_the_request() {
    let mut client = Client::new(GATEWAY);
    let mut ask = |at| {
        client.handle_input(at, Input::Ask { request: MAP, patience: PATIENCE });
        client.handle_input(at, found(GATEWAY));
        let exchange = conformance::drain(&mut client).into_iter().find_map(|output| match output {
            Output::Exchange { exchange, .. } => Some(exchange),
            Output::Transmit { .. } | Output::Done(_) => None,
        });
        (exchange.expect("a description is fetched"), conformance::drain(&mut client))
    };
    let (exchange, _) = ask(Instant::EPOCH);
    client.handle_input(Instant::from_millis(10), Input::Failed { exchange });
    assert_eq!(conformance::drain(&mut client), [Output::Done(Err(Failure::Broken))]);
    client.handle_input(Instant::from_millis(20), Input::Ask { request: MAP, patience: PATIENCE });
    client.handle_input(Instant::from_millis(20), found(GATEWAY));
    conformance::drain(&mut client);
    let mut ended = None;
    conformance::run_until(&mut client, Instant::from_millis(60_000), |now, output| {
        if let Output::Done(result) = output {
            ended = Some((now, result));
        }
    });
    assert_eq!(ended, Some((Instant::from_millis(4_020), Err(Failure::Broken))));
}

#[test]
fn no_bytes_make_it_panic() {
    let mut rng = pinhole_sansio::Rng::from_seed(3);
    let whole = description(&service("WANIPConnection:2"));
    for _ in 0..400 {
        let mut bytes = format!("HTTP/1.1 200 OK\r\n\r\n{whole}").into_bytes();
        bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize);
        for _ in 0..rng.below(12) {
            let length = bytes.len() as u64;
            if length > 0 {
                bytes[rng.below(length) as usize] = b"<>/&;\"\0\xff:!?["[rng.below(12) as usize];
            }
        }
        let mut client = Client::new(GATEWAY);
        client.handle_input(Instant::EPOCH, Input::Ask { request: MAP, patience: PATIENCE });
        client.handle_input(
            Instant::EPOCH,
            Input::Datagram { from: SocketAddr::new(GATEWAY, 1900), bytes: bytes.clone() },
        );
        client.handle_input(Instant::EPOCH, found(GATEWAY));
        for _ in 0..2 {
            for output in conformance::drain(&mut client) {
                if let Output::Exchange { exchange, .. } = output {
                    client.handle_input(Instant::EPOCH, Input::Response { exchange, bytes: bytes.clone() });
                }
            }
        }
    }
}
