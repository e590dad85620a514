//! `pinhole gateway status`: asks the running gateway, and prints what it says.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, anyhow, bail};

use crate::run::gateway::view::{self, Traffic, View};

/// Prints it.
pub(super) fn show(flows: bool, json: bool) -> Result<()> {
    let answer = ask(flows)?;
    if json {
        return crate::cmd::print(format!("{}\n", answer.trim_end()).as_bytes());
    }
    let view: View =
        serde_json::from_str(&answer).context("the gateway's answer does not parse: is it another version?")?;
    crate::cmd::print(text(&view).as_bytes())
}

fn ask(flows: bool) -> Result<String> {
    let path = view::socket();
    let mut stream = UnixStream::connect(&path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            anyhow!("no gateway runs here: `pinhole gateway up` starts one")
        }
        ErrorKind::PermissionDenied => anyhow!("the gateway's socket is for root only: run this as root"),
        _ => anyhow::Error::from(error).context(format!("cannot ask the gateway at {}", path.display())),
    })?;
    let failed = "cannot ask the gateway";
    stream.write_all(if flows { view::FLOWS } else { view::SUMMARY }.as_bytes()).context(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context(failed)?;
    if answer.is_empty() {
        bail!("the gateway does not answer: it may be ending");
    }
    Ok(answer)
}

fn text(view: &View) -> String {
    let about = &view.about;
    let ports = about.ports.as_ref().map(|ports| format!(", ports {ports}")).unwrap_or_default();
    let mut text = format!(
        "{} behind {}{ports} on {}\n  does: {}\n  up for: {} s, process {}\n  flows: {}\n  to the inside: {}\n  to the \
         outside: {}\n",
        about.inside,
        about.external,
        about.outside,
        about.does,
        view.up_s,
        about.process,
        view.flows,
        amount(view.to_inside),
        amount(view.to_outside)
    );
    // Writing to a `String` cannot fail.
    for dropped in &view.dropped {
        let _ = writeln!(text, "  went no further: {} ({})", dropped.packets, dropped.reason);
    }
    let Some(translations) = &view.translations else { return text };
    for line in translations {
        let _ = writeln!(
            text,
            "{:5} {:21} as {:21} to {:21} {} s",
            line.protocol, line.inside, line.external, line.remote, line.timeout_s
        );
    }
    if translations.len() < view.flows {
        let _ = writeln!(text, "and {} more", view.flows - translations.len());
    }
    text
}

fn amount(traffic: Traffic) -> String {
    format!("{} packets, {} bytes", traffic.packets, traffic.bytes)
}
