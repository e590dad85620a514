//! Who may use whom (the table of ARCHITECTURE.md), read from `cargo metadata`.
//!
//! A crate's value is what it cannot depend on. The table is held for normal and build dependencies; tests may in addition
//! use what stands below them and the laboratory, as long as no circle forms.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::workspace;

/// Each crate and whom it may use, bottom to top.
const MAY_USE: &[(&str, &[&str])] = &[
    ("pinhole-sansio", &[]),
    ("pinhole-wire", &[]),
    ("pinhole-guest", &[]),
    ("pinhole-dns", &["pinhole-sansio"]),
    ("pinhole-stun", &["pinhole-sansio"]),
    ("pinhole-wg", &["pinhole-sansio", "pinhole-wire"]),
    ("pinhole-tunnel", &["pinhole-sansio", "pinhole-wire", "pinhole-wg"]),
    ("pinhole-netfilter", &["pinhole-sansio", "pinhole-wire"]),
    ("pinhole-timewait", &["pinhole-sansio"]),
    ("pinhole-traversal", &["pinhole-sansio", "pinhole-stun"]),
    (
        "pinhole-torture",
        &[
            "pinhole-sansio",
            "pinhole-wire",
            "pinhole-dns",
            "pinhole-stun",
            "pinhole-wg",
            "pinhole-netfilter",
            "pinhole-traversal",
        ],
    ),
    ("pinhole-lab", &["pinhole-sansio", "pinhole-wire", "pinhole-netfilter"]),
    ("pinhole-guest", &[]),
    ("pinhole-agent", &["pinhole-sansio", "pinhole-wire", "pinhole-dns", "pinhole-wg", "pinhole-traversal"]),
    (
        "pinhole-world",
        &[
            "pinhole-sansio",
            "pinhole-wire",
            "pinhole-dns",
            "pinhole-stun",
            "pinhole-wg",
            "pinhole-tunnel",
            "pinhole-netfilter",
            "pinhole-traversal",
            "pinhole-lab",
            "pinhole-agent",
        ],
    ),
    (
        "pinhole-host",
        &[
            "pinhole-sansio",
            "pinhole-wire",
            "pinhole-dns",
            "pinhole-stun",
            "pinhole-wg",
            "pinhole-tunnel",
            "pinhole-traversal",
            "pinhole-netfilter",
        ],
    ),
    ("pinhole-netns", &["pinhole-sansio", "pinhole-wire", "pinhole-netfilter", "pinhole-lab", "pinhole-host"]),
    (
        "pinhole",
        &[
            "pinhole-sansio",
            "pinhole-wire",
            "pinhole-dns",
            "pinhole-stun",
            "pinhole-wg",
            "pinhole-tunnel",
            "pinhole-netfilter",
            "pinhole-timewait",
            "pinhole-traversal",
            "pinhole-lab",
            "pinhole-agent",
            "pinhole-world",
            "pinhole-host",
            "pinhole-netns",
        ],
    ),
    (
        "xtask",
        &[
            "pinhole-sansio",
            "pinhole-wire",
            "pinhole-dns",
            "pinhole-wg",
            "pinhole-tunnel",
            "pinhole-lab",
            "pinhole-host",
            "pinhole-netns",
        ],
    ),
];

/// What tests may use in addition: the laboratory or the guest that they run in, seeded randomness.
const TESTS_MAY_USE: &[(&str, &[&str])] = &[
    ("pinhole-wire", &["pinhole-sansio"]),
    ("pinhole-dns", &["pinhole-lab"]),
    ("pinhole-wg", &["pinhole-lab"]),
    ("pinhole-traversal", &["pinhole-lab", "pinhole-wire", "pinhole-netfilter"]),
    ("pinhole-agent", &["pinhole-lab"]),
    ("pinhole-host", &["pinhole-guest"]),
    ("pinhole-netns", &["pinhole-guest"]),
    ("pinhole", &["pinhole-guest"]),
];

/// The crates that make system calls, and so everything above them.
const MAKES_SYSTEM_CALLS: &[&str] = &["pinhole-guest", "pinhole-host", "pinhole-netns", "pinhole", "xtask"];

/// What reaches the operating system: no other crate of ours may depend on these, however far down.
const SYSTEM_CALL_CRATES: &[&str] =
    &["tokio", "async-std", "smol", "mio", "polling", "libc", "rustix", "nix", "socket2", "signal-hook"];

/// Libraries that no walk for [`SYSTEM_CALL_CRATES`] enters: what a cipher needs to ask the processor for its features and
/// the kernel for a key, and the locks around a session.
const CIPHERS_MAY_USE: &[&str] = &["cpufeatures", "getrandom", "ring", "parking_lot", "parking_lot_core"];

#[test]
fn every_crate_is_in_the_table() {
    let metadata = Metadata::read();
    let known: BTreeSet<&str> = MAY_USE.iter().map(|&(name, _)| name).collect();
    let found: BTreeSet<&str> = metadata.members.iter().map(String::as_str).collect();
    assert_eq!(found, known, "workspace members (left) and the layering table (right)");
}

