//! A page for one trace: the hooks drawn with each packet's way through them, what happened at each, and the flows that it
//! left behind. One file, no script, nothing from elsewhere; light or dark as the reader likes.
//!
//! The model: a [`Page`] is text that grows packet by packet. Whatever packets, rules and files say goes through
//! [`escape`](Escaped) on its way in. The drawing is there once; a packet's way through it is a handful of colours.

mod diagram;

use std::fmt::{self, Display, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use pinhole_netfilter::explain::{self, Account, FlowState, Stage};
use pinhole_netfilter::watch::{Note, Topic};
use pinhole_netfilter::{Router, Verdict};
use pinhole_sansio::Instant;

use super::Traced;
use super::summary::{Summary, packets};
use super::text;
use super::world::World;

/// More packets make a page that no browser likes.
const MOST_PACKETS: u64 = 1_000;
/// More flows than this are not listed below each packet.
const MOST_FLOWS: usize = 24;
/// So few packets are shown open.
const FEW: u64 = 3;

const STYLE: &str = include_str!("style.css");

/// The page as far as it is written.
pub(super) struct Page {
    path: PathBuf,
    /// What is said of the router.
    router: String,
    packets: String,
    shown: u64,
    left_out: u64,
}

impl Page {
    /// Nothing yet but the router.
    pub(super) fn new(path: PathBuf, world: &World) -> Self {
        Self { path, router: router(world), packets: String::new(), shown: 0, left_out: 0 }
    }

    /// Adds a packet, and the flows that are there after it.
    pub(super) fn packet(&mut self, traced: &Traced, router: &mut Router, now: Instant) {
        if self.shown == MOST_PACKETS {
            self.left_out += 1;
            return;
        }
        self.shown += 1;
        let open = if self.shown <= FEW { " open" } else { "" };
        let Traced { number, at, account } = traced;
        let kind = kind(account.verdict);
        let html = &mut self.packets;
        let _ = write!(
            html,
            "<details class=\"packet {kind}\" id=\"p{number}\"{open}>\n<summary><span class=\"number\">{number}</span>\
             <code>{}</code><span class=\"time\">{:.6} s</span><span class=\"badge\">{}</span></summary>\n",
            Escaped(&account.before),
            at.as_secs_f64(),
            Escaped(&text::verdict(account)),
        );
        let _ = write!(html, "{}<div class=\"columns\"><div class=\"steps\">", diagram::Way(account));
        account.stages.iter().for_each(|stage| self::stage(html, stage));
        html.push_str("</div><div class=\"outcome\">");
        outcome(html, account);
        flows(html, account, router, now);
        html.push_str("</div></div></details>\n");
    }

    /// Writes the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn save(&self, summary: &Summary) -> Result<()> {
        let mut html = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>The way of {}</title>\n<style>\n{STYLE}</style>\n\
             </head>\n<body>\n{}\n<header><h1>The way of {}</h1>\n<p class=\"counts\">",
            self.count(),
            diagram::SYMBOL,
            self.count(),
        );
        for (kind, words, count) in summary.verdicts() {
            let _ = write!(html, "<span class=\"chip {kind}\"><b>{count}</b> {}</span> ", Escaped(words));
        }
        let _ = write!(html, "</p>\n{}</header>\n<main>\n{}", self.router, self.packets);
        if self.left_out > 0 {
            let _ =
                write!(html, "<p class=\"hint\">{} more are left out: choose with --only</p>", packets(self.left_out));
        }
        for hint in summary.hints() {
            let _ = write!(html, "<p class=\"hint\">{}</p>", Escaped(&hint));
        }
        html.push_str("</main>\n<footer>written by pinhole conntrack trace</footer>\n</body>\n</html>\n");
        std::fs::write(&self.path, html).with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Where it is written to.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// "2 packets".
    pub(super) fn count(&self) -> String {
        packets(self.shown)
    }
}

fn router(world: &World) -> String {
    let mut html = String::from("<dl class=\"router\">");
    for (name, addresses) in world.interfaces() {
        let _ = write!(html, "<div><dt>{}</dt><dd>{}</dd></div>", Escaped(name), Escaped(&addresses));
    }
    let _ = writeln!(html, "<div><dt>kernel</dt><dd>as Linux {}</dd></div></dl>", Escaped(world.kernel()));
    for (family, rules) in
        [("IPv4", world.router.rules_v4().to_string()), ("IPv6", world.router.rules_v6().to_string())]
    {
        if !rules.is_empty() {
            let count = rules.lines().filter(|line| line.starts_with("-A")).count();
            let noun = if count == 1 { "rule" } else { "rules" };
            let _ = writeln!(
                html,
                "<details class=\"rules\"><summary>{count} {noun} for {family}</summary><pre>{}</pre></details>",
                Escaped(&rules)
            );
        }
    }
    html
}

/// What happened at one place. Rules that were tried in vain are folded away.
fn stage(html: &mut String, stage: &Stage) {
    let name = stage.place.name();
    let _ = write!(html, "<details class=\"stage\" open><summary>{name}</summary><ol>");
    for group in stage.notes.chunk_by(|a, b| a.topic == b.topic && a.topic == Topic::Tried) {
        match group {
            [first, ..] if first.topic == Topic::Tried => {
                let _ = write!(
                    html,
                    "<li class=\"tried\"><details><summary>{} tried without effect</summary><ol>",
                    group.len()
                );
                group.iter().for_each(|note| self::note(html, note));
                html.push_str("</ol></details></li>");
            }
            notes => notes.iter().for_each(|note| self::note(html, note)),
        }
    }
    html.push_str("</ol></details>\n");
}

