//! One end of the oracle's traffic: makes connections by a plan, checks every byte, and reports what happened.
//!
//! The first line of standard input is a `plan::Plan`, every further line a `plan::Order`; each line of standard
//! output is a `plan::Event`. The end of standard input ends the process, so that a harness that dies leaves nothing
//! behind. A plan that is given as an argument is played to its end without orders.

#![forbid(unsafe_code)]

use std::{
    env,
    io::{BufRead, Write, stdin, stdout},
    process::ExitCode,
    sync::Arc,
    thread,
};

use anyhow::Context;
use integration::plan::{Event, Order, Plan, Side};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::ledger::Ledger;

mod client;
mod conversation;
mod ledger;
mod processor;
mod proxy;
mod server;
mod sockets;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            let _told = writeln!(std::io::stderr(), "peer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let argument = env::args().nth(1);
    let takes_orders = argument.is_none();
    let text = match argument {
        Some(argument) => argument,
        None => {
            let mut line = String::new();
            stdin().lock().read_line(&mut line).context("cannot read the plan")?;
            line
        }
    };
    let plan: Plan = serde_json::from_str(&text).context("cannot understand the plan")?;
    // The name of the thread group's leader is the name of the process, whoever writes it.
    std::fs::write("/proc/self/comm", &plan.name).context("cannot set the process's name")?;
    if let Some(group) = &plan.control_group {
        std::fs::write(group.join("cgroup.procs"), "0").context("cannot move to the control group")?;
    }
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum })
        .context("cannot raise the limit of open files")?;
    let ledger = Arc::new(Ledger::new(&plan.traffic));
    if takes_orders {
        follow_orders(Arc::clone(&ledger))?;
    }
    if plan.traffic.on_worker_thread {
        let worker = thread::Builder::new().name("worker".to_owned()).spawn(move || play(&plan, &ledger));
        worker.context("cannot start a thread")?.join().expect("the worker does not panic")
    } else {
        play(&plan, &ledger)
    }
}

fn play(plan: &Plan, ledger: &Arc<Ledger>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(async {
        match (plan.side, plan.onward) {
            (Side::Client, _) => client::run(plan, ledger).await,
            (Side::Server, None) => server::run(plan, ledger).await,
            (Side::Server, Some(onward)) => proxy::run(plan, onward).await,
        }
    })?;
    tell(&Event::Done(ledger.report()))
}

/// Takes orders on a thread of its own: standard input has no asynchronous form.
fn follow_orders(ledger: Arc<Ledger>) -> anyhow::Result<()> {
    let reader = thread::Builder::new().name("orders".to_owned()).spawn(move || {
        for line in stdin().lock().lines() {
            let order = line.map(|line| serde_json::from_str(&line));
            match order {
                Ok(Ok(Order::Go)) => ledger.release(),
                Ok(Ok(Order::Stop)) => ledger.stop(),
                Ok(Ok(Order::Report)) if tell(&Event::Underway(ledger.report())).is_ok() => {}
                _ => std::process::exit(2),
            }
        }
        std::process::exit(1);
    });
    reader.map(|_handle| ()).context("cannot start a thread")
}

fn tell(event: &Event) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(event).context("cannot write an event")?;
    line.push(b'\n');
    let mut stdout = stdout().lock();
    stdout.write_all(&line).and_then(|()| stdout.flush()).context("cannot tell the harness")
}
