//! The same against another kernel than the running one, in a guest: Debian 12's, or the one that `PINHOLE_GUEST_KERNEL` names.
//!
//! Emulation takes a minute or two for it, so it is run only when `PINHOLE_TIMEWAIT_GUEST=1` asks for it; with
//! `PINHOLE_TIMEWAIT_SOCKETS=2000` too, that many real TIME_WAIT sockets die in the guest.

use std::path::Path;
use std::time::{Duration, Instant};

use pinhole_guest::Guest;
use pinhole_host::clock;
use pinhole_timewait::Version;

use super::{bind, deaths, ports, segments, why};
use crate::support::pinhole::BINARY;

/// Asks for it.
const ASKED: &str = "PINHOLE_TIMEWAIT_GUEST";
/// What is not built into every kernel.
const MODULES: &[&str] = &["tun", "inet_diag", "tcp_diag", "nf_conntrack", "nfnetlink", "nf_conntrack_netlink"];
/// Emulation, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(900);

#[test]
fn another_kernel_does_what_the_model_says_of_it() {
    if !is_asked() {
        eprintln!("SKIP: two minutes long; {ASKED}=1 runs it in a guest");
        return;
    }
    let name = "timewait::other_kernels::another_kernel_does_what_the_model_says_of_it";
    let guest =
        Guest::new(name).modules(MODULES).file(Path::new(BINARY), BINARY).patience(PATIENCE).variable(ASKED, "1");
    let guest = match std::env::var(deaths::LONG) {
        Ok(count) => guest.variable(deaths::LONG, &count),
        Err(_) => guest,
    };
    let console = guest.run(in_the_guest);
    // Seen with --nocapture.
    println!("{}", console.unwrap_or_default());
}

fn is_asked() -> bool {
    std::env::var_os(ASKED).is_some_and(|value| value == "1")
}

/// What is compared, by name.
const PARTS: &[(&str, fn())] = &[
    ("the bind matrix", bind::bind_connect_and_listen_say_what_the_model_says),
    ("without timestamps, and in FIN_WAIT_2", bind::without_timestamps_and_in_fin_wait_2_it_is_as_the_model_says),
    ("ports that connect() chooses", bind::connect_takes_a_dead_port_when_the_model_says_so),
    ("bind() to port 0", bind::bind_to_port_zero_takes_nothing_that_is_held),
    ("segments in TIME_WAIT", segments::segments_do_to_time_wait_what_the_model_says),
    ("segments in FIN_WAIT_2", segments::segments_do_to_fin_wait_2_what_the_model_says),
    ("deaths in FIN_WAIT_2", deaths::fin_wait_2_dies_when_it_was_predicted),
    ("more than there may be", ports::beyond_the_most_buckets_there_is_no_time_wait_and_it_is_counted),
    ("what is shown", ports::show_counts_what_is_there_and_in_both_families),
    ("why: a socket that waits", why::a_socket_that_waits_is_told_when_it_ends),
    ("why: segments", why::segments_that_start_its_time_anew_are_seen),
    ("why: segments of another clock", why::segments_of_another_clock_are_told_from_others),
    ("why: a reset", why::a_reset_that_ends_it_is_told_from_its_time),
    ("why: FIN_WAIT_2", why::fin_wait_2_short_and_long_is_explained),
];

fn in_the_guest() {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let version: Version = release.parse().expect("a version");
    println!("Linux {release}, HZ={:?}: {}", clock::hz(), version.generation().words());
    let mut wrong = Vec::new();
    let minute: (&str, fn()) = ("deaths in TIME_WAIT", deaths::time_wait_dies_when_it_was_predicted);
    let minute = std::env::var_os(deaths::LONG).map(|_| &minute);
    for (name, part) in PARTS.iter().chain(minute) {
        let begun = Instant::now();
        let done = std::panic::catch_unwind(*part);
        let words = if done.is_ok() { "as the model says" } else { "DIFFERS" };
        println!("{name}: {words} ({:.1} s)", begun.elapsed().as_secs_f64());
        wrong.extend(done.is_err().then_some(*name));
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
