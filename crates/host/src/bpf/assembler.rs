//! eBPF instructions, written with names for places to jump to (RFC 9669).
//!
//! Ten registers: `R0` is what calls and programs return, `R1` to `R5` are arguments and do not outlive a call, `R6` to `R9` do,
//! `R10` is the end of the stack. A load from memory gives the bytes in the machine's order: constants that are compared with
//! what a packet holds are made with [`half`] and [`word`], or by the methods that take bytes.

use super::Map;

/// One instruction, as the kernel takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    code: u8,
    /// The destination in the lower four bits, the source in the upper.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Reg {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

/// How much is loaded or stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Size {
    /// One byte.
    Byte = 0x10,
    /// Two bytes.
    Half = 0x08,
    /// Four bytes.
    Word = 0x00,
    /// Eight bytes.
    Double = 0x18,
}

/// A second operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A register.
    Reg(Reg),
    /// A constant; 64-bit operations extend its sign.
    Constant(i32),
}

impl From<Reg> for Source {
    fn from(register: Reg) -> Self {
        Self::Reg(register)
    }
}

impl From<i32> for Source {
    fn from(constant: i32) -> Self {
        Self::Constant(constant)
    }
}

/// When to jump. Numbers are unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum If {
    /// `left == right`
    Equal = 0x10,
    /// `left > right`
    Above = 0x20,
    /// `left >= right`
    NotBelow = 0x30,
    /// `left & right != 0`
    AnyBit = 0x40,
    /// `left != right`
    NotEqual = 0x50,
    /// `left <= right`
    NotAbove = 0xb0,
}

/// What the kernel does for a program (include/uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Helper {
    /// `bpf_map_lookup_elem(map, key)`: the value, or null.
    MapLookup = 1,
    /// `bpf_xdp_adjust_head(context, bytes)`: so many bytes fewer at the front, or more if negative; 0, or a negative error.
    /// Pointers into the packet are void after it.
    AdjustHead = 44,
    /// `bpf_ktime_get_coarse_ns()`: nanoseconds since boot, as of the last tick (Linux 5.11).
    CoarseNanos = 160,
}

/// A place in a program.
#[derive(Clone, Copy, Debug)]
pub struct Label(usize);

/// Two bytes of a packet as a load of [`Size::Half`] gives them.
pub const fn half(bytes: [u8; 2]) -> i32 {
    u16::from_ne_bytes(bytes) as i32
}

/// Four bytes of a packet as a load of [`Size::Word`] gives them, for 32-bit operations.
pub const fn word(bytes: [u8; 4]) -> i32 {
    i32::from_ne_bytes(bytes)
}

// Classes and sources of an instruction's code (RFC 9669 §3).
const LOAD_IMMEDIATE: u8 = 0x18; // BPF_LD | BPF_IMM | BPF_DW
const LOAD: u8 = 0x61; // BPF_LDX | BPF_MEM
const STORE_CONSTANT: u8 = 0x62; // BPF_ST | BPF_MEM
const STORE: u8 = 0x63; // BPF_STX | BPF_MEM
const ALU32: u8 = 0x04;
const JUMP: u8 = 0x05;
const JUMP32: u8 = 0x06;
const ALU64: u8 = 0x07;
const FROM_REGISTER: u8 = 0x08;
const ADD: u8 = 0x00;
const MULTIPLY: u8 = 0x20;
const OR: u8 = 0x40;
const AND: u8 = 0x50;
const SHIFT_LEFT: u8 = 0x60;
const SHIFT_RIGHT: u8 = 0x70;
const SUBTRACT: u8 = 0x10;
const EXCLUSIVE_OR: u8 = 0xa0;
const MOVE: u8 = 0xb0;
const TO_BIG_ENDIAN: u8 = 0xdc; // BPF_ALU | BPF_END | BPF_TO_BE
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
// What the source register of LOAD_IMMEDIATE says that the constant is.
const MAP: u8 = 1; // BPF_PSEUDO_MAP_FD
const MAP_VALUE: u8 = 2; // BPF_PSEUDO_MAP_VALUE

