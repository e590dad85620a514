//! What Linux's connection tracking and NAT are known for, behaviour by behaviour: `docs/conformance.md` has the list, and
//! which test holds each line of it.

mod core;
mod nat;

use std::net::Ipv4Addr;

use pinhole_netfilter::explain::{self, FlowState};
use pinhole_netfilter::rules::Ruleset;
use pinhole_netfilter::settings::{Personality, Settings};
use pinhole_netfilter::{Interface, InterfaceId, Packet, Reason, Router, Status, Verdict};
use pinhole_sansio::{Duration, Instant};
use pinhole_wire::text;

/// A home router: `lan` 10.0.0.254/24, `wan` 203.0.113.1/24, all else behind `wan`.
struct Home {
    router: Router,
    lan: InterfaceId,
    wan: InterfaceId,
    now: Instant,
}

impl Home {
    fn like(personality: Personality, rules: &str) -> Self {
        let mut router = Router::new(Settings::of(personality), 3);
        let net = |text: &str| text.parse().expect("a network");
        let lan = router.add_interface(Interface::new("lan", [net("10.0.0.254/24")]));
        let wan = router.add_interface(Interface::new("wan", [net("203.0.113.1/24")]));
        router.add_route(net("0.0.0.0/0"), wan);
        router.set_rules_v4(Ruleset::<Ipv4Addr>::parse(rules).expect("rules"));
        Self { router, lan, wan, now: Instant::from_millis(1_000) }
    }

    fn new(rules: &str) -> Self {
        Self::like(Personality::V6_18, rules)
    }

    /// Without a rule.
    fn plain() -> Self {
        Self::new("")
    }

    fn masquerading() -> Self {
        Self::new("*nat\n-A POSTROUTING -o wan -j MASQUERADE\nCOMMIT\n")
    }

    fn pass(&mut self, input: InterfaceId, line: &str) -> Result<String, Reason> {
        let mut packet = Packet::from(text::read(line).expect("a packet"));
        let verdict = self.router.process(self.now, input, &mut packet);
        Self::outcome(verdict, &packet)
    }

    fn outcome(verdict: Verdict, packet: &Packet) -> Result<String, Reason> {
        match verdict {
            Verdict::Forward(_) => Ok(text::write(&packet.bytes)),
            Verdict::Deliver => Ok(format!("local {}", text::write(&packet.bytes))),
            Verdict::Hold => Ok("hold".into()),
            Verdict::Drop(reason) => Err(reason),
        }
    }

    /// From inside.
    fn out(&mut self, line: &str) -> Result<String, Reason> {
        self.pass(self.lan, line)
    }

    /// From outside.
    fn back(&mut self, line: &str) -> Result<String, Reason> {
        self.pass(self.wan, line)
    }

    /// From the router itself.
    fn own(&mut self, line: &str) -> Result<String, Reason> {
        let mut packet = Packet::from(text::read(line).expect("a packet"));
        let verdict = self.router.send(self.now, &mut packet, &mut ());
        Self::outcome(verdict, &packet)
    }

    /// The source port with which a packet from inside leaves.
    fn port(&mut self, line: &str) -> u16 {
        let out = self.out(line).expect("it passes");
        let source = out.split(' ').next().expect("a source");
        source.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
    }

    fn wait(&mut self, seconds: f64) {
        self.now += Duration::from_secs_f64(seconds);
    }

    fn flows(&mut self) -> Vec<FlowState> {
        explain::flows(&mut self.router, self.now, usize::MAX)
    }

    fn flow(&mut self) -> FlowState {
        let flows = self.flows();
        let [flow] = &flows[..] else { panic!("{flows:?}") };
        flow.clone()
    }

    fn set(&mut self, name: &str, value: &str) {
        self.router.set(name, value).expect("a setting");
    }

    /// A flow that was answered and is a stream.
    fn assured(&mut self, inside: &str, peer: &str) {
        for _ in 0..2 {
            self.out(&format!("{inside} > {peer} udp 8")).expect("it passes");
            self.back(&format!("{peer} > {inside} udp 8")).expect("it passes");
            self.wait(2.1);
        }
        assert!(self.flows().iter().any(|flow| flow.status.contains(Status::ASSURED)));
    }
}
