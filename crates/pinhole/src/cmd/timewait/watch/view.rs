//! A look as a screen: a bar for what each granule of the wheel will release, who waits for whom, and what the last looks saw.

use std::collections::HashMap;
use std::net::SocketAddr;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Bar, BarChart, BarGroup, Block, Borders, Paragraph, Row, Table, Wrap};

use super::super::groups::histogram;
use super::super::machine::Machine;
use super::super::trouble;
use super::Past;
use super::change::Watched;
use crate::cmd::conntrack::paint::{Paint, Tone};
use crate::cmd::screen;

/// The chart's lines, with its axis; where there is little room it has what the lists leave.
const CHART: u16 = 12;
const LEAST_CHART: u16 = 4;
/// Bars where the wheel's granules would make fewer than seven, or more than there are columns.
const BARS: u64 = 62;
/// From this width on the two lists are side by side.
const WIDE: u16 = 100;
/// Notes take no more lines.
const MOST_NOTES: u16 = 3;

/// Draws it as it is at `now_ns`.
pub(super) fn draw(
    canvas: &mut Frame<'_>,
    machine: &Machine,
    watched: &Watched,
    past: &Past,
    now_ns: u64,
    paint: Paint,
) {
    let area = canvas.area();
    let notes = Paragraph::new(trouble::of_clock(machine.jiffies.source).unwrap_or_default()).wrap(Wrap { trim: true });
    let noted = screen::height(&notes, area.width, MOST_NOTES);
    let lists = if area.width >= WIDE { 6 } else { 9 };
    let rows = [
        Constraint::Length(2),
        Constraint::Length(CHART.min(area.height.saturating_sub(3 + noted + lists)).max(LEAST_CHART)),
        Constraint::Min(0),
        Constraint::Length(noted),
        Constraint::Length(1),
    ];
    let [head, chart, lists, noted, foot] = Layout::vertical(rows).areas(area);
    canvas.render_widget(heading(machine, watched, now_ns, paint), head);
    releases(canvas, chart, machine, watched, now_ns, paint);
    let direction = match area.width >= WIDE {
        true => Layout::horizontal([Constraint::Fill(1), Constraint::Length(47)]).spacing(3),
        false => Layout::vertical([Constraint::Fill(3), Constraint::Fill(2)]),
    };
    let [to, looks] = direction.areas(lists);
    canvas.render_widget(peers(watched, now_ns, paint), to);
    canvas.render_widget(self::looks(past, usize::from(looks.height), paint), looks);
    canvas.render_widget(notes.style(paint.style(Tone::Fading)), noted);
    canvas.render_widget(Line::styled("q quits", paint.style(Tone::Fading)).alignment(Alignment::Right), foot);
}

fn heading(machine: &Machine, watched: &Watched, now_ns: u64, paint: Paint) -> Text<'static> {
    let next = calendar(watched, now_ns).first().copied();
    let next = next.map_or_else(String::new, |(in_s, count)| format!("; the next {count} die in {in_s:.1} s"));
    Text::from(vec![
        Line::raw(format!("Linux {}, {}: TIME_WAIT lasts {}", machine.release, machine.hz, machine.lasts())),
        Line::styled(format!("{} wait{next}", watched.sample.dead.len()), paint.style(Tone::Heading)),
    ])
}

/// When how many die, seconds from `now_ns` on.
fn calendar(watched: &Watched, now_ns: u64) -> Vec<(f64, usize)> {
    let since_s = now_ns.saturating_sub(watched.sample.at_ns) as f64 / 1e9;
    let from_sample = watched.sample.calendar(watched.sample.dead.iter());
    from_sample.into_iter().map(|(at_s, count)| ((at_s - since_s).max(0.0), count)).collect()
}

