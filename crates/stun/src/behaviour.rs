//! What a request for behaviour discovery asks (RFC 5780 §7).

/// From where else an answer is to come: the value of CHANGE-REQUEST (RFC 5780 §7.2, RFC 3489 §11.2.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Change {
    /// From the other address.
    pub ip: bool,
    /// From the other port.
    pub port: bool,
}

const CHANGE_IP: u8 = 0x04;
const CHANGE_PORT: u8 = 0x02;

impl Change {
    /// From where it was asked.
    pub const NONE: Self = Self { ip: false, port: false };
    /// From the other port of the same address.
    pub const PORT: Self = Self { ip: false, port: true };
    /// From the same port of the other address.
    pub const IP: Self = Self { ip: true, port: false };
    /// From the other port of the other address: OTHER-ADDRESS.
    pub const BOTH: Self = Self { ip: true, port: true };

    /// Reads the value. `None` if it is not four bytes long; other bits are ignored.
    pub fn read(value: &[u8]) -> Option<Self> {
        let &[_, _, _, flags] = <&[u8; 4]>::try_from(value).ok()?;
        Some(Self { ip: flags & CHANGE_IP != 0, port: flags & CHANGE_PORT != 0 })
    }

    /// The value.
    pub fn value(self) -> [u8; 4] {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        [0, 0, 0, flag(self.ip, CHANGE_IP) | flag(self.port, CHANGE_PORT)]
    }
}

/// Reads RESPONSE-PORT: a port and, to be lenient with those who left them out, two bytes of padding (RFC 5780 §7.5).
pub fn read_response_port(value: &[u8]) -> Option<u16> {
    match *value {
        [high, low] | [high, low, _, _] => Some(u16::from_be_bytes([high, low])),
        _ => None,
    }
}

/// The value of RESPONSE-PORT.
pub fn response_port(port: u16) -> [u8; 2] {
    port.to_be_bytes()
}
