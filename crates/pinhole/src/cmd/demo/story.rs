//! Events of agents and registry in plain words, with names in the place of keys.

use serde_json::Value;

use super::show::Tone;

/// One line about an event; `None` for one that tells a spectator nothing.
pub(super) fn tell(event: &Value, name: impl Fn(&str) -> Option<&'static str>) -> Option<(Tone, String)> {
    let text = |field: &str| event[field].as_str().unwrap_or("?").to_owned();
    let peer = |field: &str| {
        let key = event[field].as_str().unwrap_or("?");
        name(key).map_or_else(|| key.to_owned(), str::to_owned)
    };
    let yes = |field: &str| event[field].as_bool().unwrap_or(false);
    let line = match event["event"].as_str()? {
        "registry_up" => (Tone::Good, "the registry answers through the tunnel".to_owned()),
        "registry_down" => (Tone::Bad, "the registry does not answer".to_owned()),
        "observed" => (Tone::Plain, format!("learns its own mapping: {}", text("endpoint"))),
        "mapping" if text("mapping") == "endpoint-dependent" => {
            (Tone::Plain, "finds that its NAT maps it anew towards everybody".to_owned())
        }
        "hunting" if yes("looks") => {
            (Tone::Plain, format!("looks for {}, whose port towards it nobody knows", peer("peer")))
        }
        "hunting" => (Tone::Plain, format!("opens many ports, for {} to find one", peer("peer"))),
        "hole" => (Tone::Good, format!("has met {} at {}", peer("peer"), text("endpoint"))),
        "no_hole" => (Tone::Bad, format!("has not met {}: {}", peer("peer"), text("reason"))),
        "asked" => (Tone::Plain, format!("asks the registry by DNS: where is {}?", peer("peer"))),
        "answered" => {
            let part = match (yes("simultaneous"), yes("initiate")) {
                (true, true) => "; both are told at once, and this side knocks",
                (true, false) => "; both are told at once, and this side opens its NAT",
                (false, _) => "",
            };
            (Tone::Plain, format!("is answered: {} is at {}{part}", peer("peer"), text("endpoint")))
        }
        "absent" => (Tone::Plain, format!("is answered: nobody knows where {} is yet", peer("peer"))),
        "opener" => {
            let ttl = event["ttl"].as_u64().unwrap_or(0);
            (Tone::Plain, format!("punches its own NAT: an opener to {} that dies after {ttl} hops", text("to")))
        }
        "handshake" => (Tone::Plain, format!("starts a handshake with {} at {}", peer("peer"), text("endpoint"))),
        "relaying" => {
            (Tone::Plain, format!("reaches {} through the relay at {} meanwhile", peer("peer"), text("relay")))
        }
        "up" => {
            let how = if yes("relayed") { "relayed" } else { "direct" };
            let after = event["after_ms"].as_u64().map(|ms| format!(" after {ms} ms")).unwrap_or_default();
            (Tone::Good, format!("has a {how} path to {} at {}{after}", peer("peer"), text("endpoint")))
        }
        "down" => (Tone::Bad, format!("has lost the path to {}", peer("peer"))),
        "failed" => {
            let pause = event["pause_ms"].as_u64().unwrap_or(0);
            (Tone::Bad, format!("did not get through to {}; tries again in {:.1} s", peer("peer"), pause as f64 / 1e3))
        }
        "peer" => (Tone::Plain, format!("sees {} at {}", peer("peer"), text("endpoint"))),
        "gone" => (Tone::Bad, format!("no longer sees {}", peer("peer"))),
        "introduced" => (Tone::Plain, format!("tells {} and {} of each other", peer("peer"), peer("to"))),
        "device_failed" => (Tone::Bad, format!("{}: {}", text("device"), text("reason"))),
        "refused" => (Tone::Bad, format!("does not add {}: {}", peer("peer"), text("reason"))),
        "added" => (Tone::Plain, format!("adds {}", peer("peer"))),
        _ => return None,
    };
    Some(line)
}
