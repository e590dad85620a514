//! The matrix as a page: a heat map, and behind each cell what happened in one of its runs. One file, no script, nothing from
//! elsewhere; light or dark as the reader likes.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use pinhole_world::{Conditions, Nature};

use super::Report;
use super::tally::Tally;
use crate::cmd::conntrack::trace::html::Escaped;
use crate::cmd::lab::ladder::{Ladder, Rung};
use crate::cmd::lab::{human, words};

const STYLE: &str = include_str!("style.css");
/// So many rungs of a ladder are drawn.
const MOST_RUNGS: usize = 60;
/// Pixels from party to party, and from rung to rung.
const STEP: usize = 150;
const RUNG: usize = 22;
/// Pixels to the left of the first party, for times, and above the first rung, for names.
const LEFT: usize = 110;
const TOP: usize = 40;

/// Writes the page.
///
/// # Errors
/// If it cannot be written.
pub(super) fn save(report: &Report, path: &Path) -> Result<()> {
    std::fs::write(path, html(report)).with_context(|| format!("cannot write {}", path.display()))
}

fn html(report: &Report) -> String {
    let title = "Who becomes direct with whom";
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n<h1>{title}</h1>\n<p>Two agents with WireGuard behind NATs of every kind: mapping / filtering / allocation. \
         ei is endpoint-independent, ad address-dependent, apd address-and-port-dependent. Each cell is how many of 100 runs \
         became direct, of {} (seeds {} to {}); open one to see a run, packet by packet.</p>\n",
        report.seeds.end - report.seeds.start,
        report.seeds.start,
        report.seeds.end - 1,
    );
    for (number, (conditions, tallies)) in report.maps.iter().enumerate() {
        map(&mut html, number, *conditions, tallies);
    }
    for (number, (_, tallies)) in report.maps.iter().enumerate() {
        for (at, tally) in tallies.iter().enumerate() {
            cell(&mut html, number, at, tally);
        }
    }
    html.push_str("<footer>written by pinhole lab matrix</footer>\n</body>\n</html>\n");
    html
}

