//! What the running kernel looks like to the programs: field offsets, tracepoint arguments, names of enumerations.
//!
//! Owns: filling `netdx_common::config` from BTF. Must not know: how programs are loaded. Nothing here depends on a
//! kernel's version: what its BTF doesn't have, it doesn't have.

use super::{
    btf::{Btf, Kind, TypeId},
    probes::Function,
};
use netdx_common::config::{ABSENT, ARGUMENTS, Arguments, Config, FIELDS, Field, IGNORED_DROPS, Offsets, PLAIN_DROPS};
use std::collections::HashMap;

/// Why the programs can't be told what they need.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The BTF lacks a field without which nothing can be traced.
    #[error("this BTF has no usable `{structure}.{path}`: {why}")]
    Field {
        /// The structure.
        structure: &'static str,
        /// Path of the member.
        path: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// What was found in a kernel's BTF.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Where fields are.
    pub offsets: Offsets,
    /// Which arguments tracepoints have.
    pub arguments: Arguments,
    /// `enum skb_drop_reason` and those of its subsystems, by value, without `SKB_DROP_REASON_`.
    pub drop_reasons: HashMap<i32, String>,
    /// `enum sk_rst_reason`, by value, without `SK_RST_REASON_`.
    pub reset_reasons: HashMap<i32, String>,
    /// BTF ids of tracepoints (`btf_trace_NAME`), by name.
    pub tracepoints: HashMap<&'static str, TypeId>,
    /// BTF ids of functions that have the expected parameters, by name.
    pub functions: HashMap<&'static str, TypeId>,
    /// Optional fields that aren't there, as `structure.path`.
    pub absent: Vec<String>,
}

const TRACEPOINT_PREFIX: &str = "btf_trace_";

