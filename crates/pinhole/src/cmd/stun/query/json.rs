//! Findings for machines.

use pinhole_stun::client::Transport;
use pinhole_traversal::discovery::{
    Allocation, Dependence, Hairpin, Lifetime, Observation, Outcome, Pooling, Question, Report, Translation, Verdict,
};
use serde_json::{Value, json};

use super::discover::Findings;
use crate::cmd::doctor::layer;

pub(super) fn findings(findings: &Findings) -> Value {
    let servers: Vec<Value> = findings
        .servers
        .iter()
        .map(|named| json!({ "name": named.name, "address": named.address.to_string() }))
        .collect();
    json!({
        "servers": servers,
        "udp_blocked": findings.udp_blocked().map(|blocked| verdict(&blocked, |is| json!(is))),
        "layers": findings.layers.as_ref().map(|layers| layers.iter().map(layer).collect::<Vec<Value>>()),
        "udp": findings.udp.as_ref().map(report),
        "tcp": findings.tcp.as_ref().map(report),
    })
}

fn report(report: &Report) -> Value {
    let classic = report.classic();
    let servers: Vec<Value> = report
        .servers
        .iter()
        .map(|server| {
            json!({
                "address": server.address.to_string(),
                "mapped": server.answer.as_ref().ok().map(ToString::to_string),
                "error": server.answer.as_ref().err().map(ToString::to_string),
                "other": server.other.map(|other| other.to_string()),
                "software": server.software,
                "used": server.is_used,
            })
        })
        .collect();
    json!({
        "transport": match report.transport { Transport::Datagram => "udp", Transport::Stream => "tcp" },
        "took_s": report.took.as_secs_f64(),
        "answered": report.is_answered(),
        "type": classic.map(|classic| classic.to_string()),
        "number": classic.and_then(|classic| classic.number()),
        "local": report.local.map(|local| local.to_string()),
        "mapped": report.mapped.map(|mapped| mapped.to_string()),
        "servers": servers,
        "nat": verdict(&report.translation, |translation| json!(*translation == Translation::Translated)),
        "mapping": verdict(&report.mapping, dependence),
        "filtering": verdict(&report.filtering, dependence),
        "hairpinning": verdict(&report.hairpin, |hairpin| json!(match hairpin {
            Hairpin::ExternalSource => "external-source",
            Hairpin::InternalSource => "internal-source",
            Hairpin::None => "none",
        })),
        "allocation": verdict(&report.allocation, allocation),
        "parity": verdict(&report.parity, |keeps| json!(keeps)),
        "pooling": verdict(&report.pooling, |pooling| json!(match pooling {
            Pooling::Paired => "paired",
            Pooling::Arbitrary => "arbitrary",
        })),
        "poisoning": verdict(&report.poisoning, |poisons| json!(poisons)),
        "outermost_filter": verdict(&report.outermost_filter, |hops| json!(hops)),
        "filtering_beyond": verdict(&report.filtering_beyond, dependence),
        "lifetime": verdict(&report.lifetime, lifetime),
        "stream_lifetime": verdict(&report.stream_lifetime, lifetime),
        "observations": report.observations.iter().map(observation).collect::<Vec<Value>>(),
    })
}

/// `value` is the answer, or null; `possible` is what is left.
fn verdict<T>(verdict: &Verdict<T>, word: impl Fn(&T) -> Value) -> Value {
    json!({
        "value": verdict.value().map(&word),
        "possible": verdict.possible.iter().map(&word).collect::<Vec<Value>>(),
        "confidence": verdict.confidence.to_string(),
        "evidence": verdict.evidence,
        "notes": verdict.notes.iter().map(ToString::to_string).collect::<Vec<String>>(),
    })
}

fn dependence(dependence: &Dependence) -> Value {
    dependence.to_string().into()
}

fn allocation(allocation: &Allocation) -> Value {
    match allocation {
        Allocation::Preserving => json!({ "kind": "preserving" }),
        Allocation::Sequential { step } => json!({ "kind": "sequential", "step": step }),
        Allocation::Block { runs } => {
            let runs: Vec<[u16; 2]> = runs.iter().map(|run| [*run.start(), *run.end()]).collect();
            json!({ "kind": "block", "runs": runs })
        }
        Allocation::Random { seen } => json!({ "kind": "random", "lowest": seen.start(), "highest": seen.end() }),
    }
}

fn lifetime(lifetime: &Lifetime) -> Value {
    json!({
        "survived_s": lifetime.survived.as_secs_f64(),
        "died_s": lifetime.died.map(|died| died.as_secs_f64()),
    })
}

fn observation(observation: &Observation) -> Value {
    let mut value = json!({
        "at_s": observation.at.as_secs_f64(),
        "local": observation.local.map(|local| local.to_string()),
        "asked": observation.asked.to_string(),
        "question": question(&observation.question),
        "attempts": observation.attempts,
    });
    let (outcome, from) = match &observation.outcome {
        Outcome::Mapped { mapped, from } => {
            value["mapped"] = mapped.to_string().into();
            ("answer", Some(from))
        }
        Outcome::Arrived { from } => ("arrived", Some(from)),
        Outcome::Silence => ("silence", None),
        Outcome::Elsewhere { from } => ("from-elsewhere", Some(from)),
        Outcome::Refused => ("refused", None),
    };
    value["outcome"] = outcome.into();
    value["from"] = from.map(ToString::to_string).into();
    value
}

fn question(question: &Question) -> Value {
    match question {
        Question::Reach => json!({ "kind": "reach" }),
        Question::Mapping { round } => json!({ "kind": "mapping", "round": round }),
        Question::Filter { round, change } => {
            json!({ "kind": "filter", "round": round, "change_ip": change.ip, "change_port": change.port })
        }
        Question::Control { round, change } => {
            json!({ "kind": "control", "round": round, "change_ip": change.ip, "change_port": change.port })
        }
        Question::Call { round, change } => {
            json!({ "kind": "call", "round": round, "change_ip": change.ip, "change_port": change.port })
        }
        Question::Poison { round } => json!({ "kind": "poison", "round": round }),
        Question::Port { number } => json!({ "kind": "port", "number": number }),
        Question::HairpinUnasked => json!({ "kind": "hairpin", "stage": 0 }),
        Question::HairpinAddress => json!({ "kind": "hairpin", "stage": 1 }),
        Question::HairpinBoth => json!({ "kind": "hairpin", "stage": 2 }),
        Question::Depth { hops, change } => {
            json!({ "kind": "depth", "hops": hops, "change_ip": change.ip, "change_port": change.port })
        }
        Question::Lifetime { silence_ms, stream } => {
            json!({ "kind": "lifetime", "silence_s": f64::from(*silence_ms) / 1_000.0, "stream": stream })
        }
    }
}
