//! Programs that the kernel verifies and runs, and the bytes they are made of.

use super::{Assembler, Helper, If, Map, Program, Reg, Size, action};

/// Says why a test did nothing, in a way nobody overlooks.
fn skip<T>() -> Option<T> {
    eprintln!("SKIP: loading eBPF programs needs root (or CAP_BPF and CAP_NET_ADMIN); run the tests with sudo");
    None
}

/// Loads a program; `None` where this process may not.
fn load(assembler: Assembler) -> Option<Program> {
    match Program::load("test", &assembler.finish()) {
        Ok(program) => Some(program),
        Err(error) if error.source.raw_os_error() == Some(libc::EPERM) => skip(),
        Err(error) => panic!("{error}\n{}", error.log),
    }
}

#[test]
fn instructions_have_the_bytes_of_the_standard() {
    let mut code = Assembler::new();
    let end = code.label();
    code.mov(Reg::R6, Reg::R1).load(Size::Half, Reg::R2, Reg::R6, 12).jump_if32(Reg::R2, If::NotEqual, 8, end);
    code.load64(Reg::R3, 0x1122_3344_5566_7788).store(Size::Byte, Reg::R6, -3, 7).bind(end).exit();
    let code = code.finish();
    // SAFETY: instructions are plain integers without padding.
    let bytes = unsafe { std::slice::from_raw_parts(code.as_ptr().cast::<[u8; 8]>(), code.len()) };
    let words = |code, registers, offset: i16, immediate: i32| {
        let mut bytes = [code, registers, 0, 0, 0, 0, 0, 0];
        bytes[2..4].copy_from_slice(&offset.to_ne_bytes());
        bytes[4..].copy_from_slice(&immediate.to_ne_bytes());
        bytes
    };
    let expected = [
        words(0xbf, 0x16, 0, 0),
        words(0x69, 0x62, 12, 0),
        words(0x56, 0x02, 3, 8),
        words(0x18, 0x03, 0, 0x5566_7788),
        words(0x00, 0x00, 0, 0x1122_3344),
        words(0x72, 0x06, -3, 7),
        words(0x95, 0x00, 0, 0),
    ];
    assert_eq!(bytes, expected);
}

#[test]
fn bytes_are_compared_and_stored_whole_whatever_their_number() {
    for len in 1..=11 {
        let (old, new): (Vec<u8>, Vec<u8>) = (0..len).map(|at| (0xf0 + at, 0x80 + at)).unzip();
        let mut code = Assembler::new();
        let pass = code.label();
        let (data, end) = (Reg::R7, Reg::R8);
        code.load(Size::Word, data, Reg::R1, 0).load(Size::Word, end, Reg::R1, 4);
        code.mov(Reg::R2, data).add(Reg::R2, 32).jump_if(Reg::R2, If::Above, end, pass);
        code.unless_bytes(Reg::R3, data, 3, &old, pass).store_bytes(data, 3, &new);
        code.mov(Reg::R0, action::SEND).exit().bind(pass).mov(Reg::R0, action::PASS).exit();
        let Some(program) = load(code) else { return };
        let mut packet = [0_u8; 32];
        packet[3..3 + old.len()].copy_from_slice(&old);
        let ran = program.run(&packet).expect("it runs");
        let mut expected = packet;
        expected[3..3 + new.len()].copy_from_slice(&new);
        assert_eq!((ran.action, &ran.packet[..]), (action::SEND, &expected[..]));
        for at in 3..3 + old.len() {
            let mut other = packet;
            other[at] ^= 1;
            let ran = program.run(&other).expect("it runs");
            assert_eq!((ran.action, &ran.packet[..]), (action::PASS, &other[..]), "byte {at} of {len}");
        }
    }
}

#[test]
fn what_a_program_counts_is_read() {
    let counters = match Map::counters::<2>("test") {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => skip(),
        counters => Some(counters.expect("a map")),
    };
    let Some(counters) = counters else { return };
    let mut code = Assembler::new();
    let none = code.label();
    code.store(Size::Word, Reg::R10, -4, 0).mov(Reg::R2, Reg::R10).add(Reg::R2, -4);
    code.load_map(Reg::R1, &counters).call(Helper::MapLookup).jump_if(Reg::R0, If::Equal, 0, none);
    code.load(Size::Double, Reg::R1, Reg::R0, 8).add(Reg::R1, 5).store(Size::Double, Reg::R0, 8, Reg::R1);
    code.bind(none).mov(Reg::R0, action::DROP).exit();
    let Some(program) = load(code) else { return };
    for _ in 0..3 {
        assert_eq!(program.run(&[0; 14]).expect("it runs").action, action::DROP);
    }
    assert_eq!(counters.sum::<2>().expect("the counts"), [0, 15]);
}

#[test]
fn the_verifier_s_reason_is_told() {
    let mut code = Assembler::new();
    code.load(Size::Word, Reg::R0, Reg::R5, 0).exit();
    let error = Program::load("test", &code.finish()).expect_err("it reads what nobody wrote");
    if error.source.raw_os_error() != Some(libc::EPERM) {
        assert!(error.to_string().contains("R5 !read_ok"), "{error}");
    }
}
