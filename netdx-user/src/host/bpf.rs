//! BPF programs that can refuse a call or drop a packet. Owns: finding those attached to cgroups and interfaces. Must not know:
//! what they do.
//!
//! netdx's own programs are left out, those of another netdx too: they let everything pass.

use super::{Error, Host, cgroup::Cgroups, interface, netlink, process};
use crate::{
    event::Netns,
    fact::{BpfProgram, Interface},
};
use aya::{
    maps::MapInfo,
    programs::{ProgramInfo, loaded_programs},
};
use aya_obj::generated::{bpf_attach_type as Attach, bpf_cmd, bpf_prog_type};
use netlink_packet_core::{NLM_F_DUMP, NlaBuffer};
use netlink_packet_route::{
    link::LinkMessage,
    tc::{TcHandle, TcMessage},
};
use netlink_sys::protocols::NETLINK_ROUTE;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    ops::ControlFlow,
    os::fd::AsRawFd,
    path::Path,
};

/// Attach types of cgroups that can refuse a socket, a call or a packet, and what they are called.
const CGROUP: [(Attach, &str); 13] = [
    (Attach::BPF_CGROUP_INET_INGRESS, "ingress"),
    (Attach::BPF_CGROUP_INET_EGRESS, "egress"),
    (Attach::BPF_CGROUP_INET_SOCK_CREATE, "sock-create"),
    (Attach::BPF_CGROUP_INET4_BIND, "bind4"),
    (Attach::BPF_CGROUP_INET6_BIND, "bind6"),
    (Attach::BPF_CGROUP_INET4_POST_BIND, "post-bind4"),
    (Attach::BPF_CGROUP_INET6_POST_BIND, "post-bind6"),
    (Attach::BPF_CGROUP_INET4_CONNECT, "connect4"),
    (Attach::BPF_CGROUP_INET6_CONNECT, "connect6"),
    (Attach::BPF_CGROUP_UDP4_SENDMSG, "sendmsg4"),
    (Attach::BPF_CGROUP_UDP6_SENDMSG, "sendmsg6"),
    (Attach::BPF_CGROUP_UDP4_RECVMSG, "recvmsg4"),
    (Attach::BPF_CGROUP_UDP6_RECVMSG, "recvmsg6"),
];

/// Attach types of interfaces that bpf(2) tells; those of XDP and classic tc are told by rtnetlink.
const INTERFACE: [(Attach, &str); 4] = [
    (Attach::BPF_TCX_INGRESS, "tcx-ingress"),
    (Attach::BPF_TCX_EGRESS, "tcx-egress"),
    (Attach::BPF_NETKIT_PRIMARY, "netkit-primary"),
    (Attach::BPF_NETKIT_PEER, "netkit-peer"),
];

/// The parents of tc filters on an interface's clsact qdisc (`TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)` and `..._EGRESS`).
const CLSACT: [((u16, u16), &str); 2] = [((0xffff, 0xfff2), "tc-ingress"), ((0xffff, 0xfff3), "tc-egress")];

impl Host {
    /// The programs of a cgroup (v2 id; 0: none) and its ancestors, of the interfaces of a namespace, and of the LSM hooks.
    ///
    /// # Errors
    /// The cgroup is gone, or the kernel does not tell.
    pub fn bpf_programs(&mut self, netns: Netns, cgroup: u64) -> Result<Vec<BpfProgram>, Error> {
        let mut found = Vec::new();
        if cgroup != 0 {
            let gone = || Error::Malformed {
                what: format!("cgroup {cgroup}"),
                why: "it is gone, and its programs with it".into(),
            };
            let cgroups = self.cgroups()?;
            let path = cgroups.path(cgroup).ok_or_else(gone)?;
            found = of_cgroup(cgroups, &path)?;
        }
        self.with_those_of_interfaces(netns, found)
    }

