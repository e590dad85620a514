//! Generic netlink: families that the kernel numbers at run time (include/uapi/linux/genetlink.h).

use super::{Error, Message, Socket, attributes, find};

/// `GENL_ID_CTRL`: the family that knows the others.
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
const FAMILY_GROUPS: u16 = 7;
const GROUP_NAME: u16 = 1;
const GROUP_ID: u16 = 2;

/// Bytes of `struct genlmsghdr`: what to skip before a reply's attributes.
pub const FIXED: usize = 4;

/// A family as the running kernel numbers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// `nlmsg_type` of its messages.
    pub id: u16,
    /// Its multicast groups, name and number.
    pub groups: Vec<(String, u32)>,
}

impl Family {
    /// Asks the kernel for the family `name`. Where it is a module, asking loads it.
    ///
    /// # Errors
    /// Not found ([`Error::is_not_found`]) when the kernel has no such family.
    pub fn resolve(socket: &mut Socket, name: &str) -> Result<Self, Error> {
        let message = Message::new(CONTROL, 0).fixed(&[GET_FAMILY, 1, 0, 0]).attr_str(FAMILY_NAME, name);
        let replies = socket.request(message)?;
        let reply = replies.first().ok_or(Error::Malformed("family"))?;
        let attrs = reply.payload.get(FIXED..).unwrap_or_default();
        let id = find(attrs, FAMILY_ID).and_then(|v| Some(u16::from_ne_bytes(v.try_into().ok()?)));
        let groups = attributes(find(attrs, FAMILY_GROUPS).unwrap_or_default()).filter_map(|(_, group)| {
            let name = find(group, GROUP_NAME)?;
            let name = String::from_utf8_lossy(name.strip_suffix(&[0]).unwrap_or(name)).into_owned();
            let id = u32::from_ne_bytes(find(group, GROUP_ID)?.try_into().ok()?);
            Some((name, id))
        });
        Ok(Self { id: id.ok_or(Error::Malformed("family"))?, groups: groups.collect() })
    }

    /// A message to this family with the given command, family version and extra `nlmsg_flags`.
    pub fn message(&self, command: u8, version: u8, flags: u16) -> Message {
        Message::new(self.id, flags).fixed(&[command, version, 0, 0])
    }
}
