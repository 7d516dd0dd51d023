use model::Flow;

/// Records as lines of text.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    text: Vec<u8>,
    /// Where each line ends, behind its line end.
    ends: Vec<usize>,
}

impl Lines {
    /// Writes each record as a JSON object in a line of its own.
    pub(crate) fn of(records: &[Flow]) -> Self {
        let mut lines = Self::default();
        for flow in records {
            serde_json::to_writer(&mut lines.text, flow).expect("a record is a map of numbers and text");
            lines.text.push(b'\n');
            lines.ends.push(lines.text.len());
        }
        lines
    }

    /// Returns how many lines there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns as many lines from number `first` on as fit into `room` bytes, and how many they are.
    pub(crate) fn fitting(&self, first: usize, room: u64) -> (&[u8], usize) {
        let begin = self.begin(first);
        let fits = |end: &usize| (*end - begin) as u64 <= room;
        let n_lines = self.ends[first..].partition_point(fits);
        (&self.text[begin..self.begin(first + n_lines)], n_lines)
    }

    /// Returns the line with a number.
    pub(crate) fn line(&self, idx: usize) -> &[u8] {
        &self.text[self.begin(idx)..self.ends[idx]]
    }

    fn begin(&self, idx: usize) -> usize {
        if idx == 0 { 0 } else { self.ends[idx - 1] }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use component_test::flow;
    use model::{Attribute, CloseReason, Entity, FailureReason, Observer, Traffic, kind};

    use super::*;

    /// The examples of the README, which documents the format: whatever changes here changes a contract.
    #[test]
    fn the_format_is_as_documented() {
        let mut curl = Entity::new("curl", kind::PROCESS);
        curl.set_attribute(Attribute::Process, "curl");
        let mut server = Entity::new("192.0.2.7", kind::EXTERNAL);
        server.set_attribute(Attribute::Service, "https");
        let traffic = |bytes, segments| Traffic { bytes, segments, ..Traffic::default() };
        let whole = flow()
            .client("10.0.0.1:40000")
            .client_entity(curl.clone())
            .server("192.0.2.7:443")
            .server_entity(server)
            .opened(1_767_225_600)
            .interval(1_767_225_600, 1_767_225_605)
            .request_traffic(traffic(517, 5))
            .response_traffic(traffic(4_096, 6))
            .rtt(Duration::from_micros(1_250))
            .connect(Duration::from_micros(1_300))
            .closed(CloseReason::Normal)
            .cgroup("/user.slice/user-1000.slice/session-3.scope")
            .netns(4_026_531_840)
            .process(4_242, "curl");
        let failed = flow()
            .client("10.0.0.1:40001")
            .client_entity(curl)
            .server("[2001:db8::7]:22")
            .interval(1_767_225_600, 1_767_225_601)
            .failed(FailureReason::Refused);
        let found = flow()
            .id(2)
            .observer(Observer::Server)
            .client("10.0.0.3:50000")
            .server("10.0.0.1:22")
            .found()
            .before(2_048, 3_072)
            .interval(1_767_225_600, 1_767_225_600)
            .cgroup("/system.slice/ssh.service");
        let lines = Lines::of(&[whole.build(), failed.build(), found.build()]);
        let text = String::from_utf8(lines.text).unwrap();
        assert_eq!(text, include_str!("../testdata/flows.jsonl"), "found:\n{text}");
        let readme = include_str!("../README.md");
        for line in text.lines() {
            assert!(readme.contains(line), "README.md shows {line}");
        }
    }

    #[test]
    fn lines_fit_whole_or_not_at_all() {
        let lines = Lines::of(&[flow().build(), flow().build(), flow().build()]);
        let one = lines.line(0).len() as u64;
        for (first, room, expected) in
            [(0, 0, 0), (0, one - 1, 0), (0, one, 1), (0, 3 * one - 1, 2), (1, 9 * one, 2), (3, one, 0)]
        {
            let (text, n_lines) = lines.fitting(first, room);
            assert_eq!((n_lines, text.len() as u64), (expected, expected as u64 * one), "{first} {room}");
        }
    }

    /// A command may contain anything but a null byte; a record stays one line.
    #[test]
    fn a_line_end_in_a_name_is_escaped() {
        let lines = Lines::of(&[flow().process(7, "a\nb\u{1b}\u{2028}\"").build()]);
        let n_ends = lines.line(0).iter().filter(|it| it.is_ascii_control()).count();
        assert_eq!(n_ends, 1, "{}", String::from_utf8_lossy(lines.line(0)));
    }
}
