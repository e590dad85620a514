//! One step of a task: a command that is run in the workspace, one line that says how it went and how long it took.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// What of a command's output is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// All of it, as it comes.
    All,
    /// Only if the command fails, and then all.
    Failure,
}

/// Runs `program args` in the workspace as the step `name`.
pub(crate) fn run(name: &str, show: Show, env: &[(&str, &str)], program: &str, args: &[&str]) -> Result<()> {
    let typed = typed(env, program, args);
    if show == Show::All {
        println!("{name}: {typed}");
    }
    let begun = Instant::now();
    let mut command = Command::new(program);
    command.args(args).envs(env.iter().copied()).current_dir(workspace());
    let (success, output) = match show {
        Show::All => (command.status().with_context(|| cannot_run(program))?.success(), Vec::new()),
        Show::Failure => {
            let output = command.stdin(Stdio::null()).output().with_context(|| cannot_run(program))?;
            (output.status.success(), [output.stdout, output.stderr].concat())
        }
    };
    let took = begun.elapsed();
    println!("{}", line(name, if success { "ok" } else { "FAILED" }, took));
    if !success {
        eprint!("{}", String::from_utf8_lossy(&output));
        bail!("{name} failed; the command was: {typed}");
    }
    Ok(())
}

/// The line that says how a step went.
pub(crate) fn line(name: &str, verdict: &str, took: Duration) -> String {
    format!("{name:<10} {verdict:<8} {:>7.1} s", took.as_secs_f64())
}

fn cannot_run(program: &str) -> String {
    format!("{program} cannot be run; is it installed and in PATH?")
}

/// The command as a person would type it.
fn typed(env: &[(&str, &str)], program: &str, args: &[&str]) -> String {
    let quoted = |word: &str| if word.contains(' ') { format!("'{word}'") } else { word.to_owned() };
    let env = env.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
    let words = std::iter::once(program).chain(args.iter().copied()).map(quoted);
    env.chain(words).collect::<Vec<_>>().join(" ")
}
