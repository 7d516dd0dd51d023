//! Filters belong to threads, so each test gives one to a thread of its own and asks the kernel there.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket},
    os::unix::net::UnixStream,
    process::Command,
    thread,
};

use seccompiler::apply_filter;

use super::*;

/// What the filter answers here: the kernel itself says this of nothing that is asked.
const MARK: c_int = libc::EHWPOISON;

/// An argument that is no address, no descriptor and no process: a call that is not refused does no harm.
const NONSENSE: c_long = -1;

#[test]
fn every_call_of_the_list_is_refused() {
    filtered(|| {
        for (name, number) in REFUSED {
            assert_eq!(call(*number, [NONSENSE; 3]), Err(MARK), "{name}");
        }
    });
}

/// Users are promised neither more nor less.
#[test]
fn the_document_names_every_call_of_the_list() {
    let document = include_str!("../../../../docs/security.md");
    let (_, rest) = document.split_once("| Refused always |").unwrap();
    let (table, _) = rest.split_once("\n\n").unwrap();
    let documented: BTreeSet<&str> = table.split('`').skip(1).step_by(2).collect();
    let listed: BTreeSet<&str> = REFUSED.iter().map(|(name, _)| name.trim_start_matches("SYS_")).collect();
    // Calls that other processors do not have are documented all the same.
    if cfg!(target_arch = "x86_64") {
        assert_eq!(listed, documented);
    }
    assert!(listed.is_subset(&documented), "{:?}", listed.difference(&documented));
}

#[test]
fn no_program_and_no_process_can_be_started() {
    filtered(|| {
        let error = Command::new("/bin/true").spawn().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(MARK), "{error}");
        for flags in [0, libc::SIGCHLD, libc::CLONE_NEWUSER, libc::CLONE_VFORK | libc::CLONE_VM] {
            assert_eq!(call(libc::SYS_clone, [flags.into(), 0, 0]), Err(MARK), "{flags:#x}");
        }
    });
}

#[test]
fn nothing_can_be_loaded_into_the_kernel() {
    // BPF_MAP_CREATE, BPF_PROG_LOAD, BPF_OBJ_GET, BPF_PROG_ATTACH, BPF_PROG_GET_FD_BY_ID, BPF_RAW_TRACEPOINT_OPEN,
    // BPF_BTF_LOAD, BPF_LINK_CREATE, and what no kernel knows yet.
    for command in [0, 5, 7, 8, 13, 17, 18, 28, 1000] {
        check(libc::SYS_bpf, [command, 0, 0], true);
    }
    for command in BPF_COMMANDS {
        check(libc::SYS_bpf, [command.cast_signed(), 0, 0], false);
    }
}

#[test]
fn sockets_are_those_of_the_internet_only() {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    for (family, kind, is_refused) in [
        (libc::AF_INET, libc::SOCK_STREAM, false),
        (libc::AF_INET6, libc::SOCK_STREAM | flags, false),
        (libc::AF_INET, libc::SOCK_DGRAM | flags, false),
        (libc::AF_INET, libc::SOCK_RAW, true),
        (libc::AF_INET6, libc::SOCK_RAW | flags, true),
        (libc::AF_UNIX, libc::SOCK_STREAM, true),
        (libc::AF_NETLINK, libc::SOCK_DGRAM, true),
        (libc::AF_PACKET, libc::SOCK_DGRAM, true),
        (libc::AF_VSOCK, libc::SOCK_STREAM, true),
        (libc::AF_ALG, libc::SOCK_SEQPACKET, true),
    ] {
        // An address family in the high half of the register is none.
        for high in [0, 1 << 32] {
            check(libc::SYS_socket, [c_long::from(family) | high, kind.into(), 0], is_refused);
        }
    }
}

