use std::{error::Error, io, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use component::Registry;
use config::Checked;
use engine::{CreateError, Engine, Report};
use tokio::{runtime, sync::Notify};
use tracing::{info, warn};

use crate::{
    allocator,
    cli::{LogFormat, Options},
    log, output,
    sandbox::Sandbox,
    settings,
    signals::StopSignals,
};

/// The agent shares its host with what it observes: two threads keep up with all that the receiver can read.
const N_THREADS: usize = 2;

/// Threads for blocking work, such as writing files. They exist only while there is some.
const MAX_BLOCKING_THREADS: usize = 8;

/// How long threads that still work when everything else has ended are waited for.
const THREADS_PATIENCE: Duration = Duration::from_secs(1);

/// What root does not expect.
const FILES_OF_OTHERS: &str = "  help: ridley gives up root's power over the files of other users before it opens any; let root own the file \
                               and its folder, run ridley as their owner, or use `--no-sandbox`";

/// Runs the pipelines until they end or a signal asks to stop.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    allocator::limit_kept_memory();
    log::init(options);
    let Some(checked) = settings::load_or_explain(options)? else { return Ok(ExitCode::FAILURE) };
    for warning in &checked.warnings {
        warn!(place = %warning.place(), help = warning.help(), "{}", warning.message());
    }
    // Before there are other threads than this.
    let sandbox = if options.no_sandbox {
        warn!(
            "running with all privileges and system calls that this process has, because of `--no-sandbox`"
        );
        None
    } else {
        Some(Sandbox::begin(&checked)?)
    };
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(N_THREADS)
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .thread_name("ridley")
        .on_thread_start(move || {
            if let Some(sandbox) = sandbox {
                sandbox.enter_thread();
            }
        })
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(run_until_stopped(&checked, options, sandbox));
    runtime.shutdown_timeout(THREADS_PATIENCE);
    result
}

async fn run_until_stopped(
    checked: &Checked,
    options: &Options,
    sandbox: Option<Sandbox>,
) -> anyhow::Result<ExitCode> {
    let mut signals = StopSignals::install().context("cannot handle signals")?;
    let registry = Arc::new(Registry::default());
    let engine = tokio::select! {
        engine = Engine::create(checked, &registry) => engine,
        // Nothing has been received yet, so there is nothing to drain.
        _ = signals.requested() => return Ok(ExitCode::SUCCESS),
    };
    let engine = match engine {
        Ok(engine) => engine,
        Err(err) => {
            let is_file_of_others = sandbox.is_some_and(Sandbox::respects_files) && is_file_refused(&err);
            output::error(&err.into());
            if is_file_of_others {
                output::note(FILES_OF_OTHERS)?;
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    allocator::give_free_memory_back();
    if let Some(sandbox) = sandbox {
        sandbox.close()?;
    }
    announce(&engine, options.log_format)?;
    let stop = Notify::new();
    let run = engine.run(stop.notified());
    let watch = async {
        signals.requested().await;
        stop.notify_one();
        signals.exit_at_next().await
    };
    let report: Report = tokio::select! {
        report = run => report,
        never = watch => never,
    };
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns whether a component was refused a file. What the kernel refuses the eBPF receiver is explained by itself.
fn is_file_refused(err: &CreateError) -> bool {
    if err.component.reference.id.type_name() == "ebpf" {
        return false;
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(&*err.source);
    while let Some(err) = cause {
        if err.downcast_ref::<io::Error>().is_some_and(|it| it.raw_os_error() == Some(libc::EACCES)) {
            return true;
        }
        cause = err.source();
    }
    false
}

/// Tells in one line where to look.
fn announce(engine: &Engine, format: LogFormat) -> anyhow::Result<()> {
    let notices = engine.notices().join("; ");
    match format {
        LogFormat::Text if !notices.is_empty() => {
            output::note(format_args!("ridley {}: {notices}", env!("CARGO_PKG_VERSION")))?;
        }
        LogFormat::Text => {}
        LogFormat::Json => info!(version = env!("CARGO_PKG_VERSION"), notices, "started"),
    }
    Ok(())
}
