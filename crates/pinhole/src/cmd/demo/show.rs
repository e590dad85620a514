//! What the audience sees: lines as things happen, then a table; or the same as JSON.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use pinhole_host::namespace::privilege::Privilege;
use pinhole_netns::Internet;
use serde_json::{Value, json};

use super::plan::Plan;
use super::witness::{Sight, Verdict};
use super::{ALICE, Args, BOB, HUB, recipe, story};

/// How a line sounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Bad,
}

/// Where everything is written.
pub(super) struct Show {
    json: bool,
    colour: bool,
    start: Instant,
}

impl Show {
    pub(super) fn new(json: bool, start: Instant) -> Self {
        let colour = !json && io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { json, colour, start }
    }

    /// The scene.
    pub(super) fn introduce(&self, args: &Args, privilege: Privilege) {
        if self.json {
            return self
                .object("demo", json!({"event": "begin", "unprivileged": privilege == Privilege::UserNamespace}));
        }
        let how = match privilege {
            Privilege::Own => "in network namespaces",
            Privilege::UserNamespace => "in a user namespace, without root",
        };
        let loss = if args.loss > 0.0 { format!(", {} % lost", args.loss) } else { String::new() };
        let bold = |text: &str| self.paint("1", text);
        self.print(&format!(
            "{} an Internet in a box, {how}; this machine stays as it is\n\n\
             \x20   {}  192.168.1.10 ── NAT {ALICE} ──┐\n\
             \x20                                             ├── Internet ── {HUB}  {}, the registry\n\
             \x20   {}    192.168.2.10 ── NAT {BOB:<12} ──┘   each link: {} ms one way{loss}\n",
            bold("pinhole demo:"),
            bold("alice"),
            bold("hub"),
            bold("bob"),
            args.delay,
        ));
    }

    /// A line of our own.
    pub(super) fn line(&self, who: &str, tone: Tone, text: &str) {
        if self.json {
            return self.object(who, json!({"event": "note", "text": text}));
        }
        let time = self.paint("2", &format!("{:7.3}", self.start.elapsed().as_secs_f64()));
        let who = self.paint(colour_of(who), &format!("{who:<10}"));
        let text = match tone {
            Tone::Plain => text.to_owned(),
            Tone::Good => self.paint("32", text),
            Tone::Bad => self.paint("31", text),
        };
        self.print(&format!("{time}  {who}  {text}"));
    }

    /// What a program said.
    pub(super) fn event(&self, who: &str, event: &Value, name: impl Fn(&str) -> Option<&'static str>) {
        if self.json {
            return self.object(who, event.clone());
        }
        if let Some((tone, text)) = story::tell(event, name) {
            self.line(who, tone, &text);
        }
    }

    /// A mapping that a NAT made.
    pub(super) fn mapping(&self, router: &str, inside: SocketAddr, outside: SocketAddr, to: SocketAddr) {
        if self.json {
            return self.object(router, json!({"event": "mapping", "inside": inside, "outside": outside, "to": to}));
        }
        let who = router.replace("-home", " NAT");
        self.line(
            &who,
            Tone::Plain,
            &format!("maps {inside} to {outside} towards {}", self.paint("2", &to.to_string())),
        );
    }

    /// A NAT goes on to make mappings.
    pub(super) fn more_mappings(&self, router: &str, to: IpAddr) {
        self.line(
            &router.replace("-home", " NAT"),
            Tone::Plain,
            &format!("makes more mappings towards {to}, one a port"),
        );
    }

    /// A packet at the core.
    pub(super) fn sight(&self, sight: &Sight) {
        if self.json {
            let Sight { what, from, to, fate } = sight;
            return self
                .object("internet", json!({"event": "packet", "what": what, "from": from, "to": to, "fate": fate}));
        }
        let Sight { what, from, to, fate } = sight;
        let fate = if *fate == "forwarded" { String::new() } else { format!(", {fate}") };
        self.line("internet", Tone::Plain, &format!("sees {what}: {from} > {to}{fate}"));
    }

