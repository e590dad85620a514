//! `cargo xtask ci`: the steps, cheapest first.

use std::time::Instant;

use anyhow::Result;

use crate::needs;
use crate::step::{self, Show};

/// Nothing here is published: documents are read beside the source, and may point at private parts.
const DOC_ENV: [(&str, &str); 1] = [("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links")];

/// Everything that must pass.
pub(crate) fn run() -> Result<()> {
    let begun = Instant::now();
    needs::provide()?;
    step::run("format", Show::Failure, &[], "cargo", &["fmt", "--all", "--check"])?;
    // Layering, sans-IO rules and the links of documents: a mistake there is cheap to find and dear to build upon.
    step::run("rules", Show::Failure, &[], "cargo", &["test", "--quiet", "--package", "xtask"])?;
    let lints = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    step::run("lints", Show::Failure, &[], "cargo", &lints)?;
    let documents = ["doc", "--workspace", "--no-deps", "--document-private-items"];
    step::run("documents", Show::Failure, &DOC_ENV, "cargo", &documents)?;
    run_tests(&[])?;
    println!("{}", step::line("ci", "ok", begun.elapsed()));
    needs::remind();
    Ok(())
}

/// The tests alone, with arguments for cargo.
pub(crate) fn test(args: &[String]) -> Result<()> {
    needs::provide()?;
    run_tests(args)?;
    needs::remind();
    Ok(())
}

fn run_tests(args: &[String]) -> Result<()> {
    // One failing crate does not hide the next.
    let mut words = vec!["test", "--workspace", "--no-fail-fast"];
    words.extend(args.iter().map(String::as_str));
    step::run("tests", Show::All, &[], "cargo", &words)
}
