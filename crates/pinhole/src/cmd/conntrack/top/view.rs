//! A look as a screen: how full the table is, what is wrong, and the groups that fit.

use ratatui::Frame as Canvas;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Gauge, Paragraph, Row, Table, Wrap};

use super::super::paint::{Paint, Tone};
use super::text::{cells, counted_here, counters, entries, headings, notes, room, share};
use super::{Args, Frame};
use crate::cmd::screen;

/// How wide a bar is that says how full the table is.
const BAR: u16 = 24;
/// Of the advice no more is shown than this many lines, and a third of the screen, so that there is room for groups.
const MOST_NOTES: u16 = 8;
/// The narrowest name.
const NAME: u16 = 12;

/// Draws it.
pub(super) fn draw(canvas: &mut Canvas<'_>, args: &Args, frame: &Frame, paint: Paint) {
    let area = canvas.area();
    let notes = wrapped(frame, paint);
    let noted = screen::height(&notes, area.width, MOST_NOTES.min(area.height / 3));
    let rows = [1, 1, noted, 1].map(Constraint::Length).into_iter().chain([Constraint::Min(1), Constraint::Length(1)]);
    let [fill, counted, advised, _, groups, foot] = Layout::vertical(rows).areas(area);
    table(canvas, fill, frame, paint);
    let counters = counters(frame).map(|(tone, text)| Span::styled(format!("{text}  "), paint.style(tone)));
    canvas.render_widget(Line::from_iter(std::iter::once(Span::raw("counters  ")).chain(counters)), counted);
    canvas.render_widget(notes, advised);
    self::groups(canvas, groups, args, frame, paint);
    canvas.render_widget(Line::styled("q quits", paint.style(Tone::Fading)).alignment(Alignment::Right), foot);
}

fn wrapped(frame: &Frame, paint: Paint) -> Paragraph<'static> {
    let lines = notes(frame).into_iter().map(|(tone, words)| Line::styled(words, paint.style(tone)));
    Paragraph::new(Text::from_iter(lines)).wrap(Wrap { trim: true })
}

fn table(canvas: &mut Canvas<'_>, area: Rect, frame: &Frame, paint: Paint) {
    let words = format!("  {}{}", entries(frame), counted_here(frame));
    let label = [Constraint::Length(10), Constraint::Length(BAR), Constraint::Min(0)];
    let [name, bar, rest] = Layout::horizontal(label).areas(area);
    canvas.render_widget(Line::raw("table"), name);
    match share(frame) {
        Some((share, tone)) => {
            let gauge = Gauge::default().ratio(share).label(format!("{:.1} %", share * 100.0));
            canvas.render_widget(gauge.gauge_style(paint.style(tone)).use_unicode(true), bar);
        }
        None => canvas.render_widget(Line::raw("no limit"), bar),
    }
    canvas.render_widget(Line::raw(words), rest);
}

fn groups(canvas: &mut Canvas<'_>, area: Rect, args: &Args, frame: &Frame, paint: Paint) {
    let fit = usize::from(area.height.saturating_sub(1));
    let shown = &frame.groups[..frame.groups.len().min(args.rows.unwrap_or(fit)).min(fit)];
    let row = |cells: Vec<String>| {
        let cells = cells.into_iter().enumerate();
        Row::new(
            cells
                .map(|(at, text)| Text::from(text).alignment(if at == 0 { Alignment::Left } else { Alignment::Right })),
        )
    };
    let headings = headings(args.by, frame);
    let columns: Vec<_> = std::iter::once(Constraint::Min(NAME))
        .chain(headings[1..].iter().map(|name| Constraint::Length(room(name) as u16)))
        .collect();
    let table = Table::new(shown.iter().map(|group| row(cells(group, frame))), columns)
        .header(row(headings).style(paint.style(Tone::Heading)))
        .column_spacing(2);
    canvas.render_widget(table, area);
}
