#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (pinhole_torture::target("first_hop").run)(bytes));
