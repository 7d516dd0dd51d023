//! Connections of a known number: a server in a process of its own, a client in threads of this one.

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail};
use rustix::{
    net::sockopt::set_socket_linger,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

use super::pause;

const REQUEST_LEN: usize = 200;
pub(super) const RESPONSE_LEN: usize = 1_000;
/// First byte of a request after which the server keeps the connection open.
const KEEP: u8 = b'K';
/// First byte of a request after which the server closes.
const CLOSE: u8 = b'C';
/// Threads at either end: enough that none waits for the other side's processor.
const THREADS: u32 = 4;
/// Loopback addresses that clients spread over, so that local ports last.
const ADDRESSES: u32 = 16;

/// The serving end. Its process ends with this.
pub(crate) struct Server {
    child: Child,
    port: u16,
}

impl Server {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let program = env::current_exe()?;
        let mut child = Command::new(program)
            .arg(crate::LOAD_SERVER)
            .stdout(Stdio::piped())
            .stdin(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("the server has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let port = line.trim().parse().with_context(|| format!("the server answered {line:?}"))?;
        Ok(Self { child, port })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The process behind [`Server`]: serves until its standard input ends.
#[expect(clippy::print_stdout, reason = "this is how the other process learns the port")]
pub(crate) fn serve() -> anyhow::Result<()> {
    allow_open_files()?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    println!("{}", listener.local_addr()?.port());
    for _ in 0..THREADS {
        let listener = listener.try_clone()?;
        thread::spawn(move || answer(&listener));
    }
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn answer(listener: &TcpListener) {
    let mut kept = Vec::new();
    let mut request = [0; REQUEST_LEN];
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        if stream.read_exact(&mut request).is_err() || stream.write_all(&[b'r'; RESPONSE_LEN]).is_err() {
            continue;
        }
        if request[0] == KEEP {
            kept.push(stream);
        }
    }
}

/// Connections that are open, and the process that they belong to.
pub(crate) struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What the process behind [`Client::hold`] is told.
#[derive(clap::Args)]
pub(crate) struct Holding {
    address: Ipv4Addr,
    n_addresses: u32,
    port: u16,
    n: u32,
}

/// The process behind [`Client::hold`]: holds connections until its standard input ends.
#[expect(clippy::print_stdout, reason = "this is how the other process learns that they are open")]
pub(crate) fn hold(holding: &Holding) -> anyhow::Result<()> {
    let Holding { address, n_addresses, port, n } = *holding;
    allow_open_files()?;
    let held = Client { address, n_addresses, port }.open(n)?;
    println!("{}", held.len());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Allows this process to open as many files as it may allow itself.
fn allow_open_files() -> anyhow::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("cannot open more files")
}

/// What a load did.
pub(crate) struct Done {
    pub(crate) connections: u64,
    pub(crate) took: Duration,
}

/// The connecting end.
#[derive(Clone, Copy)]
pub(crate) struct Client {
    // Of the server: the first of `n_addresses`, and its port.
    address: Ipv4Addr,
    n_addresses: u32,
    port: u16,
}

impl Client {
    pub(crate) fn new(server: &Server) -> Self {
        Self { address: Ipv4Addr::LOCALHOST, n_addresses: ADDRESSES, port: server.port }
    }

    /// Connects to a server at one address, which lasts for some 28,000 connections at a time.
    pub(crate) fn to(address: Ipv4Addr, port: u16) -> Self {
        Self { address, n_addresses: 1, port }
    }

    /// Opens connections that stay open as long as what is returned. Then they are reset, which leaves nothing behind.
    ///
    /// They belong to a process of their own: one may not open as many files as a bench needs.
    pub(crate) fn hold(self, n: u32) -> anyhow::Result<Held> {
        let Self { address, n_addresses, port } = self;
        let mut child = Command::new(env::current_exe()?)
            .arg(crate::LOAD_CLIENT)
            .args([address.to_string(), n_addresses.to_string(), port.to_string(), n.to_string()])
            .stdout(Stdio::piped())
            .stdin(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("the client has no output")?;
        let held = Held(child);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line.is_empty() {
            bail!("the client could not open {n} connections");
        }
        Ok(held)
    }

    fn open(self, n: u32) -> anyhow::Result<Vec<TcpStream>> {
        let open = |idx| {
            let stream = self.exchange(idx, KEEP)?;
            set_socket_linger(&stream, Some(Duration::ZERO))?;
            Ok(stream)
        };
        (0..n).map(open).collect()
    }

    /// Opens and closes connections at a steady rate.
    pub(crate) fn churn(self, per_second: u32, time: Duration) -> anyhow::Result<Done> {
        let began = Instant::now();
        let threads: Vec<_> = (0..THREADS)
            .map(|it| thread::spawn(move || self.churn_of_one(it, per_second / THREADS, began, time)))
            .collect();
        let mut connections = 0;
        for thread in threads {
            connections += thread.join().map_err(|_panic| anyhow!("a client panicked"))??;
        }
        Ok(Done { connections, took: began.elapsed() })
    }

    fn churn_of_one(self, idx: u32, per_second: u32, began: Instant, time: Duration) -> anyhow::Result<u64> {
        let mut n = 0_u32;
        while began.elapsed() < time {
            // What is due by now; a late thread catches up.
            let due = f64::from(per_second) * began.elapsed().as_secs_f64();
            if f64::from(n) >= due {
                pause(Duration::from_millis(1));
                continue;
            }
            let mut stream = self.exchange(n * THREADS + idx, CLOSE)?;
            // The server closes first, as web servers do when they are told `Connection: close`.
            stream.read_to_end(&mut Vec::new())?;
            n += 1;
        }
        Ok(n.into())
    }

    fn exchange(self, n: u32, mode: u8) -> anyhow::Result<TcpStream> {
        let address = Ipv4Addr::from(u32::from(self.address) + n % self.n_addresses);
        let mut stream = TcpStream::connect((address, self.port)).context("the load cannot connect")?;
        let mut request = [b'q'; REQUEST_LEN];
        request[0] = mode;
        stream.write_all(&request)?;
        stream.read_exact(&mut [0; RESPONSE_LEN]).context("the load got no answer")?;
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What counts its load wrong would find the agent wrong.
    #[test]
    fn connections_are_made_no_faster_than_asked() {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let client = Client::to(Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port());
        thread::spawn(move || answer(&listener));
        let done = client.churn(400, Duration::from_millis(500)).unwrap();
        assert!((1..=204).contains(&done.connections), "{} connections", done.connections);
    }

    #[test]
    fn held_connections_stay_open() {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let client = Client::to(Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port());
        thread::spawn(move || answer(&listener));
        let held = client.open(20).unwrap();
        assert_eq!(held.len(), 20);
        for stream in held {
            stream.set_nonblocking(true).unwrap();
            let error = (&stream).read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        }
    }
}
