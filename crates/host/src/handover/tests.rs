use std::net::SocketAddr;

use super::{Attempt, Hole};
use crate::nft;

#[test]
fn a_hole_is_read_as_it_was_written_and_nothing_else_is() {
    for remote in ["203.0.113.5:7000", "[2001:db8::5]:65535"] {
        let hole = Hole { own: 51_820, punched: 40_000, remote: remote.parse().expect("an endpoint") };
        assert_eq!(hole.to_string().parse(), Ok(hole));
    }
    let longest: SocketAddr = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535".parse().expect("an endpoint");
    let comment = format!("{}: {}", "x".repeat(15), Hole { own: 65_535, punched: 65_535, remote: longest });
    assert!(comment.len() < 128, "nft keeps it whole");
    for text in ["", "51820", "51820 as 40000", "51820 as 40000 to there", "70000 as 1 to 203.0.113.5:7000"] {
        assert_eq!(text.parse::<Hole>(), Err(()), "{text}");
    }
}

#[test]
fn what_is_missing_and_what_happens_instead_is_one_line() {
    for (source, missing) in [(nft::Error::NoNfTables, "nf_tables"), (nft::Error::Permission, "CAP_NET_ADMIN")] {
        let text = Attempt::HandOver.failed()(source).to_string();
        assert!(text.contains(missing) && text.contains("keeps the path") && !text.contains('\n'), "{text}");
    }
}
