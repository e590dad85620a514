//! Loading an XDP program, and running it without a network.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use super::Instruction;
use super::syscall::{Command, bpf, name, open};

/// What an XDP program returns (`enum xdp_action`).
pub mod action {
    /// The packet is thrown away.
    pub const DROP: i32 = 1;
    /// The packet goes on to the network stack.
    pub const PASS: i32 = 2;
    /// The packet leaves by the interface it came from.
    pub const SEND: i32 = 3;
}

/// `BPF_PROG_TYPE_XDP`.
const XDP: u32 = 6;
/// Room for what the verifier says, in bytes; what it says last is what it refuses.
const LOG: usize = 1 << 20;
/// `BPF_F_TEST_XDP_LIVE_FRAMES`.
const LIVE_FRAMES: u32 = 1 << 1;
/// Room for a packet that a program has made longer, in bytes.
const PACKET: usize = 2_048;

/// A loaded XDP program.
#[derive(Debug)]
pub struct Program {
    descriptor: OwnedFd,
}

/// Why a program was not loaded.
#[derive(Debug)]
pub struct LoadError {
    /// The kernel's error: EPERM without CAP_BPF and CAP_NET_ADMIN.
    pub source: io::Error,
    /// What the verifier said about it, if anything.
    pub log: String,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the kernel does not take the program: {}", self.source)?;
        // The last line counts what was verified, the one before says what was wrong.
        let mut said = self.log.lines().rev().filter(|line| !line.is_empty() && !line.starts_with("processed "));
        said.next().map_or(Ok(()), |line| write!(f, " ({line})"))
    }
}

impl std::error::Error for LoadError {}

/// The arguments of BPF_PROG_LOAD.
#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

/// The arguments of BPF_PROG_TEST_RUN.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

/// `struct xdp_md`.
#[repr(C)]
struct Context {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

/// What a program did with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// What it returned: one of [`action`].
    pub action: i32,
    /// The packet after it.
    pub packet: Vec<u8>,
}

/// Frames that are made by a program and sent by an interface.
#[derive(Clone, Copy, Debug)]
pub struct Flood<'a> {
    /// The interface's number.
    pub interface: u32,
    /// A frame, whose length all have; the program writes what is in them.
    pub frame: &'a [u8],
    /// How many.
    pub frames: u32,
}

impl Program {
    /// Loads an XDP program.
    ///
    /// # Errors
    /// [`LoadError`] with the verifier's words.
    pub fn load(label: &str, code: &[Instruction]) -> Result<Self, LoadError> {
        // The log costs time and memory: it is asked for once there is something to say.
        let error = match Self::try_load(label, code, &mut []) {
            Ok(program) => return Ok(program),
            Err(error) => error,
        };
        // EACCES, on the other hand, is what the verifier says.
        if error.raw_os_error() == Some(libc::EPERM) {
            return Err(LoadError { source: error, log: String::new() });
        }
        let mut log = vec![0; LOG];
        match Self::try_load(label, code, &mut log) {
            Ok(program) => Ok(program),
            Err(source) => {
                let said = log.split(|&byte| byte == 0).next().unwrap_or_default();
                Err(LoadError { source, log: String::from_utf8_lossy(said).into_owned() })
            }
        }
    }

    fn try_load(label: &str, code: &[Instruction], log: &mut [u8]) -> io::Result<Self> {
        let mut load = Load {
            prog_type: XDP,
            insn_cnt: code.len() as u32,
            insns: code.as_ptr() as u64,
            // No helper that we call is for GPL programs only.
            license: c"MIT".as_ptr() as u64,
            log_level: u32::from(!log.is_empty()),
            log_size: log.len() as u32,
            log_buf: if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 },
            kern_version: 0,
            prog_flags: 0,
            prog_name: name(label),
        };
        // SAFETY: these are the first members of the command's arguments; instructions, licence and log are as long as is said.
        let descriptor = unsafe { open(Command::ProgLoad, &mut load) }?;
        Ok(Self { descriptor })
    }

    /// Runs it on a packet, which no network sees (Linux 4.12).
    ///
    /// # Errors
    /// `InvalidInput` for less than an Ethernet header; the kernel's.
    pub fn run(&self, packet: &[u8]) -> io::Result<Ran> {
        let mut out = vec![0; PACKET.max(packet.len())];
        let mut run = TestRun {
            prog_fd: self.number(),
            data_size_in: packet.len() as u32,
            data_size_out: out.len() as u32,
            data_in: packet.as_ptr() as u64,
            data_out: out.as_mut_ptr() as u64,
            repeat: 1,
            ..TestRun::default()
        };
        // SAFETY: both buffers are as long as is said, and the second is ours to be written to.
        unsafe { bpf(Command::ProgTestRun, &mut run) }?;
        out.truncate(run.data_size_out as usize);
        Ok(Ran { action: run.retval as i32, packet: out })
    }

    /// Runs it on frames without end or sockets: where it returns [`action::SEND`], the frame leaves by the interface
    /// (Linux 5.18). For measurements. How long it took.
    ///
    /// # Errors
    /// The kernel's; `Interrupted` after a signal.
    pub fn flood(&self, flood: &Flood<'_>) -> io::Result<Duration> {
        let context = Context {
            data: 0,
            data_end: flood.frame.len() as u32,
            data_meta: 0,
            ingress_ifindex: flood.interface,
            rx_queue_index: 0,
            egress_ifindex: 0,
        };
        let mut run = TestRun {
            prog_fd: self.number(),
            data_size_in: flood.frame.len() as u32,
            data_in: flood.frame.as_ptr() as u64,
            repeat: flood.frames,
            ctx_size_in: size_of::<Context>() as u32,
            ctx_in: std::ptr::from_ref(&context) as u64,
            flags: LIVE_FRAMES,
            ..TestRun::default()
        };
        let begun = std::time::Instant::now();
        // SAFETY: frame and context are as long as is said, and only read.
        unsafe { bpf(Command::ProgTestRun, &mut run) }?;
        Ok(begun.elapsed())
    }

    /// Its descriptor's number, as arguments have it.
    pub(super) fn number(&self) -> u32 {
        self.descriptor.as_raw_fd() as u32
    }
}
