//! Where fields lie in the running kernel's structures, from its own type information
//! (Documentation/bpf/btf.rst, include/uapi/linux/btf.h).
//!
//! Only so much of the format is read as a path of member names needs.

use std::collections::HashMap;

const MAGIC: u16 = 0xeb9f;
/// Bytes of `struct btf_type`.
const TYPE_LEN: usize = 12;
/// Bytes of `struct btf_member`.
const MEMBER_LEN: usize = 12;

/// `BTF_KIND_*`.
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;

/// The types of a kernel.
pub(super) struct Types<'a> {
    strings: &'a [u8],
    /// All types in order; the first has the number 1.
    all: Vec<Type<'a>>,
    /// Structures by name. Where several have one name, all are here.
    structures: HashMap<&'a [u8], Vec<u32>>,
}

#[derive(Clone, Copy)]
struct Type<'a> {
    kind: u32,
    /// The size in bytes, or the type that is meant.
    size: u32,
    /// Whether offsets of members carry the width of a bit field in their highest octet.
    has_bits: bool,
    data: &'a [u8],
}

impl<'a> Types<'a> {
    /// Reads `/sys/kernel/btf/vmlinux`. `None` if that is not what it is.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        (half(bytes, 0)? == MAGIC).then_some(())?;
        let header = word(bytes, 4)? as usize;
        let section = |at: usize| {
            let (from, len) = (word(bytes, at)? as usize, word(bytes, at + 4)? as usize);
            bytes.get(header + from..header + from + len)
        };
        let (mut types, strings) = (section(8)?, section(16)?);
        let (mut all, mut structures) = (Vec::new(), HashMap::<_, Vec<u32>>::new());
        while !types.is_empty() {
            let (name, info, size) = (word(types, 0)?, word(types, 4)?, word(types, 8)?);
            let (kind, count) = (info >> 24 & 0x1f, info as usize & 0xffff);
            let len = data_len(kind, count)?;
            let data = types.get(TYPE_LEN..TYPE_LEN + len)?;
            all.push(Type { kind, size, has_bits: info >> 31 != 0, data });
            if kind == STRUCT {
                structures.entry(string(strings, name)?).or_default().push(all.len() as u32);
            }
            types = &types[TYPE_LEN + len..];
        }
        Some(Self { strings, all, structures })
    }

    /// The size of a structure in bytes.
    pub(super) fn size(&self, structure: &str) -> Option<usize> {
        let sizes = self.structures.get(structure.as_bytes())?.iter().filter_map(|&id| self.get(id));
        sizes.map(|found| found.size as usize).max()
    }

    /// Where a member of a member … of a structure lies, in bytes. Of an array the first element is meant.
    pub(super) fn offset(&self, structure: &str, path: &[&str]) -> Option<usize> {
        let ids = self.structures.get(structure.as_bytes())?;
        ids.iter().find_map(|&id| {
            let mut at = (0, id);
            for name in path {
                let (offset, id) = self.member(at.1, name)?;
                at = (at.0 + offset, id);
            }
            Some(at.0)
        })
    }

    /// A member of a type, through names without a name: where, and its type.
    fn member(&self, of: u32, name: &str) -> Option<(usize, u32)> {
        let of = self.structure(of)?;
        for member in of.data.chunks_exact(MEMBER_LEN) {
            let (member_name, id, offset) = (word(member, 0)?, word(member, 4)?, word(member, 8)?);
            let bits = if of.has_bits { offset & 0xff_ffff } else { offset };
            let (known, bytes) = (string(self.strings, member_name)?, bits as usize / 8);
            if known == name.as_bytes() {
                return Some((bytes, id));
            }
            if known.is_empty()
                && let Some((inside, id)) = self.member(id, name)
            {
                return Some((bytes + inside, id));
            }
        }
        None
    }

    /// The structure or union behind other names and in arrays.
    fn structure(&self, mut id: u32) -> Option<Type<'a>> {
        loop {
            let found = self.get(id)?;
            match found.kind {
                STRUCT | UNION => return Some(found),
                TYPEDEF | VOLATILE | CONST => id = found.size,
                ARRAY => id = word(found.data, 0)?,
                _ => return None,
            }
        }
    }

    fn get(&self, id: u32) -> Option<Type<'a>> {
        self.all.get(id.checked_sub(1)? as usize).copied()
    }
}

/// How many bytes follow a type of this kind with so many members.
fn data_len(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        // INT, VAR, DECL_TAG
        1 | 14 | 17 => 4,
        ARRAY => 12,
        // STRUCT, UNION, DATASEC, ENUM64
        STRUCT | UNION | 15 | 19 => count * MEMBER_LEN,
        // ENUM, FUNC_PROTO
        6 | 13 => count * 8,
        // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT, TYPE_TAG
        2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    })
}

fn string(strings: &[u8], at: u32) -> Option<&[u8]> {
    let from = strings.get(at as usize..)?;
    from.split(|&byte| byte == 0).next()
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
