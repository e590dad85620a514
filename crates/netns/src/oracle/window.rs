//! The windows that the kernel keeps of a TCP flow, which it tells nobody: a BPF program right behind conntrack copies the
//! entry of each packet into a map (`net/netfilter/nf_bpf_link.c`).
//!
//! The model: before a packet, [`Windows::expect`] says whose entry is wanted should the packet be INVALID, for then it has
//! none; the program copies `struct nf_conn` as it is, and [`Windows::fill`] reads out of the copy what belongs to the entry that
//! a lookup has found. Where the fields lie, the kernel's type information says.
//!
//! Needs root, a kernel with `CONFIG_NETFILTER_BPF_LINK` (6.4 and later) and its type information. The program is a few
//! instructions, so no compiler is needed, and no library.

use std::collections::HashMap;
use std::ffi::CStr;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use pinhole_netfilter::script::{EntryView, ProtocolView, TupleView};

use super::btf::Types;

/// Commands of bpf(2) (include/uapi/linux/bpf.h).
const MAP_CREATE: libc::c_long = 0;
const MAP_LOOKUP: libc::c_long = 1;
const MAP_UPDATE: libc::c_long = 2;
const PROG_LOAD: libc::c_long = 5;
const LINK_CREATE: libc::c_long = 28;
const MAP_ARRAY: u32 = 2;
const PROG_NETFILTER: u32 = 32;
const ATTACH_NETFILTER: u32 = 45;
/// Helpers: `bpf_map_lookup_elem`, `bpf_probe_read_kernel`.
const CALL_LOOKUP: i32 = 1;
const CALL_READ: i32 = 113;
/// The second is for programs under this licence only.
const LICENSE: &CStr = c"GPL";
/// Behind conntrack (-200), before all that reads marks.
const PRIORITY: i32 = -199;
/// `NF_INET_PRE_ROUTING`.
const PRE_ROUTING: u32 = 0;
/// Of a map's value, the address of the entry stands before its copy.
const ADDRESS_LEN: usize = 8;
const TCP: u8 = 6;

/// Reads windows.
#[derive(Debug)]
pub(super) struct Windows {
    map: OwnedFd,
    _links: Vec<OwnedFd>,
    layout: Layout,
    /// The addresses of the entries that have been seen, by both tuples.
    known: HashMap<TupleView, u64>,
    value: Vec<u8>,
}

/// Where things lie, in bytes.
#[derive(Debug)]
struct Layout {
    /// In `struct sk_buff`.
    entry_of_packet: usize,
    /// The size of `struct nf_conn`, and what lies in it.
    size: usize,
    src: usize,
    src_port: usize,
    dst: usize,
    dst_port: usize,
    protocol: usize,
    zone: Option<usize>,
    /// `struct ip_ct_tcp_state` of the original side, and its size.
    tcp: usize,
    tcp_size: usize,
    /// In that.
    fields: [usize; 4],
}

impl Windows {
    /// Attaches to the calling thread's namespace.
    pub(super) fn open() -> io::Result<Self> {
        let types = std::fs::read("/sys/kernel/btf/vmlinux")?;
        let missing = || io::Error::other("the kernel's type information lacks what is looked for");
        let layout = Types::parse(&types).and_then(|types| Layout::of(&types)).ok_or_else(missing)?;
        let value = vec![0; ADDRESS_LEN + layout.size.next_multiple_of(8)];
        let map = create_map(value.len())?;
        let program = load(&program(&layout, &map))?;
        let links = [libc::NFPROTO_IPV4, libc::NFPROTO_IPV6].map(|family| link(&program, family as u32));
        let links = links.into_iter().collect::<io::Result<_>>()?;
        Ok(Self { map, _links: links, layout, known: HashMap::new(), value })
    }

    /// Another packet comes, with this tuple.
    pub(super) fn expect(&mut self, tuple: Option<&TupleView>) -> io::Result<()> {
        let known = tuple.and_then(|tuple| self.known.get(tuple)).copied().unwrap_or(0);
        self.value.fill(0);
        self.value[..ADDRESS_LEN].copy_from_slice(&known.to_ne_bytes());
        self.access(MAP_UPDATE)
    }