    /// The same for the cgroup that a process is in.
    ///
    /// # Errors
    /// The process has ended, its cgroup is gone, or the kernel does not tell.
    pub fn bpf_programs_of(&mut self, netns: Netns, pid: u32) -> Result<Vec<BpfProgram>, Error> {
        let path = process::cgroup(pid)?;
        let found = of_cgroup(self.cgroups()?, Path::new(&path))?;
        self.with_those_of_interfaces(netns, found)
    }

    fn cgroups(&mut self) -> Result<&mut Cgroups, Error> {
        Ok(match &mut self.cgroups {
            Some(cgroups) => cgroups,
            unopened @ None => unopened.insert(Cgroups::open()?),
        })
    }

    fn with_those_of_interfaces(&mut self, netns: Netns, mut found: Vec<BpfProgram>) -> Result<Vec<BpfProgram>, Error> {
        found.extend(self.kernel(netns, "the programs of its interfaces", of_interfaces)?);
        let loaded = Loaded::read();
        found.extend(loaded.lsm());
        found.retain(|p| !loaded.is_own(p.id) && !loaded.has_gone(p.id));
        for program in &mut found {
            program.name = loaded.name(program.id);
        }
        Ok(found)
    }
}

/// The programs that are run for a cgroup, the innermost cgroup's first.
fn of_cgroup(cgroups: &Cgroups, path: &Path) -> Result<Vec<BpfProgram>, Error> {
    let levels = cgroups.ancestors(path)?;
    let mut found = Vec::new();
    for (attach, name) in CGROUP {
        let Some((_, innermost)) = levels.first() else { break };
        // Of what is attached above, an inner cgroup may have overridden some.
        let effective = match query(Target::Descriptor(innermost), attach, EFFECTIVE) {
            Ok(ids) => ids,
            Err(e) if unknown(&e) => continue,
            Err(source) => return Err(Error::Bpf { what: "the programs of a cgroup", source }),
        };
        for (path, level) in &levels {
            let attached = query(Target::Descriptor(level), attach, 0).unwrap_or_default();
            found.extend(attached.into_iter().filter(|id| effective.contains(id)).map(|id| BpfProgram {
                id,
                name: String::new(),
                attach: name.to_string(),
                place: path.to_string_lossy().into_owned(),
            }));
        }
    }
    Ok(found)
}

/// The programs of the interfaces of the calling thread's namespace.
fn of_interfaces() -> io::Result<Vec<BpfProgram>> {
    let mut found = Vec::new();
    netlink::request(NETLINK_ROUTE, libc::RTM_GETLINK, NLM_F_DUMP, &LinkMessage::default(), |_, payload| {
        if let Some(link) = interface::link(payload) {
            let ids = netlink::attributes(payload, interface::LINK)
                .filter(|a| a.kind() == libc::IFLA_XDP)
                .flat_map(|a| xdp(&a));
            found.extend(ids.collect::<BTreeSet<_>>().into_iter().map(|id| on(&link, id, "xdp")));
        }
        ControlFlow::Continue(())
    })?;
    for link in interface::links()? {
        for (attach, name) in INTERFACE {
            // An error says that the interface or the kernel has no such place.
            let ids = query(Target::Interface(link.index), attach, 0).unwrap_or_default();
            found.extend(ids.into_iter().map(|id| on(&link, id, name)));
        }
        for (parent, name) in CLSACT {
            found.extend(filters(&link, parent)?.into_iter().map(|id| on(&link, id, name)));
        }
    }
    Ok(found)
}

fn on(link: &Interface, id: u32, attach: &str) -> BpfProgram {
    BpfProgram { id, name: String::new(), attach: attach.to_string(), place: link.name.clone() }
}

/// The program ids in IFLA_XDP: generic, native and offloaded may be there at once.
fn xdp(attribute: &NlaBuffer<&[u8]>) -> Vec<u32> {
    /// `IFLA_XDP_PROG_ID`, `IFLA_XDP_DRV_PROG_ID`, `IFLA_XDP_SKB_PROG_ID`, `IFLA_XDP_HW_PROG_ID`
    const IDS: [u16; 4] = [4, 5, 6, 7];
    let ids = netlink::attributes(attribute.value(), 0).filter(|a| IDS.contains(&a.kind()));
    ids.filter_map(|a| a.value().first_chunk().map(|b| u32::from_ne_bytes(*b))).filter(|id| *id != 0).collect()
}

