//! A behaviour in words, as configuration files and scenarios have it.
//!
//! ```text
//! rfc4787 udp=ei/apd alloc=sequential:2 hairpin=none udp-timeout=30
//! ```
//!
//! The first word may be the name of a preset to begin with, which is `rfc4787` otherwise; each other word changes one thing.
//! `Display` writes all of them, so that what it writes needs no preset.

use core::fmt;
use core::str::FromStr;

use pinhole_sansio::Duration;

use super::config::{
    Allocation, Behaviour, Dependence, Hairpin, IcmpErrors, Pairing, Pooling, Refresh, Refusal, Unsolicited,
};
use crate::ports::{HoldDown, Range};

/// Why a text is no behaviour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The word that is wrong.
    pub word: String,
    /// What would be right.
    pub expected: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: expected {}", self.word, self.expected)
    }
}

impl core::error::Error for ParseError {}

impl FromStr for Behaviour {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut words = text.split_ascii_whitespace().peekable();
        let mut behaviour = Self::default();
        if let Some(name) = words.next_if(|word| !word.contains('=')) {
            let expected = || format!("one of {}", Self::NAMES.join(", "));
            behaviour = Self::named(name).ok_or_else(|| ParseError { word: name.into(), expected: expected() })?;
        }
        for word in words {
            set(&mut behaviour, word).map_err(|expected| ParseError { word: word.into(), expected })?;
        }
        Ok(behaviour)
    }
}

/// Changes what one word says. An error is what was expected.
fn set(behaviour: &mut Behaviour, word: &str) -> Result<(), String> {
    let (key, value) = word.split_once('=').ok_or("key=value")?;
    let timers = &mut behaviour.timers;
    match key {
        "udp" => behaviour.udp = pairing(value)?,
        "tcp" => behaviour.tcp = pairing(value)?,
        "icmp" => behaviour.icmp = pairing(value)?,
        "alloc" => behaviour.allocation = allocation(value)?,
        "ports" => behaviour.ports = range(value)?,
        "class" => behaviour.keep_class = one_of(value, &SWITCH)?,
        "parity" => behaviour.keep_parity = one_of(value, &SWITCH)?,
        "contiguous" => behaviour.contiguous = one_of(value, &SWITCH)?,
        "overload" => behaviour.overloading = one_of(value, &SWITCH)?,
        "hold-down" => behaviour.hold_down = hold_down(value)?,
        "pool" => behaviour.pooling = one_of(value, &POOLING)?,
        "hairpin" => behaviour.hairpin = one_of(value, &HAIRPIN)?,
        "udp-timeout" => timers.udp = seconds(value)?,
        "udp-stream" => timers.udp_stream = seconds(value)?,
        "tcp-established" => timers.tcp_established = seconds(value)?,
        "tcp-opening" => timers.tcp_opening = seconds(value)?,
        "tcp-closing" => timers.tcp_closing = seconds(value)?,
        "tcp-reset" => timers.tcp_reset = seconds(value)?,
        "icmp-timeout" => timers.icmp = seconds(value)?,
        "refresh" => behaviour.refresh = one_of(value, &REFRESH)?,
        "syn" => behaviour.unsolicited = unsolicited(value)?,
        "refusal" => behaviour.refusal = one_of(value, &REFUSAL)?,
        "errors" => behaviour.icmp_errors = one_of(value, &ERRORS)?,
        "pick-up" => behaviour.pick_up = one_of(value, &SWITCH)?,
        "poisoning" => behaviour.poisoning = one_of(value, &SWITCH)?,
        "port-quota" => behaviour.limits.ports = quota(value)?,
        "session-quota" => behaviour.limits.sessions = quota(value)?,
        "rate" => behaviour.limits.rate = quota(value)?,
        "total" => behaviour.limits.total = quota(value)?,
        "subscriber-bits" => behaviour.limits.subscriber_bits = number(value)?,
        _ => return Err(format!("one of {}", KEYS.join(", "))),
    }
    Ok(())
}

/// All keys, in the order in which they are written.
const KEYS: [&str; 30] = [
    "udp",
    "tcp",
    "icmp",
    "alloc",
    "ports",
    "class",
    "parity",
    "contiguous",
    "overload",
    "hold-down",
    "pool",
    "hairpin",
    "udp-timeout",
    "udp-stream",
    "tcp-established",
    "tcp-opening",
    "tcp-closing",
    "tcp-reset",
    "icmp-timeout",
    "refresh",
    "syn",
    "refusal",
    "errors",
    "pick-up",
    "poisoning",
    "port-quota",
    "session-quota",
    "rate",
    "total",
    "subscriber-bits",
];

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        KEYS.iter().enumerate().try_for_each(|(n, key)| {
            write!(f, "{}{key}=", if n == 0 { "" } else { " " })?;
            write_value(self, key, f)
        })
    }
}

