//! Reading where the running kernel keeps the members of its structures.
//!
//! A reader of its own: aya's answers relocations only, and not what a program without them needs.
//! <https://docs.kernel.org/bpf/btf.html>

use std::{ops::Range, path::Path};

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
///
/// It is a few large pieces of memory, all of which go back to the kernel when it is dropped, unlike many small ones.
pub(crate) struct Btf {
    bytes: Vec<u8>,
    types: Range<usize>,
    strings: Range<usize>,
    // Where each type begins in `types`; the id of a type is its index, and the first is `void`, which has no bytes.
    starts: Vec<u32>,
    // Ids of the structures.
    structs: Vec<u32>,
}

/// Where a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Bytes from the beginning of the outermost structure.
    pub(crate) offset: u32,
    /// Whether it is a pointer.
    pub(crate) is_pointer: bool,
}

/// Where a number of less than a byte is, or of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bits {
    /// Bytes from the beginning of the structure.
    pub(crate) offset: u32,
    /// Bits of that byte before the number's.
    pub(crate) shift: u32,
    /// How many bits the number has.
    pub(crate) width: u32,
}

impl Bits {
    /// Returns the bits of the byte that are the number's.
    pub(crate) const fn mask(self) -> u32 {
        ((1 << self.width) - 1) << self.shift
    }
}

#[derive(Clone, Copy)]
struct Type<'a> {
    // Where it is among the strings.
    name: u32,
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

/// A member that was found.
struct Found {
    offset_bits: u32,
    // Zero unless it is a bit-field.
    width_bits: u32,
    target: u32,
}

impl Found {
    /// Returns whether it can be read by its offset, as bit-fields cannot.
    const fn has_address(&self) -> bool {
        self.width_bits == 0 && self.offset_bits.is_multiple_of(8)
    }
}

impl Btf {
    /// Reads the running kernel's types.
    pub(crate) fn of_running_kernel() -> Result<Self, LayoutError> {
        let path = Path::new(VMLINUX);
        let bytes =
            std::fs::read(path).map_err(|source| LayoutError::Read { path: path.to_owned(), source })?;
        Self::parse(bytes)
    }

    /// Reads types in this machine's byte order.
    pub(crate) fn parse(bytes: Vec<u8>) -> Result<Self, LayoutError> {
        let header = |at| word(&bytes, at).map(|it| it as usize);
        let magic = bytes.first_chunk().map(|it| u16::from_ne_bytes(*it));
        if magic != Some(MAGIC) {
            return Err(LayoutError::Malformed { at: 0 });
        }
        let section = |offset, len| -> Option<Range<usize>> {
            let begin = header(4)?.checked_add(header(offset)?)?;
            let section = begin..begin.checked_add(header(len)?)?;
            bytes.get(section.clone()).and(Some(section))
        };
        let types = section(8, 12).ok_or(LayoutError::Malformed { at: 8 })?;
        let strings = section(16, 20).ok_or(LayoutError::Malformed { at: 16 })?;
        let mut btf = Self { bytes, types, strings, starts: vec![0], structs: Vec::new() };
        btf.index()?;
        Ok(btf)
    }

    /// Finds a member by its name inside a structure; `a.b` is member `b` of the structure that member `a` is.
    ///
    /// Structures and unions without a name are searched as if their members were those of what they are in.
    pub(crate) fn member(&self, structure: &'static str, path: &'static str) -> Result<Member, LayoutError> {
        let mut id = self.structure(structure).ok_or(LayoutError::MissingStructure { structure })?;
        let mut offset_bits = 0_u32;
        for name in path.split('.') {
            let missing = LayoutError::MissingMember { structure, member: path };
            let found = self.find(id, name, MAX_DEPTH).filter(Found::has_address);
            let Some(found) = found else { return Err(missing) };
            let Some(sum) = offset_bits.checked_add(found.offset_bits) else { return Err(missing) };
            offset_bits = sum;
            id = found.target;
        }
        let is_pointer = self.ty(id).is_some_and(|it| it.kind == kind::PTR);
        Ok(Member { offset: offset_bits / 8, is_pointer })
    }

