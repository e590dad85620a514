//! Programs of the distribution say which NAT our engine is: Debian's `stun` asks Debian's `stund` as RFC 3489 has it, and
//! coturn's `turnutils_natdiscovery` asks coturn's `turnserver` as RFC 5780 has it.
//!
//! RFC 3489 has four names for the nine behaviours, of which three are for endpoint-independent mapping. `stun` looks at the
//! mapping first, so that all six behaviours with another mapping are "Dependent Mapping" to it, whatever they let in. RFC
//! 5780 asks about mapping and filtering apart, and knows all nine.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pinhole_host::gateway::Plane;
use pinhole_netfilter::behaviour::{Behaviour, Dependence, Hairpin, Pairing};
use pinhole_netns::Program;
use pinhole_netns::{Crossing, Offload};

use crate::support::{lacks, skip_without_privilege};

/// How long a server may take to open its sockets, on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(20);
/// Between two looks at whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// What `turnutils_natdiscovery` says of a packet from one's own mapping.
const HAIRPINNED: &str = "Received a request (maybe a successful hairpinning)";
/// What it says when it has waited for nothing.
const TIMEOUT: &str = "STUN receive timeout..";

fn skip() -> bool {
    let programs = [("stun", "stun-client"), ("stund", "stun-server")];
    let programs = programs.into_iter().chain(["turnserver", "turnutils_natdiscovery"].map(|name| (name, "coturn")));
    skip_without_privilege() || programs.fold(false, |lacking, (name, package)| lacks(name, package) || lacking)
}

/// A behaviour between a client and the servers of one kind.
struct Court {
    // Servers end before the namespace that they run in.
    _servers: Program,
    crossing: Crossing,
}

/// Who judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judge {
    /// `stun` and `stund`.
    Rfc3489,
    /// `turnutils_natdiscovery` and `turnserver`.
    Rfc5780,
}

impl Court {
    fn open(name: &str, behaviour: Behaviour, judge: Judge) -> Self {
        let plane = Plane::behaviour(behaviour, [Crossing::EXTERNAL], Crossing::GATEWAY, 1);
        let crossing = Crossing::build(name, plane, Offload::Offered).expect("two hosts and a gateway");
        let [first, second] = Crossing::OUTSIDE.map(|address| address.to_string());
        let mut command = match judge {
            Judge::Rfc3489 => {
                let mut command = Command::new("stund");
                command.args(["-h", &first, "-a", &second]);
                command
            }
            Judge::Rfc5780 => {
                let mut command = Command::new("turnserver");
                command.args(["-n", "-S", "-L", &first, "-L", &second, "--no-cli", "--no-tls", "--no-dtls"]);
                command.args(["--log-file", "stdout", "--pidfile", "/run/turnserver.pid", "--userdb", "/run/turndb"]);
                command
            }
        };
        crossing.outside().enter(&mut command);
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let court = Self { _servers: Program::start(command).expect("the server starts"), crossing };
        court.wait_for_servers();
        court
    }

    /// Waits until the two ports of both addresses are open.
    fn wait_for_servers(&self) {
        let is_open = || {
            let sockets = fs::read_to_string(format!("/proc/{}/net/udp", self.crossing.outside().pid()));
            let sockets = sockets.expect("the namespace's sockets");
            let line = |address: Ipv4Addr, port: u16| {
                // The address as the kernel prints it: a number in the byte order of the machine.
                sockets.contains(&format!("{:08X}:{port:04X}", u32::from_ne_bytes(address.octets())))
            };
            Crossing::OUTSIDE.into_iter().all(|address| line(address, 3_478) && line(address, 3_479))
        };
        let begun = Instant::now();
        while !is_open() {
            assert!(begun.elapsed() < START, "the server has not opened its ports after {START:?}");
            std::thread::sleep(LOOK);
        }
    }

    /// What a client inside says about the servers.
    fn ask(&self, program: &str, args: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(args).arg(Crossing::OUTSIDE[0].to_string());
        self.crossing.inside().enter(&mut command);
        let output = command.stdin(Stdio::null()).output().expect("the client runs");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    fn stun(&self) -> String {
        let said = self.ask("stun", &[]);
        let verdict = said.lines().find_map(|line| line.strip_prefix("Primary: ")).map(str::trim);
        verdict.unwrap_or_else(|| panic!("stun has no verdict: {said}")).to_owned()
    }

    fn discover(&self, args: &[&str]) -> String {
        self.ask("turnutils_natdiscovery", args)
    }

    /// The lines of its verdicts.
    fn discover_nat(&self) -> Vec<String> {
        let said = self.discover(&["-m", "-f"]);
        said.lines().filter(|line| line.starts_with("NAT with ")).map(str::to_owned).collect()
    }
}

/// Every mapping with every filtering, otherwise as RFC 4787 wants it.
fn nine() -> impl Iterator<Item = (Pairing, Behaviour)> {
    let pairings = Dependence::ALL.into_iter().flat_map(|mapping| Dependence::ALL.map(|f| Pairing::new(mapping, f)));
    pairings.map(|udp| (udp, Behaviour { udp, ..Behaviour::rfc4787() }))
}

/// Runs all cases at once: the judges mostly wait for packets that do not come.
fn at_once<T: Send>(cases: impl IntoIterator<Item = T>, check: impl Fn(T) + Sync) {
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(|| check(case));
        }
    });
}