/// The program ids of the classic tc filters at one parent of an interface.
fn filters(link: &Interface, (major, minor): (u16, u16)) -> io::Result<Vec<u32>> {
    /// Length of `struct tcmsg`.
    const HEADER: usize = 20;
    /// `TCA_OPTIONS`, and in it `TCA_BPF_ID`.
    const OPTIONS: u16 = 2;
    const ID: u16 = 11;
    let mut request = TcMessage::with_index(link.index.cast_signed());
    request.header.parent = TcHandle { major, minor };
    let listed = netlink::list(NETLINK_ROUTE, libc::RTM_GETTFILTER, &request, |payload| {
        let options = netlink::attributes(payload, HEADER).find(|a| a.kind() == OPTIONS)?;
        let id = netlink::attributes(options.value(), 0).find(|a| a.kind() == ID)?;
        id.value().first_chunk().map(|b| u32::from_ne_bytes(*b))
    });
    match listed {
        // The interface has no such qdisc, or has gone.
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP)) => {
            Ok(Vec::new())
        }
        other => other,
    }
}

/// By type and name.
type Kind = (u32, Vec<u8>);

fn kind(program: &ProgramInfo) -> Kind {
    (program.program_type() as u32, program.name().to_vec())
}

/// Names of the maps that a program uses; empty: it uses none, or they may not be seen.
fn maps(program: &ProgramInfo) -> BTreeSet<Vec<u8>> {
    let ids = program.map_ids().ok().flatten().unwrap_or_default();
    ids.into_iter().filter_map(|id| MapInfo::from_id(id).ok()).map(|map| map.name().to_vec()).collect()
}

/// What is loaded, as far as the kernel tells: names and types need CAP_SYS_ADMIN.
struct Loaded {
    programs: BTreeMap<u32, ProgramInfo>,
    own: BTreeSet<u32>,
    own_by_kind: BTreeMap<Kind, u32>,
}

impl Loaded {
    fn read() -> Self {
        // One that is unloaded while they are listed can't be read any more; those after it can.
        let programs: BTreeMap<u32, ProgramInfo> =
            loaded_programs().filter_map(Result::ok).map(|p| (p.id(), p)).collect();
        let own = own();
        let own_by_kind = own.iter().filter_map(|id| Some((kind(programs.get(id)?), *id))).collect();
        Self { programs, own, own_by_kind }
    }

    /// A program of this netdx or of another one: called the same as one of this netdx, with the same instructions (of which
    /// the tag is a hash) or, in another version, with maps that are called the same.
    fn is_own(&self, id: u32) -> bool {
        let alike = |program: &ProgramInfo| {
            let own = self.own_by_kind.get(&kind(program)).and_then(|id| self.programs.get(id))?;
            let maps_alike = || {
                let own = maps(own);
                !own.is_empty() && own == maps(program)
            };
            Some(own.tag() == program.tag() || maps_alike())
        };
        self.own.contains(&id) || self.programs.get(&id).and_then(alike).unwrap_or(false)
    }

    /// A program that was attached a moment ago and is not loaded any more: nothing uses it, as when another netdx ends.
    fn has_gone(&self, id: u32) -> bool {
        !self.programs.is_empty() && !self.programs.contains_key(&id)
    }

    fn name(&self, id: u32) -> String {
        self.programs.get(&id).map(|p| String::from_utf8_lossy(p.name()).into_owned()).unwrap_or_default()
    }

