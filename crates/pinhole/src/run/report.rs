//! Shows events: a line for people, or an object a line for programs.

use std::io::{self, IsTerminal, Write};

use pinhole_agent::event::Event;
use pinhole_traversal::vantage::Mapping;
use pinhole_wg::Key;
use serde::Serialize;

/// How events are shown.
#[derive(Clone, Debug)]
pub struct Report {
    json: bool,
    colour: bool,
    role: &'static str,
    start: std::time::Instant,
}

/// What an object has besides the event's own fields.
#[derive(Serialize)]
struct Line<'a, E> {
    /// Milliseconds since the Unix epoch.
    time_ms: u64,
    role: &'a str,
    #[serde(flatten)]
    event: &'a E,
}

impl Report {
    /// Shows the events of `role`; as JSON if asked.
    pub fn new(role: &'static str, json: bool) -> Self {
        let colour = !json && io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { json, colour, role, start: std::time::Instant::now() }
    }

    /// Shows something that is no event of the machines: an object that has `event`, or a sentence.
    pub fn tell(&self, event: &impl Serialize, sentence: &str) {
        let line = if self.json { self.object(event) } else { self.with_time(sentence, Tone::Plain) };
        self.print(&line);
    }

    /// Shows one event. A reader that went away is no reason to stop.
    pub fn show(&self, event: &Event) {
        let line = if self.json { self.object(event) } else { self.with_time(&sentence(event), tone(event)) };
        self.print(&line);
    }

    fn print(&self, line: &str) {
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }

    fn object(&self, event: &impl Serialize) -> String {
        let time_ms = u64::try_from(super::Clock::wall().as_millis()).unwrap_or(u64::MAX);
        let line = Line { time_ms, role: self.role, event };
        serde_json::to_string(&line).unwrap_or_default()
    }

    fn with_time(&self, text: &str, tone: Tone) -> String {
        let elapsed = self.start.elapsed().as_secs_f64();
        let (on, off) = match (self.colour, tone) {
            (false, _) | (true, Tone::Plain) => ("", ""),
            (true, Tone::Good) => ("\x1b[32m", "\x1b[0m"),
            (true, Tone::Bad) => ("\x1b[31m", "\x1b[0m"),
        };
        format!("{elapsed:9.3} {:8} {on}{text}{off}", self.role)
    }
}

enum Tone {
    Plain,
    Good,
    Bad,
}

fn tone(event: &Event) -> Tone {
    match event {
        Event::Up { .. } | Event::RegistryUp | Event::DeviceBack { .. } => Tone::Good,
        Event::Down { .. } | Event::RegistryDown | Event::DeviceFailed { .. } | Event::Refused { .. } => Tone::Bad,
        Event::Observed { .. }
        | Event::Mapping { .. }
        | Event::Asked { .. }
        | Event::Answered { .. }
        | Event::Relaying { .. }
        | Event::Hunting { .. }
        | Event::Hole { .. }
        | Event::NoHole { .. }
        | Event::Absent { .. }
        | Event::Opener { .. }
        | Event::Handshake { .. }
        | Event::Probe { .. }
        | Event::Failed { .. }
        | Event::Added { .. }
        | Event::Listening { .. }
        | Event::ListeningStun { .. }
        | Event::Peer { .. }
        | Event::Gone { .. }
        | Event::Introduced { .. } => Tone::Plain,
    }
}

/// One line in plain words.
pub fn sentence(event: &Event) -> String {
    let name = |peer: &Key| format!("{}…", peer.short());
    match event {
        Event::RegistryUp => "the registry answers".to_owned(),
        Event::RegistryDown => "the registry does not answer".to_owned(),
        Event::Observed { endpoint } => format!("the registry sees us at {endpoint}"),
        Event::Mapping { mapping } => match mapping {
            Mapping::Unknown => "nobody sees how our NAT maps the WireGuard port".to_owned(),
            Mapping::Independent => "our NAT maps the WireGuard port the same towards everybody".to_owned(),
            Mapping::Dependent => {
                "our NAT maps the WireGuard port anew towards everybody: peers have to look for it".to_owned()
            }
        },
        Event::Asked { peer } => format!("where is {}?", name(peer)),
        Event::Answered { peer, endpoint, simultaneous, initiate } => {
            let part = match (simultaneous, initiate) {
                (true, true) => "it opens its NAT now, we knock",
                (true, false) => "we open our NAT, it knocks",
                (false, _) => "it is not told of us",
            };
            format!("{} is at {endpoint}; {part}", name(peer))
        }
        Event::Hunting { peer, endpoint, looks: true } => {
            format!("{} is at {}, at a port that nobody knows: we look for it", name(peer), endpoint.ip())
        }
        Event::Hunting { peer, endpoint, looks: false } => {
            format!("{} is at {endpoint}; our port towards it nobody knows: it looks for us", name(peer))
        }
        Event::Hole { peer, endpoint } => format!("{} is found at {endpoint}", name(peer)),
        Event::NoHole { peer, reason } => format!("{} is not found: {reason}", name(peer)),
        Event::Absent { peer } => format!("nobody knows where {} is", name(peer)),
        Event::Opener { peer, to, ttl } => format!("opener to {to} with TTL {ttl}, for {}", name(peer)),
        Event::Handshake { peer, endpoint } => format!("handshake with {} at {endpoint}", name(peer)),
        Event::Probe { peer } => format!("echo to {} through the tunnel", name(peer)),
        Event::Relaying { peer, relay } => format!("{} is reached through the relay at {relay}", name(peer)),
        Event::Up { peer, endpoint, after_ms, relayed } => {
            let at = endpoint.map(|endpoint| format!(" at {endpoint}")).unwrap_or_default();
            let after = after_ms.map(|ms| format!(", after {ms} ms")).unwrap_or_default();
            let how = if *relayed { "relayed" } else { "direct" };
            format!("{how} path to {}{at}{after}", name(peer))
        }
        Event::Down { peer } => format!("the path to {} is gone", name(peer)),
        Event::Failed { peer, pause_ms } => {
            format!("no path to {} yet; next attempt in {:.1} s", name(peer), *pause_ms as f64 / 1_000.0)
        }
        Event::Added { peer, allowed_ips } => format!("added {} with {}", name(peer), allowed_ips.join(", ")),
        Event::Refused { peer, reason } => format!("did not add {}: {reason}", name(peer)),
        Event::Listening { address, tunnel: true } => format!("answers peers at {address}, through the tunnel only"),
        Event::Listening { address, tunnel: false } => format!("answers at {address}"),
        Event::ListeningStun { address } => format!("tells agents at {address} how their NATs map"),
        Event::Peer { peer, endpoint } => format!("{} is at {endpoint}", name(peer)),
        Event::Gone { peer } => format!("{} has no endpoint any more", name(peer)),
        Event::Introduced { peer, to } => format!("told {} and {} of each other", name(peer), name(to)),
        Event::DeviceFailed { device, reason } => format!("{device}: {reason}"),
        Event::DeviceBack { device } => format!("{device} can be read again"),
    }
}
