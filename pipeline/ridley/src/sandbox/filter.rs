//! Which system calls are refused.
//!
//! The list names what an observer never needs, not what it needs: what a C library, the runtime or a future exporter
//! calls on some machine is not known beforehand, and a filter that breaks a rare path breaks it where nobody looks. A list
//! of refusals has two usual holes, which are closed here: calls that the list is older than, and calls by another
//! convention of the same processor.

use std::{collections::BTreeMap, process};

use libc::{c_int, c_long};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

/// The newest call that the list has been made for, and that a C library may want: since Linux 6.10. What came later is
/// answered as an older kernel would, which every library must cope with. Numbers of recent calls are the same everywhere.
const NEWEST: c_long = libc::SYS_mseal;

/// Makes a list of names and numbers. The number is given where the C library's bindings do not name it for every target.
macro_rules! named {
    ($($(#[$condition:meta])* $name:ident $(= $number:literal)?),* $(,)?) => {
        &[$($(#[$condition])* (stringify!($name), named!(@ $name $($number)?))),*]
    };
    (@ $name:ident) => { libc::$name };
    (@ $name:ident $number:literal) => { $number };
}

/// Refused whatever the arguments are.
const REFUSED: &[(&str, c_long)] = named![
    // Other programs.
    SYS_execve,
    SYS_execveat,
    #[cfg(target_arch = "x86_64")]
    SYS_fork,
    #[cfg(target_arch = "x86_64")]
    SYS_vfork,
    // Other processes: to read and write their memory, to take their descriptors, to signal them, to share memory.
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_process_madvise,
    SYS_process_mrelease,
    SYS_pidfd_open,
    SYS_pidfd_getfd,
    SYS_pidfd_send_signal,
    SYS_kcmp,
    SYS_kill,
    SYS_tkill,
    SYS_rt_sigqueueinfo,
    SYS_rt_tgsigqueueinfo,
    SYS_migrate_pages,
    SYS_move_pages,
    SYS_shmget,
    SYS_shmat,
    SYS_msgget,
    SYS_semget,
    SYS_mq_open,
    // Another identity.
    SYS_setuid,
    SYS_setgid,
    SYS_setreuid,
    SYS_setregid,
    SYS_setresuid,
    SYS_setresgid,
    SYS_setfsuid,
    SYS_setfsgid,
    SYS_setgroups,
    // Another view: namespaces, roots and mounts.
    SYS_setns,
    SYS_unshare,
    SYS_chroot,
    SYS_pivot_root,
    SYS_mount,
    SYS_umount2,
    SYS_open_tree,
    SYS_move_mount,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_mount_setattr,
    SYS_open_by_handle_at,
    // What files are and who may use them.
    SYS_fchown,
    SYS_fchownat,
    SYS_fchmod,
    SYS_fchmodat,
    SYS_mknodat,
    SYS_setxattr,
    SYS_lsetxattr,
    SYS_fsetxattr,
    #[cfg(target_arch = "x86_64")]
    SYS_chown,
    #[cfg(target_arch = "x86_64")]
    SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    SYS_mknod,
    SYS_fchmodat2 = 452,
    // The machine.
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
    #[cfg(target_arch = "x86_64")]
    SYS_kexec_file_load = 320,
    #[cfg(not(target_arch = "x86_64"))]
    SYS_kexec_file_load = 294,
    SYS_reboot,
    SYS_swapon,
    SYS_swapoff,
    SYS_acct,
    SYS_quotactl,
    SYS_quotactl_fd,
    SYS_syslog,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_clock_adjtime,
    SYS_adjtimex,
    SYS_vhangup,
    SYS_personality,
    SYS_fanotify_init,
    #[cfg(target_arch = "x86_64")]
    SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    SYS_modify_ldt,
    // Parts of the kernel that are large, seldom used, and often the way into it.
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_add_key,
    SYS_request_key,
    SYS_keyctl,
];

/// What `bpf` may still be asked: to work with the maps that there are, and to run the programs that are loaded.
/// <https://docs.kernel.org/userspace-api/ebpf/syscall.html>
const BPF_COMMANDS: [u64; 11] = [
    1,  // BPF_MAP_LOOKUP_ELEM
    2,  // BPF_MAP_UPDATE_ELEM
    3,  // BPF_MAP_DELETE_ELEM
    4,  // BPF_MAP_GET_NEXT_KEY
    10, // BPF_PROG_TEST_RUN
    15, // BPF_OBJ_GET_INFO_BY_FD
    21, // BPF_MAP_LOOKUP_AND_DELETE_ELEM
    24, // BPF_MAP_LOOKUP_BATCH
    25, // BPF_MAP_LOOKUP_AND_DELETE_BATCH
    26, // BPF_MAP_UPDATE_BATCH
    27, // BPF_MAP_DELETE_BATCH
];

/// What a new socket may belong to. `AF_UNIX` is not among them: container runtimes and systemd listen there, and whoever
/// may talk to them as root owns the machine.
const FAMILIES: [c_int; 2] = [libc::AF_INET, libc::AF_INET6];

/// Kinds of sockets that are not TCP's or UDP's.
const SOCKET_TYPES: [c_int; 4] = [libc::SOCK_RAW, libc::SOCK_SEQPACKET, libc::SOCK_DCCP, SOCK_PACKET];

/// An old name of `AF_PACKET`, which the kernel still knows.
const SOCK_PACKET: c_int = 10;

/// The bits of a socket's type that are not flags.
const SOCKET_TYPE_MASK: u64 = 0xf;

/// Requests to a terminal to take text as if it had been typed.
const IOCTLS: [u64; 2] = [
    0x5412, // TIOCSTI
    0x541c, // TIOCLINUX
];

/// Instructions of a filter program: <https://www.kernel.org/doc/html/latest/networking/filter.html>.
const LOAD_WORD: u16 = 0x20;
const JUMP_IF_GREATER: u16 = 0x25;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// Makes the filter for this process, whose answer to what it refuses is `errno`.
///
/// It is an answer and not the end of the process: what asks and is refused in vain, such as a library that looks whether
/// there is something better, can go on, and an observer that is gone observes nothing. Only system calls of another
/// processor's convention end the process: this program has none, so that something else must be running in it.
pub(super) fn program(errno: c_int) -> Result<BpfProgram, BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let refuse = SeccompAction::Errno(errno.unsigned_abs());
    let filter: BpfProgram =
        SeccompFilter::new(rules(u64::from(process::id()))?, SeccompAction::Allow, refuse, arch)?
            .try_into()?;
    Ok(unknown_calls().into_iter().chain(filter).collect())
}

/// Answers as a kernel without the call: to what is newer than the list, to the calls of x32, whose numbers have bit 30
/// set, and to `clone3`, whose flags lie in memory where no filter sees them, so that threads are started by `clone`.
fn unknown_calls() -> [sock_filter; 4] {
    let [newest, clone3] =
        [NEWEST, libc::SYS_clone3].map(|it| u32::try_from(it).expect("numbers of system calls are small"));
    let errno = libc::ENOSYS.unsigned_abs();
    [
        // The number is the first word of `struct seccomp_data`.
        instruction(LOAD_WORD, 0, 0, 0),
        instruction(JUMP_IF_GREATER, newest, 1, 0),
        instruction(JUMP_IF_EQUAL, clone3, 0, 1),
        instruction(RETURN, libc::SECCOMP_RET_ERRNO | errno, 0, 0),
    ]
}

const fn instruction(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// What is refused, by number: whatever the arguments are where there is no rule, else if one of the rules applies.
fn rules(own_pid: u64) -> Result<BTreeMap<c_long, Vec<SeccompRule>>, BackendError> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        REFUSED.iter().map(|(_, it)| (*it, Vec::new())).collect();
    let families = FAMILIES.map(|it| u64::from(it.unsigned_abs()));
    let mut sockets = vec![SeccompRule::new(is_none_of(0, &families)?)?];
    for it in SOCKET_TYPES {
        let kind = u64::from(it.unsigned_abs());
        sockets.push(SeccompRule::new(vec![is(1, SeccompCmpOp::MaskedEq(SOCKET_TYPE_MASK), kind)?])?);
    }
    let mut ioctls = Vec::new();
    for it in IOCTLS {
        ioctls.push(SeccompRule::new(vec![is(1, SeccompCmpOp::Eq, it)?])?);
    }
    let is_no_thread = is(0, SeccompCmpOp::MaskedEq(CLONE_THREAD), 0)?;
    rules.extend([
        (libc::SYS_bpf, vec![SeccompRule::new(is_none_of(0, &BPF_COMMANDS)?)?]),
        (libc::SYS_socket, sockets),
        (libc::SYS_ioctl, ioctls),
        (libc::SYS_clone, vec![SeccompRule::new(vec![is_no_thread])?]),
        // A process that aborts signals itself.
        (libc::SYS_tgkill, vec![SeccompRule::new(is_none_of(0, &[own_pid])?)?]),
        (libc::SYS_prlimit64, vec![SeccompRule::new(is_none_of(0, &[0, own_pid])?)?]),
    ]);
    Ok(rules)
}

const CLONE_THREAD: u64 = libc::CLONE_THREAD.unsigned_abs() as u64;

/// Conditions that hold together if an argument is none of the values.
fn is_none_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompCondition>, BackendError> {
    values.iter().map(|it| is(argument, SeccompCmpOp::Ne, *it)).collect()
}

/// A condition on an argument of the calls in question, all of which are read by the kernel as 32 bits.
fn is(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
