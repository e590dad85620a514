//! Loads as they are typed.

use std::str::FromStr;

use pinhole_timewait::simulate::{Burst, Phase};
use pinhole_timewait::{Generation, Hz, NotAVersion, Version};

/// "100", or "50:120,10:3600": connections a second, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rates(Vec<(f64, Option<f64>)>);

/// "1000@7.5", or "1000@7.5/0.2".
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct BurstSpec(pub(super) Burst);

/// A kernel, as it was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) text: String,
    pub(super) version: Version,
}

impl FromStr for Named {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        // It is shown on a page, and nothing but a version is one.
        let version = text.parse()?;
        let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "._-+".contains(c));
        if is_plain { Ok(Self { text: text.to_owned(), version }) } else { Err(NotAVersion) }
    }
}

impl Rates {
    /// The rate, if there is one only and it says no time.
    pub(super) fn single(&self) -> Option<f64> {
        match self.0[..] {
            [(rate, None)] => Some(rate),
            _ => None,
        }
    }

    /// One phase after the other; `length_s` where a phase says none.
    pub(super) fn phases(&self, length_s: f64) -> Vec<Phase> {
        let phase =
            |&(rate_per_s, own_s): &(f64, Option<f64>)| Phase { rate_per_s, length_s: own_s.unwrap_or(length_s) };
        self.0.iter().map(phase).collect()
    }
}

impl FromStr for Rates {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let one = |word: &str| match word.split_once(':') {
            Some((rate, length)) => Some((amount(rate)?, Some(amount(length)?))),
            None => Some((amount(word)?, None)),
        };
        let rates: Option<Vec<_>> = text.split(',').map(one).collect();
        rates.map(Self).ok_or_else(|| "expected connections a second, as in 600, or 50:120,10:3600".to_owned())
    }
}

impl FromStr for BurstSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (count, when) = text.split_once('@')?;
            let (at, within) = when.split_once('/').unwrap_or((when, "1"));
            Some(Self(Burst { at_s: amount(at)?, count: count.parse().ok()?, within_s: amount(within)? }))
        };
        parse().ok_or_else(|| "expected COUNT@AT[/WITHIN], as in 1000@7.5 or 1000@7.5/0.2".to_owned())
    }
}

/// Seconds.
pub(super) fn seconds(text: &str) -> Result<f64, String> {
    amount(text).ok_or_else(|| "expected seconds".to_owned())
}

/// Jiffies a second.
pub(super) fn hz(text: &str) -> Result<Hz, String> {
    let number = text.parse().ok().and_then(Hz::new);
    number.ok_or_else(|| "expected a kernel's HZ: 100, 250, 300 or 1000 (12 to 1536)".to_owned())
}

/// What most kernels of a generation were built with.
pub(super) const fn usual_hz(generation: Generation) -> Hz {
    match generation {
        Generation::DeathRow => Hz::HZ_1000,
        Generation::TimerPerSocket | Generation::Quantised => Hz::HZ_250,
    }
}

/// A number that is finite and not negative.
fn amount(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_read_as_they_are_typed() {
        let rates: Rates = "50:120,10".parse().expect("rates");
        let phases = rates.phases(3600.0);
        assert_eq!(phases[0], Phase { rate_per_s: 50.0, length_s: 120.0 });
        assert_eq!(phases[1], Phase { rate_per_s: 10.0, length_s: 3600.0 });
        assert_eq!((rates.single(), "7".parse::<Rates>().expect("a rate").single()), (None, Some(7.0)));
        let burst: BurstSpec = "1000@7.5/0.2".parse().expect("a burst");
        assert_eq!(burst.0, Burst { at_s: 7.5, count: 1000, within_s: 0.2 });
        assert_eq!("5@1".parse::<BurstSpec>().expect("a burst").0.within_s, 1.0);
    }

    #[test]
    fn a_kernel_is_called_as_it_was() {
        let named: Named = "2.6.32-754.el6".parse().expect("a kernel");
        assert_eq!((named.text.as_str(), named.version), ("2.6.32-754.el6", Version::new(2, 6)));
        assert!("6.1<script>".parse::<Named>().is_err() && "linux".parse::<Named>().is_err());
    }

    #[test]
    fn what_is_none_says_what_was_expected() {
        for text in ["", "x", "-1", "inf", "NaN", "5:", "5:x", "5,,6"] {
            assert!(text.parse::<Rates>().is_err_and(|words| words.contains("600")), "{text}");
        }
        for text in ["", "5", "@1", "5@", "5@1/", "-5@1", "5@inf"] {
            assert!(text.parse::<BurstSpec>().is_err(), "{text}");
        }
        assert!(hz("0").is_err() && hz("99999").is_err() && hz("250").is_ok() && seconds("-1").is_err());
    }
}