    /// Returns the bytes of a structure.
    pub(crate) fn size(&self, structure: &'static str) -> Option<u32> {
        // Where other types tell what they are of, a structure tells its size.
        Some(self.ty(self.structure(structure)?)?.target)
    }

    /// Finds a member of a structure that is a byte or a part of one: a bit-field on some kernels and not on others.
    pub(crate) fn bits(&self, structure: &'static str, member: &'static str) -> Option<Bits> {
        let id = self.structure(structure)?;
        let found = self.find(id, member, MAX_DEPTH)?;
        let width = if found.width_bits == 0 { 8 } else { found.width_bits };
        let Found { offset_bits, .. } = found;
        // The lowest bit of a byte comes first on machines that write the lowest byte of a number first.
        let is_in_a_byte = cfg!(target_endian = "little") && offset_bits % 8 + width <= 8;
        is_in_a_byte.then_some(Bits { offset: offset_bits / 8, shift: offset_bits % 8, width })
    }

    /// Returns whether the kernel has a trace point: then it has a type named after it.
    pub(crate) fn has_tracepoint(&self, name: &str) -> bool {
        self.has_name(&[b"btf_trace_", name.as_bytes()].concat())
    }

    /// Returns whether anything has this name.
    pub(crate) fn has_name(&self, name: &[u8]) -> bool {
        self.strings().split(|&byte| byte == 0).any(|it| it == name)
    }

    /// Finds a structure. Of those of one name the first is the one that vmlinux itself uses.
    fn structure(&self, name: &str) -> Option<u32> {
        self.structs.iter().copied().find(|&id| self.ty(id).is_some_and(|it| self.is_name(it.name, name)))
    }

    fn types(&self) -> &[u8] {
        &self.bytes[self.types.clone()]
    }

    fn strings(&self) -> &[u8] {
        &self.bytes[self.strings.clone()]
    }

    fn index(&mut self) -> Result<(), LayoutError> {
        let mut at = 0;
        while at < self.types().len() {
            let malformed = || LayoutError::Malformed { at };
            let info = word(self.types(), at + 4).ok_or_else(malformed)?;
            let end = at + TYPE_BYTES + extra_bytes(info).ok_or_else(malformed)?;
            if end > self.types().len() {
                return Err(malformed());
            }
            let id = u32::try_from(self.starts.len()).map_err(|_too_many| malformed())?;
            self.starts.push(u32::try_from(at).map_err(|_too_long| malformed())?);
            if kind_of(info) == kind::STRUCT {
                self.structs.push(id);
            }
            at = end;
        }
        Ok(())
    }

