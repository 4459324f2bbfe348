//! BTF made by hand: well-formed, damaged, and absurd.

use super::*;
use proptest::prelude::*;

/// A blob under construction: types as words, names by offset.
struct Builder {
    types: Vec<u32>,
    strings: Vec<u8>,
}

impl Builder {
    fn new() -> Builder {
        Builder { types: Vec::new(), strings: vec![0] }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(name.bytes().chain([0]));
        at
    }

    /// `kind`: the format's number; `elements`: what vlen says; `tail`: the words that follow.
    fn add(&mut self, name: &str, kind: u32, elements: u32, size_or_type: u32, tail: &[u32]) {
        let name = self.name(name);
        self.types.extend([name, kind << 24 | elements, size_or_type]);
        self.types.extend(tail);
    }

    fn bytes(&self) -> Vec<u8> {
        let types = self.types.len() as u32 * 4;
        let mut out = 0xeb9f_u16.to_ne_bytes().to_vec();
        out.extend([1, 0]);
        for word in [HEADER as u32, 0, types, types, self.strings.len() as u32].iter().chain(&self.types) {
            out.extend(word.to_ne_bytes());
        }
        out.extend(&self.strings);
        out
    }
}

/// `struct outer { int first; struct { unsigned long pair[3]; }; }` and an enumeration.
fn sample() -> Vec<u8> {
    let mut b = Builder::new();
    b.add("int", 1, 0, 4, &[32]);
    b.add("unsigned long", 1, 0, 8, &[64]);
    b.add("", 3, 0, 0, &[2, 1, 3]);
    let pair = b.name("pair");
    b.add("", 4, 1, 24, &[pair, 3, 0]);
    let first = b.name("first");
    b.add("outer", 4, 2, 32, &[first, 1, 0, 0, 4, 64]);
    let (a, z) = (b.name("A"), b.name("Z"));
    b.add("reason", 6, 2, 4, &[a, 0, z, u32::MAX]);
    b.add("", 2, 0, 5, &[]);
    b.add("", 13, 2, 0, &[0, 0, 0, 7]);
    b.add("", 2, 0, 8, &[]);
    b.add("btf_trace_thing", 8, 0, 9, &[]);
    b.bytes()
}

fn id(btf: &Btf<'_>, kind: Kind, name: &str) -> TypeId {
    btf.find([(kind, name)])[&(kind, name)]
}

#[test]
fn members_sizes_constants_and_signatures() {
    let bytes = sample();
    let btf = Btf::parse(&bytes).expect("good");
    let outer = id(&btf, Kind::Struct, "outer");
    let pair = btf.member(outer, "pair").expect("inside the anonymous member");
    assert_eq!((pair.bit_offset, btf.size(pair.type_id)), (64, Some(24)));
    assert_eq!(btf.member(outer, "first.nothing"), None);
    assert_eq!(btf.member(outer, "third"), None);
    assert_eq!(btf.constants(id(&btf, Kind::Enum, "reason")), [("A", 0), ("Z", -1)]);
    assert_eq!(btf.named_enums().collect::<Vec<_>>(), [(TypeId(6), "reason")]);
    let parameters = btf.parameters(id(&btf, Kind::Typedef, "btf_trace_thing")).expect("a function");
    let names: Vec<String> = parameters.into_iter().map(|p| btf.type_name(p)).collect();
    assert_eq!(names, ["void", "struct outer*"]);
}

#[test]
fn what_is_not_btf_is_told_apart() {
    let error = |bytes: &[u8]| Btf::parse(bytes).err();
    assert_eq!(error(b""), Some(Error::Cut("its first bytes")));
    assert_eq!(error(b"\x7fELF"), Some(Error::Magic(*b"\x7fE")));
    assert_eq!(error(&0xeb9f_u16.swap_bytes().to_ne_bytes()), Some(Error::ByteOrder));
    let whole = sample();
    for cut in 2..whole.len() {
        assert!(matches!(error(&whole[..cut]), Some(Error::Cut(_))), "cut at {cut}");
    }
    let mut b = Builder::new();
    b.add("int", 1, 0, 4, &[32]);
    b.add("new", 25, 0, 0, &[]);
    assert_eq!(error(&b.bytes()), Some(Error::Kind { id: 2, kind: 25 }));
}

#[test]
fn circles_end() {
    let mut b = Builder::new();
    b.add("t", 8, 0, 1, &[]);
    b.add("s", 4, 1, 8, &[0, 2, 0]);
    b.add("", 3, 0, 0, &[3, 1, 3]);
    b.add("", 2, 0, 4, &[]);
    let bytes = b.bytes();
    let btf = Btf::parse(&bytes).expect("well-formed, if absurd");
    assert_eq!(btf.member(TypeId(1), "x"), None);
    assert_eq!(btf.member(TypeId(2), "x"), None);
    assert_eq!(btf.size(TypeId(3)), None);
    assert_eq!(btf.parameters(TypeId(1)), None);
    assert!(btf.type_name(TypeId(4)).ends_with('*'));
    // A structure that holds itself twice over: every level would double what there is to look into.
    let mut b = Builder::new();
    b.add("ring", 4, 2, 8, &[0, 1, 0, 0, 1, 0]);
    let bytes = b.bytes();
    let btf = Btf::parse(&bytes).expect("well-formed");
    assert!(btf.member(TypeId(1), "nowhere").is_none());
}

/// Asks every question about every type.
fn exhaust(btf: &Btf<'_>) {
    let names = ["outer", "reason", "int", "btf_trace_thing"];
    let kinds = [Kind::Struct, Kind::Enum, Kind::Int, Kind::Typedef];
    std::hint::black_box(btf.find(kinds.into_iter().zip(names)));
    btf.named_enums().for_each(drop);
    for id in (0..64).map(TypeId) {
        let answers = (btf.member(id, "pair.first"), btf.size(id), btf.constants(id), btf.parameters(id));
        std::hint::black_box((answers, btf.type_name(id)));
    }
}

proptest! {
    #[test]
    fn any_bytes_give_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(btf) = Btf::parse(&bytes) {
            exhaust(&btf);
        }
    }

    #[test]
    fn damaged_blobs_give_an_answer(at in 0usize..400, value in any::<u8>(), second in 0usize..400, other in any::<u8>()) {
        let mut bytes = sample();
        let length = bytes.len();
        bytes[at % length] = value;
        bytes[second % length] = other;
        if let Ok(btf) = Btf::parse(&bytes) {
            exhaust(&btf);
        }
    }
}
