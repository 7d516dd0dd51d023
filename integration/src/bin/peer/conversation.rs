use std::{
    io::{self, ErrorKind},
    mem,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use integration::{
    payload,
    plan::{Ending, Side, Step},
};
use rustix::{io::Errno, net::sockopt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    task::yield_now,
    time::sleep,
};

use crate::{
    ledger::{Ledger, now},
    processor,
};

/// How often a peer looks whether what it does not read has arrived.
const PEEK_PAUSE: Duration = Duration::from_millis(1);
/// How long a kernel sends again what is not acknowledged before it gives up; by itself it would for a quarter of an hour.
const UNANSWERED_MS: u32 = 1000;
/// How long after its last words a peer begins to ask for an error.
const ASK_AFTER: Duration = Duration::from_millis(200);
/// What is written at a time while the other end may be killed, and how long to wait then: killed in the midst of a transfer
/// it must be, not of one that takes a processor for itself.
const PIECE: u64 = 20_000;
const PIECE_PAUSE: Duration = Duration::from_millis(1);
/// How often a peer that waits for the end of a connection asks for it; the least that there is.
const PROBE_PAUSE: Duration = Duration::from_secs(1);
/// How often it asks before it takes silence for an error: as often as the kernel allows.
const MAX_PROBES: u32 = 127;
/// No larger than the period of the payload, so that what one read returns lies in one piece of it.
const BUFFER: usize = 48 * 1024;

/// One connection on its way through the script.
pub(crate) struct Conversation<'a> {
    stream: Option<TcpStream>,
    side: Side,
    ledger: &'a Ledger,
    sent: u64,
    /// What was sent with the handshake, before the script asks for it.
    ahead: u64,
    received: u64,
    holds: u64,
    /// When this side began to say goodbye.
    closing_at: Option<u64>,
    buffer: Vec<u8>,
}

impl<'a> Conversation<'a> {
    pub(crate) fn new(stream: TcpStream, side: Side, ledger: &'a Ledger) -> Self {
        ledger.opened();
        let stream = Some(stream);
        Self {
            stream,
            side,
            ledger,
            sent: 0,
            ahead: 0,
            received: 0,
            holds: 0,
            closing_at: None,
            buffer: Vec::new(),
        }
    }

    /// Takes note of bytes that were sent with the handshake.
    pub(crate) fn having_sent(mut self, bytes: usize) -> Self {
        self.ledger.wrote(bytes);
        self.sent = bytes as u64;
        self.ahead = self.sent;
        self
    }

    /// Follows the script to its end.
    pub(crate) async fn follow(mut self, script: &[Step]) -> anyhow::Result<()> {
        self.steps(script).await?;
        self.close(Side::Client).await
    }

