//! One flow as it is shown to people, to machines and to scripts for conntrack(8); the order; the summary.

use pinhole_host::netlink::conntrack::{Counters, Entry, Fill, Icmp, State, TcpSide, TcpState, Tuple, status};

use super::super::classic::{self, Extras};
use super::super::json::Flow;
use super::super::names::{Labels, Services};
use super::super::people::People;
use super::{Order, array, sort, table};

const NOW_NS: u64 = 1_795_578_270_000_000_000;

fn tuple(protocol: u8, source: &str, destination: &str) -> Tuple {
    Tuple::new(protocol, source.parse().unwrap(), destination.parse().unwrap())
}

fn counted(packets: u64, bytes: u64) -> Option<Counters> {
    Some(Counters { packets, bytes })
}

/// A WireGuard tunnel through a NAT, a web connection to a redirected port, and a ping, each with its extras.
fn flows() -> Vec<Entry> {
    let wireguard = Entry {
        status: status::SEEN_REPLY | status::ASSURED | status::SRC_NAT,
        timeout_s: Some(119),
        sent: counted(10, 1480),
        received: counted(9, 1332),
        mark: Some(0),
        uses: Some(1),
        id: 7,
        began_ns: Some(NOW_NS - 65_000_000_000),
        labels: Some(1 << 5),
        ..Entry::new(
            tuple(17, "10.0.0.2:51820", "198.51.100.7:51820"),
            tuple(17, "198.51.100.7:51820", "203.0.113.1:51820"),
        )
    };
    let side = Some(TcpSide { scale: 7, flags: 3 });
    let web = Entry {
        status: status::DST_NAT,
        state: Some(State::Tcp { state: TcpState::SynSent, sides: [side, None] }),
        timeout_s: Some(99),
        mark: Some(42),
        zone: Some(5),
        uses: Some(2),
        id: 8,
        helper: Some("ftp".into()),
        ..Entry::new(tuple(6, "[fd00::2]:40000", "[fd00::1]:80"), tuple(6, "[fd00::9]:8080", "[fd00::2]:40000"))
    };
    let query = |kind, id, tuple: Tuple| Tuple { icmp: Some(Icmp { kind, code: 0, id }), ..tuple };
    let ping = Entry {
        status: status::SEEN_REPLY,
        timeout_s: Some(29),
        id: 9,
        ..Entry::new(
            query(8, 77, tuple(1, "10.0.0.2:0", "192.0.2.9:0")),
            query(0, 1024, tuple(1, "192.0.2.9:0", "203.0.113.1:0")),
        )
    };
    vec![wireguard, web, ping]
}

