//! A reader of the kernel's type information (BTF, Documentation/bpf/btf.rst).
//!
//! Owns: the BTF format, and lookups in it: members by path, enumerations, function signatures.
//! Must not know: which types netdx needs (see `offsets`). Any bytes give an answer or an error, never a panic: the
//! blob may be a file that a user named. Nothing is copied but one position for each type, because a kernel's BTF is
//! 5 to 8 MB and 150,000 types, and memory at start is the peak of the program.

use super::sys::Mapping;
use std::{collections::HashMap, path::Path};

/// What is wrong with a BTF blob.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// It doesn't begin with the magic number.
    #[error("not BTF: it begins with {0:02x?}")]
    Magic([u8; 2]),
    /// It was made for a machine of the other byte order.
    #[error("BTF of a machine with another byte order")]
    ByteOrder,
    /// It ends before what its header promises.
    #[error("BTF is cut: {0} lie beyond its end")]
    Cut(&'static str),
    /// A kind of type that this reader doesn't know: sizes after it can't be known.
    #[error("BTF type {id} is of the unknown kind {kind}: netdx is older than this kernel's format")]
    Kind {
        /// Type id.
        id: usize,
        /// Kind number.
        kind: u8,
    },
}

/// Kinds of types (`BTF_KIND_*`, include/uapi/linux/btf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the format's own names")]
pub enum Kind {
    Int,
    Ptr,
    Array,
    Struct,
    Union,
    Enum,
    Fwd,
    Typedef,
    Volatile,
    Const,
    Restrict,
    Func,
    FuncProto,
    Var,
    Datasec,
    Float,
    DeclTag,
    TypeTag,
    Enum64,
}

impl Kind {
    fn from_number(n: u8) -> Option<Kind> {
        use Kind::*;
        const ALL: [Kind; 19] = [
            Int, Ptr, Array, Struct, Union, Enum, Fwd, Typedef, Volatile, Const, Restrict, Func, FuncProto, Var,
            Datasec, Float, DeclTag, TypeTag, Enum64,
        ];
        ALL.get(usize::from(n).checked_sub(1)?).copied()
    }

    /// Bytes that follow the 12 bytes common to all types, with `n` elements.
    fn tail(self, n: usize) -> usize {
        use Kind::*;
        match self {
            Int | Var | DeclTag => 4,
            Array => 12,
            Struct | Union | Datasec | Enum64 => 12 * n,
            Enum | FuncProto => 8 * n,
            Ptr | Fwd | Typedef | Volatile | Const | Restrict | Func | Float | TypeTag => 0,
        }
    }
}

/// The id of a type; 0 is `void`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TypeId(pub u32);

/// Where a member lies in a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// From the beginning of the outermost structure, in bits.
    pub bit_offset: u32,
    /// Width of a bit field; 0: not a bit field.
    pub bits: u32,
    /// Its type.
    pub type_id: TypeId,
}

/// The common part of a type.
#[derive(Clone, Copy)]
struct Head {
    name: u32,
    kind: Kind,
    flag: bool,
    elements: usize,
    /// Size in bytes, or the type referred to.
    size_or_type: u32,
    /// Where its elements begin in `types`.
    tail: usize,
}

/// Anonymous members and typedefs nest; a malicious blob may nest in circles.
const MAX_DEPTH: u32 = 32;
/// Structures are looked into up to this number for one member: the largest of the kernel have some dozen anonymous ones.
const MAX_STRUCTURES: u32 = 512;
/// Length of the fixed BTF header.
const HEADER: usize = 24;

/// A parsed blob.
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Start of each type in `types`, by id - 1.
    starts: Vec<u32>,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let b = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(b.try_into().ok()?))
}

impl<'a> Btf<'a> {
    /// Checks the header and walks over all types once.
    ///
    /// # Errors
    /// When the blob isn't BTF of this machine's byte order, is cut, or has types of unknown kinds.
    pub fn parse(data: &'a [u8]) -> Result<Btf<'a>, Error> {
        const MAGIC: u16 = 0xeb9f;
        let magic: [u8; 2] = data.get(..2).and_then(|b| b.try_into().ok()).ok_or(Error::Cut("its first bytes"))?;
        match u16::from_ne_bytes(magic) {
            MAGIC => {}
            m if m == MAGIC.swap_bytes() => return Err(Error::ByteOrder),
            _ => return Err(Error::Magic(magic)),
        }
        let field = |at| u32_at(data, at).map(|v| v as usize).ok_or(Error::Cut("its header"));
        let header = field(4)?.max(HEADER);
        let section = |offset: usize, length: usize, what| {
            let start = header.checked_add(offset).ok_or(Error::Cut(what))?;
            data.get(start..start.checked_add(length).ok_or(Error::Cut(what))?).ok_or(Error::Cut(what))
        };
        let types = section(field(8)?, field(12)?, "its types")?;
        let strings = section(field(16)?, field(20)?, "its strings")?;
        let mut starts = Vec::with_capacity(types.len() / 24);
        let mut at = 0;
        while at < types.len() {
            let info = u32_at(types, at + 4).ok_or(Error::Cut("its types"))?;
            let number = (info >> 24 & 0x1f) as u8;
            let kind = Kind::from_number(number).ok_or(Error::Kind { id: starts.len() + 1, kind: number })?;
            let end = at + 12 + kind.tail((info & 0xffff) as usize);
            if end > types.len() {
                return Err(Error::Cut("its types"));
            }
            starts.push(u32::try_from(at).map_err(|_| Error::Cut("its types"))?);
            at = end;
        }
        Ok(Btf { types, strings, starts })
    }

    /// The bytes of the name at `offset`, without the final NUL; empty for anonymous types.
    fn name_bytes(&self, offset: u32) -> &'a [u8] {
        let rest = self.strings.get(offset as usize..).unwrap_or_default();
        rest.split(|b| *b == 0).next().unwrap_or_default()
    }

