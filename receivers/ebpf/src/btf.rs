//! Reading where the running kernel keeps the members of its structures.
//!
//! A reader of its own: aya's answers relocations only, and not what a program without them needs.
//! <https://docs.kernel.org/bpf/btf.html>

use std::{collections::HashMap, path::Path};

use crate::error::LayoutError;

/// Where Linux publishes its type information; part of sysfs, so that no mount is needed for it.
pub(crate) const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const TYPE_BYTES: usize = 12;
const MEMBER_BYTES: usize = 12;

/// Chains of typedefs, and structures without a name inside each other, are short; a longer one is a loop.
const MAX_DEPTH: usize = 32;

mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const FWD: u32 = 7;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const FLOAT: u32 = 16;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// The types of a kernel.
pub(crate) struct Btf {
    types: Vec<u8>,
    strings: Vec<u8>,
    // Where each type begins in `types`; the id of a type is its index, and the first is `void`, which has no bytes.
    starts: Vec<usize>,
    structs: HashMap<Vec<u8>, u32>,
}

/// Where a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Bytes from the beginning of the outermost structure.
    pub(crate) offset: u32,
    /// Whether it is a pointer.
    pub(crate) is_pointer: bool,
}

#[derive(Clone, Copy)]
struct Type<'a> {
    kind: u32,
    // Whether members carry a width in bits beside their offset.
    has_widths: bool,
    target: u32,
    members: &'a [u8],
}

struct RawMember {
    name: u32,
    target: u32,
    offset_bits: u32,
    width_bits: u32,
}

impl Btf {
    /// Reads the running kernel's types.
    pub(crate) fn of_running_kernel() -> Result<Self, LayoutError> {
        let path = Path::new(VMLINUX);
        let bytes =
            std::fs::read(path).map_err(|source| LayoutError::Read { path: path.to_owned(), source })?;
        Self::parse(&bytes)
    }

