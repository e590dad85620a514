//! What a sans-IO crate may not touch, read from its source: dependencies alone do not show the standard library.

use crate::{files, workspace};

/// The crates in which time, randomness and bytes come in as arguments.
const SANS_IO: &[&str] =
    &["sansio", "wire", "dns", "stun", "wg", "tunnel", "netfilter", "timewait", "traversal", "lab", "agent", "world"];

/// What they may not name, outside tests.
const FORBIDDEN: &[&str] = &[
    "std::time::Instant",
    "std::time::SystemTime",
    "SystemTime::now",
    "Instant::now",
    "std::net::UdpSocket",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::thread",
    "std::fs",
    "std::process",
    "std::env",
    "std::os::",
    "async fn",
    "unsafe ",
];

#[test]
fn sans_io_crates_have_no_clock_socket_file_or_thread() {
    let mut wrong = Vec::new();
    for name in SANS_IO {
        for path in files(&workspace().join("crates").join(name).join("src"), "rs") {
            let source = std::fs::read_to_string(&path).expect("source that can be read");
            if path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests") {
                continue;
            }
            let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            for (number, line) in code.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                let found = FORBIDDEN.iter().filter(|word| code.contains(**word));
                wrong.extend(found.map(|word| format!("{}:{}: {word}", path.display(), number + 1)));
            }
        }
    }
    assert!(wrong.is_empty(), "sans-IO crates get time, bytes and randomness as arguments:\n{}", wrong.join("\n"));
}