    fn name(&self, offset: u32) -> &'a str {
        std::str::from_utf8(self.name_bytes(offset)).unwrap_or_default()
    }

    fn name_is(&self, offset: u32, want: &str) -> bool {
        let rest = self.strings.get(offset as usize..).unwrap_or_default();
        rest.strip_prefix(want.as_bytes()).is_some_and(|r| r.first() == Some(&0))
    }

    fn head(&self, id: TypeId) -> Option<Head> {
        let at = *self.starts.get((id.0 as usize).checked_sub(1)?)? as usize;
        let info = u32_at(self.types, at + 4)?;
        Some(Head {
            name: u32_at(self.types, at)?,
            kind: Kind::from_number((info >> 24 & 0x1f) as u8)?,
            flag: info >> 31 == 1,
            elements: (info & 0xffff) as usize,
            size_or_type: u32_at(self.types, at + 8)?,
            tail: at + 12,
        })
    }

    /// How many types there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// There is no type.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Ids of all the (kind, name) pairs wanted that are there, in one pass. Of several types with one name, the first.
    #[must_use]
    pub fn find<'n>(&self, wanted: impl IntoIterator<Item = (Kind, &'n str)>) -> HashMap<(Kind, &'n str), TypeId> {
        let mut by_first: [Vec<(Kind, &'n str)>; 256] = [const { Vec::new() }; 256];
        for (kind, name) in wanted {
            if let Some(b) = name.bytes().next() {
                by_first[usize::from(b)].push((kind, name));
            }
        }
        let mut found = HashMap::new();
        for (index, at) in self.starts.iter().enumerate() {
            let Some(name) = u32_at(self.types, *at as usize) else { continue };
            let Some(first) = self.strings.get(name as usize) else { continue };
            let candidates = &by_first[usize::from(*first)];
            if candidates.is_empty() {
                continue;
            }
            let Some(kind) = self.head(TypeId(index as u32 + 1)).map(|h| h.kind) else { continue };
            for want in candidates.iter().filter(|w| w.0 == kind && self.name_is(name, w.1)) {
                found.entry(*want).or_insert(TypeId(index as u32 + 1));
            }
        }
        found
    }

    /// The enumerations that have a name.
    pub fn named_enums(&self) -> impl Iterator<Item = (TypeId, &'a str)> {
        (1..).zip(&self.starts).filter_map(|(id, _)| {
            let head = self.head(TypeId(id))?;
            (matches!(head.kind, Kind::Enum | Kind::Enum64) && head.name != 0)
                .then(|| (TypeId(id), self.name(head.name)))
        })
    }

    /// The type behind typedefs and qualifiers.
    fn strip(&self, mut id: TypeId) -> TypeId {
        for _ in 0..MAX_DEPTH {
            match self.head(id) {
                Some(h)
                    if matches!(
                        h.kind,
                        Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag
                    ) =>
                {
                    id = TypeId(h.size_or_type);
                }
                _ => break,
            }
        }
        id
    }

    /// `room`: how many structures may still be looked into. One that holds itself would have no end.
    fn member_within(&self, id: TypeId, name: &str, room: &mut u32) -> Option<Member> {
        let head = self.head(self.strip(id))?;
        if !matches!(head.kind, Kind::Struct | Kind::Union) {
            return None;
        }
        *room = room.checked_sub(1)?;
        for i in 0..head.elements {
            let at = head.tail + 12 * i;
            let (member, type_id) = (u32_at(self.types, at)?, TypeId(u32_at(self.types, at + 4)?));
            let raw = u32_at(self.types, at + 8)?;
            let (bit_offset, bits) = if head.flag { (raw & 0xff_ffff, raw >> 24) } else { (raw, 0) };
            if self.name_is(member, name) {
                return Some(Member { bit_offset, bits, type_id });
            }
            if self.name_bytes(member).is_empty()
                && let Some(inner) = self.member_within(type_id, name, room)
            {
                return Some(Member { bit_offset: bit_offset.checked_add(inner.bit_offset)?, ..inner });
            }
        }
        None
    }

    /// The member of a structure by its path, for example `__sk_common.skc_net.net`; anonymous members are looked into.
    #[must_use]
    pub fn member(&self, id: TypeId, path: &str) -> Option<Member> {
        let mut found = Member { bit_offset: 0, bits: 0, type_id: id };
        for part in path.split('.') {
            let next = self.member_within(found.type_id, part, &mut { MAX_STRUCTURES })?;
            found = Member { bit_offset: found.bit_offset.checked_add(next.bit_offset)?, ..next };
        }
        Some(found)
    }

    /// Size of a type in bytes.
    #[must_use]
    pub fn size(&self, id: TypeId) -> Option<u32> {
        let mut id = id;
        let mut times = 1u32;
        for _ in 0..MAX_DEPTH {
            let head = self.head(self.strip(id))?;
            match head.kind {
                Kind::Int | Kind::Struct | Kind::Union | Kind::Enum | Kind::Float | Kind::Enum64 => {
                    return times.checked_mul(head.size_or_type);
                }
                Kind::Ptr => return times.checked_mul(size_of::<usize>() as u32),
                Kind::Array => {
                    times = times.checked_mul(u32_at(self.types, head.tail + 8)?)?;
                    id = TypeId(u32_at(self.types, head.tail)?);
                }
                _ => return None,
            }
        }
        None
    }

    /// Name and value of every constant of an enumeration; empty if it isn't one.
    #[must_use]
    pub fn constants(&self, id: TypeId) -> Vec<(&'a str, i64)> {
        let Some(head) = self.head(self.strip(id)) else { return Vec::new() };
        let step = match head.kind {
            Kind::Enum => 8,
            Kind::Enum64 => 12,
            _ => return Vec::new(),
        };
        (0..head.elements)
            .filter_map(|i| {
                let at = head.tail + step * i;
                let low = u32_at(self.types, at + 4)?;
                let value = match head.kind {
                    Kind::Enum64 => (u64::from(u32_at(self.types, at + 8)?) << 32 | u64::from(low)).cast_signed(),
                    _ => i64::from(low.cast_signed()),
                };
                Some((self.name(u32_at(self.types, at)?), value))
            })
            .collect()
    }

    /// Types of the parameters of a function, a prototype, or a typedef of a pointer to one.
    #[must_use]
    pub fn parameters(&self, id: TypeId) -> Option<Vec<TypeId>> {
        let mut head = self.head(id)?;
        for _ in 0..MAX_DEPTH {
            match head.kind {
                Kind::FuncProto => {
                    return (0..head.elements).map(|i| u32_at(self.types, head.tail + 8 * i + 4).map(TypeId)).collect();
                }
                Kind::Func | Kind::Typedef | Kind::Ptr | Kind::Const => head = self.head(TypeId(head.size_or_type))?,
                _ => return None,
            }
        }
        None
    }

    /// A type as C writes it, without qualifiers: `struct sock*`, `enum skb_drop_reason`, `int`.
    #[must_use]
    pub fn type_name(&self, id: TypeId) -> String {
        let mut id = self.strip_qualifiers(id);
        let mut stars = 0;
        while let Some(head) = self.head(id)
            && head.kind == Kind::Ptr
            && stars < MAX_DEPTH
        {
            stars += 1;
            id = self.strip_qualifiers(TypeId(head.size_or_type));
        }
        let mut text = match self.head(id) {
            None => "void".to_owned(),
            Some(h) => {
                let name = self.name(h.name);
                match h.kind {
                    Kind::Struct => format!("struct {name}"),
                    Kind::Union => format!("union {name}"),
                    Kind::Enum | Kind::Enum64 => format!("enum {name}"),
                    _ => name.to_owned(),
                }
            }
        };
        text.extend(std::iter::repeat_n('*', stars as usize));
        text
    }

    /// As `strip`, but typedefs stay: they are names that signatures use.
    fn strip_qualifiers(&self, mut id: TypeId) -> TypeId {
        for _ in 0..MAX_DEPTH {
            match self.head(id) {
                Some(h) if matches!(h.kind, Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag) => {
                    id = TypeId(h.size_or_type);
                }
                _ => break,
            }
        }
        id
    }
}

/// The running kernel's BTF.
pub const KERNEL: &str = "/sys/kernel/btf/vmlinux";

/// The bytes of a BTF file.
pub enum Blob {
    /// Mapped (the kernel's own, which can be from 6.16 on): costs no copy.
    Mapped(Mapping),
    /// Read.
    Read(Vec<u8>),
}

impl Blob {
    /// Opens the file.
    ///
    /// # Errors
    /// When it can't be opened or read.
    pub fn open(path: &Path) -> std::io::Result<Blob> {
        if path == Path::new(KERNEL)
            && let Ok(mapping) = Mapping::of_kernel_file(path)
        {
            return Ok(Blob::Mapped(mapping));
        }
        std::fs::read(path).map(Blob::Read)
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Blob::Mapped(m) => m.bytes(),
            Blob::Read(v) => v,
        }
    }
}

#[cfg(test)]
mod tests;