    /// Reads types in this machine's byte order.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, LayoutError> {
        let header = |at| word(bytes, at).map(|it| it as usize);
        let magic = bytes.first_chunk().map(|it| u16::from_ne_bytes(*it));
        if magic != Some(MAGIC) {
            return Err(LayoutError::Malformed { at: 0 });
        }
        let section = |offset, len| -> Option<&[u8]> {
            let begin = header(4)?.checked_add(header(offset)?)?;
            bytes.get(begin..begin.checked_add(header(len)?)?)
        };
        let types = section(8, 12).ok_or(LayoutError::Malformed { at: 8 })?;
        let strings = section(16, 20).ok_or(LayoutError::Malformed { at: 16 })?;
        let mut btf = Self {
            types: types.to_vec(),
            strings: strings.to_vec(),
            starts: vec![0],
            structs: HashMap::new(),
        };
        btf.index()?;
        Ok(btf)
    }

    /// Finds a member by its name inside a structure; `a.b` is member `b` of the structure that member `a` is.
    ///
    /// Structures and unions without a name are searched as if their members were those of what they are in.
    pub(crate) fn member(&self, structure: &'static str, path: &'static str) -> Result<Member, LayoutError> {
        let mut id =
            *self.structs.get(structure.as_bytes()).ok_or(LayoutError::MissingStructure { structure })?;
        let mut offset_bits = 0_u32;
        for name in path.split('.') {
            let missing = LayoutError::MissingMember { structure, member: path };
            let Some((bits, target)) = self.find(id, name.as_bytes(), MAX_DEPTH) else { return Err(missing) };
            let Some(sum) = offset_bits.checked_add(bits) else { return Err(missing) };
            offset_bits = sum;
            id = target;
        }
        let is_pointer = self.ty(id).is_some_and(|it| it.kind == kind::PTR);
        Ok(Member { offset: offset_bits / 8, is_pointer })
    }

    fn index(&mut self) -> Result<(), LayoutError> {
        let mut at = 0;
        while at < self.types.len() {
            let malformed = LayoutError::Malformed { at };
            let (Some(name), Some(info)) = (word(&self.types, at), word(&self.types, at + 4)) else {
                return Err(malformed);
            };
            let Some(extra) = extra_bytes(info) else { return Err(malformed) };
            let end = at + TYPE_BYTES + extra;
            if end > self.types.len() {
                return Err(malformed);
            }
            let id = u32::try_from(self.starts.len()).map_err(|_too_many| malformed)?;
            self.starts.push(at);
            if kind_of(info) == kind::STRUCT
                && let Some(name) = self.string(name).filter(|it| !it.is_empty())
            {
                let name = name.to_vec();
                // Of structures of one name the first is the one that vmlinux itself uses.
                self.structs.entry(name).or_insert(id);
            }
            at = end;
        }
        Ok(())
    }

    /// Returns the offset in bits and the type of a member; `None` for bit-fields, which have no address.
    fn find(&self, id: u32, name: &[u8], depth: usize) -> Option<(u32, u32)> {
        let depth = depth.checked_sub(1)?;
        let ty = self.ty(id)?;
        if !matches!(ty.kind, kind::STRUCT | kind::UNION) {
            return None;
        }
        for member in ty.members() {
            let target = self.resolve(member.target)?;
            if self.string(member.name)? == name {
                let has_address = member.width_bits == 0 && member.offset_bits % 8 == 0;
                return has_address.then_some((member.offset_bits, target));
            }
            if member.name == 0
                && let Some((bits, found)) = self.find(target, name, depth)
            {
                return Some((member.offset_bits.checked_add(bits)?, found));
            }
        }
        None
    }

    /// Follows typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<u32> {
        for _ in 0..MAX_DEPTH {
            // `void` has no bytes to look at.
            let Some(ty) = self.ty(id) else { return (id == 0).then_some(0) };
            match ty.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = ty.target
                }
                _ => return Some(id),
            }
        }
        None
    }

    fn ty(&self, id: u32) -> Option<Type<'_>> {
        if id == 0 {
            return None;
        }
        let at = *self.starts.get(id as usize)?;
        let info = word(&self.types, at + 4)?;
        let begin = at + TYPE_BYTES;
        Some(Type {
            kind: kind_of(info),
            has_widths: info >> 31 != 0,
            target: word(&self.types, at + 8)?,
            members: self.types.get(begin..begin + extra_bytes(info)?)?,
        })
    }

    fn string(&self, offset: u32) -> Option<&[u8]> {
        let rest = self.strings.get(offset as usize..)?;
        let len = rest.iter().position(|&byte| byte == 0)?;
        Some(&rest[..len])
    }
}

impl<'a> Type<'a> {
    fn members(self) -> impl Iterator<Item = RawMember> + 'a {
        self.members.chunks_exact(MEMBER_BYTES).filter_map(move |bytes| {
            let offset = word(bytes, 8)?;
            let (offset_bits, width_bits) =
                if self.has_widths { (offset & 0x00ff_ffff, offset >> 24) } else { (offset, 0) };
            Some(RawMember { name: word(bytes, 0)?, target: word(bytes, 4)?, offset_bits, width_bits })
        })
    }
}

const fn kind_of(info: u32) -> u32 {
    (info >> 24) & 0x1f
}

/// Returns how many bytes follow a type's first twelve; `None` for a kind that is not known, whose end is not either.
const fn extra_bytes(info: u32) -> Option<usize> {
    let n = (info & 0xffff) as usize;
    Some(match kind_of(info) {
        kind::PTR | kind::FWD | kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT => 0,
        kind::FUNC | kind::FLOAT | kind::TYPE_TAG => 0,
        kind::INT | kind::VAR | kind::DECL_TAG => 4,
        kind::ARRAY => 12,
        kind::ENUM | kind::FUNC_PROTO => 8 * n,
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12 * n,
        _ => return None,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|it| u32::from_ne_bytes(*it))
}