#[test]
fn rfc_3489s_client_gives_each_of_the_nine_behaviours_its_name() {
    if skip() {
        return;
    }
    at_once(nine(), |(pairing, behaviour)| {
        use Dependence::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
        let kind = match (pairing.mapping, pairing.filtering) {
            (EndpointIndependent, EndpointIndependent) => "Independent Mapping, Independent Filter",
            (EndpointIndependent, AddressDependent) => "Independent Mapping, Address Dependent Filter",
            (EndpointIndependent, AddressAndPortDependent) => "Independent Mapping, Port Dependent Filter",
            (AddressDependent | AddressAndPortDependent, _) => "Dependent Mapping",
        };
        // It sends to its own mapping. With another mapping than that one as the source, it is a stranger there.
        let may = pairing.mapping == EndpointIndependent || pairing.filtering == EndpointIndependent;
        let hairpin = if may { "will hairpin" } else { "no hairpin" };
        let court = Court::open("rfc3489", behaviour, Judge::Rfc3489);
        assert_eq!(court.stun(), format!("{kind}, preserves ports, {hairpin}"), "{pairing:?}");
    });
}

#[test]
fn rfc_5780s_client_knows_each_of_the_nine_behaviours() {
    if skip() {
        return;
    }
    at_once(nine(), |(pairing, behaviour)| {
        let word = |dependence| match dependence {
            Dependence::EndpointIndependent => "Endpoint Independent",
            Dependence::AddressDependent => "Address Dependent",
            Dependence::AddressAndPortDependent => "Address and Port Dependent",
        };
        let expected = [
            format!("NAT with {} Mapping!", word(pairing.mapping)),
            format!("NAT with {} Filtering!", word(pairing.filtering)),
        ];
        let court = Court::open("rfc5780", behaviour, Judge::Rfc5780);
        assert_eq!(court.discover_nat(), expected, "{pairing:?}");
    });
}

#[test]
fn devices_that_exist_are_what_people_say_of_them() {
    if skip() {
        return;
    }
    // A home router hairpins with the inside source, which does not help a host that sends to itself.
    const PORT_RESTRICTED: &str = "Independent Mapping, Port Dependent Filter";
    let devices = [
        ("home_router", format!("{PORT_RESTRICTED}, preserves ports, no hairpin")),
        ("full_cone_router", "Independent Mapping, Independent Filter, preserves ports, will hairpin".into()),
        ("openwrt", format!("{PORT_RESTRICTED}, preserves ports, no hairpin")),
        ("linux_masquerade", format!("{PORT_RESTRICTED}, preserves ports, no hairpin")),
        ("cgn_rfc6888", "Independent Mapping, Independent Filter, random port, will hairpin".into()),
        ("cloud_nat", "Dependent Mapping, random port, no hairpin".into()),
        ("corporate_firewall", "Dependent Mapping, random port, no hairpin".into()),
    ];
    at_once(devices, |(name, expected)| {
        let behaviour = Behaviour::named(name).expect("a preset");
        let court = Court::open("device", behaviour, Judge::Rfc3489);
        assert_eq!(court.stun(), expected, "{name}");
    });
}

#[test]
fn a_packet_to_ones_own_mapping_comes_back_if_the_nat_hairpins() {
    if skip() {
        return;
    }
    // With the inside source it comes to its sender as if from itself, and no host takes such a packet from a cable.
    let cases = [(Hairpin::ExternalSource, true), (Hairpin::InternalSource, false), (Hairpin::None, false)];
    at_once(cases, |(hairpin, comes_back)| {
        let court = Court::open("hairpin", Behaviour { hairpin, ..Behaviour::rfc4787() }, Judge::Rfc5780);
        let said = court.discover(&["-H"]);
        let expected = [(HAIRPINNED, comes_back), (TIMEOUT, !comes_back)];
        let found = expected.map(|(words, _)| (words, said.contains(words)));
        assert_eq!(found, expected, "{hairpin:?}: {said}");
    });
}

#[test]
fn a_mapping_lives_as_long_as_its_timer_says() {
    if skip() {
        return;
    }
    let behaviour: Behaviour = "rfc4787 udp-timeout=3 udp-stream=3".parse().expect("a behaviour");
    // It opens a mapping, waits in silence, and has the server answer there when another socket asks.
    at_once([("1", true), ("6", false)], |(silence, lives)| {
        let court = Court::open("lifetime", behaviour, Judge::Rfc5780);
        let said = court.discover(&["-t", "-T", silence]);
        assert!(said.contains("RFC 5780 response 1"), "{said}");
        let found = (said.contains("RFC 5780 response 2"), said.contains(TIMEOUT));
        assert_eq!(found, (lives, !lives), "after {silence} s: {said}");
    });
}

#[test]
fn two_subscribers_with_the_same_port_get_different_ones() {
    if skip() {
        return;
    }
    let court = Court::open("collision", Behaviour::rfc4787(), Judge::Rfc5780);
    let [first, second, _] = Crossing::INSIDE.map(|address| address.to_string());
    let said = court.discover(&["-c", "-L", &first, "-l", "5000", "-A", &second]);
    let mapped = said.lines().filter_map(|line| line.split_once("UDP reflexive addr: "));
    let mapped: Vec<SocketAddrV4> = mapped.map(|(_, at)| at.trim().parse().expect("an endpoint")).collect();
    let &[one, other] = &mapped[..] else { panic!("two answers: {said}") };
    assert_eq!(one, SocketAddrV4::new(Crossing::EXTERNAL, 5_000));
    assert!(other.ip() == one.ip() && other.port() != one.port() && other.port() % 2 == 0, "{said}");
}
