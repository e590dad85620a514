//! Options in an OPT record.

use super::{Opt, opt_head, options_are_whole, push_option};

#[test]
fn options_are_read_back_as_written() {
    let mut options = Vec::new();
    push_option(&mut options, 10, &[1; 8]);
    push_option(&mut options, 65_001, b"");
    let opt = Opt { udp_size: 1232, ttl: 0x0100_8000, options: &options };
    assert_eq!(opt.options().collect::<Vec<_>>(), [(10, &[1; 8][..]), (65_001, &[])]);
    assert_eq!(opt.option(65_001), Some(&[][..]));
    assert_eq!(opt.option(3), None);
    assert_eq!((opt.extended_rcode(), opt.version(), opt.dnssec_ok()), (1, 0, true));
    assert!(options_are_whole(&options) && options_are_whole(&[]));
    for cut in [1, 5, 11, 13, 15] {
        assert!(!options_are_whole(&options[..cut]), "cut at {cut}");
    }
}

#[test]
fn an_opt_record_is_eleven_bytes_with_the_root_as_owner() {
    assert_eq!(opt_head(1232, super::DO, 0), [0, 0, 41, 4, 208, 0, 0, 128, 0, 0, 0]);
}
