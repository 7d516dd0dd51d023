//! Which processes held which sockets when the receiver started.
//!
//! Read once from `/proc`, as far as this process may: records tell of everything later. What cannot be read is left
//! out, for the names are an aid and the counts do not depend on them.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{BufRead, BufReader},
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::MetadataExt,
    path::Path,
};

use model::Process;

use crate::listeners::Listener;

/// Most sockets that are looked up: a bound on time and memory at the start.
const MAX_SOCKETS: usize = 1 << 20;

/// State `LISTEN` as `/proc/net/tcp` writes it.
const LISTEN: &str = "0A";

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Seed {
    /// Sockets that listen.
    pub(crate) listeners: Vec<Listener>,
    /// Processes by the inode of a socket that they hold.
    pub(crate) processes: HashMap<u64, Process>,
    /// How many processes were not looked at, or not at all of their sockets, or not at what listens beside them.
    pub(crate) n_skipped: u64,
}

impl Seed {
    /// Gives the process of one number another.
    ///
    /// Numbers are those of the namespace of processes that `/proc` belongs to; the kernel's own, which records have,
    /// are others inside a container. Of this process both are known. Who happens to have its kernel's number in the
    /// namespace loses it, to be no one.
    pub(crate) fn renumber(&mut self, from: u32, to: u32) {
        if from == to {
            return;
        }
        let listeners = self.listeners.iter_mut().map(|it| &mut it.process);
        for process in self.processes.values_mut().chain(listeners) {
            process.pid = match process.pid {
                pid if pid == from => to,
                pid if pid == to => 0,
                pid => pid,
            };
        }
    }
}

/// Reads what is below `proc`, as long as there is time. Blocks.
pub(crate) fn scan(proc: &Path, is_over: impl Fn() -> bool) -> Seed {
    scan_at_most(proc, MAX_SOCKETS, is_over)
}

fn scan_at_most(proc: &Path, max_sockets: usize, is_over: impl Fn() -> bool) -> Seed {
    let mut seed = Seed::default();
    let mut namespaces = HashMap::new();
    for pid in pids(proc) {
        let folder = proc.join(pid.to_string());
        let has_room = |n_sockets| n_sockets < max_sockets && !is_over();
        if !has_room(0) || !read_sockets(&folder, pid, &mut seed.processes, has_room) {
            seed.n_skipped += 1;
            continue;
        }
        // The link's inode number is the namespace's.
        if let Ok(netns) = fs::metadata(folder.join("ns/net")) {
            namespaces.entry(netns.ino()).or_insert(folder);
        }
    }
    for (netns, folder) in namespaces {
        if is_over() {
            seed.n_skipped += 1;
            continue;
        }
        let Ok(netns) = u32::try_from(netns) else { continue };
        for (table, parse_address) in [("net/tcp", parse_v4 as fn(&str) -> _), ("net/tcp6", parse_v6)] {
            let Ok(file) = File::open(folder.join(table)) else { continue };
            for row in listening_rows(BufReader::new(file), parse_address) {
                if let Some(process) = seed.processes.get(&row.inode) {
                    let Row { address, port, inode } = row;
                    seed.listeners.push(Listener { netns, address, port, inode, process: process.clone() });
                }
            }
        }
    }
    seed
}

fn pids(proc: &Path) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Reads the sockets of a process, as far as that is permitted. Returns whether there was room for all of them, and time.
fn read_sockets(
    folder: &Path,
    pid: u32,
    processes: &mut HashMap<u64, Process>,
    has_room: impl Fn(usize) -> bool,
) -> bool {
    let mut process = None;
    for entry in fs::read_dir(folder.join("fd")).into_iter().flatten().flatten() {
        if !has_room(processes.len()) {
            return false;
        }
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let Some(inode) = target.to_str().and_then(socket_inode) else { continue };
        if process.is_none() {
            let Ok(command) = fs::read_to_string(folder.join("comm")) else { return true };
            process = Some(Process { pid, command: command.trim_end_matches('\n').into() });
        }
        if let Some(process) = &process {
            // A socket of several processes is the first one's: the parent's, mostly.
            processes.entry(inode).or_insert_with(|| process.clone());
        }
    }
    true
}

fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

struct Row {
    address: IpAddr,
    port: u16,
    inode: u64,
}

/// Reads the rows of listening sockets, which come first: the rest of the table may be long.
fn listening_rows(
    table: impl BufRead,
    parse_address: fn(&str) -> Option<IpAddr>,
) -> impl Iterator<Item = Row> {
    table.lines().map_while(Result::ok).skip(1).map_while(move |line| {
        let mut columns = line.split_ascii_whitespace();
        let (address, port) = columns.nth(1)?.split_once(':')?;
        if columns.nth(1)? != LISTEN {
            return None;
        }
        Some(Row {
            address: parse_address(address)?,
            port: u16::from_str_radix(port, 16).ok()?,
            inode: columns.nth(5)?.parse().ok()?,
        })
    })
}

/// Words of an address, each as a number of the machine's byte order.
fn parse_v4(text: &str) -> Option<IpAddr> {
    let word = u32::from_str_radix(text, 16).ok()?;
    Some(Ipv4Addr::from(word.to_ne_bytes()).into())
}

