//! Development tasks: `cargo xtask ci`, `cargo xtask test`, `cargo xtask captures`, `cargo xtask bench
//! NAME`.
//!
//! `ci` is the only entry point of continuous integration: what it checks is what is checked, on a laptop and anywhere
//! else. It runs plain cargo commands and shows each, so that a failing one can be typed again.

mod bench;
mod captures;
mod ci;
mod needs;
mod step;

use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
Usage: cargo xtask <task>

  ci                  everything that must pass: format, lints, documents, layering, tests
  test [ARGS]         what the tests need, then `cargo test --workspace ARGS`
  captures            replays public captures, which are fetched with apt-get
  bench               the benchmarks there are
  bench NAME [ARGS]   run one; figures and commands: docs/benchmarks.md
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["ci"] => ci::run(),
        ["test", ..] => ci::test(&args[1..]),
        ["captures"] => captures::run(),
        ["bench"] => bench::list(),
        ["bench", name, ..] => bench::run(name, &args[2..]),
        ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The directory of the workspace: the parent of this crate's.
fn workspace() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or(here.clone(), PathBuf::from)
}
