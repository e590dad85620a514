//! Writes the corpora of packets, captures and seeds below `fuzz/corpus` anew; texts and messages there are written by hand.
//! `cargo run -p pinhole-torture --example corpus`.

use std::path::PathBuf;

use pinhole_sansio::Rng;
use pinhole_wire::{pcap, text};

const LINES: [&str; 18] = [
    "10.0.0.1:51820 > 203.0.113.2:51820 udp 32",
    "10.0.0.1:1 > 203.0.113.2:2 udp \"a\\x00\\r\\n\" 20 badsum id 7 nodf tos 0x3 ttl 3",
    "[fd00::1]:1 > [fd00::2]:2 udp 5 tos 0x3 label 0x12345",
    "10.0.0.1:1 > 203.0.113.2:2 tcp S seq 1 ack 0 win 64240 (mss 1460, sackok, ts 1 0, nop, wscale 7) 0",
    "10.0.0.1:1 > 203.0.113.2:2 tcp . seq 1 ack 2 win 9 urg 5 (nop, nop, sack 5-10 4294967295-3) \"x\"",
    "[fd00::1]:4000 > [fd00::2]:80 tcp S seq 1 ack 0 win 64240 0",
    "10.0.0.1 > 203.0.113.2 icmp echo-request id 7 seq 1 56 ttl 3",
    "fd00::1 > fd00::2 icmp6 echo-reply id 7 seq 1 56",
    "203.0.113.1 > 10.0.0.1 icmp time-exceeded (10.0.0.1:51820 > 203.0.113.2:51820 udp 32 ttl 1)",
    "203.0.113.1 > 10.0.0.1 icmp too-big mtu 1400 (10.0.0.1:5 > 203.0.113.2:6 tcp - seq 1 ack 0 win 0 1400) cut 28",
    "fd00::1 > fd00::2 icmp6 too-big mtu 1280 ([fd00::2]:1 > [fd00::1]:2 udp 1400) cut 1000",
    "10.0.0.1 > 203.0.113.2 gre pptp call 7 seq 1 ack 2 10",
    "10.0.0.1 > 203.0.113.2 gre 0x2000 0x800 \"\\x00\\x00\\x00\\x07\" 20",
    "10.0.0.1:4000 > 203.0.113.2:80 sctp tag 0x0 (INIT tag 0x5 rwnd 65535 out 10 in 10 tsn 1)",
    "10.0.0.1:4000 > 203.0.113.2:80 sctp tag 0x5 (COOKIE_ECHO 20) (DATA flags 0x3 \"abc\") (chunk 77 0)",
    "10.0.0.1 > 203.0.113.2 proto 50 100",
    "10.0.0.1 > 203.0.113.2 proto 17 16 frag id 7 offset 1480 more",
    "fd00::1 > fd00::2 proto 17 16 frag id 77777 offset 1480",
];

/// Seeds of runs that found something or go far, and how much of them it took: (target, seed, length of the run, bytes).
const FOUND: [(&str, u64, usize, usize); 13] = [
    ("helpers", 486, 3_182, 84),
    ("helpers", 500_260, 820, 820),
    ("router", 79, 3_123, 1_205),
    ("router", 500_995, 3_015, 1_837),
    ("batches", 20, 940, 940),
    ("batches", 1_008_276, 1_412, 1_332),
    ("behaviour_nat", 1, 400, 400),
    ("discovery", 1, 1_500, 1_500),
    ("discovery", 2, 2_500, 2_500),
    ("discovery", 3, 800, 800),
    ("first_hop", 0, 800, 800),
    ("first_hop", 1, 800, 800),
    ("first_hop", 4, 800, 800),
];

fn main() -> std::io::Result<()> {
    for (number, line) in LINES.iter().enumerate() {
        let packet = text::read(line).expect("a packet");
        write("packet_views", &format!("packet-{number:02}"), &packet)?;
        write("packet_lines", &format!("line-{number:02}"), line.as_bytes())?;
        if number % 3 == 0 {
            let mut writer = pcap::Writer::new(Vec::new())?;
            writer.write(core::time::Duration::from_millis(number as u64), &packet)?;
            write("captures", &format!("capture-{number:02}"), &writer.finish()?)?;
        }
    }
    for (target, seed, length, kept) in FOUND {
        let mut rng = Rng::from_seed(seed);
        let bytes: Vec<u8> = (0..length).map(|_| rng.next_u64() as u8).take(kept).collect();
        write(target, &format!("seed-{seed}"), &bytes)?;
    }
    Ok(())
}

fn write(target: &str, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    std::fs::create_dir_all(&directory)?;
    std::fs::write(directory.join(name), bytes)
}
