//! Asks a STUN server faster than any socket can, to measure one that answers faster than that.
//!
//! The kernel makes frames out of nothing and sends them by an interface (BPF_PROG_TEST_RUN with live frames, Linux 5.18); a
//! program writes a request into each. Another one at the same interface counts the answers and throws them away. Both are in the
//! driver: the interface has to be able to send from there. A veth is if its other end has an XDP program too, or
//! `ethtool -K … gro on`.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use pinhole_stun::binding::PLAIN_HEAD;
use pinhole_stun::{AttributeType, HEADER, address};
use pinhole_wire::build;

use crate::bpf::{Assembler, AttachMode, Flood as Frames, Helper, If, LoadError, Map, Program, Reg, Size, XdpLink};
use crate::bpf::{action, half};
use crate::netlink::{self, route};

/// Frames between two looks at the clock.
const ROUND: u32 = 1 << 14;
/// How often what the neighbour's Ethernet address is found out by is repeated.
const ATTEMPTS: u32 = 20;
/// Between two of these.
const PAUSE: Duration = Duration::from_millis(100);
/// The port that is asked from: no one's by default, and not one that a host draws.
const PORT: u16 = 9_999;

/// What to do.
#[derive(Clone, Debug)]
pub struct Flood {
    /// Whom to ask; a neighbour on the interface.
    pub server: SocketAddr,
    /// The interface to ask from; no other XDP program may be there.
    pub interface: String,
    /// For how long.
    pub duration: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flooded {
    /// Requests given to the driver. Those that the other end had no room for are among them.
    pub sent: u64,
    /// Right answers that came back.
    pub answers: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// Why there was no flood.
#[derive(Debug)]
pub enum FloodError {
    /// The interface or its neighbours could not be looked up.
    Netlink(netlink::Error),
    /// The interface carries no Ethernet frames.
    NotEthernet,
    /// The server is no neighbour on the interface.
    NoNeighbour,
    /// The kernel does not take a program: it needs root and Linux 5.18.
    Load(LoadError),
    /// A map, the interface or the socket could not be had.
    Kernel(io::Error),
}

impl fmt::Display for FloodError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Netlink(error) => write!(f, "{error}"),
            Self::NotEthernet => f.write_str("the interface carries no Ethernet frames"),
            Self::NoNeighbour => f.write_str("no neighbour on the interface has the server's address"),
            Self::Load(error) => write!(f, "{error}"),
            Self::Kernel(error) => write!(f, "{error}"),
        }
    }
}

/// What the kernel said is told by `Display`.
impl std::error::Error for FloodError {}

impl From<netlink::Error> for FloodError {
    fn from(error: netlink::Error) -> Self {
        Self::Netlink(error)
    }
}

impl From<LoadError> for FloodError {
    fn from(error: LoadError) -> Self {
        Self::Load(error)
    }
}

impl From<io::Error> for FloodError {
    fn from(error: io::Error) -> Self {
        Self::Kernel(error)
    }
}

/// Asks.
///
/// # Errors
/// [`FloodError`]. The interface is as before then.
pub fn run(flood: &Flood) -> Result<Flooded, FloodError> {
    let mut socket = route::open()?;
    let link = route::link::find(&mut socket, &flood.interface)?;
    let own = link.ethernet.ok_or(FloodError::NotEthernet)?;
    let from = own_address(flood.server)?;
    let neighbour = neighbour(&mut socket, link.index, flood.server)?;
    let request = request(own, neighbour, from, flood.server);
    let memory = Memory { next: Map::memory("stun_next", 8)?, answers: Map::counters::<1>("stun_answers")? };
    let generator = Program::load("stun_flood", &memory.generator(&request))?;
    let counter = Program::load("stun_count", &memory.counter(from, flood.server))?;
    let _link = XdpLink::attach(&counter, link.index, AttachMode::Native)?;
    let [before] = memory.answers.sum()?;
    let frames = Frames { interface: link.index, frame: &request, frames: ROUND };
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < flood.duration {
        generator.flood(&frames)?;
        sent += u64::from(ROUND);
    }
    let elapsed = begun.elapsed();
    let [after] = memory.answers.sum()?;
    Ok(Flooded { sent, answers: after - before, elapsed })
}

/// The address that the server will see.
fn own_address(server: SocketAddr) -> io::Result<SocketAddr> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    Ok(SocketAddr::new(socket.local_addr()?.ip(), PORT))
}

/// The server's Ethernet address; it is asked one question so that the kernel finds out.
fn neighbour(socket: &mut netlink::Socket, index: u32, server: SocketAddr) -> Result<[u8; 6], FloodError> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let asking = UdpSocket::bind(any)?;
    for _ in 0..ATTEMPTS {
        if let Some(ethernet) = route::neighbour::ethernet(socket, index, server.ip())? {
            return Ok(ethernet);
        }
        asking.send_to(&[&PLAIN_HEAD[..], &[0; 12]].concat(), server)?;
        std::thread::sleep(PAUSE);
    }
    Err(FloodError::NoNeighbour)
}

/// A request in a frame. The two words that number it sum up to nothing, so that the checksum holds for every number.
fn request(own: [u8; 6], neighbour: [u8; 6], from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let mut frame = vec![0; 128];
    frame[..6].copy_from_slice(&neighbour);
    frame[6..12].copy_from_slice(&own);
    frame[12..14].copy_from_slice(&ethertype(to.ip()));
    let message = [&PLAIN_HEAD[..], &[0; 4], &[0xff; 4], b"pinh"].concat();
    let length = build::udp(from, to, 64, &message, &mut frame[14..]).expect("there is room, and one family");
    frame.truncate(14 + length);
    frame
}

