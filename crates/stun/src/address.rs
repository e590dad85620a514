//! Addresses as attributes hold them, plain and xored (RFC 8489 §14.1, §14.2).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::TransactionId;

/// Bytes of the longest value.
pub const MAX: usize = 20;

const IPV4: u8 = 1;
const IPV6: u8 = 2;

/// Reads MAPPED-ADDRESS and its like. `None` if it has another family or length.
pub fn read(value: &[u8]) -> Option<SocketAddr> {
    let (&[_, family, high, low], address) = value.split_first_chunk::<4>()?;
    let ip: IpAddr = match family {
        IPV4 => <[u8; 4]>::try_from(address).ok()?.into(),
        IPV6 => <[u8; 16]>::try_from(address).ok()?.into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes([high, low])))
}

/// Reads XOR-MAPPED-ADDRESS of the message with this id. `None` if it has another family or length.
pub fn read_xor(value: &[u8], id: &TransactionId) -> Option<SocketAddr> {
    read(value).map(|address| xored(address, id))
}

/// Writes MAPPED-ADDRESS and its like; how many bytes it takes. An IPv4 address mapped into IPv6 is written as IPv4.
pub fn write(address: SocketAddr, out: &mut [u8; MAX]) -> usize {
    out[0] = 0;
    out[2..4].copy_from_slice(&address.port().to_be_bytes());
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            out[1] = IPV4;
            out[4..8].copy_from_slice(&ip.octets());
            8
        }
        IpAddr::V6(ip) => {
            out[1] = IPV6;
            out[4..20].copy_from_slice(&ip.octets());
            20
        }
    }
}

/// Writes XOR-MAPPED-ADDRESS for the message with this id; how many bytes it takes.
pub fn write_xor(address: SocketAddr, id: &TransactionId, out: &mut [u8; MAX]) -> usize {
    write(xored(SocketAddr::new(address.ip().to_canonical(), address.port()), id), out)
}

/// The address xored with the first bytes of the id: the port with the upper half of the cookie, IPv4 with the cookie,
/// IPv6 with the whole id. Of its own inverse; what servers before RFC 5389 did with an id that has no cookie, too.
fn xored(address: SocketAddr, id: &TransactionId) -> SocketAddr {
    let id = u128::from_be_bytes(id.0);
    let ip: IpAddr = match address.ip() {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() ^ (id >> 96) as u32).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() ^ id).into(),
    };
    SocketAddr::new(ip, address.port() ^ (id >> 112) as u16)
}
