//! `pinhole lab`: the matrix, one run of it, and a scenario simulated and in namespaces.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::pinhole::{BINARY, Ended, run};
use crate::support::ready::ready;

/// Two homes, of which one reboots.
const HOMES: &str = "host hub 203.0.113.1 delay 5ms\n\
    linux east 198.51.100.1 inside 192.168.1.0/24 delay 5ms\nhost alice 192.168.1.10 behind east\n\
    nat west 192.0.2.1 inside 192.168.2.0/24 delay 5ms is home_router\nhost bob 192.168.2.10 behind west\n\
    registry hub\nagent alice\nagent bob\nexpect alice bob direct within 20s\n";

fn lab(args: &[&str]) -> Ended {
    run(Command::new(BINARY).arg("lab").args(args))
}

/// A file of this test alone, which ends with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pinhole-lab-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_matrix_says_who_is_direct_and_why_the_others_are_not() {
    let scratch = Scratch::new("matrix");
    let page = scratch.0.join("page.html");
    let (hard, open, file) = ("apd/apd/random", "ei/ei/random", page.display().to_string());
    let natures = ["matrix", "--only", hard, "--against", hard, "--against", open];
    let ended = lab(&[&natures[..], &["--seeds", "1", "--json", "--html", &file]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let json: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let cells = json["cells"].as_array().expect("cells");
    assert_eq!(cells.len(), 2);
    let of = |name: &str| cells.iter().find(|cell| cell["cell"] == name).unwrap_or_else(|| panic!("no {name}"));
    let open = of("ei/ei/random:apd/apd/random");
    assert_eq!((&open["direct"], &open["oracle"]), (&1.into(), &"must be direct".into()), "{open}");
    let hopeless = of("apd/apd/random:apd/apd/random");
    assert_eq!((&hopeless["direct"], &hopeless["oracle"]), (&0.into(), &"cannot be direct".into()), "{hopeless}");
    assert!(hopeless["reason"].as_str().is_some_and(|reason| reason.contains("nobody can guess")), "{hopeless}");
    assert!(hopeless["fixes"].as_array().is_some_and(|fixes| fixes.len() > 2), "{hopeless}");
    let page = std::fs::read_to_string(&page).expect("a page");
    assert!(page.contains("href=\"#c0-1\"") && page.contains("id=\"c0-1\""), "each cell opens its ladder");
    assert!(page.contains("handshake initiation") && page.ends_with("</html>\n"));
    assert!(
        !page.contains("<script") && !page.contains("http://") && !page.contains("https://"),
        "nothing from elsewhere"
    );
}

#[test]
fn a_replay_is_the_same_every_time_and_says_why_not() {
    let cell = "ei/apd/preserving:apd/apd/random+carrier+loss5";
    let (first, again, other) = (lab(&["replay", cell]), lab(&["replay", cell]), lab(&["replay", "--seed", "2", cell]));
    assert_eq!(first.stdout, again.stdout);
    assert_ne!(first.stdout, other.stdout);
    let hopeless = lab(&["replay", "apd/apd/random:apd/apd/random"]);
    assert!(
        hopeless.stdout.contains("not direct: each NAT gives the other a port that nobody can guess"),
        "{}",
        hopeless.stdout
    );
    let wrong = lab(&["replay", "ei/apd/preserving"]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("expected two NATs"), "{}", wrong.stderr);
}

#[test]
fn a_scenario_runs_and_one_that_must_fail_fails() {
    let scratch = Scratch::new("run");
    let good = scratch
        .file("good.lab", &format!("{HOMES}at 5s reboot west\nexpect alice bob direct within 4s after 5s\nuntil 12s"));
    let ended = lab(&["run", &good]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("line 11: as expected, after"), "{}", ended.stdout);
    let canary = lab(&["run", concat!(env!("CARGO_MANIFEST_DIR"), "/../world/tests/it/canary.lab")]);
    assert_eq!(canary.code, Some(1), "{}", canary.stdout);
    assert!(canary.stdout.contains("the oracle fails: a direct path must exist"), "{}", canary.stdout);
    let wrong = scratch.file("wrong.lab", "host a 192.0.2.1\nhost b 192.0.2.1");
    let ended = lab(&["run", &wrong]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("wrong.lab, line 2: 192.0.2.1 is taken there"), "{}", ended.stderr);
}

#[test]
fn the_same_file_runs_in_namespaces_and_what_cannot_is_refused_by_line() {
    let scratch = Scratch::new("real");
    let carrier = scratch.file(
        "carrier.lab",
        "nat a 192.0.2.1 inside 100.64.0.0/10 is cgn_rfc6888\nnat b 100.64.0.2 behind a inside 10.0.0.0/24 is openwrt",
    );
    let ended = lab(&["run", "--real", &carrier]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("carrier.lab, line 2: b cannot be made of namespaces"), "{}", ended.stderr);
    if !ready(&[]) {
        return;
    }
    let homes = scratch.file("homes.lab", &format!("{HOMES}until 21s"));
    let ended = lab(&["run", "--real", &homes]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("line 9: as expected, after"), "{}", ended.stdout);
}