    /// The result.
    pub(super) fn verdict(&self, verdict: &Verdict) {
        if self.json {
            let mut object = serde_json::to_value(verdict).unwrap_or_default();
            object["event"] = "verdict".into();
            return self.object("demo", object);
        }
        let mut out = String::new();
        let row = |out: &mut String, name: &str, value: &str| {
            let _ = writeln!(out, "    {:<16}  {value}", self.paint("1", &format!("{name:<16}")));
        };
        out.push('\n');
        if let Some((alice, bob)) = verdict.path {
            let through = if verdict.direct { "no hub in between" } else { "see below" };
            row(&mut out, "path", &format!("alice {alice} <──> {bob} bob, {through}"));
        }
        if let Some(time) = verdict.time_to_direct_ms {
            row(
                &mut out,
                "time to direct",
                &format!("{time:.0} ms from the start of the second agent to the first tunnel data"),
            );
        }
        if let Some([min, median, max]) = verdict.round_trip_ms {
            row(&mut out, "round trip", &format!("{median:.1} ms through the tunnel ({min:.1} to {max:.1})"));
        }
        let lost = usize::from(verdict.sent).saturating_sub(verdict.received);
        row(&mut out, "loss", &format!("{lost} of {} echoes", verdict.sent));
        let [there, back, relayed] = verdict.seen;
        row(
            &mut out,
            "at the core",
            &format!("{there} tunnel messages from NAT to NAT, {back} back, {relayed} through the hub"),
        );
        if let [Some((a_out, a_in)), Some((b_out, b_in))] = verdict.counted {
            let counted = format!("alice's {a_out} packets out and {a_in} in, bob's {b_out} out and {b_in} in");
            row(&mut out, "at the NATs", &counted);
        }
        out.push('\n');
        out.push_str(&if verdict.direct {
            self.paint("1;32", "  Direct: WireGuard from peer to peer, through both NATs.")
        } else {
            let missing = verdict.missing.iter().map(|what| format!("\n    - {what}")).collect::<String>();
            self.paint("1;31", &format!("  Not proven direct:{missing}"))
        });
        self.print(&out);
    }

    /// No path came about.
    pub(super) fn no_path(&self, args: &Args) {
        let symmetric = args.nat.contains(&super::NatKind::Symmetric);
        let advice = if symmetric {
            "a symmetric NAT gives every peer another port, which the registry cannot know"
        } else if args.loss > 20.0 {
            "the links lose more than a handshake can bear"
        } else {
            "give it more time (--timeout), and please report this if it stays so"
        };
        if self.json {
            return self.object(
                "demo",
                json!({"event": "verdict", "direct": false, "missing": ["no path"], "advice": advice}),
            );
        }
        let text = format!("\n  No direct path within {} s: {advice}.", args.timeout);
        self.print(&self.paint("1;31", &text));
    }

    /// How to do the same on real machines.
    pub(super) fn recipe(&self, plan: &Plan) {
        self.print(&format!("\n{}\n\n{}\n", self.paint("1", "  The same on real machines"), recipe::text(plan)));
    }

    /// How to look around.
    pub(super) fn keep(&self, internet: &Internet, unprivileged: bool) {
        let hosts = internet.hosts().chain(internet.routers());
        let enter: Vec<_> = hosts.map(|host| (host.name(), host.namespace().enter_command(unprivileged))).collect();
        if self.json {
            let hosts: Vec<_> = enter.iter().map(|(name, command)| json!({"name": name, "enter": command})).collect();
            return self.object("demo", json!({"event": "kept", "hosts": hosts}));
        }
        let mut out = format!("  {}\n", self.paint("1", "Still up. Enter a host with"));
        for (name, command) in enter {
            let _ = writeln!(out, "    {:<12}{command}", self.paint(colour_of(name), &format!("{name:<12}")));
        }
        out.push_str("  then for example `wg show`, `ping 10.77.0.2`; Ctrl-C takes it down.");
        self.print(&out);
    }

    fn object(&self, who: &str, mut fields: Value) {
        fields["source"] = who.into();
        fields["elapsed_ms"] = (self.start.elapsed().as_micros() as f64 / 1e3).into();
        self.print(&fields.to_string());
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour && !code.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A reader that went away is no reason to stop before the exit code is known.
    fn print(&self, text: &str) {
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
}

fn colour_of(who: &str) -> &'static str {
    match who {
        "alice" => "35",
        "bob" => "36",
        "hub" => "34",
        "internet" => "2",
        _ => "33",
    }
}
