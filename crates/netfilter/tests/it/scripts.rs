//! The packet scripts, whose outcomes are what Linux 6.18 does, run on the engine.

use std::path::{Path, PathBuf};

use pinhole_netfilter::script::{Engine, Script, Tolerance, check, run};
use pinhole_netfilter::settings::Personality;

fn scripts() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let entries = std::fs::read_dir(&directory).expect("the scripts are there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "pkt"));
    paths.sort();
    paths
}

#[test]
fn the_engine_does_what_every_script_says() {
    let mut complaints = Vec::new();
    for path in scripts() {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a script");
        let script: Script = text.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut engine = Engine::new(Personality::V6_18, 1);
        match run(&script, &mut engine) {
            Ok(observed) => {
                let failures = check(&script, &observed, Tolerance::default());
                complaints.extend(failures.iter().map(|failure| format!("{name}: {failure}")));
            }
            Err(error) => complaints.push(format!("{name}: {error}")),
        }
    }
    assert!(complaints.is_empty(), "the engine differs from the kernel:\n{}", complaints.join("\n"));
}