fn line(entry: &Entry, extras: &Extras) -> String {
    let mut out = Vec::new();
    classic::write(&mut out, entry, extras, NOW_NS / 1_000_000_000).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn conntracks_own_lines_have_everything_in_its_order() {
    let [wireguard, web, ping] = &flows()[..] else { panic!() };
    assert_eq!(
        line(wireguard, &Extras { labels: Some(Labels::parse("5 tunnel")), id: true, ..Extras::default() }),
        "udp      17 119 src=10.0.0.2 dst=198.51.100.7 sport=51820 dport=51820 packets=10 bytes=1480 src=198.51.100.7 \
         dst=203.0.113.1 sport=51820 dport=51820 packets=9 bytes=1332 [ASSURED] mark=0 delta-time=65 use=1 id=7 \
         labels=tunnel"
    );
    assert_eq!(
        line(web, &Extras { family: true, ..Extras::default() }),
        "ipv6     10 tcp      6 99 SYN_SENT src=fd00::2 dst=fd00::1 sport=40000 dport=80 [UNREPLIED] src=fd00::9 \
         dst=fd00::2 sport=8080 dport=40000 mark=42 zone=5 helper=ftp use=2"
    );
    assert_eq!(
        line(ping, &Extras::default()),
        "icmp     1 29 src=10.0.0.2 dst=192.0.2.9 type=8 code=0 id=77 src=192.0.2.9 dst=203.0.113.1 type=0 code=0 id=1024"
    );
}

#[test]
fn people_see_who_becomes_what_in_aligned_columns() {
    let people = People::new(Services::parse("http 80/tcp\nhttp-alt 8080/tcp"));
    let fill = Fill { entries: 50, maximum: Some(200) };
    let mut out = Vec::new();
    table::write(&flows(), 5, Some(fill), &people, NOW_NS, &mut out).unwrap();
    let expected = "\
PROTO  STATE     FROM                                 TO                                    SENT  BACK   AGE   LEFT  NOTES
udp    assured   10.0.0.2:51820 → 203.0.113.1:51820   198.51.100.7:51820                    1.4K  1.3K  1m5s  1m59s  label 5
tcp    syn-sent  [fd00::2]:40000                      [fd00::1]:http → [fd00::9]:http-alt                     1m39s  unreplied, helper ftp, mark 0x2a, zone 5
icmp   replied   10.0.0.2 echo 77 → 203.0.113.1 echo 1024  192.0.2.9                                            29s
3 flows: 1 icmp, 1 tcp, 1 udp; the first of 5; 3 translated; 1 unreplied; the table holds 50 of 200 (25 %)
";
    // The widest cell decides about the width of its column; the text above is easier to read with the usual one.
    let squeezed =
        |text: &str| text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(squeezed(&text), squeezed(expected));
    let lines: Vec<&str> = text.lines().collect();
    let column = |line: &str, word: &str| line.rfind(word).map(|at| line[..at].chars().count());
    assert_eq!(column(lines[0], "TO  "), column(lines[1], "198.51.100.7:51820"));
    assert_eq!(column(lines[0], "TO  "), column(lines[3], "192.0.2.9"));
    assert!(lines.iter().all(|line| !line.ends_with(' ')), "{text}");
}

#[test]
fn what_the_kernel_does_not_keep_has_no_column_and_says_how_to_get_it() {
    let entries = [Entry { sent: None, ..flows().remove(2) }];
    let mut out = Vec::new();
    table::write(&entries, 1, None, &People::new(Services::default()), NOW_NS, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(!text.contains("SENT") && !text.contains("AGE"), "{text}");
    assert!(text.contains("nf_conntrack_acct=1") && text.contains("nf_conntrack_timestamp=1"), "{text}");
}

#[test]
fn json_has_the_documented_fields_and_null_for_what_is_not_known() {
    let entries = flows();
    let mut out = Vec::new();
    array(&entries, NOW_NS, &mut out).unwrap();
    let all: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(all.as_array().map(Vec::len), Some(3));
    let wireguard = serde_json::json!({
        "id": 7, "family": "ipv4", "protocol": "udp", "protocol_number": 17, "state": null,
        "status": ["SEEN_REPLY", "ASSURED", "SRC_NAT"], "timeout_s": 119,
        "original": {"source": "10.0.0.2", "source_port": 51820, "destination": "198.51.100.7", "destination_port": 51820},
        "reply": {"source": "198.51.100.7", "source_port": 51820, "destination": "203.0.113.1", "destination_port": 51820},
        "source_nat": "203.0.113.1:51820", "destination_nat": null,
        "sent": {"packets": 10, "bytes": 1480}, "received": {"packets": 9, "bytes": 1332},
        "began": 1_795_578_205.0, "ended": null, "age_s": 65.0, "mark": 0, "zone": 0, "uses": 1, "labels": [5],
    });
    assert_eq!(all[0], wireguard);
    assert_eq!(all[1]["tcp"], serde_json::json!([{"window_scale": 7, "flags": 3}, null]));
    assert_eq!((&all[1]["state"], &all[1]["helper"], &all[1]["zone"]), (&"SYN_SENT".into(), &"ftp".into(), &5.into()));
    assert_eq!(all[1]["destination_nat"], "[fd00::9]:8080");
    assert_eq!(all[2]["original"]["icmp"], serde_json::json!({"type": 8, "code": 0, "id": 77}));
    assert_eq!((&all[2]["source_nat"], &all[2]["sent"]), (&"203.0.113.1 id 1024".into(), &serde_json::Value::Null));
    let none = serde_json::to_value(Flow::new(&entries[2], NOW_NS)).unwrap();
    assert!(none["age_s"].is_null() && none.get("tcp").is_none());
}

#[test]
fn an_empty_table_is_an_empty_array() {
    let mut out = Vec::new();
    array(&[], NOW_NS, &mut out).unwrap();
    assert!(serde_json::from_slice::<Vec<u8>>(&out).unwrap().is_empty());
}

#[test]
fn flows_are_sorted_as_asked() {
    let order = |order| {
        let mut entries = flows();
        sort(&mut entries, order);
        entries.iter().map(|entry| entry.id).collect::<Vec<_>>()
    };
    assert_eq!(order(Order::Bytes), [7, 8, 9]);
    assert_eq!(order(Order::Packets), [7, 8, 9]);
    assert_eq!(order(Order::Timeout), [9, 8, 7]);
    assert_eq!(order(Order::Age), [7, 8, 9]);
    assert_eq!(order(Order::State), [9, 8, 7]);
    assert_eq!(order(Order::Source), [9, 7, 8]);
    assert_eq!(order(Order::Destination), [9, 7, 8]);
}
