//! Texts that people write: rules and packet scripts.

use core::net::{Ipv4Addr, Ipv6Addr};

use pinhole_netfilter::rules::{Ruleset, Sets};
use pinhole_netfilter::script::Script;
use pinhole_netfilter::tuple::Address;

/// What can be read as rules can be written and read again, and is the same then.
pub(crate) fn rules(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    rules_of::<Ipv4Addr>(&text);
    rules_of::<Ipv6Addr>(&text);
    let _ = Sets::<Ipv4Addr>::parse(&text);
    let _ = Sets::<Ipv6Addr>::parse(&text);
}

fn rules_of<A: Address>(text: &str) {
    match Ruleset::<A>::parse(text) {
        Ok(rules) => {
            let written = rules.with_counters().to_string();
            let again = Ruleset::parse(&written).unwrap_or_else(|error| panic!("{error}\n{written}"));
            assert_eq!(again, rules, "{written}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// What can be read as a script can be written and read again, and is the same then but for its numbering; its steps are in
/// order.
pub(crate) fn scripts(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(script) = text.parse::<Script>() else { return };
    let written = script.to_string();
    let again: Script = written.parse().unwrap_or_else(|error| panic!("{error}\n{written}"));
    let items = |script: &Script| script.lines.iter().map(|line| line.item.clone()).collect::<Vec<_>>();
    assert_eq!(items(&again), items(&script), "{written}");
    assert!(script.steps().is_sorted_by_key(|step| step.at));
    let _ = script.setup();
}
