//! Amounts and times as people read them.

/// "512", "1.2K", "34M": bytes in powers of 1024, with at most four characters.
pub(in crate::cmd) fn bytes(count: u64) -> String {
    scaled(count, 1024)
}

/// As [`bytes`], in powers of 1000.
pub(in crate::cmd) fn amount(count: u64) -> String {
    scaled(count, 1000)
}

fn scaled(count: u64, base: u64) -> String {
    const UNITS: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];
    if count < base {
        return count.to_string();
    }
    let mut value = count as f64;
    let mut unit = 0;
    // What would be rounded up to the next unit belongs there.
    while value >= base as f64 - 0.5 && unit + 1 < UNITS.len() {
        value /= base as f64;
        unit += 1;
    }
    let digits = usize::from(value < 9.95);
    format!("{value:.digits$}{}", UNITS[unit])
}

/// "600", "12.5", "0.017": at least two digits that mean something, and none more than that after the point.
pub(in crate::cmd) fn decimal(number: f64) -> String {
    match number {
        _ if number >= 100.0 || number == 0.0 => format!("{number:.0}"),
        _ if number >= 1.0 => format!("{number:.1}"),
        _ if number >= 0.01 => format!("{number:.3}"),
        _ => format!("{number:.1e}"),
    }
}

/// "0s", "59s", "4m59s", "2h13m", "4d23h": the two largest units.
pub(in crate::cmd) fn span(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let first = UNITS.iter().position(|(size, _)| seconds >= *size).unwrap_or(UNITS.len() - 1);
    let (size, unit) = UNITS[first];
    let mut text = format!("{}{unit}", seconds / size);
    if let Some((smaller, unit)) = UNITS.get(first + 1) {
        let rest = seconds % size / smaller;
        if rest != 0 {
            text.push_str(&format!("{rest}{unit}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_four_characters_at_most_and_times_two_units() {
        let cases = [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0K"),
            (1_245_184, "1.2M"),
            (10_200, "10K"),
            (1_048_575, "1.0M"),
            (5 << 30, "5.0G"),
            (u64::MAX, "16E"),
        ];
        for (count, text) in cases {
            assert_eq!(bytes(count), text);
        }
        assert_eq!((amount(999), amount(999_700), amount(1_500)), ("999".into(), "1.0M".into(), "1.5K".into()));
        let decimals = [(600.4, "600"), (12.46, "12.5"), (0.0167, "0.017"), (0.0, "0"), (2e-5, "2.0e-5")];
        for (number, text) in decimals {
            assert_eq!(decimal(number), text);
        }
        let spans =
            [(0, "0s"), (59, "59s"), (299, "4m59s"), (120, "2m"), (431_999, "4d23h"), (7_980, "2h13m"), (86_460, "1d")];
        for (seconds, text) in spans {
            assert_eq!(span(seconds), text);
        }
    }
}
