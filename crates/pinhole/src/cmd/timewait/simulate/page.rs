//! A page for one simulation: numbers and plots in one file, without script; light or dark as the reader likes.

use std::fmt::Write;

use super::{Run, SHARES, SHORT_OUTAGE_S, svg};

const STYLE: &str = include_str!("style.css");
/// Outages that are listed.
const OUTAGES: usize = 50;

/// The page.
pub(super) fn html(run: &Run) -> String {
    let (plan, outcome, lifetimes) = (&run.plan, &run.outcome, &run.outcome.lifetimes);
    let title = format!("TIME_WAIT on Linux {}, {}", run.kernel.text, plan.hz);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n<h1>{title}</h1>\n<p>{}</p>\n<p>{} sockets in {:.0} s of its time.</p>\n",
        plan.generation.words(),
        outcome.served,
        outcome.end_s,
    );
    html.push_str("<table><tr><th>least<th>mean");
    SHARES.iter().for_each(|(name, _)| {
        let _ = write!(html, "<th>{name}");
    });
    let _ = write!(html, "<th>most</tr><tr><td>{:.3} s<td>{:.3} s", lifetimes.least_s(), lifetimes.mean_s());
    SHARES.iter().for_each(|&(_, share)| {
        let _ = write!(html, "<td>{:.2} s", lifetimes.quantile_s(share));
    });
    let _ = writeln!(html, "<td>{:.3} s</tr></table>", lifetimes.most_s());
    let _ = writeln!(html, "<h2>How long sockets lasted</h2>\n{}", svg::lifetimes(run));
    let _ = writeln!(html, "<h2>Sockets over time, at most {}</h2>\n{}", outcome.most, svg::population(run));
    if outcome.overflowed > 0 {
        let _ = writeln!(html, "<p>{} closed without TIME_WAIT, for want of a bucket.</p>", outcome.overflowed);
    }
    if outcome.ticks.all > 0 {
        let _ = writeln!(html, "<p>The hand stayed at {} of {} ticks.</p>", outcome.ticks.stalled, outcome.ticks.all);
    }
    if let Some(ports) = plan.ports {
        let _ = writeln!(html, "<h2>{ports} ports</h2>\n<p>{} refused for want of one.</p>\n<ul>", outcome.refused);
        let long = outcome.outages.iter().filter(|outage| outage.length_s() >= SHORT_OUTAGE_S);
        for outage in long.take(OUTAGES) {
            let (from_s, length_s) = (outage.from_s, outage.length_s());
            let _ = writeln!(html, "<li>from {from_s:.2} s on for {length_s:.2} s: {} refused</li>", outage.refused);
        }
        html.push_str("</ul>\n");
    }
    html.push_str("<footer>written by pinhole timewait simulate</footer>\n</body>\n</html>\n");
    html
}