fn write_value(behaviour: &Behaviour, key: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (timers, limits) = (&behaviour.timers, &behaviour.limits);
    let switch = |f: &mut fmt::Formatter<'_>, on| f.write_str(word_of(on, &SWITCH));
    let write_pairing = |f: &mut fmt::Formatter<'_>, Pairing { mapping, filtering }: Pairing| {
        write!(f, "{}/{}", word_of(mapping, &DEPENDENCE), word_of(filtering, &DEPENDENCE))
    };
    let write_quota = |f: &mut fmt::Formatter<'_>, quota| match quota {
        u32::MAX => f.write_str("none"),
        quota => write!(f, "{quota}"),
    };
    match key {
        "udp" => write_pairing(f, behaviour.udp),
        "tcp" => write_pairing(f, behaviour.tcp),
        "icmp" => write_pairing(f, behaviour.icmp),
        "alloc" => match behaviour.allocation {
            Allocation::Preserving => f.write_str("preserving"),
            Allocation::PreservingOrRandom => f.write_str("preserving-or-random"),
            Allocation::Random => f.write_str("random"),
            Allocation::Sequential { step } => write!(f, "sequential:{step}"),
            Allocation::Blocks { size, most } => write!(f, "blocks:{size}x{most}"),
            Allocation::Deterministic { size, bits } => write!(f, "deterministic:{size}/{bits}"),
        },
        "ports" => write!(f, "{}", behaviour.ports),
        "class" => switch(f, behaviour.keep_class),
        "parity" => switch(f, behaviour.keep_parity),
        "contiguous" => switch(f, behaviour.contiguous),
        "overload" => switch(f, behaviour.overloading),
        "hold-down" => write!(f, "{}x{}", behaviour.hold_down.time.as_secs_f64(), behaviour.hold_down.ports),
        "pool" => f.write_str(word_of(behaviour.pooling, &POOLING)),
        "hairpin" => f.write_str(word_of(behaviour.hairpin, &HAIRPIN)),
        "udp-timeout" => write!(f, "{}", timers.udp.as_secs_f64()),
        "udp-stream" => write!(f, "{}", timers.udp_stream.as_secs_f64()),
        "tcp-established" => write!(f, "{}", timers.tcp_established.as_secs_f64()),
        "tcp-opening" => write!(f, "{}", timers.tcp_opening.as_secs_f64()),
        "tcp-closing" => write!(f, "{}", timers.tcp_closing.as_secs_f64()),
        "tcp-reset" => write!(f, "{}", timers.tcp_reset.as_secs_f64()),
        "icmp-timeout" => write!(f, "{}", timers.icmp.as_secs_f64()),
        "refresh" => f.write_str(word_of(behaviour.refresh, &REFRESH)),
        "syn" => match behaviour.unsolicited {
            Unsolicited::Reset => f.write_str("reset"),
            Unsolicited::Silence => f.write_str("silence"),
            Unsolicited::HoldThenIcmp(time) => write!(f, "hold:{}", time.as_secs_f64()),
        },
        "refusal" => f.write_str(word_of(behaviour.refusal, &REFUSAL)),
        "errors" => f.write_str(word_of(behaviour.icmp_errors, &ERRORS)),
        "pick-up" => switch(f, behaviour.pick_up),
        "poisoning" => switch(f, behaviour.poisoning),
        "port-quota" => write_quota(f, limits.ports),
        "session-quota" => write_quota(f, limits.sessions),
        "rate" => write_quota(f, limits.rate),
        "total" => write_quota(f, limits.total),
        "subscriber-bits" => write!(f, "{}", limits.subscriber_bits),
        _ => unreachable!("every key is written, which a test holds"),
    }
}

type Words<T, const N: usize> = [(&'static str, T); N];

const SWITCH: Words<bool, 2> = [("yes", true), ("no", false)];
const DEPENDENCE: Words<Dependence, 3> = [
    ("ei", Dependence::EndpointIndependent),
    ("ad", Dependence::AddressDependent),
    ("apd", Dependence::AddressAndPortDependent),
];
const POOLING: Words<Pooling, 3> =
    [("paired", Pooling::Paired), ("softly-paired", Pooling::SoftlyPaired), ("arbitrary", Pooling::Arbitrary)];
const HAIRPIN: Words<Hairpin, 3> =
    [("none", Hairpin::None), ("internal", Hairpin::InternalSource), ("external", Hairpin::ExternalSource)];
const REFRESH: Words<Refresh, 3> = [("out", Refresh::Outbound), ("in", Refresh::Inbound), ("both", Refresh::Both)];
const REFUSAL: Words<Refusal, 3> =
    [("silence", Refusal::Silence), ("host", Refusal::HostUnreachable), ("prohibited", Refusal::Prohibited)];
const ERRORS: Words<IcmpErrors, 3> = [
    ("translated", IcmpErrors::Translated),
    ("dropped", IcmpErrors::Dropped),
    ("end-sessions", IcmpErrors::EndSessions),
];

fn one_of<T: Copy, const N: usize>(word: &str, words: &Words<T, N>) -> Result<T, String> {
    let found = words.iter().find(|(known, _)| *known == word).map(|(_, value)| *value);
    found.ok_or_else(|| format!("one of {}", words.map(|(word, _)| word).join(", ")))
}

fn word_of<T: Copy + PartialEq, const N: usize>(value: T, words: &Words<T, N>) -> &'static str {
    words.iter().find(|(_, known)| *known == value).map_or("", |(word, _)| word)
}

fn number<T: FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| "a number that fits".into())
}

