//! A guest comes up, does its work, and tells when it fails.

use std::fs;

use pinhole_guest::Guest;

#[test]
fn the_work_runs_as_the_first_process_of_another_kernel() {
    let here = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let console =
        Guest::new("the_work_runs_as_the_first_process_of_another_kernel").modules(&["wireguard"]).run(|| {
            assert_eq!(std::process::id(), 1);
            assert!(fs::exists("/sys/module/wireguard").unwrap_or_default());
            println!("boot id {}", fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default());
        });
    let Some(console) = console else { return };
    assert!(console.contains("boot id ") && !console.contains(here.trim()), "{console}");
}

#[test]
#[should_panic(expected = "the work in the guest failed")]
fn work_that_panics_in_the_guest_fails_the_test_outside() {
    let name = "work_that_panics_in_the_guest_fails_the_test_outside";
    if Guest::new(name).run(|| panic!("on purpose")).is_none() {
        panic!("the work in the guest failed to be tried");
    }
}