    /// Gives an entry its windows, if it is the one of the packet.
    pub(super) fn fill(&mut self, entry: &mut EntryView) -> io::Result<()> {
        let Some(ProtocolView::Tcp { sides, .. }) = &mut entry.protocol else { return Ok(()) };
        self.access(MAP_LOOKUP)?;
        let (address, copy) = self.value.split_at(ADDRESS_LEN);
        if !self.layout.is_of(copy, &entry.original, entry.zones) {
            return Ok(());
        }
        for (at, side) in sides.iter_mut().enumerate() {
            let start = self.layout.tcp + at * self.layout.tcp_size;
            side.window = Some(self.layout.fields.map(|field| word(copy, start + field)));
        }
        let address = u64::from_ne_bytes(address.try_into().unwrap_or_default());
        for tuple in [entry.original, entry.reply] {
            self.known.insert(tuple, address);
        }
        Ok(())
    }

    /// Reads or writes the only value of the map.
    fn access(&mut self, command: libc::c_long) -> io::Result<()> {
        let key = 0_u32;
        let mut attributes = Attributes::new();
        attributes.u32(0, self.map.as_raw_fd() as u32);
        attributes.u64(8, &raw const key as u64);
        attributes.u64(16, self.value.as_mut_ptr() as u64);
        attributes.call(command).map(drop)
    }
}

impl Layout {
    fn of(types: &Types<'_>) -> Option<Self> {
        let of_entry = |path: &[&str]| types.offset("nf_conn", path);
        let tuple = |path: &[&str]| of_entry(&[&["tuplehash", "tuple"], path].concat());
        Some(Self {
            entry_of_packet: types.offset("sk_buff", &["_nfct"])?,
            size: types.size("nf_conn")?,
            src: tuple(&["src", "u3"])?,
            src_port: tuple(&["src", "u"])?,
            dst: tuple(&["dst", "u3"])?,
            dst_port: tuple(&["dst", "u"])?,
            protocol: tuple(&["dst", "protonum"])?,
            zone: of_entry(&["zone", "id"]),
            tcp: of_entry(&["proto", "tcp", "seen"])?,
            tcp_size: types.size("ip_ct_tcp_state")?,
            fields: [
                types.offset("ip_ct_tcp_state", &["td_end"])?,
                types.offset("ip_ct_tcp_state", &["td_maxend"])?,
                types.offset("ip_ct_tcp_state", &["td_maxwin"])?,
                types.offset("ip_ct_tcp_state", &["td_maxack"])?,
            ],
        })
    }

    /// Whether a copy is of the TCP flow with this tuple in these zones.
    fn is_of(&self, copy: &[u8], tuple: &TupleView, zones: [u16; 2]) -> bool {
        let begins_with = |at: usize, bytes: &[u8]| copy.get(at..at + bytes.len()) == Some(bytes);
        let has_address = |at: usize, address: IpAddr| match address {
            IpAddr::V4(address) => begins_with(at, &address.octets()),
            IpAddr::V6(address) => begins_with(at, &address.octets()),
        };
        let zone = self.zone.map_or(0, |at| half(copy, at));
        has_address(self.src, tuple.src)
            && has_address(self.dst, tuple.dst)
            && begins_with(self.src_port, &tuple.src_id.to_be_bytes())
            && begins_with(self.dst_port, &tuple.dst_id.to_be_bytes())
            && copy.get(self.protocol) == Some(&TCP)
            && zones.contains(&zone)
    }
}

/// An instruction: operation, destination and source register, offset, number (Documentation/bpf/standardization).
fn instruction(operation: u8, dst: u8, src: u8, offset: i16, number: i32) -> u64 {
    let [low, high] = offset.to_le_bytes();
    let [a, b, c, d] = number.to_le_bytes();
    u64::from_le_bytes([operation, src << 4 | dst, low, high, a, b, c, d])
}