    /// The programs of the LSM hooks. They are attached to a hook for everybody, not to a place.
    fn lsm(&self) -> impl Iterator<Item = BpfProgram> {
        let lsm = |p: &&ProgramInfo| p.program_type() == bpf_prog_type::BPF_PROG_TYPE_LSM;
        self.programs.values().filter(lsm).map(|p| BpfProgram {
            id: p.id(),
            name: String::new(),
            attach: "lsm".into(),
            place: String::new(),
        })
    }
}

/// The programs that this process holds, or whose links it holds.
fn own() -> BTreeSet<u32> {
    let files = fs::read_dir("/proc/self/fdinfo").into_iter().flatten().flatten();
    let texts = files.filter_map(|f| fs::read_to_string(f.path()).ok());
    texts.filter_map(|text| program_id(&text)).collect()
}

fn program_id(fdinfo: &str) -> Option<u32> {
    fdinfo.lines().find_map(|l| l.strip_prefix("prog_id:")).and_then(|id| id.trim().parse().ok())
}

/// `BPF_F_QUERY_EFFECTIVE`
const EFFECTIVE: u32 = 1;
/// The most that a query is asked for; a cgroup takes 64 of one type (`BPF_CGROUP_MAX_PROGS`), its ancestors too.
const MAX_PROGRAMS: usize = 1024;

/// Where programs are attached.
enum Target<'a> {
    Descriptor(&'a fs::File),
    Interface(u32),
}

/// `union bpf_attr` for BPF_PROG_QUERY, Linux 7.3. All of it: the kernel writes the revision whatever size it is told there is
/// (`bpf_mprog_query`, 6.6; `__cgroup_bpf_query`, 6.17). Before that it wants what it doesn't know to be zero.
#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    _pad: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
    /// For what later kernels may write.
    _room: [u64; 8],
}

/// Whether an error only says that the kernel or the cgroup has no such attach type.
fn unknown(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}

