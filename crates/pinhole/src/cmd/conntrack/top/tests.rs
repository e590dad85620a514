//! Groups, orders and rates from flows; advice from frames; the fields of JSON.

use clap::Parser;
use pinhole_host::netlink::conntrack::{Counters, Entry, State, TcpState, Tuple, status};

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn args(line: &str) -> Args {
    Line::try_parse_from(std::iter::once("x").chain(line.split_whitespace())).expect("well formed").args
}

fn flow(id: u32, source: [u8; 4], port: u16, bytes: u64) -> Entry {
    let (a, b) = ((source, 40_000).into(), ([192, 0, 2, 9], port).into());
    let state = Some(State::Tcp { state: TcpState::Established, sides: [None; 2] });
    let status = if bytes == 0 { 0 } else { status::SEEN_REPLY };
    let count = |bytes| Some(Counters { packets: 1, bytes });
    Entry {
        id,
        state,
        status,
        sent: count(bytes),
        received: count(0),
        ..Entry::new(Tuple::new(6, a, b), Tuple::new(6, b, a))
    }
}

fn tally(entries: &[Entry], by: By, before: &tally::Totals) -> Tally {
    Tally::new(entries, by, &Services::parse("https 443/tcp"), before)
}

/// Names and numbers of flows, in order.
fn names(groups: &[Group]) -> Vec<(&str, u64)> {
    groups.iter().map(|group| (group.name.as_str(), group.flows)).collect()
}

fn three() -> Vec<Entry> {
    vec![flow(1, [10, 0, 0, 1], 443, 100), flow(2, [10, 0, 0, 1], 80, 50), flow(3, [10, 0, 0, 2], 443, 900)]
}

#[test]
fn flows_are_counted_by_what_is_asked_and_come_in_the_order_asked() {
    let sorted = |by, order| {
        let groups = tally(&three(), by, &HashMap::new()).sorted(order, None);
        groups.into_iter().map(|group| (group.name, group.flows, group.bytes)).collect::<Vec<_>>()
    };
    let of = |name: &str, flows, bytes| (name.to_owned(), flows, bytes);
    assert_eq!(sorted(By::Source, Order::Flows), [of("10.0.0.1", 2, 150), of("10.0.0.2", 1, 900)]);
    assert_eq!(sorted(By::Source, Order::Bytes), [of("10.0.0.2", 1, 900), of("10.0.0.1", 2, 150)]);
    assert_eq!(sorted(By::Service, Order::Flows), [of("tcp https", 2, 1000), of("tcp 80", 1, 50)]);
    assert_eq!(sorted(By::Destination, Order::Flows), [of("192.0.2.9", 3, 1050)]);
    assert_eq!(sorted(By::State, Order::Flows), [of("tcp established", 3, 1050)]);
    assert_eq!(sorted(By::Protocol, Order::Packets), [of("tcp", 3, 1050)]);
    assert_eq!(sorted(By::Nat, Order::Flows), [], "nothing is translated");
    let mut translated = three();
    translated[0].reply.destination = ([203, 0, 113, 1], 1024).into();
    let groups = tally(&translated, By::Nat, &HashMap::new()).sorted(Order::Flows, None);
    assert_eq!(names(&groups), [("203.0.113.1", 1)]);
}

#[test]
fn rates_are_what_came_since_the_last_look_also_in_new_flows() {
    let first = tally(&three(), By::Source, &HashMap::new());
    assert!(first.sorted(Order::Flows, None).iter().all(|group| group.bytes_per_s.is_none()));
    // One goes on, one stands still, one is gone, one is new.
    let later = [flow(1, [10, 0, 0, 1], 443, 300), flow(2, [10, 0, 0, 1], 80, 50), flow(4, [10, 0, 0, 3], 80, 40)];
    let second = tally(&later, By::Source, &first.totals).sorted(Order::Rate, Some(2.0));
    assert_eq!(names(&second), [("10.0.0.1", 2), ("10.0.0.3", 1)]);
    assert_eq!(second.iter().map(|group| group.bytes_per_s).collect::<Vec<_>>(), [Some(100.0), Some(20.0)]);
}

fn frame_of(entries: u32, maximum: u32, rates: Rates, flows: u64, unreplied: u64) -> Frame {
    Frame {
        now_ns: 0,
        fill: Fill { entries, maximum: Some(maximum) },
        statistics: CpuStatistics::default(),
        rates: Some(rates),
        groups: Vec::new(),
        counted: true,
        flows,
        unreplied,
    }
}