fn parse_v6(text: &str) -> Option<IpAddr> {
    let mut bytes = [0; 16];
    if text.len() != 32 {
        return None;
    }
    for (idx, word) in bytes.chunks_exact_mut(4).enumerate() {
        let digits = text.get(8 * idx..8 * idx + 8)?;
        word.copy_from_slice(&u32::from_str_radix(digits, 16).ok()?.to_ne_bytes());
    }
    Some(IpAddr::from(bytes).to_canonical())
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, os::unix::fs::symlink};

    use super::*;

    const HEADER: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    /// As Linux writes it on a little-endian machine: 0.0.0.0:80 listens, and something is connected.
    const TCP: &str = "   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1\n   \
                       1: 0100007F:0050 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1\n   \
                       2: 0100007F:0051 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1\n";

    /// A folder like `/proc` with one process that holds a listening socket and a connected one.
    #[test]
    fn processes_and_listeners_are_found() {
        let proc = tempfile::tempdir().unwrap();
        let folder = proc.path().join("42");
        fs::create_dir_all(folder.join("fd")).unwrap();
        fs::create_dir_all(folder.join("net")).unwrap();
        fs::create_dir_all(folder.join("ns")).unwrap();
        fs::write(folder.join("comm"), "nginx\n").unwrap();
        fs::write(folder.join("ns/net"), "").unwrap();
        fs::write(folder.join("net/tcp"), format!("{HEADER}{TCP}")).unwrap();
        for (fd, target) in
            [("0", "/dev/null"), ("3", "socket:[4711]"), ("4", "socket:[4712]"), ("5", "pipe:[1]")]
        {
            symlink(target, folder.join("fd").join(fd)).unwrap();
        }
        // Neither is a process, nor does it stop the scan.
        fs::create_dir_all(proc.path().join("self")).unwrap();
        fs::create_dir_all(proc.path().join("43")).unwrap();

        let seed = scan(proc.path(), || false);
        let nginx = Process { pid: 42, command: "nginx".into() };
        let expected = HashMap::from([(4711, nginx.clone()), (4712, nginx.clone())]);
        assert_eq!(seed.processes, expected);
        let found: Vec<_> =
            seed.listeners.iter().map(|it| (it.address, it.port, it.inode, &it.process)).collect();
        assert_eq!(found, [(IpAddr::from([0, 0, 0, 0]), 80, 4711, &nginx)]);
        assert_eq!(seed.n_skipped, 0);
        // Neither of the two processes is read when there is no time, nor is the rest of one when it is over.
        assert_eq!(scan(proc.path(), || true), Seed { n_skipped: 2, ..Seed::default() });
        let n_asked = Cell::new(0);
        let is_over = || n_asked.replace(n_asked.get() + 1) >= 2;
        assert_ne!(scan(proc.path(), is_over).n_skipped, 0);
    }

    /// However many sockets one process has.
    #[test]
    fn no_more_sockets_are_read_than_allowed() {
        let proc = tempfile::tempdir().unwrap();
        let folder = proc.path().join("42");
        fs::create_dir_all(folder.join("fd")).unwrap();
        fs::write(folder.join("comm"), "nginx\n").unwrap();
        for fd in 0..10 {
            symlink(format!("socket:[{fd}]"), folder.join("fd").join(fd.to_string())).unwrap();
        }
        let scanned = |max_sockets| {
            let seed = scan_at_most(proc.path(), max_sockets, || false);
            (seed.processes.len(), seed.n_skipped)
        };
        assert_eq!(scanned(3), (3, 1));
        assert_eq!(scanned(20), (10, 0));
    }

    /// Inside a container.
    #[test]
    fn a_process_gets_the_number_that_the_kernel_knows_it_by() {
        let process = |pid| Process { pid, command: "it".into() };
        let numbers = |from, to| {
            let processes = (1..=3).map(|pid| (u64::from(pid), process(pid))).collect();
            let mut seed = Seed { processes, ..Seed::default() };
            seed.renumber(from, to);
            [1, 2, 3].map(|inode| seed.processes[&inode].pid)
        };
        assert_eq!(numbers(1, 4_000), [4_000, 2, 3]);
        assert_eq!(numbers(1, 3), [3, 2, 0], "what was number 3 is not this process");
        assert_eq!(numbers(1, 1), [1, 2, 3]);
    }

    #[test]
    fn nothing_readable_is_nothing_found() {
        assert_eq!(scan(Path::new("/nonexistent"), || false), Seed::default());
    }

    /// Listening sockets come first, and the rest may be a hundred thousand rows.
    #[test]
    fn reading_ends_with_the_listening_rows() {
        let rows: Vec<_> = listening_rows(format!("{HEADER}{TCP}").as_bytes(), parse_v4).collect();
        assert_eq!(rows.iter().map(|it| it.inode).collect::<Vec<_>>(), [4711]);
    }

    #[test]
    fn addresses_are_read_in_words() {
        let little = cfg!(target_endian = "little");
        let loopback = if little { "0100007F" } else { "7F000001" };
        assert_eq!(parse_v4(loopback), Some(IpAddr::from([127, 0, 0, 1])));
        let six =
            if little { "B80D0120000000000000000001000000" } else { "20010DB8000000000000000000000001" };
        assert_eq!(parse_v6(six), Some("2001:db8::1".parse().unwrap()));
        let mapped =
            if little { "0000000000000000FFFF00000100007F" } else { "00000000000000000000FFFF7F000001" };
        assert_eq!(parse_v6(mapped), Some(IpAddr::from([127, 0, 0, 1])));
        for text in ["", "0", "0100007G", "B80D0120"] {
            assert_eq!(parse_v6(text), None, "{text}");
        }
    }
}