fn map(html: &mut String, number: usize, conditions: Conditions, tallies: &[Tally]) {
    let title = match conditions.to_string() {
        words if words.is_empty() => "Plain".to_owned(),
        words => format!("With {}", words.trim_start_matches('+').replace('+', ", ")),
    };
    let _ = write!(
        html,
        "<h2 id=\"m{number}\">{}</h2>\n<div class=\"scroll\"><table class=\"map\">\n<tr><th></th>",
        Escaped(title)
    );
    let kinds: Vec<Nature> = Nature::all().collect();
    for kind in &kinds {
        let _ = write!(html, "<th class=\"up\"><span>{kind}</span></th>");
    }
    html.push_str("</tr>\n");
    for row in &kinds {
        let _ = write!(html, "<tr><th>{row}</th>");
        for column in &kinds {
            let is_it = |tally: &Tally| {
                let pair = (tally.cell.alice, tally.cell.bob);
                pair == (*row, *column) || pair == (*column, *row)
            };
            match tallies.iter().position(is_it) {
                Some(at) => square(html, number, at, &tallies[at]),
                None => html.push_str("<td></td>"),
            }
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</table></div>\n");
}

fn square(html: &mut String, number: usize, at: usize, tally: &Tally) {
    let percent = tally.percent();
    // Ten shades, from none to all.
    let shade = (percent / 10.0).floor() as usize;
    let time = tally.median().map(|time| format!(", median {}", human(time))).unwrap_or_default();
    let wrong = if tally.contradictions.is_empty() { "" } else { " wrong" };
    let _ = write!(
        html,
        "<td class=\"s{shade}{wrong}\"><a href=\"#c{number}-{at}\" title=\"{}: {percent:.0} %{time}\">{percent:.0}</a></td>",
        tally.cell
    );
}

fn cell(html: &mut String, number: usize, at: usize, tally: &Tally) {
    let _ = write!(
        html,
        "<section id=\"c{number}-{at}\"><a class=\"close\" href=\"#m{number}\">close</a><h3>{}</h3><p>{:.0} % of {} runs became \
         direct",
        tally.cell,
        tally.percent(),
        tally.runs
    );
    if let (Some(median), Some(p99)) = (tally.median(), tally.p99()) {
        let _ = write!(html, ", median {}, p99 {}", human(median), human(p99));
    }
    let _ = write!(html, "; by the oracle this {}.</p>", words::must(tally.ruling.must));
    if tally.is_always() {
        let _ = write!(html, "<p>How: {}.</p>", Escaped(words::way(&tally.ruling).unwrap_or("by luck")));
    } else {
        let _ = write!(html, "<p>Why not: {}.</p>", Escaped(words::reason(&tally.ruling)));
        if !tally.ruling.verdict.fixes.is_empty() {
            html.push_str("<p>What would help (here is alice's side):</p><ul>");
            for &fix in &tally.ruling.verdict.fixes {
                let _ = write!(html, "<li>{}</li>", Escaped(words::fix(fix)));
            }
            html.push_str("</ul>");
        }
    }
    for (seed, what) in &tally.contradictions {
        let _ = write!(html, "<p class=\"bad\">Seed {seed} contradicts the oracle: {}.</p>", Escaped(what));
    }
    let _ = write!(html, "<p><code>pinhole lab replay --seed {} {}</code></p>", tally.typical, tally.cell);
    if let Some(ladder) = &tally.ladder {
        self::ladder(html, ladder);
    }
    html.push_str("</section>\n");
}

fn ladder(html: &mut String, ladder: &Ladder) {
    let shown = ladder.rungs.len().min(MOST_RUNGS);
    let (width, height) = (LEFT + ladder.parties.len() * STEP, TOP + (shown + 1) * RUNG);
    let _ = write!(html, "<div class=\"scroll\"><svg width=\"{width}\" height=\"{height}\">");
    for (at, party) in ladder.parties.iter().enumerate() {
        let x = column(at);
        let _ = write!(
            html,
            "<text class=\"p\" x=\"{x}\" y=\"16\">{}</text><path class=\"v\" d=\"M{x} 24V{height}\"/>",
            Escaped(party)
        );
    }
    for (at, rung) in ladder.rungs.iter().take(shown).enumerate() {
        self::rung(html, TOP + at * RUNG + RUNG / 2, rung);
    }
    html.push_str("</svg></div>");
    if ladder.rungs.len() > shown {
        let _ = write!(html, "<p>and {} more</p>", ladder.rungs.len() - shown);
    }
}

fn rung(html: &mut String, y: usize, rung: &Rung) {
    let (from, to) = (column(rung.from), column(rung.to));
    let class = match (&rung.end, rung.is_meant) {
        (None, _) if rung.with_registry => "r",
        (None, _) => "k",
        (Some(_), true) => "m",
        (Some(_), false) => "x",
    };
    let tip = if to >= from { to.saturating_sub(7) } else { to + 7 };
    let (above, below) = (y - 3, y + 3);
    let head = if rung.end.is_none() {
        format!("M{tip} {above}L{to} {y}L{tip} {below}")
    } else {
        format!("M{} {above}l6 6m-6 0l6 -6", to.saturating_sub(3))
    };
    let count = if rung.count > 1 { format!(" ×{}", rung.count) } else { String::new() };
    let end = rung.end.as_ref().map(|end| format!(", {end}")).unwrap_or_default();
    let what = format!("{}{count}{end}", rung.what);
    let _ = write!(
        html,
        "<text class=\"t\" x=\"4\" y=\"{y}\">{:.1} ms</text><path class=\"{class}\" d=\"M{from} {y}H{to}{head}\"/>\
         <text x=\"{}\" y=\"{}\">{}</text>",
        rung.at.as_secs_f64() * 1e3,
        from.min(to) + 6,
        y - 4,
        Escaped(what),
    );
}

const fn column(party: usize) -> usize {
    LEFT + party * STEP + STEP / 3
}