/// The histogram, and below it the seconds.
fn releases(canvas: &mut Frame<'_>, area: Rect, machine: &Machine, watched: &Watched, now_ns: u64, paint: Paint) {
    let [plot, axis] = Layout::vertical([Constraint::Min(0), Constraint::Length(1)]).areas(area);
    let block = Block::new().borders(Borders::TOP).title(" released ").style(paint.style(Tone::Plain));
    let width = block.inner(plot).width;
    let until_j = machine.timeout_j() + machine.granule_j();
    let granules = until_j.div_ceil(machine.granule_j());
    let columns = if (7..=u64::from(width)).contains(&granules) { granules } else { BARS.min(u64::from(width)) };
    let columns = columns.max(1);
    let until_s = machine.hz.to_s(until_j);
    let counts = histogram(&calendar(watched, now_ns), columns as usize, until_s);
    // As wide as fits, and a gap where there is room for one.
    let each = (u64::from(width) / columns).max(1) as u16;
    let gap = u16::from(each > 2);
    let good = paint.style(Tone::Good);
    let bars: Vec<Bar<'_>> = counts
        .iter()
        .map(|&count| {
            let value =
                if count == 0 || usize::from(each - gap) < digits(count) { String::new() } else { count.to_string() };
            Bar::default().value(count).text_value(value).style(good).value_style(good.reversed())
        })
        .collect();
    let chart = BarChart::default().data(BarGroup::default().bars(&bars)).bar_width(each - gap).bar_gap(gap);
    canvas.render_widget(chart.block(block), plot);
    let drawn = (columns as u16).saturating_mul(each).min(axis.width);
    let [left, right] = ["now".to_owned(), format!("{until_s:.0} s")];
    let middle = if drawn > 24 { format!("{:.0} s", until_s / 2.0) } else { String::new() };
    let drawn = Rect { width: drawn, ..axis };
    for (text, at) in [(left, Alignment::Left), (middle, Alignment::Center), (right, Alignment::Right)] {
        canvas.render_widget(Line::raw(text).alignment(at), drawn);
    }
}

fn digits(count: u64) -> usize {
    count.to_string().len()
}

/// Those for whom most wait.
fn peers(watched: &Watched, now_ns: u64, paint: Paint) -> Table<'static> {
    let mut peers: HashMap<SocketAddr, (usize, u64)> = HashMap::new();
    for dead in &watched.sample.dead {
        let (count, last_ns) = peers.entry(dead.socket.remote).or_default();
        *count += 1;
        *last_ns = (*last_ns).max(dead.death_ns);
    }
    let mut peers: Vec<_> = peers.into_iter().collect();
    peers.sort_by_key(|&(peer, (count, _))| (std::cmp::Reverse(count), peer));
    let row = |(peer, (count, last_ns)): (SocketAddr, (usize, u64))| {
        let last_s = last_ns.saturating_sub(now_ns) as f64 / 1e9;
        Row::new([Text::raw(peer.to_string()), right(count.to_string()), right(format!("{last_s:.1}"))])
    };
    let columns = [Constraint::Min(15), Constraint::Length(7), Constraint::Length(9)];
    let heading = Row::new([Text::raw("TO"), right("WAIT"), right("LAST IN s")]);
    Table::new(peers.into_iter().map(row), columns).header(heading.style(paint.style(Tone::Heading))).column_spacing(2)
}

/// What the last looks saw, the newest first.
fn looks(past: &Past, height: usize, paint: Paint) -> Table<'static> {
    let row = |seen: &super::Seen| {
        let change = &seen.change;
        let counts = [change.born, change.died, change.early, change.late, change.restarted];
        let tone = if change.early + change.late + change.restarted > 0 { Tone::Waiting } else { Tone::Plain };
        let cells = counts.map(|count| right(if count == 0 { "-".to_owned() } else { count.to_string() }));
        Row::new(std::iter::once(Text::raw(seen.time.clone())).chain(cells)).style(paint.style(tone))
    };
    let columns = [8, 6, 6, 6, 5, 6].map(Constraint::Length);
    let names = ["BORN", "DIED", "EARLY", "LATE", "AGAIN"].map(right);
    let heading = Row::new(std::iter::once(Text::raw("LOOK")).chain(names)).style(paint.style(Tone::Heading));
    let rows: Vec<_> = past.iter().rev().take(height.saturating_sub(1)).map(row).collect();
    Table::new(rows, columns).header(heading).column_spacing(2)
}

fn right(text: impl Into<String>) -> Text<'static> {
    Text::raw(text.into()).alignment(Alignment::Right)
}

#[cfg(test)]
mod tests;