    async fn steps(&mut self, steps: &[Step]) -> anyhow::Result<()> {
        for step in steps {
            self.step(step).await.with_context(|| format!("at {step:?}"))?;
        }
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> anyhow::Result<()> {
        match step {
            Step::Send { by: Side::Client, bytes } => self.exchange(*bytes, 0).await,
            Step::Send { by: Side::Server, bytes } => self.exchange(0, *bytes).await,
            Step::Exchange { request, response } => self.exchange(*request, *response).await,
            Step::SendToSlow { by, bytes, pause_ms } => {
                if *by != self.side {
                    sleep(Duration::from_millis(*pause_ms)).await;
                }
                match by {
                    Side::Client => self.exchange(*bytes, 0).await,
                    Side::Server => self.exchange(0, *bytes).await,
                }
            }
            Step::Repeat { times, steps } => {
                for _ in 0..*times {
                    Box::pin(self.steps(steps)).await?;
                }
                Ok(())
            }
            Step::Pause { ms } => {
                sleep(Duration::from_millis(*ms)).await;
                Ok(())
            }
            Step::LeaveUnread { by, bytes } if *by == self.side => {
                let (request, response) = match self.side {
                    Side::Client => (*bytes, 0),
                    Side::Server => (0, *bytes),
                };
                self.exchange(request, response).await
            }
            Step::LeaveUnread { by: _, bytes } => self.await_arrival(*bytes).await,
            Step::FinishSending { by } if *by == self.side => {
                self.closing_at = Some(now());
                Ok(self.stream()?.shutdown().await?)
            }
            Step::FinishSending { .. } => match self.read_end().await? {
                Ending::PeerClosed => Ok(()),
                other => bail!("the other end should have closed its side, not {other:?}"),
            },
            Step::Hold => {
                self.holds += 1;
                self.ledger.hold(self.holds).await
            }
            Step::Close { by } => self.close(*by).await,
            Step::CloseAtOnce => {
                self.end(Ending::Closed);
                Ok(())
            }
            Step::Reset { by } if *by == self.side => {
                self.stream()?.set_zero_linger()?;
                self.end(Ending::SentReset);
                Ok(())
            }
            Step::Reset { .. } | Step::Abort { .. } => {
                let ending = self.read_end().await?;
                self.end(ending);
                Ok(())
            }
            Step::SendInVain { bytes, asks } if self.side == Side::Client => {
                self.send_in_vain(*bytes, *asks).await
            }
            Step::SendInVain { .. } => {
                self.ledger.until_stopped().await;
                // A goodbye that nobody answers would outlive the process and its network for minutes.
                self.stream()?.set_zero_linger()?;
                self.end(Ending::SentReset);
                Ok(())
            }
            Step::UntilBroken => self.until_broken().await,
        }
    }

    async fn send_in_vain(&mut self, bytes: u64, asks: bool) -> anyhow::Result<()> {
        sockopt::set_tcp_user_timeout(self.stream()?, UNANSWERED_MS)
            .context("cannot set the socket's options")?;
        if asks {
            processor::use_one()?;
        }
        self.exchange(bytes, 0).await?;
        let answer = if asks { self.ask_for_an_error().await? } else { self.stream()?.read(&mut [0]).await };
        match answer {
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                self.end(Ending::TimedOut);
                Ok(())
            }
            other => bail!("the other end should have fallen silent, not {other:?}"),
        }
    }

    /// Takes the socket's error as soon as there is one. This does not wait for the socket's lock, so that it may be before the
    /// kernel has closed the socket.
    async fn ask_for_an_error(&mut self) -> anyhow::Result<io::Result<usize>> {
        // All of this process's connections have begun to wait by then, and their timers expire where they were begun.
        sleep(ASK_AFTER).await;
        processor::use_others()?;
        loop {
            if let Some(error) = self.stream()?.take_error()? {
                return Ok(Err(error));
            }
            // Others ask, too.
            yield_now().await;
        }
    }

    /// Writes and reads until the other end is gone, and reads all that it had sent by then.
    async fn until_broken(&mut self) -> anyhow::Result<()> {
        let Self { stream, side, ledger, sent, ahead: _, received, buffer, .. } = self;
        let (mut from, mut to) = stream.as_mut().context("the connection is closed")?.split();
        let writing = async {
            while write(&mut to, *side, ledger, sent, PIECE).await.is_ok() {
                sleep(PIECE_PAUSE).await;
            }
            // Only the reader knows that the end has come.
            std::future::pending::<()>().await;
        };
        let reading = read_all(&mut from, side.other(), ledger, received, buffer);
        tokio::select! {
            read = reading => read?,
            () = writing => unreachable!("a writer that cannot write waits for the reader"),
        }
        self.end(Ending::Broken);
        Ok(())
    }

    async fn exchange(&mut self, request: u64, response: u64) -> anyhow::Result<()> {
        let Self { stream, side, ledger, sent, ahead, received, buffer, .. } = self;
        let (send, receive) = match side {
            Side::Client => (request, response),
            Side::Server => (response, request),
        };
        let send = send.checked_sub(mem::take(ahead)).context("the script begins with fewer bytes")?;
        let (mut from, mut to) = stream.as_mut().context("the connection is closed")?.split();
        let writing = write(&mut to, *side, ledger, sent, send);
        let reading = read(&mut from, side.other(), ledger, received, receive, buffer);
        tokio::try_join!(writing, reading).map(|((), ())| ())
    }

    async fn await_arrival(&mut self, bytes: u64) -> anyhow::Result<()> {
        let mut arrived = vec![0; usize::try_from(bytes)?];
        let expected = payload::from_offset(self.side.other(), self.received);
        let stream = self.stream()?;
        while stream.peek(&mut arrived).await? < arrived.len() {
            sleep(PEEK_PAUSE).await;
        }
        ensure!(expected.starts_with(&arrived), "other bytes arrived than were sent");
        self.ledger.left_unread(bytes);
        Ok(())
    }