#[test]
fn a_crate_uses_only_what_the_table_allows() {
    let metadata = Metadata::read();
    let mut wrong = Vec::new();
    for (name, uses) in &metadata.uses {
        for Use { target, test } in uses.iter().filter(|used| metadata.members.contains(&used.target)) {
            let in_tests = *test && row(TESTS_MAY_USE, name).contains(&target.as_str());
            if !(in_tests || row(MAY_USE, name).contains(&target.as_str())) {
                wrong.push(format!("{name} must not use {target}{}", if *test { " in tests" } else { "" }));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\nThe table and its reasons: ARCHITECTURE.md", wrong.join("\n"));
}

#[test]
fn there_is_no_circle_even_through_tests() {
    let metadata = Metadata::read();
    for start in &metadata.members {
        let below = metadata.reachable(start, &[], |used| metadata.members.contains(&used.target));
        let back = below.iter().find(|&name| metadata.uses[name].iter().any(|used| used.target == *start));
        assert_eq!(back, None, "{start} is used by something that it uses");
    }
}

#[test]
fn the_table_itself_goes_bottom_to_top() {
    for (at, (name, uses)) in MAY_USE.iter().enumerate() {
        let below: Vec<&str> = MAY_USE[..at].iter().map(|&(name, _)| name).collect();
        assert!(uses.iter().all(|used| below.contains(used)), "{name} stands below something that it uses");
    }
}

#[test]
fn the_table_in_the_document_is_this_one() {
    let document = std::fs::read_to_string(workspace().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md can be read");
    let short = |name: &str| name.trim_start_matches("pinhole-").to_owned();
    for (name, uses) in MAY_USE {
        let start = format!("| [`{}`](", short(name));
        let row = document.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no row {start}"));
        let last = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
        let written: BTreeSet<String> = last.split(", ").filter(|word| *word != "–").map(ToOwned::to_owned).collect();
        let held: BTreeSet<String> = uses.iter().map(|used| short(used)).collect();
        let is_summary = last.starts_with("all");
        assert!(is_summary || written == held, "{name}: the document says {written:?}, the test holds {held:?}");
    }
}

#[test]
fn only_the_top_reaches_the_operating_system() {
    let metadata = Metadata::read();
    let mut wrong = Vec::new();
    for name in metadata.members.iter().filter(|name| !MAKES_SYSTEM_CALLS.contains(&name.as_str())) {
        let reached = metadata.reachable(name, CIPHERS_MAY_USE, |used| !used.test);
        wrong.extend(
            reached
                .iter()
                .filter(|reached| SYSTEM_CALL_CRATES.contains(&reached.as_str()))
                .map(|reached| format!("{name} reaches {reached}: cargo tree -p {name} -e normal -i {reached}")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn row(table: &[(&str, &'static [&'static str])], name: &str) -> &'static [&'static str] {
    table.iter().find(|(known, _)| *known == name).map_or(&[], |&(_, uses)| uses)
}

/// That a package uses another.
struct Use {
    target: String,
    /// Only in tests, benchmarks and examples.
    test: bool,
}

/// The dependency graph by package name. Two versions of one package count as one.
struct Metadata {
    members: BTreeSet<String>,
    uses: BTreeMap<String, Vec<Use>>,
}

impl Metadata {
    fn read() -> Self {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version=1", "--locked", "--filter-platform", &host_triple()])
            .current_dir(workspace())
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        let json: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
        let names: BTreeMap<&str, &str> =
            array(&json["packages"]).iter().map(|package| (text(&package["id"]), text(&package["name"]))).collect();
        let members = array(&json["workspace_members"]).iter().map(|id| names[text(id)].to_owned()).collect();
        let mut uses: BTreeMap<String, Vec<Use>> = BTreeMap::new();
        for node in array(&json["resolve"]["nodes"]) {
            let found = array(&node["deps"]).iter().map(|dependency| Use {
                target: names[text(&dependency["pkg"])].to_owned(),
                test: array(&dependency["dep_kinds"]).iter().all(|kind| kind["kind"] == "dev"),
            });
            uses.entry(names[text(&node["id"])].to_owned()).or_default().extend(found);
        }
        Self { members, uses }
    }

    /// All that `start` uses, however far down, along the uses that `follow` accepts and without entering `closed`.
    fn reachable(&self, start: &str, closed: &[&str], follow: impl Fn(&Use) -> bool) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut left = vec![start];
        while let Some(name) = left.pop() {
            for used in self.uses[name].iter().filter(|used| follow(used)) {
                if !closed.contains(&used.target.as_str()) && reached.insert(used.target.clone()) {
                    left.push(&used.target);
                }
            }
        }
        reached
    }
}

/// What this compiler builds for: dependencies of other platforms are not ours.
fn host_triple() -> String {
    let output = Command::new("rustc").arg("-vV").current_dir(workspace()).output().expect("rustc runs");
    let version = String::from_utf8(output.stdout).expect("rustc's version is text");
    version.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host").to_owned()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}