impl Kernel {
    /// Looks everything up in two passes over the types. `tracepoints`, `functions`: whose ids are wanted.
    ///
    /// # Errors
    /// When a field that programs can't do without is missing or not as expected.
    pub fn read(btf: &Btf<'_>, tracepoints: &[&'static str], functions: &[&'static Function]) -> Result<Kernel, Error> {
        let typedefs: Vec<(&'static str, String)> = tracepoints
            .iter()
            .copied()
            .chain(ARGUMENTS.iter().map(|a| a.tracepoint))
            .map(|name| (name, format!("{TRACEPOINT_PREFIX}{name}")))
            .collect();
        let ids = btf.find(
            FIELDS
                .iter()
                .map(|f| (Kind::Struct, f.structure))
                .chain(typedefs.iter().map(|(_, t)| (Kind::Typedef, t.as_str())))
                .chain(functions.iter().map(|f| (Kind::Func, f.name)))
                .chain([(Kind::Enum, "skb_drop_reason"), (Kind::Enum, "sk_rst_reason")]),
        );
        let tracepoint = |name: &str| {
            typedefs.iter().find(|(n, _)| *n == name).and_then(|(_, t)| ids.get(&(Kind::Typedef, t.as_str())))
        };

        let mut offsets = [ABSENT; FIELDS.len()];
        let mut absent = Vec::new();
        for (value, field) in offsets.iter_mut().zip(FIELDS) {
            match offset(btf, ids.get(&(Kind::Struct, field.structure)).copied(), field) {
                Ok(found) => *value = found,
                Err(why) if field.required => {
                    return Err(Error::Field { structure: field.structure, path: field.path, why });
                }
                Err(_) => absent.push(format!("{}.{}", field.structure, field.path)),
            }
        }
        let mut arguments = [0; ARGUMENTS.len()];
        for (value, argument) in arguments.iter_mut().zip(ARGUMENTS) {
            // The prototype begins with the tracepoint's own `void *`.
            let found = tracepoint(argument.tracepoint)
                .and_then(|id| btf.parameters(*id))
                .and_then(|p| p.get(argument.position + 1).map(|id| btf.type_name(*id)));
            *value = u32::from(found.is_some_and(|name| name == argument.type_name));
        }
        let mut drop_reasons = constants(btf, ids.get(&(Kind::Enum, "skb_drop_reason")), "SKB_DROP_REASON_");
        for (id, _) in
            btf.named_enums().filter(|(_, name)| name.ends_with("_drop_reason") && *name != "skb_drop_reason")
        {
            // Reasons of a subsystem carry its number in their upper 16 bits.
            drop_reasons.extend(constants(btf, Some(&id), "").into_iter().filter(|(value, _)| *value > 0xffff));
        }
        let is_as_expected = |function: &Function, id: TypeId| {
            let found = btf.parameters(id)?.into_iter().map(|id| btf.type_name(id));
            found.eq(function.parameters.iter().copied()).then_some(id)
        };
        let function = |f: &&'static Function| Some((f.name, is_as_expected(f, *ids.get(&(Kind::Func, f.name))?)?));
        Ok(Kernel {
            functions: functions.iter().filter_map(function).collect(),
            offsets: Offsets::from_values(&offsets),
            arguments: Arguments::from_values(&arguments),
            drop_reasons,
            reset_reasons: constants(btf, ids.get(&(Kind::Enum, "sk_rst_reason")), "SK_RST_REASON_"),
            tracepoints: tracepoints.iter().filter_map(|name| Some((*name, *tracepoint(name)?))).collect(),
            absent,
        })
    }

    /// A configuration with what is known of the kernel, asking for nothing yet.
    #[must_use]
    pub fn config(&self) -> Config {
        let mut config = Config { offsets: self.offsets, arguments: self.arguments, ..Config::EMPTY };
        for (value, name) in &self.drop_reasons {
            let Ok(value) = u32::try_from(*value) else { continue };
            if IGNORED_DROPS.contains(&name.as_str()) {
                config.ignore_drop(value);
            }
            if PLAIN_DROPS.contains(&name.as_str()) {
                config.plain_drop(value);
            }
        }
        config
    }
}

/// Byte offset of a field, or why it can't be used.
fn offset(btf: &Btf<'_>, structure: Option<TypeId>, field: &Field) -> Result<u32, String> {
    let id = structure.ok_or("no such structure")?;
    let member = btf.member(id, field.path).ok_or("no such member")?;
    if member.bits != 0 || member.bit_offset % 8 != 0 {
        return Err("it is a bit field".to_owned());
    }
    let size = btf.size(member.type_id);
    if !field.sizes.is_empty() && !size.is_some_and(|s| field.sizes.contains(&s)) {
        return Err(match size {
            Some(s) => format!("its size is {s}, not {:?}", field.sizes),
            None => "its size is unknown".to_owned(),
        });
    }
    Ok(member.bit_offset / 8)
}

fn constants(btf: &Btf<'_>, id: Option<&TypeId>, prefix: &str) -> HashMap<i32, String> {
    let mut names = HashMap::new();
    for (name, value) in id.map(|id| btf.constants(*id)).unwrap_or_default() {
        if let Ok(value) = i32::try_from(value) {
            names.insert(value, name.strip_prefix(prefix).unwrap_or(name).to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::super::{
        btf::{self, Blob},
        probes::FUNCTIONS,
    };
    use super::*;
    use std::{ffi::c_int, path::Path};

    /// The running kernel; none where it has no BTF.
    fn running() -> Option<Kernel> {
        let blob = match Blob::open(Path::new(btf::KERNEL)) {
            Ok(blob) => blob,
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
                return None;
            }
        };
        let btf = Btf::parse(blob.bytes()).expect("a kernel's own BTF");
        Some(
            Kernel::read(&btf, &["inet_sock_set_state", "no_such_tracepoint"], &FUNCTIONS)
                .expect("all required fields"),
        )
    }

    #[test]
    fn the_running_kernel_has_what_is_needed() {
        let Some(kernel) = running() else { return };
        // What sock_common has had in these places since 3.12, whatever the configuration.
        assert_eq!((kernel.offsets.skc_daddr, kernel.offsets.skc_rcv_saddr, kernel.offsets.skc_dport), (0, 4, 12));
        assert_eq!(kernel.tracepoints.keys().copied().collect::<Vec<_>>(), ["inet_sock_set_state"]);
        assert!(kernel.functions.contains_key("inet_sendmsg"), "{:?}", kernel.functions);
        for path in &kernel.absent {
            assert!(FIELDS.iter().any(|f| !f.required && *path == format!("{}.{}", f.structure, f.path)), "{path}");
        }
    }

    #[test]
    fn reasons_have_names_and_the_uninteresting_are_ignored() {
        let Some(kernel) = running().filter(|k| k.arguments.kfree_skb_reason == 1) else { return };
        let value = |name: &str| *kernel.drop_reasons.iter().find(|(_, n)| *n == name).expect("is there since 5.17").0;
        let config = kernel.config();
        let ignored = |value: i32| config.drops_ignored[value as usize / 32] >> (value % 32) & 1 == 1;
        assert!(!ignored(value("NO_SOCKET")) && !ignored(value("NOT_SPECIFIED")));
        assert!(ignored(value("OTHERHOST")));
        assert!(kernel.drop_reasons.values().all(|n| !n.starts_with("SKB_DROP_REASON_")));
    }

    #[test]
    fn a_missing_field_is_named() {
        let header: [c_int; 5] = [24, 0, 0, 0, 1];
        let mut empty = 0xeb9f_u16.to_ne_bytes().to_vec();
        empty.extend([1, 0]);
        header.iter().for_each(|word| empty.extend(word.to_ne_bytes()));
        empty.push(0);
        let btf = Btf::parse(&empty).expect("empty, but BTF");
        let error = Kernel::read(&btf, &[], &[]).expect_err("nothing is there");
        assert_eq!(error.to_string(), "this BTF has no usable `sock.__sk_common.skc_family`: no such structure");
    }
}
