//! `docs/behaviours.md` says what the presets are, and has every word.

use pinhole_netfilter::behaviour::Behaviour;

const PAGE: &str = include_str!("../../../../docs/behaviours.md");

/// The words that the table of presets shows.
const COLUMNS: [&str; 12] = [
    "udp",
    "tcp",
    "icmp",
    "alloc",
    "pool",
    "hairpin",
    "refresh",
    "syn",
    "udp-timeout",
    "udp-stream",
    "tcp-established",
    "icmp-timeout",
];

#[test]
fn the_page_has_every_preset_as_it_is() {
    let head = format!("| preset | {} |", COLUMNS.join(" | "));
    let rows = Behaviour::NAMES.map(|name| {
        let text = Behaviour::named(name).expect("a preset").to_string();
        let value =
            |key: &str| text.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('=')).unwrap_or("?");
        let values: Vec<&str> = COLUMNS.iter().map(|key| value(key)).collect();
        format!("| `{name}` | {} |", values.join(" | "))
    });
    let table = format!("{head}\n|{}\n{}\n", "---|".repeat(COLUMNS.len() + 1), rows.join("\n"));
    assert!(PAGE.contains(&table), "the table should be\n{table}");
}

#[test]
fn the_page_has_every_word() {
    for word in Behaviour::default().to_string().split(' ') {
        let key = word.split('=').next().unwrap_or_default();
        assert!(PAGE.contains(&format!("`{key}=`")), "{key}");
    }
}