#[test]
fn only_this_process_is_signalled_and_limited() {
    let (own, other) = (c_long::from(process::id()), c_long::from(std::os::unix::process::parent_id()));
    let n_limits = 1000;
    for (number, arguments, is_refused) in [
        // Signal 0 is none.
        (libc::SYS_tgkill, [own, NONSENSE, 0], false),
        (libc::SYS_tgkill, [other, other, 0], true),
        (libc::SYS_prlimit64, [0, n_limits, 0], false),
        (libc::SYS_prlimit64, [own, n_limits, 0], false),
        (libc::SYS_prlimit64, [other, n_limits, 0], true),
    ] {
        check(number, arguments, is_refused);
    }
}

#[test]
fn nothing_is_typed_into_a_terminal() {
    const TIOCGWINSZ: u64 = 0x5413;
    for (request, is_refused) in [(IOCTLS[0], true), (IOCTLS[1], true), (TIOCGWINSZ, false)] {
        check(libc::SYS_ioctl, [NONSENSE, request.cast_signed(), 0], is_refused);
    }
}

/// A kernel that is newer than the list knows calls that nobody has judged.
#[test]
fn calls_newer_than_the_list_do_not_exist() {
    const X32: c_long = 0x4000_0000;
    filtered(|| {
        for number in
            [NEWEST + 1, NEWEST + 100, libc::SYS_clone3, X32 | libc::SYS_execve, X32 | libc::SYS_getpid]
        {
            assert_eq!(call(number, [0; 3]), Err(libc::ENOSYS), "system call {number}");
        }
        assert_eq!(call(libc::SYS_getpid, [0; 3]), Ok(process::id().into()));
    });
}

/// What components do while they run.
#[test]
fn an_observer_can_work() {
    let folder = tempfile::tempdir().unwrap();
    filtered(|| {
        let (path, rotated) = (folder.path().join("flows"), folder.path().join("flows.1"));
        let mut file = File::options().append(true).create(true).open(&path).unwrap();
        file.write_all(b"line\n").unwrap();
        file.sync_all().unwrap();
        file.lock().unwrap();
        fs::rename(&path, &rotated).unwrap();
        assert_eq!(fs::read_to_string(&rotated).unwrap(), "line\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::remove_file(&rotated).unwrap();

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"page").unwrap();
        drop(server);
        let mut page = String::new();
        client.read_to_string(&mut page).unwrap();
        assert_eq!(page, "page");
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(("localhost", 80).to_socket_addrs().unwrap().next().is_some());
        UnixStream::pair().unwrap();

        assert_eq!(thread::spawn(|| 7).join().unwrap(), 7);
        assert!(!fs::read_to_string("/proc/self/status").unwrap().is_empty());
        assert!(thread::available_parallelism().is_ok());
    });
}

/// The runtime's own threads, timers and descriptors.
#[test]
fn a_runtime_can_be_started() {
    filtered(|| {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
        let ticks = async {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            tokio::task::spawn_blocking(|| 7).await.unwrap()
        };
        assert_eq!(runtime.block_on(ticks), 7);
    });
}

/// Calls with these arguments on a thread with the filter.
#[track_caller]
fn check(number: c_long, arguments: [c_long; 3], is_refused: bool) {
    let answer = filtered(|| {
        let answer = call(number, arguments);
        if let (libc::SYS_socket, Ok(fd)) = (number, answer) {
            call(libc::SYS_close, [fd, 0, 0]).unwrap();
        }
        answer
    });
    assert_eq!(answer == Err(MARK), is_refused, "system call {number} with {arguments:?}: {answer:?}");
}

#[track_caller]
fn filtered<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    let program = program(MARK).unwrap();
    let run = || {
        apply_filter(&program).unwrap();
        run()
    };
    thread::scope(|scope| scope.spawn(run).join().unwrap())
}

#[expect(unsafe_code, reason = "most of what is refused has no safe wrapper")]
fn call(number: c_long, [first, second, third]: [c_long; 3]) -> Result<c_long, c_int> {
    // SAFETY: the filter is asked before anything is done. Where it lets a call pass, the arguments are numbers that the
    // call checks, or addresses that the kernel cannot write to.
    let answer = unsafe { libc::syscall(number, first, second, third, 0, 0, 0) };
    if answer == -1 { Err(io::Error::last_os_error().raw_os_error().unwrap_or_default()) } else { Ok(answer) }
}
