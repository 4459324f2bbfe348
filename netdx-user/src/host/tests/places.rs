//! Interfaces, neighbours, namespaces, and the files of processes.

use super::*;

#[test]
fn what_the_queues_of_an_interface_dropped() {
    let Some(lab) = Lab::new() else { return };
    let mut host = Host::new();
    let Answer::Interfaces(list) = host.answer(&Want::Interfaces { netns: lab.netns(0) }) else { panic!() };
    let of = |name: &str| {
        let device = list.iter().find(|i| i.name == name).map_or(0, |i| i.index);
        Want::QueueDrops { netns: lab.netns(0), device }
    };
    let send = || run(&format!("ip netns exec {} ping -c 3 -i 0.01 -W 1 10.99.0.2 || true", lab.names[0]));
    lab.ip(1, "link set vb down");
    send();
    assert_eq!(host.answer(&of("va")), Answer::QueueDrops(0), "what stands in counts nothing");
    lab.ip(1, "link set vb up");
    run(&format!("tc -n {} qdisc add dev va root bfifo limit 1", lab.names[0]));
    send();
    let answer = host.answer(&of("va"));
    assert!(matches!(answer, Answer::QueueDrops(n) if n > 0), "{answer:?}");
    assert_eq!(host.answer(&of("lo")), Answer::QueueDrops(0));
}

#[test]
fn addresses_interfaces_neighbours_names() {
    let Some(lab) = Lab::new() else { return };
    let mut host = Host::new();
    let owners =
        |host: &mut Host, address: &str| host.answer(&Want::Owners { address: ip(address), from: lab.netns(0) });
    assert!(
        matches!(owners(&mut host, "10.99.0.77"), Answer::Owners(o) if !o.contains(&lab.netns(0)) && !o.contains(&lab.netns(1)))
    );
    for address in ["10.99.0.2", "fd99::2"] {
        assert!(
            matches!(owners(&mut host, address), Answer::Owners(o) if o.contains(&lab.netns(1)) && !o.contains(&lab.netns(0)))
        );
    }
    assert_eq!(owners(&mut host, "127.8.9.1"), Answer::Owners(vec![lab.netns(0)]));
    lab.ip(1, "addr add fe80::77/64 dev vb nodad");
    assert!(eventually(|| owners(&mut host, "fe80::77") == Answer::Owners(vec![lab.netns(1)])));
    assert_eq!(owners(&mut host, "10.99.0.255"), Answer::Owners(vec![]));

    lab.ip(1, "addr add 10.98.0.1 peer 10.97.0.0/24 dev vb");
    let Answer::Interfaces(list) = host.answer(&Want::Interfaces { netns: lab.netns(1) }) else { panic!() };
    let names: Vec<_> = list.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["lo", "vb"]);
    assert!(list[0].loopback && list[1].up && list[1].carrier && list[1].kind == "veth" && list[1].mtu == 1500);
    assert!(list[1].addresses.contains(&(ip("10.99.0.2"), 24)) && list[1].addresses.contains(&(ip("fd99::2"), 64)));
    assert!(list[1].addresses.contains(&(ip("10.98.0.1"), 24)));
    assert_eq!((list[1].peer(ip("10.98.0.1")), list[1].peer(ip("10.99.0.2"))), (Some(ip("10.97.0.0")), None));

    lab.ip(0, "neigh add 10.99.0.9 lladdr 02:00:00:00:00:09 dev va nud permanent");
    for (v6, family) in [(false, "ipv4"), (true, "ipv6")] {
        let answer = host.answer(&Want::NeighborTable { netns: lab.netns(0), v6 });
        let Answer::NeighborTable(table) = answer else { panic!("{answer:?}") };
        let limit = std::fs::read_to_string(format!("/proc/sys/net/{family}/neigh/default/gc_thresh3")).unwrap();
        assert_eq!(table.limit.to_string(), limit.trim());
        assert!((1..=table.limit).contains(&table.entries), "{table:?}");
    }
    let want = Want::Neighbor { netns: lab.netns(0), address: ip("10.99.0.9"), device: 0 };
    let Answer::Neighbor(Some(entry)) = host.answer(&want) else { panic!() };
    assert_eq!(
        (entry.device_name.as_str(), entry.lladdr.as_deref(), entry.state.as_str()),
        ("va", Some("02:00:00:00:00:09"), "permanent")
    );
    let want = Want::Neighbor { netns: lab.netns(0), address: ip("10.99.0.10"), device: 0 };
    assert_eq!(host.answer(&want), Answer::Neighbor(None));

    let Answer::Namespace(named) = host.answer(&Want::Namespace { netns: lab.netns(1) }) else { panic!() };
    assert_eq!((named.name.as_deref(), named.own, named.process), (Some(lab.names[1].as_str()), false, None));
    let Answer::Unavailable(why) = host.answer(&Want::Namespace { netns: Netns(7) }) else { panic!() };
    assert!(why.contains("namespace 7"), "{why}");

    run(&format!("ip netns exec {} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.disable_ipv6=1", lab.names[0]));
    for (key, value) in [("ipv4/ip_forward", "1"), ("ipv6/conf/all/disable_ipv6", "1")] {
        let want = |netns| Want::Sysctl { netns, key: key.into() };
        assert_eq!(host.answer(&want(lab.netns(0))), Answer::Sysctl(value.into()));
        assert_eq!(host.answer(&want(lab.netns(1))), Answer::Sysctl("0".into()));
    }
}

