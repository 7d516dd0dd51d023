use abi::SkipReason;
use component::{Counter, Gauge, Telemetry};
use model::Signal;

use crate::source::Program;

/// What the receiver tells about itself.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// Connections that are followed.
    pub(crate) connections: Gauge,
    /// Connections not followed while they live, because there were as many as the configuration allows.
    pub(crate) untracked: Counter,
    /// Begins that were not observed, found by a walk.
    pub(crate) repaired_begins: Counter,
    /// Ends that were not observed, found by a walk.
    pub(crate) repaired_ends: Counter,
    /// Connections that went on after their end had been reported, because walks did not find them.
    pub(crate) resumed: Counter,
    /// Connections that walks no longer found and that are not remembered, because there were too many.
    pub(crate) forgotten_vanished: Counter,
    /// Samples that could not be read in one piece.
    pub(crate) torn: Counter,
    /// Listening sockets whose process is not remembered, because there were too many.
    pub(crate) forgotten_listeners: Counter,
    /// Cgroups whose names are no longer remembered, because there were too many.
    pub(crate) forgotten_cgroups: Counter,
    /// Processes whose sockets were not looked up at the start, because there were too many.
    pub(crate) forgotten_processes: Counter,
    /// Listening sockets whose queue was not watched in a sample, because there were too many.
    pub(crate) unwatched_queues: Counter,
    /// The agent's own connections.
    pub(crate) own_connections: Counter,
    /// The agent's own attempts that failed.
    pub(crate) own_failed: Counter,
    /// Bytes of the agent's own connections, client to server.
    pub(crate) own_request_bytes: Counter,
    /// Bytes of the agent's own connections, server to client.
    pub(crate) own_response_bytes: Counter,
    /// Connections and attempts of other nodes on the same kernel.
    pub(crate) other_nodes: Counter,
    /// Flow records dropped because the pipeline did not take them.
    pub(crate) dropped_full: Counter,
    /// Flow records dropped because the time for shutdown was over.
    pub(crate) dropped_shutdown: Counter,
    /// Records of the kernel that could not be read.
    pub(crate) malformed: Counter,
    /// Walks.
    pub(crate) walks: Counter,
    /// Walks that did not see every socket.
    pub(crate) incomplete_walks: Counter,
    /// Walks that the kernel refused to run.
    pub(crate) failed_walks: Counter,
    skipped: [Counter; SkipReason::ALL.len()],
    missed: [Counter; Program::ALL.len()],
    taken_over: [Counter; Program::ALL.len()],
}

impl Metrics {
    /// Returns the component's instruments.
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        let repaired = |what| {
            telemetry.counter(
                "ridley.ebpf.repaired",
                "{connection}",
                "Begins and ends of connections that were not observed and that a walk found.",
                &[("event", what)],
            )
        };
        let walks = |outcome| {
            telemetry.counter(
                "ridley.ebpf.walks",
                "{walk}",
                "Walks of the kernel's tables of sockets, by what they saw.",
                &[("outcome", outcome)],
            )
        };
        let own_bytes = |direction| {
            telemetry.counter(
                "ridley.ebpf.own.bytes",
                "By",
                "Payload of the agent's own connections.",
                &[("direction", direction)],
            )
        };
        let of_programs = |name, meaning| {
            Program::ALL.map(|it| telemetry.counter(name, "{event}", meaning, &[("program", it.as_str())]))
        };
        Self {
            connections: telemetry.gauge(
                "ridley.ebpf.connections",
                "{connection}",
                "Connections that are followed.",
                &[],
            ),
            untracked: telemetry.counter(
                "ridley.ebpf.untracked",
                "{connection}",
                "Connections not followed while they live, because `max_connections` are.",
                &[],
            ),
            repaired_begins: repaired("begin"),
            repaired_ends: repaired("end"),
            resumed: telemetry.counter(
                "ridley.ebpf.resumed",
                "{connection}",
                "Connections that were found again after their end had been reported as unknown.",
                &[],
            ),
            forgotten_vanished: telemetry.counter(
                "ridley.ebpf.forgotten.vanished",
                "{connection}",
                "Connections whose end was not observed and that are not remembered, because there are too many.",
                &[],
            ),
            torn: telemetry.counter(
                "ridley.ebpf.torn",
                "{sample}",
                "Samples that could not be read in one piece and were left out.",
                &[],
            ),
            forgotten_listeners: telemetry.counter(
                "ridley.ebpf.forgotten.listeners",
                "{socket}",
                "Listening sockets whose process is not remembered, because there are too many.",
                &[],
            ),
            forgotten_cgroups: telemetry.counter(
                "ridley.ebpf.forgotten.cgroups",
                "{cgroup}",
                "Cgroups whose names are no longer remembered, because there are too many.",
                &[],
            ),
            forgotten_processes: telemetry.counter(
                "ridley.ebpf.forgotten.processes",
                "{process}",
                "Processes whose sockets were not looked up at the start, because there were too many.",
                &[],
            ),
            unwatched_queues: telemetry.counter(
                "ridley.ebpf.unwatched.listeners",
                "{socket}",
                "Listening sockets left out of a sample, because there are too many.",
                &[],
            ),
            own_connections: telemetry.counter(
                "ridley.ebpf.own.connections",
                "{connection}",
                "The agent's own connections.",
                &[],
            ),
            own_failed: telemetry.counter(
                "ridley.ebpf.own.failed",
                "{connection}",
                "The agent's own attempts to connect that failed.",
                &[],
            ),
            own_request_bytes: own_bytes("request"),
            own_response_bytes: own_bytes("response"),
            other_nodes: telemetry.counter(
                "ridley.ebpf.other_nodes.connections",
                "{connection}",
                "Connections, and attempts that failed, that are left out because they are of another node on the same kernel.",
                &[],
            ),
            dropped_full: telemetry.dropped(Signal::Flows, "full"),
            dropped_shutdown: telemetry.dropped_at_shutdown(Signal::Flows),
            malformed: telemetry.counter(
                "ridley.ebpf.malformed",
                "{record}",
                "Records of the eBPF programs that could not be read.",
                &[],
            ),
            walks: walks("complete"),
            incomplete_walks: walks("incomplete"),
            failed_walks: walks("failed"),
            skipped: SkipReason::ALL.map(|reason| {
                telemetry.counter(
                    "ridley.ebpf.skipped",
                    "{event}",
                    "What the eBPF programs could not record.",
                    &[("reason", reason.as_str())],
                )
            }),
            missed: of_programs(
                "ridley.ebpf.missed",
                "Events that the kernel did not give to a program, because its CPU was in the middle of it.",
            ),
            taken_over: of_programs(
                "ridley.ebpf.taken_over",
                "Changes of state that a program saw and those before it did not.",
            ),
        }
    }

    /// Brings a counter up to what the kernel has counted, and returns by how much it grew.
    pub(crate) fn skipped_is(&self, reason: SkipReason, count: u64) -> u64 {
        raise(&self.skipped[reason as usize], count)
    }

    /// Brings the counters of a program up to what is known of it.
    pub(crate) fn program_is(&self, program: Program, missed: Option<u64>, taken_over: Option<u64>) {
        for (counters, count) in [(&self.missed, missed), (&self.taken_over, taken_over)] {
            raise(&counters[program as usize], count.unwrap_or_default());
        }
    }
}

fn raise(counter: &Counter, count: u64) -> u64 {
    let growth = count.saturating_sub(counter.value());
    counter.add(growth);
    growth
}