fn note(html: &mut String, note: &Note) {
    let word = text::word(note.topic);
    let bad = if note.text.starts_with("INVALID") { " bad" } else { "" };
    let _ = write!(
        html,
        "<li class=\"{}{bad}\"><span class=\"topic\">{word}</span><span>{}</span></li>",
        note.topic.name(),
        Escaped(&note.text)
    );
}

/// The packet before and after, what was sent beside, and the verdict.
fn outcome(html: &mut String, account: &Account) {
    let _ = write!(
        html,
        "<table class=\"outcome\"><tr><th>{}</th><td><code>{}</code></td></tr>",
        Escaped(&text::came(account)),
        Escaped(&account.before)
    );
    if let Some(after) = &account.after {
        let where_to = account.output.as_ref().map_or_else(|| "in".to_owned(), |output| format!("out by {output}"));
        let _ = write!(html, "<tr><th>{}</th><td><code>{}</code></td></tr>", Escaped(&where_to), Escaped(after));
    }
    if let Some(info) = account.info {
        let _ = write!(html, "<tr><th>state</th><td>{info}</td></tr>");
    }
    let words = text::verdict(account);
    let _ = write!(html, "<tr class=\"{}\"><th>verdict</th><td>{}</td></tr>", kind(account.verdict), Escaped(&words));
    for sent in &account.sent {
        let _ = write!(
            html,
            "<tr><th>{} {}</th><td><code>{}</code></td></tr>",
            if sent.is_piece { "and by" } else { "answer," },
            Escaped(&sent.interface),
            Escaped(&sent.line)
        );
    }
    for prefix in &account.logs {
        let _ = write!(html, "<tr><th>logged</th><td><code>{}</code></td></tr>", Escaped(prefix));
    }
    html.push_str("</table>");
}

/// The table of flows after the packet.
fn flows(html: &mut String, account: &Account, router: &mut Router, now: Instant) {
    let mut all = explain::flows(router, now, usize::MAX);
    let count = all.len();
    // Its own first.
    all.sort_by_key(|flow| account.flow.as_ref().is_none_or(|own| own.original != flow.original));
    let _ = write!(html, "<h3>flows after it: {count}</h3>");
    if count > 0 {
        html.push_str(
            "<div class=\"scroll\"><table class=\"flows\"><tr><th>original<th>answers<th>state<th>left<th>status</tr>",
        );
        all.iter().take(MOST_FLOWS).for_each(|flow| flow_row(html, flow, account));
        html.push_str("</table></div>");
    }
    if count > MOST_FLOWS {
        let _ = write!(html, "<p class=\"hint\">and {} more</p>", count - MOST_FLOWS);
    }
    let expected = explain::expectations(router, now);
    if !expected.is_empty() {
        html.push_str("<h3>expected</h3><ul>");
        for expected in expected.iter().take(MOST_FLOWS) {
            let (text, left) = (Escaped(&expected.text), expected.remaining.as_secs());
            let _ = write!(html, "<li><code>{text}</code>, for {left} s</li>");
        }
        html.push_str("</ul>");
    }
}

fn flow_row(html: &mut String, flow: &FlowState, account: &Account) {
    let is_own = account.flow.as_ref().is_some_and(|own| own.original == flow.original && own.zone == flow.zone);
    let own = if is_own { " class=\"own\"" } else { "" };
    let _ = write!(
        html,
        "<tr{own}><td><code>{}</code><td><code>{}</code><td>{}<td>{:.0} s<td class=\"status\">{}</tr>",
        Escaped(&flow.original),
        Escaped(&flow.reply),
        flow.state.unwrap_or(""),
        flow.remaining.as_secs_f64(),
        Escaped(&flow.status.to_string().replace(',', " ")),
    );
}

const fn kind(verdict: Verdict) -> &'static str {
    super::summary::names(verdict).0
}

/// Text as a page may have it: nothing in it is markup.
pub(in crate::cmd) struct Escaped<T>(pub(in crate::cmd) T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl Write for Escaping<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                text.chars().try_for_each(|c| match c {
                    '&' => self.0.write_str("&amp;"),
                    '<' => self.0.write_str("&lt;"),
                    '>' => self.0.write_str("&gt;"),
                    '"' => self.0.write_str("&quot;"),
                    '\'' => self.0.write_str("&#39;"),
                    '\n' | '\t' => self.0.write_char(c),
                    c if c.is_control() => self.0.write_char('\u{fffd}'),
                    c => self.0.write_char(c),
                })
            }
        }
        write!(Escaping(f), "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_text_says_is_markup() {
        let hostile = "</style><script>alert('x')</script>\" onload=\"y\" &amp; \u{1b}[31m";
        let escaped = Escaped(hostile).to_string();
        assert_eq!(
            escaped,
            "&lt;/style&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot; onload=&quot;y&quot; &amp;amp; \u{fffd}[31m"
        );
    }
}