#[test]
fn what_was_mounted_or_unmounted_since_is_seen() {
    let Some(first) = Lab::new() else { return };
    let mut host = Host::new();
    let mut owners = |address: &str| {
        let wants = [address, "10.99.0.1"].map(|address| Want::Owners { address: ip(address), from: Netns(1) });
        let port = Want::Listeners { protocol: Protocol::Tcp, port: 1 };
        // The second search for namespaces is for the listeners.
        match &host.answer_together(&[&wants[0], &wants[1], &port])[..] {
            [Answer::Owners(of), Answer::Owners(known), Answer::Listeners(_)] if known.contains(&first.netns(0)) => {
                of.clone()
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(owners("10.98.0.1"), []);
    let Some(second) = Lab::new() else { return };
    second.ip(0, "addr add 10.98.0.1/32 dev lo");
    assert_eq!(owners("10.98.0.1"), [second.netns(0)]);
    drop(second);
    assert_eq!(owners("10.98.0.1"), []);
}

#[test]
fn a_namespace_that_is_deleted_is_not_kept_alive() {
    let Some(lab) = Lab::new() else { return };
    let mut host = Host::new();
    let netns = lab.netns(1);
    assert!(matches!(host.answer(&Want::Interfaces { netns }), Answer::Interfaces(_)));
    run(&format!("ip netns del {}", lab.names[1]));
    assert!(matches!(host.answer(&Want::Interfaces { netns }), Answer::Unavailable(_)));
    // The veth pair goes with its namespace, as soon as nothing holds it.
    assert!(eventually(|| !lab.ip(0, "link").contains(" va@")));
}

#[test]
fn a_namespace_that_only_a_thread_or_an_open_file_leads_to() {
    let Some(_lab) = Lab::new() else { return };
    let (ready, made) = std::sync::mpsc::channel();
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        // SAFETY: only the network namespace of this thread changes, and it holds no socket.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
        let file = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
        ready.send(file).unwrap();
        let _ = wait.recv();
    });
    let file = made.recv().unwrap();
    let netns = Netns(file.metadata().unwrap().ino() as u32);
    let only_lo =
        |answer| matches!(answer, Answer::Interfaces(list) if list.iter().all(|i| i.name == "lo" || i.kind != "veth"));
    drop(file);
    let mut host = Host::new();
    assert!(only_lo(host.answer(&Want::Interfaces { netns })), "by its thread");
    let file = std::fs::File::open(format!("/proc/{}/task/{}/ns/net", std::process::id(), tid_of(netns))).unwrap();
    drop(done);
    thread.join().unwrap();
    assert!(only_lo(Host::new().answer(&Want::Interfaces { netns })), "by the open file");
    drop(file);
    // A child that another test forks has the file open, too, until it executes its program.
    assert!(eventually(|| matches!(Host::new().answer(&Want::Interfaces { netns }), Answer::Unavailable(_))));
}

/// The thread of this process that is in a namespace.
fn tid_of(netns: Netns) -> String {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let inside =
        |t: &std::fs::DirEntry| std::fs::metadata(t.path().join("ns/net")).is_ok_and(|m| m.ino() == u64::from(netns.0));
    threads.into_iter().find(inside).unwrap().file_name().into_string().unwrap()
}

#[test]
fn files_are_those_of_the_process_that_asks() {
    let Some(_lab) = Lab::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hosts"), "192.0.2.7 only-here\n").unwrap();
    std::fs::write(folder.path().join("real"), "nameserver 192.0.2.53\noptions ndots:4\n").unwrap();
    // An absolute link is meant from the process's own root: here /etc/real is not there.
    let script = "mount --bind \"$0\" /etc && echo ready; exec sleep 100";
    std::os::unix::fs::symlink("/etc/real", folder.path().join("resolv.conf")).unwrap();
    let mut child = Command::new("unshare")
        .args(["-m", "sh", "-c", script, folder.path().to_str().unwrap()])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
    let mut host = Host::new();
    let pid = child.id();
    let Answer::Resolver(resolver) = host.answer(&Want::Resolver { pid, root: None }) else { panic!() };
    assert_eq!((resolver.servers, resolver.ndots), (vec![ip("192.0.2.53")], 4));
    let real = folder.path().join("real");
    std::fs::set_permissions(&real, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let mut found = || {
        let Answer::Resolver(resolver) = host.answer(&Want::Resolver { pid, root: None }) else { panic!() };
        resolver.file
    };
    assert_eq!(found(), Some(ResolvConf::File { owner: 0, mode: 0o640 }));
    std::fs::remove_file(&real).unwrap();
    assert_eq!(found(), Some(ResolvConf::Missing));
    std::fs::create_dir(&real).unwrap();
    assert_eq!(found(), Some(ResolvConf::Directory));
    let Answer::Hosts(entries) = host.answer(&Want::Hosts { pid, root: None, name: "Only-Here".into() }) else {
        panic!()
    };
    assert_eq!(entries.iter().map(|e| e.address).collect::<Vec<_>>(), [ip("192.0.2.7")]);
    let ours = host.answer(&Want::Hosts { pid: std::process::id(), root: None, name: "only-here".into() });
    assert_eq!(ours, Answer::Hosts(vec![]));
    child.kill().unwrap();
    // It waits for its parent, and then it is gone.
    let zombie = host.answer(&Want::Hosts { pid, root: None, name: "only-here".into() });
    assert!(
        matches!(&zombie, Answer::Unavailable(why) if why.contains("ended")) || zombie == Answer::Hosts(entries),
        "{zombie:?}"
    );
    child.wait().unwrap();
    let Answer::Unavailable(why) = host.answer(&Want::Resolver { pid, root: None }) else { panic!() };
    assert_eq!(why, format!("process {pid} has ended"));
    assert_eq!(host.answer(&Want::Process { pid }), Answer::Process(None));
}