    async fn close(&mut self, by: Side) -> anyhow::Result<()> {
        if self.stream.is_some() {
            let ending = if by == self.side { Ending::Closed } else { self.read_end().await? };
            self.end(ending);
        }
        Ok(())
    }

    async fn read_end(&mut self) -> anyhow::Result<Ending> {
        let stream = self.stream()?;
        ask_for_the_end(stream).context("cannot set the socket's options")?;
        match stream.read(&mut [0]).await {
            Ok(0) => Ok(Ending::PeerClosed),
            Ok(_) => bail!("more arrived than the script says"),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(Ending::PeerReset),
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => Ok(Ending::Aborted),
            Err(error) => Err(error.into()),
        }
    }

    fn end(&mut self, ending: Ending) {
        let closing_at = self.closing_at.unwrap_or_else(now);
        drop(self.stream.take());
        self.ledger.ended(ending, closing_at);
    }

    fn stream(&mut self) -> anyhow::Result<&mut TcpStream> {
        self.stream.as_mut().context("the connection is closed")
    }
}

/// Has the kernel ask the other end, each second, whether it is still there.
///
/// A reset is sent once. If it gets lost, as a busy machine loses packets of its own, only asking brings another.
fn ask_for_the_end(stream: &TcpStream) -> rustix::io::Result<()> {
    let set = || {
        sockopt::set_tcp_keepidle(stream, PROBE_PAUSE)?;
        sockopt::set_tcp_keepintvl(stream, PROBE_PAUSE)?;
        sockopt::set_tcp_keepcnt(stream, MAX_PROBES)?;
        sockopt::set_socket_keepalive(stream, true)
    };
    match set() {
        // MPTCP of older kernels, which no case resets.
        Err(Errno::OPNOTSUPP) => Ok(()),
        result => result,
    }
}

async fn write(
    stream: &mut WriteHalf<'_>,
    sender: Side,
    ledger: &Ledger,
    sent: &mut u64,
    bytes: u64,
) -> anyhow::Result<()> {
    let end = *sent + bytes;
    while *sent < end {
        let piece = payload::from_offset(sender, *sent);
        let rest = usize::try_from(end - *sent).unwrap_or(usize::MAX);
        let n = stream.write(&piece[..rest.min(piece.len())]).await.context("cannot write")?;
        *sent += n as u64;
        ledger.wrote(n);
    }
    Ok(())
}

async fn read(
    stream: &mut ReadHalf<'_>,
    sender: Side,
    ledger: &Ledger,
    received: &mut u64,
    bytes: u64,
    buffer: &mut Vec<u8>,
) -> anyhow::Result<()> {
    let end = *received + bytes;
    while *received < end {
        let rest = usize::try_from(end - *received).unwrap_or(usize::MAX).min(BUFFER);
        let n = read_some(stream, sender, ledger, received, rest, buffer).await?.context("cannot read")?;
        ensure!(n > 0, "the other end closed {} bytes too early", end - *received);
    }
    Ok(())
}

/// Reads to the end, whether the other side still says goodbye or not.
async fn read_all(
    stream: &mut ReadHalf<'_>,
    sender: Side,
    ledger: &Ledger,
    received: &mut u64,
    buffer: &mut Vec<u8>,
) -> anyhow::Result<()> {
    loop {
        match read_some(stream, sender, ledger, received, BUFFER, buffer).await? {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // The kernel tells an error once, and then the end. What arrived before can be read in any case.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => return Err(error).context("cannot read"),
        }
    }
}

/// Reads at most `most` bytes and compares them; within is what the kernel said of the connection.
async fn read_some(
    stream: &mut ReadHalf<'_>,
    sender: Side,
    ledger: &Ledger,
    received: &mut u64,
    most: usize,
    buffer: &mut Vec<u8>,
) -> anyhow::Result<io::Result<usize>> {
    if buffer.len() < most {
        buffer.resize(most, 0);
    }
    let n = match stream.read(&mut buffer[..most]).await {
        Ok(n) => n,
        Err(error) => return Ok(Err(error)),
    };
    let piece = payload::from_offset(sender, *received);
    ensure!(piece.starts_with(&buffer[..n]), "other bytes arrived than were sent");
    *received += n as u64;
    ledger.read(n);
    Ok(Ok(n))
}
