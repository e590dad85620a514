//! What is on the screen, without one.

use pinhole_host::clock::{Jiffies, Source};
use pinhole_host::sysctl::Settings;
use pinhole_timewait::Hz;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::super::change::Change;
use super::super::change::tests::{dead, sample};
use super::super::{Past, Seen};
use super::*;

fn machine(source: Source) -> Machine {
    let mut jiffies = Jiffies::find(250);
    jiffies.source = source;
    let version = "6.18.0".parse().expect("a version");
    Machine { release: "6.18.0".into(), version, hz: Hz::HZ_250, jiffies, settings: Settings::default() }
}

fn past() -> Past {
    let seen = |time: &str, change| Seen { time: time.into(), change };
    let killed = Change { born: 7, died: 12, early: 3, ..Change::default() };
    Past::from([seen("11:59:58", Change::default()), seen("12:00:00", killed)])
}

/// The lines of a screen of that size on which 60 sockets die at each of two moments, 30 s and 60 s from now.
fn lines(width: u16, height: u16, source: Source) -> Vec<String> {
    let all = (0..120).map(|cookie| dead(cookie, 100, if cookie < 60 { 190 } else { 160 }, 120));
    let watched = Watched::new(sample(120, all.collect()));
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a screen");
    let now_ns = 130_000_000_000;
    let draw =
        |canvas: &mut Frame<'_>| super::draw(canvas, &machine(source), &watched, &past(), now_ns, Paint::plain());
    terminal.draw(draw).expect("no terminal can be gone");
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

#[test]
fn the_screen_has_a_bar_for_each_release_and_below_it_who_waits_and_what_was_seen() {
    let lines = lines(80, 24, Source::TimerList);
    let screen = lines.join("\n");
    assert_eq!(lines[0], "Linux 6.18.0, HZ=250: TIME_WAIT lasts 60 to 62.048 s");
    assert_eq!(lines[1], "120 wait; the next 60 die in 30.0 s");
    let axis = lines.iter().position(|line| line.starts_with("now")).expect("an axis");
    let bars = &lines[axis - 1];
    // 31 granules of two columns each: the fifteenth and the thirtieth from now.
    let at = |column: usize| bars.chars().nth(column).unwrap_or(' ');
    assert!([28, 29, 58, 59].iter().all(|&column| at(column) != ' '), "{screen}");
    assert_eq!(bars.chars().filter(|&c| c != ' ').count(), 4, "{screen}");
    for words in ["10.0.0.2:443", "120", "60.0", "12:00:00", "EARLY", "q quits"] {
        assert!(screen.contains(words), "{words}: {screen}");
    }
    let newest = lines.iter().position(|line| line.contains("12:00:00")).expect("a look");
    assert!(lines[newest + 1].contains("11:59:58"), "the newest comes first: {screen}");
    assert!(!screen.contains("/proc/timer_list"), "{screen}");
}

#[test]
fn on_a_wide_screen_the_lists_are_side_by_side_and_bars_have_numbers() {
    let lines = lines(160, 30, Source::Guess);
    let screen = lines.join("\n");
    assert!(lines.iter().any(|line| line.contains("10.0.0.2:443") && line.contains("12:00:00")), "{screen}");
    assert!(lines.iter().filter(|line| line.starts_with(' ') && line.contains("60")).count() >= 1, "{screen}");
    assert!(screen.contains("/proc/timer_list"), "what is not known is said: {screen}");
}

#[test]
fn no_size_of_a_screen_is_too_small() {
    for width in [1, 2, 5, 20, 61, 300] {
        for height in [1, 2, 3, 7, 12, 90] {
            let _ = lines(width, height, Source::Guess);
        }
    }
    assert!(lines(40, 10, Source::TimerList)[1].starts_with("120 wait"));
}
