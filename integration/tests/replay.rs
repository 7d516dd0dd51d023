//! Flows that were recorded on one machine give the same metrics on another.

use std::{fs, os::unix::fs::PermissionsExt};

use anyhow::ensure;
use integration::{
    Agent, World,
    agent::{RECORD, REPLAY, Rights},
    case::play_all,
    cases,
    edges::Edges,
};

/// Recorded flows, replayed without any privilege over the kernel, count what was counted when they happened.
#[test]
fn a_replay_counts_what_was_recorded() -> anyhow::Result<()> {
    let world = World::new()?;
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let flows = folder.path().join("flows.jsonl");
    let variables = [("RIDLEY_FLOWS", flows.as_path())];
    let recorder = Agent::start_as(Rights::All, RECORD, &variables)?;
    let cases = [
        "keep_alive_bytes_do_not_freeze",
        "a_service_is_one_edge",
        "many_resets",
        "refused_over_ipv6",
        "bulk_both_ways_at_once",
        "containers_are_named",
    ];
    let moments = play_all(&cases.map(cases::named), &world, |moment| recorder.expect(moment))?;
    recorder.stop()?;
    ensure!(flows.metadata()?.len() > 0, "nothing was recorded");
    // It ends by itself at the end of the file, and waits for the scrape of its last word.
    let last = Agent::launch(REPLAY, Rights::None, &variables)?.last_word()?;
    for moment in &moments {
        moment.compare(&Edges::of(&last, &moment.interest)?)?;
    }
    Ok(())
}