/// A program under construction.
#[derive(Debug, Default)]
pub struct Assembler {
    code: Vec<Instruction>,
    /// Where each label is.
    labels: Vec<Option<usize>>,
    /// Jumps and where they go.
    jumps: Vec<(usize, Label)>,
}

/// Arithmetic in two forms: all 64 bits, and 32 bits with the upper half of the result zero.
macro_rules! arithmetic {
    ($($(#[$doc:meta])* $name:ident = $class:ident | $operation:ident;)*) => {
        $($(#[$doc])*
        pub fn $name(&mut self, to: Reg, from: impl Into<Source>) -> &mut Self {
            self.operate($class | $operation, to, from.into(), 0)
        })*
    };
}

impl Assembler {
    /// An empty program.
    pub fn new() -> Self {
        Self::default()
    }

    /// The program.
    ///
    /// # Panics
    /// If a label that is jumped to was never [`bind`](Self::bind)ed, or is out of a jump's reach: 32,767 instructions.
    pub fn finish(mut self) -> Vec<Instruction> {
        for (at, Label(label)) in self.jumps {
            let target = self.labels[label].expect("every label is bound");
            let distance = target as i64 - at as i64 - 1;
            self.code[at].offset = i16::try_from(distance).expect("programs are shorter than the reach of a jump");
        }
        self.code
    }

    /// A new label, bound to nothing yet.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Gives `label` the place of the next instruction.
    pub fn bind(&mut self, Label(label): Label) -> &mut Self {
        self.labels[label] = Some(self.code.len());
        self
    }

    arithmetic! {
        /// `to = from`
        mov = ALU64 | MOVE;
        /// `to = from`, the lower 32 bits.
        mov32 = ALU32 | MOVE;
        /// `to += from`
        add = ALU64 | ADD;
        /// `to -= from`
        sub = ALU64 | SUBTRACT;
        /// `to *= from`
        mul = ALU64 | MULTIPLY;
        /// `to |= from`
        or = ALU64 | OR;
        /// `to &= from`
        and = ALU64 | AND;
        /// `to ^= from`
        xor = ALU64 | EXCLUSIVE_OR;
        /// `to ^= from`, the lower 32 bits.
        xor32 = ALU32 | EXCLUSIVE_OR;
        /// `to <<= from`
        shl = ALU64 | SHIFT_LEFT;
        /// `to >>= from`, zeros coming in.
        shr = ALU64 | SHIFT_RIGHT;
    }

    /// Turns eight bytes in network order, as loaded, into their number.
    pub fn from_be64(&mut self, register: Reg) -> &mut Self {
        self.emit(TO_BIG_ENDIAN, register, None, 0, 64)
    }

    /// `to = constant`
    pub fn load64(&mut self, to: Reg, constant: u64) -> &mut Self {
        self.load_wide(to, 0, constant as u32, (constant >> 32) as u32)
    }

    /// `to` = the map, as helpers take it.
    pub fn load_map(&mut self, to: Reg, map: &Map) -> &mut Self {
        self.load_wide(to, MAP, map.number(), 0)
    }

    /// `to` = the address of a byte in the one value of an array.
    pub fn load_map_value(&mut self, to: Reg, map: &Map, offset: u32) -> &mut Self {
        self.load_wide(to, MAP_VALUE, map.number(), offset)
    }

    /// `to` = memory at `base + offset`
    pub fn load(&mut self, size: Size, to: Reg, base: Reg, offset: i16) -> &mut Self {
        self.emit(LOAD | size as u8, to, Some(base), offset, 0)
    }

    /// Memory at `base + offset` = `from`
    pub fn store(&mut self, size: Size, base: Reg, offset: i16, from: impl Into<Source>) -> &mut Self {
        match from.into() {
            Source::Reg(from) => self.emit(STORE | size as u8, base, Some(from), offset, 0),
            Source::Constant(constant) => self.emit(STORE_CONSTANT | size as u8, base, None, offset, constant),
        }
    }

    /// Memory from `base + offset` = these bytes.
    pub fn store_bytes(&mut self, base: Reg, offset: i16, bytes: &[u8]) -> &mut Self {
        for (offset, size, constant) in pieces(offset, bytes) {
            self.store(size, base, offset, constant);
        }
        self
    }

    /// Jumps to `label` unless the memory from `base + offset` is these bytes. Uses `scratch`.
    pub fn unless_bytes(&mut self, scratch: Reg, base: Reg, offset: i16, bytes: &[u8], label: Label) -> &mut Self {
        for (offset, size, constant) in pieces(offset, bytes) {
            self.load(size, scratch, base, offset).jump_if32(scratch, If::NotEqual, constant, label);
        }
        self
    }

    /// Goes on at `label`.
    pub fn jump(&mut self, label: Label) -> &mut Self {
        self.jumps.push((self.code.len(), label));
        self.emit(JUMP, Reg::R0, None, 0, 0)
    }

    /// Goes on at `label` if so; compares 64 bits.
    pub fn jump_if(&mut self, left: Reg, condition: If, right: impl Into<Source>, label: Label) -> &mut Self {
        self.jumps.push((self.code.len(), label));
        self.operate(JUMP | condition as u8, left, right.into(), 0)
    }

    /// Goes on at `label` if so; compares the lower 32 bits.
    pub fn jump_if32(&mut self, left: Reg, condition: If, right: impl Into<Source>, label: Label) -> &mut Self {
        self.jumps.push((self.code.len(), label));
        self.operate(JUMP32 | condition as u8, left, right.into(), 0)
    }

    /// `R0` = what the kernel answers; `R1` to `R5` are void after it.
    pub fn call(&mut self, helper: Helper) -> &mut Self {
        self.emit(CALL, Reg::R0, None, 0, helper as i32)
    }

    /// Ends the program with `R0`.
    pub fn exit(&mut self) -> &mut Self {
        self.emit(EXIT, Reg::R0, None, 0, 0)
    }

    fn operate(&mut self, code: u8, to: Reg, from: Source, offset: i16) -> &mut Self {
        match from {
            Source::Reg(from) => self.emit(code | FROM_REGISTER, to, Some(from), offset, 0),
            Source::Constant(constant) => self.emit(code, to, None, offset, constant),
        }
    }

    /// The one instruction of two places: its constant has 64 bits.
    fn load_wide(&mut self, to: Reg, what: u8, low: u32, high: u32) -> &mut Self {
        self.code.push(Instruction {
            code: LOAD_IMMEDIATE,
            registers: what << 4 | to as u8,
            offset: 0,
            immediate: low as i32,
        });
        self.code.push(Instruction { code: 0, registers: 0, offset: 0, immediate: high as i32 });
        self
    }

    fn emit(&mut self, code: u8, to: Reg, from: Option<Reg>, offset: i16, immediate: i32) -> &mut Self {
        let registers = from.map_or(0, |from| (from as u8) << 4) | to as u8;
        self.code.push(Instruction { code, registers, offset, immediate });
        self
    }
}

/// Bytes as the largest constants that an instruction can hold, with their places.
fn pieces(offset: i16, bytes: &[u8]) -> impl Iterator<Item = (i16, Size, i32)> {
    let (words, rest) = bytes.as_chunks::<4>();
    let (halves, last) = rest.as_chunks::<2>();
    let after_words = offset + 4 * words.len() as i16;
    let after_halves = after_words + 2 * halves.len() as i16;
    let words = (0..).zip(words).map(move |(at, &bytes)| (offset + 4 * at, Size::Word, word(bytes)));
    let halves = (0..).zip(halves).map(move |(at, &bytes)| (after_words + 2 * at, Size::Half, half(bytes)));
    words.chain(halves).chain(last.iter().map(move |&byte| (after_halves, Size::Byte, i32::from(byte))))
}
