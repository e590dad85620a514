//! Two hosts with our engine as the router between them, for measurements: `crossing behaviour|rules offload|plain`.
//!
//! Says the processes that hold the namespaces of the host inside and of the host outside, whose addresses are those of
//! `Crossing`, and carries packets until its standard input ends.

use std::error::Error;
use std::io::Read;

use pinhole_host::gateway::Plane;
use pinhole_netfilter::behaviour::Behaviour;
use pinhole_netns::{Crossing, Offload};

/// What a plain Linux router with one public address has.
const RULES: &str = "*nat\n-A POSTROUTING -o wan -j MASQUERADE\nCOMMIT\n";

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let offload = match words.get(1) {
        Some(&"offload") => Offload::Offered,
        Some(&"plain") => Offload::None,
        _ => return Err("usage: crossing behaviour|rules offload|plain".into()),
    };
    let plane = match words[0] {
        "behaviour" => Plane::behaviour(Behaviour::rfc4787(), [Crossing::EXTERNAL], Crossing::GATEWAY, 1),
        "rules" => {
            let [lan, wan] = Crossing::interfaces(offload);
            Plane::rules(RULES, "", lan, wan, 1)?
        }
        other => return Err(format!("{other}: neither behaviour nor rules").into()),
    };
    let crossing = Crossing::build("crossing", plane, offload)?;
    println!("{} {}", crossing.inside().pid(), crossing.outside().pid());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
