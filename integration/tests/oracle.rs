//! Every case of the oracle against the real agent: what the applications sent, what the kernel says of the sockets that
//! are open, and what the agent exposes must be equal.
//!
//! All cases share one network and one agent, whose edges are told apart by the peers' names. They are played twice: to an
//! agent that root started, and to one that anybody started with two capabilities.

use std::{
    env,
    ops::Range,
    process::ExitCode,
    sync::{Arc, Condvar, Mutex, MutexGuard, RwLock},
};

use anyhow::{Context, anyhow};
use integration::{
    Agent, Case, Moment, World,
    agent::{LIVE, Rights},
    cases,
    edges::Edges,
    kernel, random,
};
use libtest_mimic::{Arguments, Conclusion, Failed, Trial};

/// Cases mostly wait, so that many run well on few processors.
const THREADS: usize = 12;

/// As whom the agent is started; `RIDLEY_RIGHTS` chooses one of them.
const RIGHTS: [(&str, Rights); 2] = [("root", Rights::All), ("two_capabilities", Rights::TwoCapabilities)];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(THREADS));
    let wanted = env::var("RIDLEY_RIGHTS").ok();
    let chosen: Vec<_> =
        RIGHTS.into_iter().filter(|(it, _)| wanted.as_ref().is_none_or(|name| name == it)).collect();
    assert!(!chosen.is_empty(), "RIDLEY_RIGHTS is `root` or `two_capabilities`");
    // One after the other: together they would ask too much of a small machine.
    let failed =
        chosen.into_iter().filter(|(name, rights)| play_as(name, *rights, &arguments).has_failed()).count();
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn play_as(name: &str, rights: Rights, arguments: &Arguments) -> Conclusion {
    let lab = if arguments.list { Err(anyhow!("only listed")) } else { Lab::new(rights) };
    let lab = Arc::new(lab);
    let named = cases::all().into_iter().map(|case| (case.name.to_owned(), case));
    let random = random_numbers().map(|number| (format!("random_{number}"), random::case(number)));
    let trial = |(case_name, case): (String, Case)| {
        let lab = Arc::clone(&lab);
        let run = move || on(&lab, |lab| lab.run(&case).with_context(|| format!("{case:?}")));
        Trial::test(case_name, run).with_kind(name)
    };
    let mut trials: Vec<_> = named.chain(random).map(trial).collect();
    // Filters look at the kind as well.
    let n_cases = trials.iter().filter(|it| !arguments.is_filtered_out(it)).count();
    let last = move || on(&lab, |lab| lab.last(n_cases));
    trials.push(Trial::test("nothing_moves_after_the_end", last).with_kind(name));
    libtest_mimic::run(arguments, trials)
}

/// Which random cases are played: a few that are always the same, or `RIDLEY_RANDOM=<first>..<after the last>`.
fn random_numbers() -> Range<u64> {
    let wanted = env::var("RIDLEY_RANDOM").ok().map(|it| {
        let (first, end) = it.split_once("..")?;
        Some(first.parse().ok()?..end.parse().ok()?)
    });
    wanted.map_or(0..40, |it| it.expect("RIDLEY_RANDOM is two numbers with `..` between them"))
}

fn on(lab: &anyhow::Result<Lab>, run: impl FnOnce(&Lab) -> anyhow::Result<()>) -> Result<(), Failed> {
    let lab = lab.as_ref().map_err(|error| format!("{error:#}"))?;
    run(lab).map_err(|error| format!("{error:#}").into())
}

/// What the cases share.
struct Lab {
    world: World,
    agent: RwLock<Option<Agent>>,
    over: Mutex<Over>,
    one_more: Condvar,
}

/// What the cases that are over left behind.
#[derive(Default)]
struct Over {
    n: usize,
    moments: Vec<Moment>,
}

impl Lab {
    fn new(rights: Rights) -> anyhow::Result<Self> {
        let world = World::new()?;
        let agent = Agent::start_as(rights, LIVE, &[])?;
        Ok(Self { world, agent: RwLock::new(Some(agent)), over: Mutex::default(), one_more: Condvar::new() })
    }

    fn run(&self, case: &Case) -> anyhow::Result<()> {
        // However it ends: the last trial waits for all others.
        let _one_more = OneMore(self);
        let played = case.play(&self.world, &mut |moment| {
            let agent = self.agent.read().expect("no case panics while it writes");
            let agent = agent.as_ref().context("the agent has been stopped")?;
            if moment.truth().active > 0 {
                agent.expect_quality(moment, || kernel::check_open_sockets(&self.world, moment))?;
            }
            agent.expect(moment)
        });
        let moment = played?;
        self.over().moments.push(moment);
        Ok(())
    }

    fn over(&self) -> MutexGuard<'_, Over> {
        self.over.lock().expect("nobody panics while counting")
    }

    /// Waits until all other cases are over, ends the agent, and compares its last word with all of them at once.
    fn last(&self, n_cases: usize) -> anyhow::Result<()> {
        let over = self.one_more.wait_while(self.over(), |over| over.n < n_cases);
        let over = over.expect("nobody panics while counting");
        let agent = self.agent.write().expect("no case panics while it writes").take();
        let agent = agent.context("the agent has been stopped")?;
        agent.expect_limits()?;
        let last = agent.stop()?;
        over.moments.iter().try_for_each(|moment| moment.compare(&Edges::of(&last, &moment.interest)?))
    }
}

/// Counts a case when it is over.
struct OneMore<'a>(&'a Lab);

impl Drop for OneMore<'_> {
    fn drop(&mut self) {
        self.0.over().n += 1;
        self.0.one_more.notify_all();
    }
}