const fn ethertype(ip: IpAddr) -> [u8; 2] {
    match ip {
        IpAddr::V4(_) => [0x08, 0x00],
        IpAddr::V6(_) => [0x86, 0xdd],
    }
}

/// Where the IP header ends in a frame.
const fn udp_at(ip: IpAddr) -> i16 {
    match ip {
        IpAddr::V4(_) => 34,
        IpAddr::V6(_) => 54,
    }
}

/// What the two programs keep.
struct Memory {
    next: Map,
    answers: Map,
}

const PACKET: Reg = Reg::R7;

impl Memory {
    /// Writes `request`, with the next number, into every frame: the last answer may still be in it.
    fn generator(&self, request: &[u8]) -> Vec<crate::bpf::Instruction> {
        let mut code = Assembler::new();
        let drop = load_packet(&mut code, request.len() as i32);
        code.store_bytes(PACKET, 0, request);
        code.load_map_value(Reg::R1, &self.next, 0).load(Size::Double, Reg::R2, Reg::R1, 0);
        code.add(Reg::R2, 1).store(Size::Double, Reg::R1, 0, Reg::R2);
        let number = request.len() as i16 - HEADER as i16 + PLAIN_HEAD.len() as i16;
        code.store(Size::Word, PACKET, number, Reg::R2).xor32(Reg::R2, -1);
        code.store(Size::Word, PACKET, number + 4, Reg::R2).mov(Reg::R0, action::SEND).exit();
        code.bind(drop).mov(Reg::R0, action::DROP).exit();
        code.finish()
    }

    /// Counts right answers and throws them away; everything else goes on.
    fn counter(&self, own: SocketAddr, server: SocketAddr) -> Vec<crate::bpf::Instruction> {
        let mut code = Assembler::new();
        let udp = udp_at(server.ip());
        let message = udp + 8;
        let mut mapped = [0; address::MAX];
        let length = address::write(own, &mut mapped);
        let attributes = message + HEADER as i16;
        let pass = load_packet(&mut code, i32::from(attributes) + 4 + length as i32);
        code.load(Size::Half, Reg::R1, PACKET, 12).jump_if(Reg::R1, If::NotEqual, half(ethertype(server.ip())), pass);
        code.unless_bytes(Reg::R1, PACKET, udp, &server.port().to_be_bytes(), pass);
        code.unless_bytes(Reg::R1, PACKET, udp + 2, &own.port().to_be_bytes(), pass);
        code.unless_bytes(Reg::R1, PACKET, message, &[1, 1], pass);
        // The address is the first attribute of all servers that are measured, whichever of both attributes it is.
        let not_xored = code.label();
        let [high, low] = AttributeType::XOR_MAPPED_ADDRESS.0.to_be_bytes();
        code.unless_bytes(Reg::R1, PACKET, attributes, &[high, low], not_xored);
        code.load(Size::Half, Reg::R1, PACKET, attributes + 6).xor(Reg::R1, half([PLAIN_HEAD[4], PLAIN_HEAD[5]]));
        code.jump_if(Reg::R1, If::NotEqual, half(own.port().to_be_bytes()), pass);
        for word in 0..(length as i16 - 4) / 4 {
            let expected: [u8; 4] = std::array::from_fn(|at| mapped[4 + 4 * word as usize + at]);
            code.load(Size::Word, Reg::R1, PACKET, attributes + 8 + 4 * word);
            code.load(Size::Word, Reg::R2, PACKET, message + 4 + 4 * word).xor32(Reg::R1, Reg::R2);
            code.jump_if32(Reg::R1, If::NotEqual, crate::bpf::word(expected), pass);
        }
        let right = code.label();
        code.jump(right).bind(not_xored);
        let [high, low] = AttributeType::MAPPED_ADDRESS.0.to_be_bytes();
        code.unless_bytes(Reg::R1, PACKET, attributes, &[high, low], pass);
        code.unless_bytes(Reg::R1, PACKET, attributes + 4, &mapped[..length], pass);
        code.bind(right).store(Size::Word, Reg::R10, -4, 0).mov(Reg::R2, Reg::R10).add(Reg::R2, -4);
        code.load_map(Reg::R1, &self.answers).call(Helper::MapLookup).jump_if(Reg::R0, If::Equal, 0, pass);
        code.load(Size::Double, Reg::R1, Reg::R0, 0).add(Reg::R1, 1).store(Size::Double, Reg::R0, 0, Reg::R1);
        code.mov(Reg::R0, action::DROP).exit();
        code.bind(pass).mov(Reg::R0, action::PASS).exit();
        code.finish()
    }
}

/// The packet in [`PACKET`]; shorter ones than `length` bytes go on at the label.
fn load_packet(code: &mut Assembler, length: i32) -> crate::bpf::Label {
    let short = code.label();
    code.load(Size::Word, PACKET, Reg::R1, 0).load(Size::Word, Reg::R3, Reg::R1, 4);
    code.mov(Reg::R4, PACKET).add(Reg::R4, length).jump_if(Reg::R4, If::Above, Reg::R3, short);
    short
}
