//! Names in an eBPF object that do not depend on where it was built. Must not know: how it was built.
//!
//! rustc's names of functions hold a hash of the crate, and cargo puts the absolute path of a dependency outside of the
//! workspace (netdx-common, seen from netdx-ebpf) into it. Nobody looks a local function up by its name: the kernel and
//! aya go by address. So these names are written the way people read them.

use anyhow::{Context, Result};
use object::build::elf::{Builder, SectionData};
use object::elf::{SHT_STRTAB, STB_LOCAL};

/// The object with its local symbols demangled, without the hashes.
pub(crate) fn with_plain_names(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object).context("the linker's output is not an ELF object")?;
    for symbol in &mut builder.symbols {
        if symbol.st_bind() == STB_LOCAL {
            symbol.name = plain(&symbol.name).into_bytes().into();
        }
    }
    // LLVM keeps section names in .strtab, beside the symbols' names; the writer wants a table of their own.
    let names = builder.sections.add();
    names.name = b".shstrtab".as_slice().into();
    names.sh_type = SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    let mut written = Vec::new();
    builder.write(&mut written).context("cannot write the object")?;
    Ok(written)
}

/// A symbol's name without the hash; as it is, when rustc did not make it.
fn plain(name: &[u8]) -> String {
    format!("{:#}", rustc_demangle::demangle(&String::from_utf8_lossy(name)))
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn names_do_not_tell_where_they_were_built() {
        let here = plain(b"_RNCNvNtCs7JLKOVx6n7K_5netdx6socket9introduce0B5_");
        let there = plain(b"_RNCNvNtCs6aCEoBCAd6O_5netdx6socket9introduce0B5_");
        assert_eq!(here, "netdx::socket::introduce::{closure#0}");
        assert_eq!(here, there);
        assert_eq!(plain(b"EVENTS"), "EVENTS");
    }
}