    fn find(&self, id: u32, name: &str, depth: usize) -> Option<Found> {
        let depth = depth.checked_sub(1)?;
        let ty = self.ty(id)?;
        if !matches!(ty.kind, kind::STRUCT | kind::UNION) {
            return None;
        }
        for member in ty.members() {
            let target = self.resolve(member.target)?;
            if self.is_name(member.name, name) {
                let RawMember { offset_bits, width_bits, .. } = member;
                return Some(Found { offset_bits, width_bits, target });
            }
            if member.name == 0
                && let Some(found) = self.find(target, name, depth)
            {
                return Some(Found {
                    offset_bits: member.offset_bits.checked_add(found.offset_bits)?,
                    ..found
                });
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
        let at = *self.starts.get(id as usize)? as usize;
        let info = word(self.types(), at + 4)?;
        let begin = at + TYPE_BYTES;
        Some(Type {
            name: word(self.types(), at)?,
            kind: kind_of(info),
            has_widths: info >> 31 != 0,
            target: word(self.types(), at + 8)?,
            members: self.types().get(begin..begin + extra_bytes(info)?)?,
        })
    }

    /// Returns whether the name at an offset is this one.
    fn is_name(&self, offset: u32, name: &str) -> bool {
        let rest = self.strings().get(offset as usize..).and_then(|it| it.strip_prefix(name.as_bytes()));
        rest.is_some_and(|it| it.first() == Some(&0))
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

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    const INT: u32 = 1;

    #[test]
    fn members_are_found_by_path() {
        check(&example(), "plain", Ok((0, false)));
        check(&example(), "next", Ok((8, true)));
        check(&example(), "inner.second", Ok((20, false)));
        check(&example(), "in_union", Ok((24, false)));
        check(&example(), "behind_typedef.first", Ok((32, false)));
    }

    /// Of bit-fields there is no address, but the byte that they are in.
    #[test]
    fn small_numbers_are_found_in_their_byte() {
        let btf = Btf::parse(example().build()).unwrap();
        assert_eq!(btf.bits("outer", "bits"), Some(Bits { offset: 28, shift: 2, width: 3 }));
        assert_eq!(btf.bits("outer", "bits").map(Bits::mask), Some(0b1_1100));
        assert_eq!(btf.bits("outer", "plain"), Some(Bits { offset: 0, shift: 0, width: 8 }));
        assert_eq!(btf.bits("outer", "across"), None, "two bytes");
        assert_eq!(btf.bits("outer", "absent"), None);
    }

    /// The compiler puts two members of one name apart by putting them into structures without a name; the outer wins.
    #[test]
    fn the_first_of_equal_names_is_found() {
        let mut btf = Builder::default();
        let inner = btf.unnamed(kind::STRUCT, &[("twice", INT, 32)]);
        btf.structure("outer", &[("twice", INT, 0), ("", inner, 64)]);
        check(&btf, "twice", Ok((0, false)));
    }

    #[test]
    fn trace_points_have_types() {
        let mut btf = example();
        btf.ty("btf_trace_tcp_send_reset", kind::TYPEDEF, 0, INT, &[]);
        let btf = Btf::parse(btf.build()).unwrap();
        assert!(btf.has_tracepoint("tcp_send_reset"));
        assert!(!btf.has_tracepoint("tcp_send"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = |it: LayoutError| it.to_string();
        let btf = Btf::parse(example().build()).unwrap();
        let missing = btf.member("nothing", "plain").map_err(error).unwrap_err();
        assert!(missing.contains("`struct nothing`"), "{missing}");
        let missing = btf.member("outer", "inner.third").map_err(error).unwrap_err();
        assert!(missing.contains("`inner.third` in `struct outer`"), "{missing}");
    }

    /// A bit-field has no address to read from.
    #[test]
    fn bit_fields_are_missing() {
        check(&example(), "bits", Err(()));
    }

    /// A typedef of itself, and a structure that contains itself, end.
    #[test]
    fn loops_end() {
        let mut btf = Builder::default();
        btf.ty("itself", kind::TYPEDEF, 0, 2, &[]);
        btf.structure("outer", &[("looping", 2, 0), ("", 3, 0)]);
        check(&btf, "looping", Err(()));
        check(&btf, "other", Err(()));
    }

    #[test]
    fn other_files_are_refused() {
        for bytes in [&b""[..], b"\x7fELF", &[0x9f], &[0xeb, 0x9f, 1, 0]] {
            assert!(matches!(Btf::parse(bytes.to_vec()), Err(LayoutError::Malformed { .. })), "{bytes:?}");
        }
    }

    proptest! {
        /// Whatever a file contains, reading it ends and does not panic; valid types with a few bytes changed reach
        /// every branch.
        #[test]
        fn no_file_panics(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            len in any::<prop::sample::Index>(),
            is_cut: bool,
        ) {
            let mut bytes = example().build();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if is_cut {
                bytes.truncate(len.index(bytes.len()));
            }
            if let Ok(btf) = Btf::parse(bytes) {
                for path in ["plain", "next", "inner.second", "in_union", "behind_typedef.first", "bits", "absent"] {
                    let _found = btf.member("outer", path);
                }
            }
        }
    }

    #[track_caller]
    fn check(btf: &Builder, path: &'static str, expected: Result<(u32, bool), ()>) {
        let found = Btf::parse(btf.build()).unwrap().member("outer", path);
        assert_eq!(found.map(|it| (it.offset, it.is_pointer)).map_err(|_error| ()), expected, "{path}");
    }

    fn example() -> Builder {
        let mut btf = Builder::default();
        let pointer = btf.ty("", kind::PTR, 0, INT, &[]);
        let inner = btf.structure("inner", &[("first", INT, 0), ("second", INT, 32)]);
        let in_union = btf.unnamed(kind::UNION, &[("in_union", INT, 0), ("other", INT, 0)]);
        let unnamed = btf.unnamed(kind::STRUCT, &[("", in_union, 0)]);
        let typedef = btf.ty("inner_t", kind::TYPEDEF, 0, inner, &[]);
        let qualified = btf.ty("", kind::CONST, 0, typedef, &[]);
        // An enumeration, for its length is another.
        btf.ty("colour", kind::ENUM, 1, 4, &[0, 0]);
        btf.structure_with_widths(
            "outer",
            &[
                ("plain", INT, 0, 0),
                ("next", pointer, 64, 0),
                ("inner", inner, 128, 0),
                ("", unnamed, 192, 0),
                ("bits", INT, 226, 3),
                ("across", INT, 230, 3),
                ("behind_typedef", qualified, 256, 0),
            ],
        );
        btf
    }

    /// Writes types as a compiler does. Type 1 is an integer.
    pub(crate) struct Builder {
        types: Vec<u32>,
        strings: Vec<u8>,
        n_types: u32,
    }

    impl Default for Builder {
        fn default() -> Self {
            let mut builder = Self { types: Vec::new(), strings: vec![0], n_types: 0 };
            builder.ty("int", kind::INT, 0, 4, &[32]);
            builder
        }
    }

    impl Builder {
        pub(crate) fn structure(&mut self, name: &str, members: &[(&str, u32, u32)]) -> u32 {
            self.composite(name, kind::STRUCT, members)
        }

        fn unnamed(&mut self, kind: u32, members: &[(&str, u32, u32)]) -> u32 {
            self.composite("", kind, members)
        }

        fn composite(&mut self, name: &str, kind: u32, members: &[(&str, u32, u32)]) -> u32 {
            let words: Vec<u32> =
                members.iter().flat_map(|(name, ty, bits)| [self.string(name), *ty, *bits]).collect();
            self.ty(name, kind, members.len(), 0, &words)
        }

        fn structure_with_widths(&mut self, name: &str, members: &[(&str, u32, u32, u32)]) -> u32 {
            let words: Vec<u32> = members
                .iter()
                .flat_map(|(name, ty, bits, width)| [self.string(name), *ty, width << 24 | bits])
                .collect();
            let has_widths = 1 << 7;
            self.ty(name, kind::STRUCT | has_widths, members.len(), 0, &words)
        }

        /// Appends a type and returns its id.
        fn ty(&mut self, name: &str, kind: u32, n: usize, target: u32, extra: &[u32]) -> u32 {
            let name = self.string(name);
            let n = u32::try_from(n).unwrap();
            self.types.extend([name, kind << 24 | n, target]);
            self.types.extend(extra);
            self.n_types += 1;
            self.n_types
        }

        fn string(&mut self, text: &str) -> u32 {
            if text.is_empty() {
                return 0;
            }
            let offset = u32::try_from(self.strings.len()).unwrap();
            self.strings.extend(text.as_bytes());
            self.strings.push(0);
            offset
        }

        pub(crate) fn build(&self) -> Vec<u8> {
            let types_len = u32::try_from(4 * self.types.len()).unwrap();
            let strings_len = u32::try_from(self.strings.len()).unwrap();
            let magic = u32::from(MAGIC) | 1 << 16;
            let header = [magic, 24, 0, types_len, types_len, strings_len];
            let words = header.iter().chain(&self.types).flat_map(|word| word.to_ne_bytes());
            words.chain(self.strings.iter().copied()).collect()
        }
    }
}
