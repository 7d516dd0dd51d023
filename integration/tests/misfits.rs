//! Agents that are put together wrongly are found out: the oracle does not pass whatever runs.

use integration::{Agent, World, agent::LIVE, cases};

/// Both ends of a connection count it when nobody pairs them.
#[test]
fn an_agent_that_counts_twice_is_found_out() -> anyhow::Result<()> {
    check(
        &LIVE.replace("[process, join]", "[process]"),
        &["unexpected  Process c", "unexpected  external", "seen by the server: ", "missing     Process c"],
    )
}

/// Links between addresses are not links between processes.
#[test]
fn an_agent_that_does_not_name_is_found_out() -> anyhow::Result<()> {
    check(&LIVE.replace("[process, join]", "[join]"), &["missing     Process c", "unexpected  "])
}

/// A count that comes too late is as good as none.
#[test]
fn an_agent_that_does_not_sample_live_sockets_is_found_out() -> anyhow::Result<()> {
    check(
        &LIVE.replace("sample_interval: 200ms", "sample_interval: 10m"),
        &["with the connections open", "request 0 instead of 12345"],
    )
}

#[track_caller]
fn check(config: &str, expected: &[&str]) -> anyhow::Result<()> {
    assert_ne!(config, LIVE, "nothing is wrong with it");
    let world = World::new()?;
    let agent = Agent::start(config)?;
    let played = cases::named("a_service_is_one_edge").play(&world, &mut |moment| agent.expect(moment));
    let error = format!("{:#}", played.expect_err("the oracle passes an agent that is wrong"));
    for words in expected {
        assert!(error.contains(words), "`{words}` is not in: {error}");
    }
    agent.stop().map(drop)
}