#[test]
fn advice_comes_with_what_is_wrong_and_only_then() {
    let ok = Rates::default();
    let cases = [
        (frame_of(799, 1000, ok, 799, 799), None),
        (frame_of(800, 1000, ok, 800, 0), Some("nf_conntrack_max=2000")),
        (frame_of(1, 1000, Rates { drop: 0.5, ..ok }, 1, 0), Some("being dropped")),
        (frame_of(1, 1000, Rates { early_drop: 1.0, ..ok }, 1, 0), Some("before their time")),
        (frame_of(1, 1000, Rates { insert_failed: 1.0, ..ok }, 1, 0), Some("no free port")),
        (frame_of(1, 1000, Rates { invalid: 9.0, ..ok }, 1, 0), None),
        (frame_of(1000, 10_000, ok, 1000, 500), Some("unreplied")),
        (frame_of(0, 0, ok, 0, 0), None),
    ];
    for (frame, expected) in cases {
        let advice = advice::advise(&frame);
        match expected {
            None => assert_eq!(advice, [""; 0]),
            Some(words) => assert!(advice.len() == 1 && advice[0].contains(words), "{words}: {advice:?}"),
        }
    }
}

#[test]
fn json_has_the_documented_fields_and_as_many_groups_as_asked() {
    let mut frame = frame_of(3, 1000, Rates { drop: 1.5, ..Rates::default() }, 3, 0);
    frame.groups = tally(&three(), By::Source, &HashMap::new()).sorted(Order::Flows, Some(1.0));
    let value = json::object(&args("--rows 1"), &frame);
    let group = serde_json::json!({
        "name": "10.0.0.1", "flows": 2, "unreplied": 0, "packets": 4, "bytes": 150,
        "packets_per_s": 4.0, "bytes_per_s": 150.0,
    });
    assert_eq!(value["groups"], serde_json::json!([group]));
    assert_eq!((&value["entries"], &value["maximum"], &value["by"]), (&3.into(), &1000.into(), &"source".into()));
    assert_eq!((&value["per_s"]["drop"], &value["counters"]["drop"]), (&1.5.into(), &0.into()));
}

#[test]
fn text_has_the_fill_the_counters_and_the_groups_within_the_rows() {
    let mut frame = frame_of(900, 1000, Rates { drop: 1.5, ..Rates::default() }, 3, 0);
    frame.groups = tally(&three(), By::Source, &HashMap::new()).sorted(Order::Flows, None);
    let mut out = Vec::new();
    text::write(&mut out, &args("--once --rows 1"), &frame).expect("a vector");
    let text = String::from_utf8(out).expect("text");
    for part in
        ["900 of 1000 [##################--] 90.0 %, 3 counted here", "drop 0 (+1.5/s)", "! the table", "and 1 more"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains("10.0.0.1") && !text.contains("10.0.0.2") && !text.contains('\x1b'), "{text}");
}

/// The lines of a screen of that size.
fn screen_of(width: u16, height: u16, frame: &Frame) -> Vec<String> {
    let mut terminal = ratatui::Terminal::new(ratatui::backend::TestBackend::new(width, height)).expect("a screen");
    terminal.draw(|canvas| view::draw(canvas, &args(""), frame, Paint::plain())).expect("no terminal can be gone");
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

#[test]
fn the_screen_has_the_fill_the_counters_the_advice_and_as_many_groups_as_fit() {
    let mut frame = frame_of(900, 1000, Rates { drop: 1.5, ..Rates::default() }, 3, 0);
    frame.groups = tally(&three(), By::Source, &HashMap::new()).sorted(Order::Flows, Some(1.0));
    let lines = screen_of(100, 20, &frame);
    let screen = lines.join("\n");
    for part in ["90.0 %", "900 of 1000, 3 counted here", "drop 0 (+1.5/s)", "! the table", "BYTES/S", "q quits"] {
        assert!(screen.contains(part), "{part}: {screen}");
    }
    let row = lines.iter().find(|line| line.starts_with("10.0.0.1")).expect("a group");
    assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["10.0.0.1", "2", "0", "4", "150", "4", "150"]);
    let is_group = |line: &&String| line.starts_with("10.0.0.");
    assert_eq!(lines.iter().filter(is_group).count(), 2);
    // Advice is wrapped, and what does not fit is left out.
    assert_eq!(screen_of(60, 9, &frame).iter().filter(is_group).count(), 1);
    for (width, height) in [(1, 1), (3, 2), (20, 4), (500, 3)] {
        let _ = screen_of(width, height, &frame);
    }
}

#[test]
fn an_interval_is_between_a_tenth_of_a_second_and_a_day() {
    assert_eq!(interval("0.5"), Ok(Duration::from_millis(500)));
    for text in ["0", "0.01", "-1", "nan", "inf", "1e9", "x"] {
        assert!(interval(text).is_err(), "{text}");
    }
}