/// The packet's entry, or else the one at the address in the map, is copied to the map; the packet passes.
fn program(layout: &Layout, map: &OwnedFd) -> [u64; 21] {
    const LOAD_64: u8 = 0x79;
    const STORE_64: u8 = 0x7b;
    const STORE_NUMBER_32: u8 = 0x62;
    const SET: u8 = 0xbf;
    const SET_NUMBER: u8 = 0xb7;
    const ADD_NUMBER: u8 = 0x07;
    const AND_NUMBER: u8 = 0x57;
    const WIDE: u8 = 0x18;
    const IF_NUMBER: u8 = 0x15;
    const UNLESS_NUMBER: u8 = 0x55;
    const CALL: u8 = 0x85;
    const EXIT: u8 = 0x95;
    /// `BPF_PSEUDO_MAP_FD`.
    const MAP: u8 = 1;
    [
        // r7 = the packet's entry; its lowest three bits say what the packet is in it.
        instruction(LOAD_64, 6, 1, 8, 0),
        instruction(LOAD_64, 7, 6, layout.entry_of_packet as i16, 0),
        instruction(AND_NUMBER, 7, 0, 0, !7),
        // r6 = the value of the map
        instruction(STORE_NUMBER_32, 10, 0, -4, 0),
        instruction(SET, 2, 10, 0, 0),
        instruction(ADD_NUMBER, 2, 0, 0, -4),
        instruction(WIDE, 1, MAP, 0, map.as_raw_fd()),
        0,
        instruction(CALL, 0, 0, 0, CALL_LOOKUP),
        instruction(IF_NUMBER, 0, 0, 9, 0),
        instruction(SET, 6, 0, 0, 0),
        instruction(UNLESS_NUMBER, 7, 0, 1, 0),
        instruction(LOAD_64, 7, 6, 0, 0),
        instruction(STORE_64, 6, 7, 0, 0),
        instruction(SET, 1, 6, 0, 0),
        instruction(ADD_NUMBER, 1, 0, 0, ADDRESS_LEN as i32),
        instruction(SET_NUMBER, 2, 0, 0, layout.size as i32),
        instruction(SET, 3, 7, 0, 0),
        instruction(CALL, 0, 0, 0, CALL_READ),
        // `NF_ACCEPT`
        instruction(SET_NUMBER, 0, 0, 0, 1),
        instruction(EXIT, 0, 0, 0, 0),
    ]
}

fn create_map(value_len: usize) -> io::Result<OwnedFd> {
    let mut attributes = Attributes::new();
    attributes.u32(0, MAP_ARRAY);
    attributes.u32(4, size_of::<u32>() as u32);
    attributes.u32(8, value_len as u32);
    attributes.u32(12, 1);
    attributes.open(MAP_CREATE)
}

fn load(program: &[u64]) -> io::Result<OwnedFd> {
    let mut attributes = Attributes::new();
    attributes.u32(0, PROG_NETFILTER);
    attributes.u32(4, program.len() as u32);
    attributes.u64(8, program.as_ptr() as u64);
    attributes.u64(16, LICENSE.as_ptr() as u64);
    // The type of attachment, behind what is left zero.
    attributes.u32(68, ATTACH_NETFILTER);
    attributes.open(PROG_LOAD)
}

fn link(program: &OwnedFd, family: u32) -> io::Result<OwnedFd> {
    let mut attributes = Attributes::new();
    attributes.u32(0, program.as_raw_fd() as u32);
    attributes.u32(8, ATTACH_NETFILTER);
    attributes.u32(16, family);
    attributes.u32(20, PRE_ROUTING);
    attributes.u32(24, PRIORITY as u32);
    attributes.open(LINK_CREATE)
}

/// What bpf(2) is told (`union bpf_attr`).
#[repr(C, align(8))]
struct Attributes([u8; 128]);

impl Attributes {
    const fn new() -> Self {
        Self([0; 128])
    }

    fn u32(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }

    fn u64(&mut self, at: usize, value: u64) {
        self.0[at..at + 8].copy_from_slice(&value.to_ne_bytes());
    }

    /// Calls for a new descriptor.
    fn open(&self, command: libc::c_long) -> io::Result<OwnedFd> {
        let descriptor = self.call(command)?;
        // SAFETY: the kernel has just opened it for us, and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
    }

    fn call(&self, command: libc::c_long) -> io::Result<i32> {
        let (attributes, len) = (&raw const self.0, size_of_val(&self.0));
        // SAFETY: the attributes live here, and what they point to lives where they were set; the one command that writes there
        // writes the value of the map, for which there is room.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, len) };
        if result >= 0 { Ok(result as i32) } else { Err(io::Error::last_os_error()) }
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |word| u32::from_ne_bytes(word.try_into().unwrap_or_default()))
}

fn half(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |half| u16::from_ne_bytes(half.try_into().unwrap_or_default()))
}
