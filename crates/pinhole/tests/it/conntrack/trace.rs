//! `pinhole conntrack trace`: the account of every script here is held to the file beside it, and everything that can be wrong
//! with what is given is said in a line.
//!
//! `PINHOLE_UPDATE_GOLDENS=1 cargo test -p pinhole --test it trace` writes the files anew: read them before they are committed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io::Write};

use serde_json::Value;

use crate::support::pinhole::{BINARY, Ended, run};

const UPDATE: &str = "PINHOLE_UPDATE_GOLDENS";

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/conntrack/trace")
}

fn trace(args: &[&str]) -> Ended {
    run(Command::new(BINARY).args(["conntrack", "trace"]).args(args))
}

/// A file that goes when the test is over.
struct File(PathBuf);

impl File {
    fn with(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("pinhole-trace-{}-{name}", std::process::id()));
        fs::write(&path, bytes).expect("a file");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a path in UTF-8")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn every_script_is_explained_as_its_golden_says() {
    let mut names: Vec<String> = fs::read_dir(here())
        .expect("the scripts")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .filter_map(|name| name.strip_suffix(".pkt").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() >= 10, "{names:?}");
    for name in names {
        let script = here().join(format!("{name}.pkt"));
        let ended = trace(&["-v", "--script", script.to_str().expect("UTF-8")]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{name}");
        let golden = here().join(format!("{name}.txt"));
        if std::env::var_os(UPDATE).is_some() {
            fs::write(&golden, &ended.stdout).expect("the golden");
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(ended.stdout, expected, "{name} (or write it with {UPDATE}=1, and read it)");
    }
}

#[test]
fn without_anything_given_it_is_a_home_router_and_says_so() {
    let ended = trace(&["192.168.1.2:40000 > 192.0.2.1:53 udp 8", "192.0.2.1:53 > 203.0.113.1:40000 udp 8"]);
    assert_eq!(ended.code, Some(0));
    assert!(ended.stderr.contains("this is a home router"), "{}", ended.stderr);
    assert!(
        ended.stdout.contains("=> forwarded by wan  203.0.113.1:40000 > 192.0.2.1:53 udp 8 ttl 63"),
        "{}",
        ended.stdout
    );
    assert!(ended.stdout.contains("=> forwarded by lan  192.0.2.1:53 > 192.168.1.2:40000 udp 8 ttl 63"));
    assert!(!ended.stdout.contains('\u{1b}') && !ended.stdout.contains("tried"), "plain where nobody looks");
}

#[test]
fn for_machines_every_packet_has_the_same_fields_and_they_are_documented() {
    let script = here().join("ftp.pkt");
    let ended = trace(&["--json", "--script", script.to_str().expect("UTF-8")]);
    let packets: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let packets = packets.as_array().expect("an array");
    assert_eq!(packets.len(), 10);
    let docs =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/explain.md")).expect("the docs");
    let keys = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    let check = |value: &Value, expected: &[&str]| {
        let mut expected: Vec<_> = expected.to_vec();
        expected.sort_unstable();
        let mut found = keys(value);
        found.sort_unstable();
        assert_eq!(found, expected);
        found.iter().for_each(|key| assert!(docs.contains(&format!("`{key}`")), "{key} is not documented"));
    };
    for packet in packets {
        check(
            packet,
            &["number", "time_s", "input", "before", "hooks", "verdict", "after", "state", "flow", "sent", "logs"],
        );
        check(&packet["verdict"], &["kind", "interface", "reason", "text"]);
        for hook in packet["hooks"].as_array().expect("an array") {
            check(hook, &["hook", "notes"]);
            for note in hook["notes"].as_array().expect("an array") {
                check(note, &["topic", "text"]);
                let topic = note["topic"].as_str().expect("a word");
                assert!(docs.contains(&format!("`{topic}`")), "{topic} is not documented");
            }
        }
        let flow = &packet["flow"];
        check(
            flow,
            &[
                "original",
                "reply",
                "protocol",
                "state",
                "remaining_s",
                "status",
                "mark",
                "zone",
                "helper",
                "master",
                "tcp",
            ],
        );
        check(&flow["tcp"][0], &["end", "maxend", "maxwin", "scale"]);
    }
    let last = &packets[9];
    assert_eq!((&last["state"], &last["verdict"]["kind"]), (&"RELATED".into(), &"forward".into()));
    assert_eq!(last["flow"]["master"], "10.0.0.1:40000 > 192.0.2.1:21 tcp");
}

#[test]
fn a_page_has_nothing_from_packets_or_rules_as_markup_and_nothing_from_elsewhere() {
    let hostile = "<script>alert('x')</script><img src=x onerror=y>";
    let rules = format!(
        "*filter\n-A FORWARD -m comment --comment \"{hostile}\" -j LOG --log-prefix \"<b>{}\"\nCOMMIT\n",
        "</pre>"
    );
    let rules = File::with("hostile.rules", rules.as_bytes());
    let page = File::with("page.html", b"");
    let packet = format!("192.168.1.2:40000 > 192.0.2.1:53 udp \"{hostile}\"");
    let ended = trace(&["--rules", rules.path(), "--html", page.path(), &packet]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let html = fs::read_to_string(&page.0).expect("the page");
    assert!(html.contains("&lt;script&gt;alert("), "the text is there");
    for markup in ["<script", "<img", "<b></pre>", "onerror=y>", "http://", "https://", "url(", "@import"] {
        assert!(!html.contains(markup), "{markup}");
    }
    assert!(html.contains("<use href=\"#hooks\"/>") && html.contains("--n-fwd:var(--on)"));
    let opened = html.matches("<details").count();
    assert_eq!(opened, html.matches("</details>").count());
}

#[test]
fn only_some_packets_are_shown_and_all_are_counted() {
    let script = here().join("dropped.pkt");
    let script = script.to_str().expect("UTF-8");
    let only = trace(&["--only", "2", "--script", script]).stdout;
    assert!(only.starts_with("#2 ") && !only.contains("#1 ") && !only.contains("#3 "), "{only}");
    let summary = trace(&["--summary", "--script", script]).stdout;
    assert!(summary.starts_with("3 packets\n"), "{summary}");
    assert!(summary.contains("2  dropped in FORWARD: filter FORWARD drops it"), "{summary}");
    let json: Value = serde_json::from_str(&trace(&["--summary", "--json", "--script", script]).stdout).expect("JSON");
    assert_eq!((&json["packets"], &json["states"]["NEW"]), (&3.into(), &3.into()));
    let missing = trace(&["--only", "9", "--script", script]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("there is no packet 9: there are 3"), "{}", missing.stderr);
}

#[test]
fn kernels_and_settings_and_seeds_make_their_differences() {
    let reset = here().join("reset.pkt");
    let left = |kernel: &str| {
        let ended = trace(&["--json", "--kernel", kernel, "--only", "5", "--script", reset.to_str().expect("UTF-8")]);
        let json: Value = serde_json::from_str(&ended.stdout).expect("JSON");
        json[0]["flow"]["remaining_s"].as_f64().expect("a number")
    };
    assert_eq!((left("6.1"), left("7.3")), (10.0, 300.0), "a RST that is not exact");
    let set = trace(&["--json", "--set", "nf_conntrack_udp_timeout=7", "192.168.1.2:4 > 192.0.2.1:53 udp 8"]).stdout;
    assert!(set.contains("\"remaining_s\":7.0"), "{set}");
    let taken = |seed: &str| {
        let packets = ["192.168.1.2:4000 > 192.0.2.1:53 udp 8", "192.168.1.3:4000 > 192.0.2.1:53 udp 8"];
        trace(&["--seed", seed, packets[0], packets[1]]).stdout
    };
    assert_eq!(taken("5"), taken("5"));
    assert_ne!(taken("5"), taken("6"));
}

const BAD_RULES: &[u8] = b"*filter
-A FORWARD -m quota --quota 5 -j DROP
-A FORWARD -p tcp -j DROP
-A FORWARD -p tcp -j TCPMSS --clamp-mss-to-pmtu
COMMIT
";

#[test]
fn rules_that_are_not_known_can_be_left_out_and_are_named_then() {
    let rules = File::with("left-out.rules", BAD_RULES);
    let args = ["--leave-out", "--rules", rules.path(), "192.168.1.2:40000 > 192.0.2.1:80 tcp S"];
    let ended = trace(&args);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for words in ["left out line 2: the match 'quota'", "left out line 4: 'TCPMSS'"] {
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    assert!(ended.stdout.contains("filter:FORWARD:1 matches: -p tcp -j DROP"), "{}", ended.stdout);
}

#[test]
fn what_is_wrong_is_said_in_a_line_with_the_right_exit_code() {
    let rules = File::with("bad.rules", BAD_RULES);
    let v6 = File::with("v6.rules", b"*filter\n-A INPUT -s fe80::/10 -j ACCEPT\nCOMMIT\n");
    let nft = File::with("nft.rules", b"table ip filter {\n}\n");
    let no_capture = File::with("no.pcap", b"not a capture, but long enough for one");
    let empty = File::with("empty.pcap", b"");
    let script = File::with("bad.pkt", b"rules ipv4\n*nat\n");
    let packet = "192.168.1.2:40000 > 192.0.2.1:53 udp 8";
    let cases: &[(&[&str], i32, &str)] = &[
        (&[], 2, "no packets"),
        (&["10.0.0.1 > x"], 2, "packet 1"),
        (&["eth0 > 192.168.1.2:40000 > 192.0.2.1:53 udp 8"], 2, "there is no interface eth0: there are lan, wan"),
        (&["192.168.1.2:70000 > 192.0.2.1:53 udp 8"], 2, "a port from 0 to 65535"),
        (&[packet, "nonsense"], 2, "packet 2, \"nonsense\""),
        (&["--interface", "lan", packet], 2, "expected a name and addresses"),
        (&["--interface", "lan=10.0.0.1", packet], 2, "no address with its length"),
        (&["--interface", "a=10.0.0.1/8", "--interface", "a=10.0.0.2/8", packet], 2, "a is there twice"),
        (&["--route", "10.0.0.0/8=dmz", packet], 2, "there is no interface dmz: there are lan, wan"),
        (&["--in", "dmz", packet], 2, "there is no interface dmz"),
        (&["--kernel", "5.4", packet], 2, "expected one of 2.6, 6.1, 6.12, 6.18, 7.3"),
        (&["--set", "nf_conntrack_udp_timeout=x", packet], 2, "give a whole number"),
        (&["--set", "nf_conntrack_udp_timeuot=1", packet], 2, "there is no setting"),
        (&["--only", "0", packet], 2, "--only"),
        (&["--rules", rules.path(), packet], 1, "line 2: the match 'quota' is not supported"),
        (&["--rules", rules.path(), packet], 1, "; not known either: line 4; --leave-out goes on without such rules"),
        (&["--rules", nft.path(), packet], 1, "iptables-save"),
        (&["--rules", v6.path(), packet], 1, "rules for IPv6 are given with --rules6"),
        (&["--rules", "/nowhere/rules", packet], 1, "cannot read the rules /nowhere/rules"),
        (&["--pcap", no_capture.path()], 1, "it is no capture"),
        (&["--pcap", empty.path()], 1, "it is empty"),
        (&["--pcap", "/nowhere/x.pcap"], 1, "cannot open /nowhere/x.pcap"),
        (&["--script", script.path()], 1, "line 1: these rules have no \"end\""),
        (&["--html", "/nowhere/x.html", packet], 1, "cannot write /nowhere/x.html"),
        (
            &["--interface", "lan=10.0.0.1/24", "--route", "10.1.0.0/16=lan", packet],
            1,
            "no interface leads to its source 192.168.1.2",
        ),
    ];
    for (args, code, words) in cases {
        let ended = trace(args);
        assert_eq!(ended.code, Some(*code), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(words), "{args:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains("panicked"), "{args:?}: {}", ended.stderr);
    }
}

#[test]
fn lines_of_standard_input_are_traced_as_they_come_and_a_wrong_one_is_named() {
    let mut child = Command::new(BINARY)
        .args(["conntrack", "trace", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let lines =
        "# two\n192.168.1.2:40000 > 192.0.2.1:53 udp 8\n+29\nwan > 192.0.2.1:53 > 203.0.113.1:40000 udp 8\nrubbish\n";
    child.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stdout.contains("#2  29.000000 s  in by wan"), "what was right is shown: {stdout}");
    assert!(stderr.contains("line 5: "), "{stderr}");
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = Command::new(BINARY);
    command.args(["conntrack", "trace", "192.168.1.2:40000 > 192.0.2.1:53 udp 8"]).stdout(writer);
    let output = command.output().expect("it starts");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}
