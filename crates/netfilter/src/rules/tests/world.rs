//! A packet to ask about, an engine that writes down what it is told, and the one check of this module.

use core::net::Ipv4Addr;
use core::time::Duration;

use pinhole_sansio::Instant;

use crate::rules::{
    AddressKind, Decision, Delivery, Device, Effect, Flow, Hook, Host, Ruleset, Sets, Subject, TableName, Tracking,
};
use crate::status::{CtInfo, Status};
use crate::tuple::{Address, Tuple};

/// A TCP segment from 10.0.0.5:40000 to 192.0.2.1:80 with SYN, a window scale option and a payload.
pub(super) const SYN: [u8; 26] =
    [0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 0x02, 0xff, 0xff, 0, 0, 0, 0, 1, 3, 3, 7, b'h', b'i'];

/// [`SYN`], come in by lan0 and about to leave by wan, of a new flow.
pub(super) fn subject() -> Subject<'static, Ipv4Addr> {
    Subject {
        now: Instant::from_millis(1_000_000),
        input: Device::named("lan0"),
        output: Device::named("wan"),
        src: Ipv4Addr::new(10, 0, 0, 5),
        dst: Ipv4Addr::new(192, 0, 2, 1),
        protocol: 6,
        body: Some(&SYN),
        length: 46,
        ttl: 64,
        mark: 0,
        delivery: Delivery::Unicast,
        tracking: Tracking::Flow(flow()),
    }
}

/// The flow of [`subject`], its source translated to 203.0.113.1:1024.
pub(super) fn flow() -> Flow<'static, Ipv4Addr> {
    let original = Tuple {
        src: Ipv4Addr::new(10, 0, 0, 5),
        dst: Ipv4Addr::new(192, 0, 2, 1),
        src_id: 40_000,
        dst_id: 80,
        protocol: 6,
    };
    let reply = Tuple { src: original.dst, dst: Ipv4Addr::new(203, 0, 113, 1), src_id: 80, dst_id: 1_024, protocol: 6 };
    Flow {
        info: CtInfo::New,
        status: Status::SRC_NAT | Status::NAT_DONE,
        original,
        reply,
        zone: 0,
        mark: 0x30,
        remaining: Duration::from_secs(120),
        master_helper: None,
    }
}

/// An engine that writes down what it is told; 192.0.2.1 is its own, 192.0.2.255 is everybody.
#[derive(Debug, Default)]
pub(super) struct Scribe {
    pub told: Vec<String>,
}

impl<A: Address> Host<A> for Scribe {
    fn kind(&mut self, address: A, device: Option<Device>) -> AddressKind {
        match address.to_string().as_str() {
            "192.0.2.1" if device.is_none_or(|device| device == Device::named("wan")) => AddressKind::Local,
            "192.0.2.255" => AddressKind::Broadcast,
            _ => AddressKind::Unicast,
        }
    }

    fn apply(&mut self, effect: Effect<'_>) {
        self.told.push(match effect {
            Effect::Mark(mark) => format!("mark {mark:#x}"),
            Effect::FlowMark(mark) => format!("flow mark {mark:#x}"),
            Effect::Untrack => "untrack".into(),
            Effect::Template(template) => format!("template {template:?}"),
            Effect::Log(log) => format!("log {}", log.prefix),
            Effect::Trace => "trace".into(),
        });
    }
}

/// The rules that are `lines` of `table`, each in the chain that it names; chains of the user are those that lines declare.
pub(super) fn rules(table: TableName, lines: &str) -> Ruleset<Ipv4Addr> {
    rules_with(table, lines, Sets::default())
}

/// The same with sets.
pub(super) fn rules_with(table: TableName, lines: &str, sets: Sets<Ipv4Addr>) -> Ruleset<Ipv4Addr> {
    let text = format!("*{table}\n{lines}\nCOMMIT\n");
    Ruleset::parse_with(&text, sets).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// What `ruleset` decides about `subject`, and what it tells the engine.
pub(super) fn ask<A: Address>(
    ruleset: &mut Ruleset<A>,
    (table, hook): (TableName, Hook),
    subject: &Subject<'_, A>,
) -> (Decision<A>, Vec<String>) {
    let mut scribe = Scribe::default();
    let decision = ruleset.run(table, hook, subject, &mut scribe, &mut ());
    (decision, scribe.told)
}

/// Whether a rule with these criteria matches `subject` in FORWARD; none if it drops it for being too short.
pub(super) fn matches(criteria: &str, subject: &Subject<'_, Ipv4Addr>) -> Option<bool> {
    matches_with(criteria, subject, Sets::default())
}

/// The same with sets.
pub(super) fn matches_with(criteria: &str, subject: &Subject<'_, Ipv4Addr>, sets: Sets<Ipv4Addr>) -> Option<bool> {
    let lines = format!("-A FORWARD {criteria} -j LOG --log-prefix yes\n-A FORWARD -j ACCEPT");
    let mut ruleset = rules_with(TableName::Filter, &lines, sets);
    match ask(&mut ruleset, (TableName::Filter, Hook::Forward), subject) {
        (Decision::Accept, told) => Some(!told.is_empty()),
        _ => None,
    }
}
