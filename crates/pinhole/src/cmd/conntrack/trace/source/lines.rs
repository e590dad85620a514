//! Packets as lines: `PACKET`, `IFACE > PACKET`, `+SECONDS`, `flush`, and nothing or a comment behind `#`.

use std::net::IpAddr;
use std::time::Duration;

use pinhole_wire::text;

use super::Event;

/// The longest wait: no timeout of connection tracking's is longer than five days.
const LONGEST_WAIT_S: f64 = 1_000_000.0;

/// What lines have said so far.
pub(super) struct Lines {
    interfaces: Vec<String>,
    now: Duration,
}

impl Lines {
    /// Lines that may name these interfaces.
    pub(super) fn new(interfaces: Vec<String>) -> Self {
        Self { interfaces, now: Duration::ZERO }
    }

    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(&mut self, line: &str) -> Result<Option<Event>, String> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        if line == "flush" {
            return Ok(Some(Event::Flush));
        }
        if let Some(seconds) = line.strip_prefix('+') {
            let wait = seconds.trim().parse().ok().filter(|seconds| (0.0..LONGEST_WAIT_S).contains(seconds));
            let wait = wait.ok_or_else(|| format!("expected a number of seconds after +, found {seconds:?}"))?;
            self.now = self.now.saturating_add(Duration::from_secs_f64(wait));
            return Ok(None);
        }
        let named = line.split_once(" > ").filter(|(name, _)| self.interfaces.iter().any(|known| known == name.trim()));
        let (side, packet) = match named {
            Some((name, rest)) => (Some(name.trim().to_owned()), rest),
            None => (None, line),
        };
        if let Some((word, _)) = line.split_once(" > ").filter(|_| side.is_none())
            && is_name(word)
        {
            return Err(format!("there is no interface {word}: there are {}", self.interfaces.join(", ")));
        }
        if let Some(end) = without_port(packet) {
            return Err(format!("{end} has no port: write it as 192.0.2.1:53 or [2001:db8::1]:53"));
        }
        let packet = text::read(packet.trim()).map_err(|error| {
            let error = error.to_string().replace(char::is_control, "\u{fffd}");
            format!("{error}; {}", hint(line))
        })?;
        Ok(Some(Event::Packet { at: self.now, side, packet }))
    }
}

/// How a packet is written, for someone who wrote this.
fn hint(line: &str) -> String {
    let has = |word: &str| line.split_whitespace().any(|found| found == word);
    let packet = match () {
        () if has("tcp") => "192.168.1.2:40000 > 192.0.2.1:80 tcp S",
        () if has("icmp") || has("ping") => "192.168.1.2 > 192.0.2.1 icmp echo-request id 1 seq 1 56",
        () if has("icmp6") => "fd00::2 > 2001:db8::9 icmp6 echo-request id 1 seq 1 56",
        () => "192.168.1.2:40000 > 192.0.2.1:53 udp 8",
    };
    let quotes =
        if has(">") { "an interface may stand before it" } else { "in quotes, or the shell takes > for a file" };
    format!("a packet reads `{packet}`, {quotes}")
}

/// The end of a UDP or TCP packet that is a bare address. An IPv6 one may only look so, without brackets.
fn without_port(packet: &str) -> Option<&str> {
    let mut words = packet.split_whitespace();
    let (src, _, dst, protocol) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let is_bare = |end: &&str| matches!(protocol, "udp" | "tcp" | "sctp") && end.parse::<IpAddr>().is_ok();
    [src, dst].into_iter().find(is_bare)
}

/// Whether this can only be meant for an interface: addresses have a point or a colon.
fn is_name(word: &str) -> bool {
    word.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Vec<Result<Option<Event>, String>> {
        let mut state = Lines::new(vec!["lan".into(), "wan".into()]);
        lines.iter().map(|line| state.read(line)).collect()
    }

    #[test]
    fn a_line_is_a_packet_with_or_without_its_interface_and_time_passes_between() {
        let packet = "10.0.0.1:1 > 10.0.0.2:2 udp 3";
        let bytes = text::read(packet).expect("a packet");
        let event = |at, side: Option<&str>| {
            let at = Duration::from_millis(at);
            Ok(Some(Event::Packet { at, side: side.map(String::from), packet: bytes.clone() }))
        };
        let with_side = format!(" wan > {packet}");
        let read = read(&["", "# x", packet, "+0.25", &with_side, "+1", packet, "flush"]);
        let nothing = Ok(None);
        let expected = [
            nothing.clone(),
            nothing.clone(),
            event(0, None),
            nothing.clone(),
            event(250, Some("wan")),
            nothing,
            event(1_250, None),
            Ok(Some(Event::Flush)),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_no_line_is_refused_in_words() {
        for (line, words) in [
            ("+x", "a number of seconds"),
            ("+-1", "a number of seconds"),
            ("+1e300", "a number of seconds"),
            ("eth7 > 10.0.0.1:1 > 10.0.0.2:2 udp 3", "there is no interface eth7: there are lan, wan"),
            ("10.0.0.1:1 > 10.0.0.2:2 udb 3", "found udb"),
            ("raw 4", "hexadecimal"),
            ("10.0.0.1:1", "in quotes, or the shell takes > for a file"),
            ("10.0.0.1:1 > 10.0.0.2:2 tcp SYN", "192.0.2.1:80 tcp S`"),
            ("10.0.0.1 > 10.0.0.2 ping", "icmp echo-request"),
            ("10.0.0.1 > 10.0.0.2:2 udp 3", "10.0.0.1 has no port"),
            ("[fd00::1]:1 > fd00::2:80 tcp S", "fd00::2:80 has no port: write it as 192.0.2.1:53 or [2001:db8::1]:53"),
            ("\u{1b}[31m", "expected"),
        ] {
            let [Err(error)] = &read(&[line])[..] else { panic!("{line} is taken") };
            assert!(error.contains(words) && !error.contains('\u{1b}'), "{line}: {error}");
        }
    }
}
