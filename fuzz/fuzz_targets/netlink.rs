#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    pinhole_host::netlink::read_any(bytes);
});
