//! Maps: memory that a program and this process share.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::syscall::{Command, bpf, name, open};

/// `BPF_MAP_TYPE_ARRAY`.
const ARRAY: u32 = 2;
/// `BPF_MAP_TYPE_PERCPU_ARRAY`.
const PER_CPU_ARRAY: u32 = 6;
/// More processors than any kernel is built for (`NR_CPUS` of x86 with MAXSMP is 8,192).
const PROCESSORS: usize = 8_192;

/// An array of one value. It ends with the last program and process that has it.
#[derive(Debug)]
pub struct Map {
    descriptor: OwnedFd,
    value_size: u32,
}

/// The arguments of BPF_MAP_CREATE.
#[repr(C)]
struct Create {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}

/// The arguments of BPF_MAP_LOOKUP_ELEM.
#[repr(C)]
struct Lookup {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

impl Map {
    /// `bytes` of zeros, which programs address directly ([`load_map_value`](super::Assembler::load_map_value)).
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_BPF, or without CAP_SYS_ADMIN before Linux 5.8.
    pub fn memory(label: &str, bytes: u32) -> io::Result<Self> {
        Self::create(label, ARRAY, bytes)
    }

    /// `N` numbers for each processor, all zero: what programs count in without disturbing each other.
    ///
    /// # Errors
    /// As [`memory`](Self::memory).
    pub fn counters<const N: usize>(label: &str) -> io::Result<Self> {
        Self::create(label, PER_CPU_ARRAY, 8 * N as u32)
    }

    fn create(label: &str, map_type: u32, value_size: u32) -> io::Result<Self> {
        let mut create = Create {
            map_type,
            key_size: 4,
            value_size,
            max_entries: 1,
            map_flags: 0,
            inner_map_fd: 0,
            numa_node: 0,
            map_name: name(label),
        };
        // SAFETY: these are the first members of the command's arguments, without pointers.
        let descriptor = unsafe { open(Command::MapCreate, &mut create) }?;
        Ok(Self { descriptor, value_size })
    }

    /// What has been counted in a map of [`counters`](Self::counters), the sum of all processors.
    ///
    /// # Errors
    /// The kernel's.
    ///
    /// # Panics
    /// With another `N` than the map was made with.
    pub fn sum<const N: usize>(&self) -> io::Result<[u64; N]> {
        assert_eq!(self.value_size as usize, 8 * N, "a map of so many numbers");
        let mut values = vec![[0_u64; N]; PROCESSORS];
        let key = 0_u32;
        let mut lookup = Lookup {
            map_fd: self.number(),
            padding: 0,
            key: std::ptr::from_ref(&key) as u64,
            value: values.as_mut_ptr() as u64,
            flags: 0,
        };
        // SAFETY: the key has the four bytes it was made with. The kernel writes a value of `N` numbers per possible processor,
        // of which there are no more than there is room for.
        unsafe { bpf(Command::MapLookup, &mut lookup) }?;
        Ok(values.iter().fold([0; N], |mut sum, value| {
            sum.iter_mut().zip(value).for_each(|(sum, count)| *sum += count);
            sum
        }))
    }

    /// Its descriptor's number, as instructions and arguments have it.
    pub(super) fn number(&self) -> u32 {
        self.descriptor.as_raw_fd() as u32
    }
}
