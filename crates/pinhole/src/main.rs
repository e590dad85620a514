//! The `pinhole` command: arguments in, exit code out. 0 is success, 1 failure, 2 wrong usage.

mod cmd;
mod config;
mod run;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Gets hosts through NAT: WireGuard peers find each other by DNS-SD and connect directly
#[derive(Debug, Parser)]
#[command(name = "pinhole", version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Say more; twice for every packet (or set PINHOLE_LOG, as in PINHOLE_LOG=pinhole=debug)
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(cmd::demo::Args),
    Up(cmd::up::Args),
    Registry(cmd::registry::Args),
    Agent(cmd::agent::Args),
    Wg(cmd::wg::Args),
    Gateway(cmd::gateway::Args),
    Conntrack(Box<cmd::conntrack::Args>),
    Timewait(Box<cmd::timewait::Args>),
    Stun(cmd::stun::Args),
    Doctor(cmd::doctor::Args),
    Lab(cmd::lab::Args),
    Completions(cmd::completions::Args),
    Man(cmd::man::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(cli.verbose);
    let result = match cli.command {
        Command::Demo(args) => cmd::demo::run(args),
        Command::Up(args) => cmd::up::run(args),
        Command::Registry(args) => cmd::registry::run(args),
        Command::Agent(args) => cmd::agent::run(args),
        Command::Wg(args) => cmd::wg::run(args),
        Command::Gateway(args) => cmd::gateway::run(args),
        Command::Conntrack(args) => cmd::conntrack::run(*args),
        Command::Timewait(args) => cmd::timewait::run(*args),
        Command::Stun(args) => cmd::stun::run(args),
        Command::Doctor(args) => cmd::doctor::run(&args),
        Command::Lab(args) => cmd::lab::run(args),
        Command::Completions(args) => cmd::completions::run(args, Cli::command()),
        Command::Man(args) => cmd::man::run(args, Cli::command()),
    };
    result.unwrap_or_else(|error| {
        eprintln!("pinhole: {error:#}");
        ExitCode::FAILURE
    })
}

fn log_to_stderr(verbose: u8) {
    let default = ["pinhole=warn", "pinhole=debug", "pinhole=trace"][usize::from(verbose.min(2))];
    let filter = std::env::var("PINHOLE_LOG").unwrap_or_else(|_| default.to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .without_time()
        .with_target(false)
        .compact()
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_of_the_commands_are_consistent() {
        Cli::command().debug_assert();
    }
}
