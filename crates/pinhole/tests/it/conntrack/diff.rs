//! `pinhole conntrack diff` by the real binary, against the kernel that runs the tests: what is the same is the same, what is
//! made to differ is shown, and what cannot be told says why.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pinhole_wire::{pcap, text};
use serde_json::Value;

use crate::support::pinhole::{BINARY, Ended, Pinhole, run};
use crate::support::ready::ready;

const PROGRAMS: &[&str] = &["nft", "iptables-restore"];

fn diff(args: &[&str]) -> Ended {
    run(Command::new(BINARY).args(["conntrack", "diff"]).args(args))
}

fn script(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../netfilter/scripts").join(name);
    path.to_str().expect("UTF-8").to_owned()
}

/// Files that go when the test is over.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pinhole-diff-{}-{name}", std::process::id()));
        fs::create_dir(&path).expect("a directory");
        Self(path)
    }

    fn with(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).expect("a file");
        path
    }

    /// A capture of these packets, a millisecond apart.
    fn capture(&self, name: &str, packets: &[&str]) -> String {
        let mut writer = pcap::Writer::new(Vec::new()).expect("memory");
        for (packet, at) in packets.iter().zip(0..) {
            let packet = text::read(packet).expect("a packet");
            writer.write(Duration::from_millis(at), &packet).expect("memory");
        }
        self.with(name, writer.finish().expect("memory"))
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What is left of the output once what depends on the machine is gone.
fn lines(stdout: &str) -> Vec<&str> {
    stdout.lines().skip(1).collect()
}

/// A handshake and an answer, as a host inside sees them.
const HANDSHAKE: [&str; 4] = [
    "192.168.1.10:40000 > 198.51.100.7:80 tcp S seq 1 ack 0 win 64240 (mss 1460, sackok, wscale 7) 0",
    "198.51.100.7:80 > 192.168.1.10:40000 tcp S. seq 9 ack 2 win 64240 (mss 1460, sackok, wscale 7) 0",
    "192.168.1.10:40000 > 198.51.100.7:80 tcp . seq 2 ack 10 win 500 0",
    "198.51.100.7:80 > 192.168.1.10:40000 tcp P. seq 10 ack 2 win 500 \"hello\"",
];

#[test]
fn a_script_that_the_kernel_and_the_engine_take_alike_has_no_difference() {
    if !ready(PROGRAMS) {
        return;
    }
    let ended = diff(&[&script("tcp-masquerade.pkt")]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    assert_eq!(lines(&ended.stdout), ["the kernel forwarded 9", "no difference in 9 packets"]);
    let quiet = diff(&["--quiet", &script("tcp-masquerade.pkt")]);
    assert_eq!((quiet.code, quiet.stdout.as_str(), quiet.stderr.as_str()), (Some(0), "", ""));
    let part = diff(&["--max", "2", &script("tcp-masquerade.pkt")]);
    assert_eq!(lines(&part.stdout).last(), Some(&"no difference in 2 packets"));
}

/// Linux 2.6.16 had no source NAT for what is delivered to the router, so a flow of its own service does not get another port.
#[test]
fn what_an_old_kernel_did_otherwise_is_shown_beside_what_this_one_does() {
    if !ready(PROGRAMS) {
        return;
    }
    let path = script("dnat.pkt");
    let ended = diff(&["--kernel", "2.6", &path]);
    assert_eq!(ended.code, Some(1), "{}{}", ended.stdout, ended.stderr);
    let shown: Vec<&str> = ended.stdout.lines().skip_while(|line| !line.starts_with("packet 4, ")).skip(1).collect();
    assert_eq!(
        shown[..8],
        [
            "    verdict        delivered",
            "    seen as        NEW",
            "    flow           198.51.100.7:4000 > 203.0.113.1:8081 tcp",
            "    answers        203.0.113.1:8081 > 198.51.100.7:4000 tcp",
            "    state          tcp SYN_SENT",
            "  ≠ status         engine CONFIRMED,DST_NAT_DONE",
            "                   kernel CONFIRMED,SRC_NAT_DONE,DST_NAT_DONE",
            "    timeout        120 s",
        ]
    );
    let trace = ended.stdout.lines().find_map(|line| line.strip_prefix("  why the engine does that: "));
    let trace: Vec<&str> = trace.expect("a command").split(' ').collect();
    let explained = run(Command::new(BINARY).args(&trace[1..]));
    assert_eq!(explained.code, Some(0), "{trace:?}: {}", explained.stderr);
    let packet = |stdout: &str, begin: &str| {
        let line = stdout.lines().find(|line| line.starts_with(begin)).expect("a packet").to_owned();
        line.split_once("in by ").expect("a side").1.to_owned()
    };
    assert_eq!(packet(&explained.stdout, "#"), packet(&ended.stdout, "packet "), "the same packet is explained");
}

#[test]
fn for_machines_a_difference_has_the_fields_that_are_documented() {
    if !ready(PROGRAMS) {
        return;
    }
    let docs = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/conntrack.md")).expect("docs");
    let check = |value: &Value, what: &str| {
        let object = value.as_object().unwrap_or_else(|| panic!("{what} is an object"));
        for key in object.keys() {
            assert!(docs.contains(&format!("`{key}`")), "{what}: {key} is not documented");
        }
    };
    let files = Files::new("json");
    let packet = "out > 198.51.100.7:4000 > 203.0.113.1:53 udp 8\n";
    let rules = "rules ipv4\n*nat\n-A POSTROUTING -o out -j MASQUERADE\nCOMMIT\nend\n";
    let path = files.with("service.pkt", format!("{rules}{packet}{packet}"));
    let ended = diff(&["--json", "--all", "--kernel", "2.6", &path]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    check(&report, "the report");
    assert_eq!((&report["engine"], &report["stopped"]), (&"2.6".into(), &false.into()));
    let differences = report["differences"].as_array().expect("a list");
    let first = &differences[0];
    check(first, "a difference");
    let fields = first["fields"].as_array().expect("a list");
    check(&fields[0], "a field");
    assert!(
        fields.iter().any(|field| field["differs"] == true) && fields.iter().any(|field| field["differs"] == false)
    );
    let before = differences.iter().flat_map(|one| one["before"].as_array().expect("a list")).next();
    check(before.expect("an earlier packet"), "an earlier packet");
    assert!(differences.len() > 1, "all are told");
}

#[test]
fn a_capture_from_inside_goes_through_the_rules_and_its_answers_come_to_the_translated_address() {
    if !ready(PROGRAMS) {
        return;
    }
    let files = Files::new("rules");
    let capture = files.capture("lan.pcap", &HANDSHAKE);
    let rules = files.with(
        "rules.v4",
        "*nat\n-A POSTROUTING -s 192.168.1.0/24 -o eth0 -p tcp -m comment --comment \"-o eth1\" -j SNAT --to-source 203.0.113.9:5000-5999\nCOMMIT\n\
         *filter\n:FORWARD DROP [0:0]\n-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\n-A FORWARD -i eth1 -j ACCEPT\nCOMMIT\n",
    );
    let router = ["--rules", &rules, "--interface", "eth1=192.168.1.1/24", "--interface", "eth0=203.0.113.1/24"];
    let with = |more: &[&str]| diff(&[&["--pcap", &capture], &router[..], more].concat());
    let ended = with(&[]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    assert_eq!(
        lines(&ended.stdout),
        [
            "the kernel forwarded 4",
            "2 answers went in as the outside sends them, to the translated address",
            "no difference in 4 packets"
        ]
    );
    let as_is = with(&["--as-is"]);
    assert_eq!(lines(&as_is.stdout)[0], "the kernel forwarded 2, dropped 2; 2 were INVALID", "{}", as_is.stdout);
}

#[test]
fn what_was_replayed_of_a_capture_is_saved_as_a_script_that_does_the_same() {
    if !ready(PROGRAMS) {
        return;
    }
    let files = Files::new("save");
    let to_the_router = "198.51.100.7:4000 > 203.0.113.1:53 udp 8";
    let packets = [&HANDSHAKE[..], &["203.0.113.1:1 > 198.51.100.7:2 udp 1", to_the_router, to_the_router]].concat();
    let (capture, saved) = (files.capture("lan.pcap", &packets), files.path("lan.pkt"));
    let ended = diff(&["--pcap", &capture, "--kernel", "2.6", "--save", &saved]);
    assert_eq!(ended.code, Some(1), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("\nleft out: 1 from the router's own address\n"), "{}", ended.stdout);
    assert!(ended.stdout.contains("\npacket 6, "), "{}", ended.stdout);
    let command = format!("trace -v --script {saved} --kernel 2.6 --only 5");
    assert!(ended.stdout.contains(&command), "{}", ended.stdout);
    let again = diff(&["--kernel", "2.6", &saved]);
    assert_eq!(again.code, Some(1), "{}", again.stderr);
    let shown = |stdout: &str| stdout.lines().filter(|line| line.contains("≠")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(shown(&again.stdout), shown(&ended.stdout));
    // Without saving, there is no command that would explain the turned answers.
    let unsaved = diff(&["--pcap", &capture, "--kernel", "2.6"]);
    assert!(unsaved.stdout.contains("say `--save FILE.pkt` too"), "{}", unsaved.stdout);
}

#[test]
fn a_capture_that_is_none_or_ends_in_the_middle_is_told_of_and_nothing_panics() {
    if !ready(PROGRAMS) {
        return;
    }
    let files = Files::new("garbage");
    let whole = fs::read(files.capture("whole.pcap", &HANDSHAKE)).expect("a capture");
    let mut other_link = whole.clone();
    other_link[20] = 105;
    let check = |name: &str, bytes: &[u8], code: i32, words: &str| {
        let path = files.with(name, bytes);
        let ended = diff(&["--pcap", &path]);
        assert_eq!(ended.code, Some(code), "{name}: {}{}", ended.stdout, ended.stderr);
        assert!(ended.stderr.contains(words), "{name}: {}", ended.stderr);
        assert!(!ended.stderr.contains("panicked"), "{name}: {}", ended.stderr);
        ended.stdout
    };
    check("text.pcap", b"this is no capture", 2, "it is no capture");
    check("empty.pcap", b"", 2, "it is empty");
    check("link.pcap", &other_link, 2, "link type, 105, is not known");
    let stdout = check("cut.pcap", &whole[..whole.len() - 3], 2, "it ends inside a packet");
    assert!(stdout.ends_with("no difference in 3 packets\n"), "what was whole is replayed: {stdout}");
    // Bytes of all kinds behind a header that is right; two frames are too short to have a length.
    let mut noise = whole[..24].to_vec();
    let mut state = 7_u32;
    for record in 0..64_u32 {
        let length = (record * 23) % 1_400;
        [0, record, length, length].iter().for_each(|word| noise.extend(word.to_le_bytes()));
        for at in 0..length {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            noise.push(if at == 0 { 0x45 + (record as u8 & 1) * 0x1b } else { (state >> 24) as u8 });
        }
    }
    let path = files.with("noise.pcap", &noise);
    let ended = diff(&["--all", "--pcap", &path]);
    assert!(ended.stdout.contains("left out: 2 without an IP packet"), "{}{}", ended.stdout, ended.stderr);
    assert!(matches!(ended.code, Some(0 | 1)) && !ended.stderr.contains("panicked"), "{}", ended.stderr);
}

#[test]
fn wrong_arguments_and_rules_that_are_not_known_are_said_before_anything_is_made() {
    let files = Files::new("usage");
    let capture = files.capture("lan.pcap", &HANDSHAKE);
    let rules = files.with("rules.v4", "*filter\n-A FORWARD -m nonsense -j ACCEPT\nCOMMIT\n");
    let check = |args: &[&str], words: &str| {
        let ended = diff(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stdout);
        assert!(ended.stderr.contains(words), "{args:?}: {}", ended.stderr);
    };
    check(&[], "<SCRIPT>");
    check(&["nowhere.pkt"], "cannot read the script nowhere.pkt");
    check(&["--pcap", "nowhere.pcap"], "nowhere.pcap is no file");
    check(&["--pcap", &capture, "--rules", &rules], "nonsense");
    check(&["--pcap", &capture, "--interface", "lan=10.0.0.1/24"], "give --interface twice");
    let two = ["--interface", "lan=10.0.0.1/24", "--interface", "wan=192.0.2.2/24"];
    check(&[&["--pcap", &capture], &two[..], &["--route", "0.0.0.0/0=lan"]].concat(), "all else is the outside");
    check(&[&["--pcap", &capture], &two[..], &["--route", "10.9.0.0/16=dmz"]].concat(), "there is no interface dmz");
}

#[test]
fn who_may_not_make_namespaces_is_told_what_to_change() {
    if !ready(&["unshare", "setpriv", "nft", "iptables-restore"]) {
        return;
    }
    let files = Files::new("unprivileged");
    let path = files.with("one.pkt", "in > 10.0.0.1:1 > 198.51.100.1:2 udp 5\n");
    // A user namespace in which no further one may be made, and a process without capabilities in it.
    let line = format!(
        "echo 0 > /proc/sys/user/max_user_namespaces; \
         exec setpriv --bounding-set=-all --inh-caps=-all {BINARY} conntrack diff {path}"
    );
    let ended = run(Command::new("unshare").args(["-U", "-r", "sh", "-c", &line]));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{}", ended.stderr);
    for words in ["cannot make network namespaces here", "`sudo sysctl user.max_user_namespaces=", "or run it as root"]
    {
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
}

#[test]
fn ctrl_c_ends_it_at_once_and_says_how_far_it_came() {
    if !ready(PROGRAMS) {
        return;
    }
    let files = Files::new("stop");
    let packet = "in > 10.0.0.1:1 > 198.51.100.1:2 udp 5\n";
    let path = files.with("long.pkt", format!("{packet}+1000\n{packet}"));
    let out = files.path("out");
    let mut command = Command::new("sh");
    let line = format!("exec {BINARY} conntrack diff --json {path} > {out}");
    let waiting = Pinhole::spawn("diff", command.args(["-c", &line]).stdin(Stdio::null()));
    std::thread::sleep(Duration::from_secs(2));
    let began = Instant::now();
    let (status, words) = waiting.terminate();
    assert_eq!((status.code(), words.as_str()), (Some(130), ""));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let report: Value = serde_json::from_str(&fs::read_to_string(&out).expect("the output")).expect("JSON");
    assert_eq!((&report["stopped"], &report["replayed"]), (&true.into(), &1.into()));
}