fn quota(value: &str) -> Result<u32, String> {
    if value == "none" { Ok(u32::MAX) } else { number(value) }
}

fn seconds(value: &str) -> Result<Duration, String> {
    let seconds: f64 = number(value)?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "a number of seconds".into())
}

fn pairing(value: &str) -> Result<Pairing, String> {
    let (mapping, filtering) = value.split_once('/').ok_or("MAPPING/FILTERING, each one of ei, ad, apd")?;
    Ok(Pairing::new(one_of(mapping, &DEPENDENCE)?, one_of(filtering, &DEPENDENCE)?))
}

fn range(value: &str) -> Result<Range, String> {
    let (min, max) = value.split_once('-').ok_or("MIN-MAX")?;
    Ok(Range::new(number(min)?, number(max)?))
}

fn hold_down(value: &str) -> Result<HoldDown, String> {
    let (time, ports) = value.split_once('x').ok_or("SECONDSxPORTS")?;
    Ok(HoldDown { time: seconds(time)?, ports: number(ports)? })
}

fn unsolicited(value: &str) -> Result<Unsolicited, String> {
    Ok(match value.split_once(':') {
        None if value == "reset" => Unsolicited::Reset,
        None if value == "silence" => Unsolicited::Silence,
        Some(("hold", time)) => Unsolicited::HoldThenIcmp(seconds(time)?),
        _ => return Err("one of reset, silence, hold:SECONDS".into()),
    })
}

fn allocation(value: &str) -> Result<Allocation, String> {
    const EXPECTED: &str = "one of preserving, preserving-or-random, random, sequential:STEP, blocks:SIZExMOST, \
                            deterministic:SIZE/BITS";
    Ok(match value.split_once(':') {
        None if value == "preserving" => Allocation::Preserving,
        None if value == "preserving-or-random" => Allocation::PreservingOrRandom,
        None if value == "random" => Allocation::Random,
        Some(("sequential", step)) => Allocation::Sequential { step: number(step)? },
        Some(("blocks", block)) => {
            let (size, most) = block.split_once('x').ok_or(EXPECTED)?;
            Allocation::Blocks { size: number(size)?, most: number(most)? }
        }
        Some(("deterministic", block)) => {
            let (size, bits) = block.split_once('/').ok_or(EXPECTED)?;
            Allocation::Deterministic { size: number(size)?, bits: number(bits)? }
        }
        _ => return Err(EXPECTED.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_read_back_as_it_was_written() {
        for name in Behaviour::NAMES {
            let behaviour = Behaviour::named(name).expect("a preset");
            assert_eq!(behaviour.to_string().parse(), Ok(behaviour), "{name}");
            assert_eq!(name.parse(), Ok(behaviour), "{name}");
        }
    }

    #[test]
    fn words_change_a_preset_one_by_one() {
        let text =
            "corporate_firewall udp=ei/apd alloc=sequential:2 hairpin=external syn=hold:6 hold-down=1.5x9 rate=none";
        let behaviour: Behaviour = text.parse().expect("a behaviour");
        let expected = Behaviour {
            udp: Pairing::new(Dependence::EndpointIndependent, Dependence::AddressAndPortDependent),
            allocation: Allocation::Sequential { step: 2 },
            hairpin: Hairpin::ExternalSource,
            unsolicited: Unsolicited::HoldThenIcmp(Duration::from_secs(6)),
            hold_down: HoldDown { time: Duration::from_millis(1_500), ports: 9 },
            ..Behaviour::corporate_firewall()
        };
        assert_eq!(behaviour, expected);
        assert_eq!(behaviour.to_string().parse(), Ok(behaviour));
    }

    #[test]
    fn an_error_says_which_word_is_wrong_and_what_would_be_right() {
        let check = |text: &str, error: &str| {
            let found = text.parse::<Behaviour>().expect_err("no behaviour");
            assert_eq!(found.to_string(), error);
        };
        check("udp=ei", "`udp=ei`: expected MAPPING/FILTERING, each one of ei, ad, apd");
        check("udp=ei/x", "`udp=ei/x`: expected one of ei, ad, apd");
        check("openwrt hairpin=on", "`hairpin=on`: expected one of none, internal, external");
        check("udp-timeout=-1", "`udp-timeout=-1`: expected a number of seconds");
        check("udp=ei/ei openwrt", "`openwrt`: expected key=value");
        assert!("netgear".parse::<Behaviour>().is_err_and(|error| error.expected.contains("home_router")));
    }
}
