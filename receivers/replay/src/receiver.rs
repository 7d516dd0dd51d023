use std::{fs::File, io::BufReader, mem, path::PathBuf, time::SystemTime};

use component::{BoxError, BoxFuture, Closed, ErrorChain, Id, Output, Receiver, Shutdown};
use model::{Batch, Flow, Flows, UnixNanos};
use tokio::{
    task,
    time::{self, Instant},
};
use tracing::{info, warn};

use crate::{
    Config, MalformedError, OnError,
    error::OpenError,
    metrics::Instruments,
    recording::{Chunk, Recording, Stop},
    schedule::Schedule,
};

/// Replays a recording, once.
#[derive(Debug)]
pub(crate) struct ReplayReceiver {
    id: Id,
    config: Config,
    recording: Recording<BufReader<File>>,
    instruments: Instruments,
}

/// Sends records when they are due.
#[derive(Debug)]
struct Player {
    output: Output,
    shutdown: Shutdown,
    /// Begins with the first record.
    begun: Option<(Instant, Schedule)>,
    n_sent: usize,
}

impl ReplayReceiver {
    pub(crate) fn new(
        id: Id,
        config: Config,
        recording: Recording<BufReader<File>>,
        instruments: Instruments,
    ) -> Self {
        Self { id, config, recording, instruments }
    }

    async fn drive(self, output: Output, shutdown: Shutdown) -> Result<(), BoxError> {
        let Self { id, config, mut recording, instruments } = self;
        let mut player = Player { output, shutdown, begun: None, n_sent: 0 };
        let mut n_malformed = 0_u64;
        loop {
            let chunk;
            (recording, chunk) = task::spawn_blocking(move || read(recording)).await?;
            let Chunk { records, stop } = chunk;
            if !player.play(records, &config).await? {
                return Ok(());
            }
            match stop {
                None => {}
                Some(Stop::End) => break,
                Some(Stop::Failed(source)) => {
                    return Err(OpenError { id, path: config.path, source }.into());
                }
                Some(Stop::Malformed { line, malformed: source }) => {
                    let path: PathBuf = config.path.clone();
                    let err = MalformedError { id: id.clone(), path, line, source };
                    if config.on_error == OnError::Stop {
                        return Err(err.into());
                    }
                    instruments.malformed.add(1);
                    n_malformed += 1;
                    if n_malformed == 1 {
                        warn!(error = %ErrorChain(&err), "lines that are not records are skipped");
                    }
                }
            }
        }
        info!(records = player.n_sent, skipped = n_malformed, "the recording is over");
        Ok(())
    }
}

impl Player {
    /// Sends each record when it is due. Returns whether to go on: not after shutdown was requested.
    async fn play(&mut self, records: Vec<Flow>, config: &Config) -> Result<bool, Closed> {
        let mut ready = Vec::new();
        for mut flow in records {
            let (begin, schedule) = *self.begun.get_or_insert_with(|| {
                let now = UnixNanos::from(SystemTime::now());
                (Instant::now(), Schedule::new(&flow, now, config.speed, config.times))
            });
            let due = begin + schedule.due(&flow);
            if due > Instant::now() {
                self.send(&mut ready).await?;
                tokio::select! {
                    () = time::sleep_until(due) => {}
                    () = self.shutdown.requested() => return Ok(false),
                }
            }
            schedule.shift(&mut flow);
            ready.push(flow);
        }
        self.send(&mut ready).await?;
        Ok(self.shutdown.deadline().is_none())
    }

    async fn send(&mut self, records: &mut Vec<Flow>) -> Result<(), Closed> {
        if records.is_empty() {
            return Ok(());
        }
        self.n_sent += records.len();
        tokio::select! {
            sent = self.output.send(Batch::Flows(Flows { records: mem::take(records) })) => sent,
            // The batch is the output's: given up, it counts as dropped by whom it did not reach.
            () = self.shutdown.over() => Ok(()),
        }
    }
}

fn read(mut recording: Recording<BufReader<File>>) -> (Recording<BufReader<File>>, Chunk) {
    let chunk = recording.read();
    (recording, chunk)
}

impl Receiver for ReplayReceiver {
    fn run(self: Box<Self>, output: Output, shutdown: Shutdown) -> BoxFuture<Result<(), BoxError>> {
        Box::pin(self.drive(output, shutdown))
    }
}
