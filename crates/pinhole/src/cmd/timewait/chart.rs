//! Bars made of characters.

/// An eighth of a cell each.
const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// One line, a column a count; what is not zero can be seen.
pub(super) fn line(counts: &[u64]) -> String {
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    counts.iter().map(|&count| LEVELS[level(count, most, 8)]).collect()
}

/// Several lines from top to bottom.
pub(super) fn area(counts: &[u64], height: usize) -> Vec<String> {
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let levels: Vec<usize> = counts.iter().map(|&count| level(count, most, 8 * height)).collect();
    (0..height)
        .rev()
        .map(|row| levels.iter().map(|level| LEVELS[level.saturating_sub(8 * row).min(8)]).collect::<String>())
        .map(|line| line.trim_end().to_owned())
        .collect()
}

fn level(count: u64, most: u64, levels: usize) -> usize {
    let level = (count as f64 / most as f64 * levels as f64).round() as usize;
    if count > 0 { level.clamp(1, levels) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_their_counts() {
        assert_eq!(line(&[0, 1, 4, 8]), " ▁▄█");
        assert_eq!(line(&[1, 1_000_000]), "▁█", "what is there is seen");
        assert_eq!((line(&[]), line(&[0, 0])), (String::new(), "  ".into()));
        assert_eq!(area(&[1, 2, 4], 2), ["  █", "▄██"]);
    }
}