/// The ids of the programs attached there (bpf(2), BPF_PROG_QUERY; needs CAP_NET_ADMIN).
fn query(target: Target<'_>, attach: Attach, flags: u32) -> io::Result<Vec<u32>> {
    let mut ids = vec![0_u32; MAX_PROGRAMS];
    let mut attributes = Query {
        target: match target {
            Target::Descriptor(file) => file.as_raw_fd().cast_unsigned(),
            Target::Interface(index) => index,
        },
        attach_type: attach as u32,
        query_flags: flags,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: MAX_PROGRAMS as u32,
        ..Query::default()
    };
    // SAFETY: `attributes` is initialised, has the layout that the kernel reads and writes for this command, and outlives the
    // call; `prog_ids` points to `prog_cnt` writable elements, which outlive it too.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            bpf_cmd::BPF_PROG_QUERY as libc::c_long,
            std::ptr::from_mut(&mut attributes),
            size_of::<Query>() as libc::c_long,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    ids.truncate(attributes.prog_cnt as usize);
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::Lab;
    use std::{
        os::{
            fd::{FromRawFd, OwnedFd},
            unix::fs::MetadataExt,
        },
        path::Path,
    };

    /// `union bpf_attr` for the commands below, as words.
    fn bpf(command: bpf_cmd, words: &mut [u32]) -> OwnedFd {
        let length = size_of_val(words) as libc::c_long;
        // SAFETY: the words are initialised, laid out as the command wants them, and outlive the call, as does what they
        // point to.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_long, words.as_mut_ptr(), length) };
        assert!(result >= 0, "{command:?}: {}", io::Error::last_os_error());
        // SAFETY: the kernel has just made this descriptor for us. (Attaching makes none and says 0: a copy stands in.)
        unsafe { OwnedFd::from_raw_fd(if result == 0 { libc::dup(0) } else { result as i32 }) }
    }

    fn halves(pointer: *const u8) -> [u32; 2] {
        let pointer = pointer as u64;
        [pointer as u32, (pointer >> 32) as u32]
    }

    /// A program that says 1: let it pass (cgroup), XDP_DROP would be 1 too, so nothing is sent through it.
    fn program(kind: bpf_prog_type, attach: Attach) -> OwnedFd {
        let code: [u64; 2] = [0x0000_0001_0000_00b7, 0x95];
        let license = c"GPL";
        let (code, license) = (halves(code.as_ptr().cast()), halves(license.as_ptr().cast()));
        let mut words = [0; 18];
        words[..6].copy_from_slice(&[kind as u32, 2, code[0], code[1], license[0], license[1]]);
        words[12..16].copy_from_slice(&[*b"host", *b"_tes", *b"t\0\0\0", [0; 4]].map(u32::from_ne_bytes));
        words[17] = attach as u32;
        bpf(bpf_cmd::BPF_PROG_LOAD, &mut words)
    }

    fn number(fd: &OwnedFd) -> u32 {
        fd.as_raw_fd().cast_unsigned()
    }

    struct Folder(std::path::PathBuf);
    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir(&self.0);
        }
    }

    #[test]
    fn programs_of_a_cgroup_and_of_interfaces() {
        let Some(lab) = Lab::new() else { return };
        let index = lab.within(1, || interface::links().unwrap().into_iter().find(|l| l.name == "vb").unwrap().index);
        let links = lab.within(1, || {
            let on = |kind, attach| {
                let program = program(kind, attach);
                bpf(bpf_cmd::BPF_LINK_CREATE, &mut [number(&program), index, attach as u32, 0])
            };
            [
                on(bpf_prog_type::BPF_PROG_TYPE_XDP, Attach::BPF_XDP),
                on(bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS, Attach::BPF_TCX_EGRESS),
            ]
        });
        let found = lab.within(1, || of_interfaces().unwrap());
        let places: Vec<_> = found.iter().map(|p| (p.attach.as_str(), p.place.as_str())).collect();
        assert_eq!(places, [("xdp", "vb"), ("tcx-egress", "vb")]);
        assert!(found.iter().all(|p| own().contains(&p.id)));

        let mounts = crate::live::features::mounts();
        let base = mounts.iter().find(|m| m.file_system == "cgroup2").expect("v2 cgroups are mounted").at.clone();
        let outer = Folder(base.join(format!("host-{}", std::process::id())));
        fs::create_dir(&outer.0).unwrap();
        let inner = Folder(outer.0.join("inner"));
        fs::create_dir(&inner.0).unwrap();
        let connect = program(bpf_prog_type::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, Attach::BPF_CGROUP_INET4_CONNECT);
        let folder = fs::File::open(&outer.0).unwrap();
        let target = folder.as_raw_fd().cast_unsigned();
        bpf(bpf_cmd::BPF_PROG_ATTACH, &mut [target, number(&connect), Attach::BPF_CGROUP_INET4_CONNECT as u32, 2]);
        drop((connect, folder));

        let mut host = Host::new();
        let id = fs::metadata(&inner.0).unwrap().ino();
        let found = host.bpf_programs(lab.netns(1), id).unwrap();
        let place = format!("/{}", outer.0.file_name().unwrap().to_str().unwrap());
        // Those on the interface are this process's own.
        let theirs: Vec<_> = found.iter().filter(|p| p.place == place || p.place == "vb").collect();
        let expected = [("connect4", "host_test")];
        assert_eq!(theirs.iter().map(|p| (p.attach.as_str(), p.name.as_str())).collect::<Vec<_>>(), expected);
        drop((inner, outer));
        let gone = host.bpf_programs(lab.netns(1), id).unwrap_err().to_string();
        assert!(gone.contains("gone"), "{gone}");
        assert_eq!(host.cgroups.unwrap().path(id).as_deref(), None::<&Path>);
        drop(links);
    }

    #[test]
    fn descriptors_tell_their_program() {
        assert_eq!(program_id("pos:\t0\nlink_type:\tcgroup\nlink_id:\t7\nprog_tag:\tabc\nprog_id:\t42\n"), Some(42));
        assert_eq!(program_id("pos:\t0\nflags:\t02\n"), None);
    }
}
