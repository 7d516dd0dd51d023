//! What came of a run: the lines that the machine wrote to its console, read strictly. What is not said did not happen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::bail;

/// Begins every line that is not a test's or the kernel's own.
const MARK: &str = "RIDLEY-";
/// How many lines of what a test said when it failed are repeated: the last ones, which say what was wrong.
const MAX_LINES: usize = 80;
/// After the words of all tests that failed comes a list of their names.
const END_OF_WORDS: &str = "failures:";

/// What a kernel says when a processor comes to a breakpoint that it does not know of.
const UNKNOWN_BREAKPOINT: &str = "int3: 0000 [";

/// Returns whether the machine tells nothing of what ran in it, for the emulator's sake: it did not come as far as its first
/// process, or a processor came to a breakpoint that is not there any more.
///
/// Kernels change their own code while they start, and whenever a program is attached to a trace point or taken off: they put a
/// breakpoint there meanwhile, and tell all processors. An emulated one may go on with what it has translated before.
pub(super) fn is_emulators_fault(console: &str) -> bool {
    !console.lines().any(|line| line.starts_with(MARK)) || console.contains(UNKNOWN_BREAKPOINT)
}

/// Tests that run inside the machine together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: String,
    /// The program that contains them.
    pub(super) program: String,
    pub(super) arguments: Vec<String>,
    pub(super) tests: BTreeSet<String>,
}

/// Something that the agent needs or can use, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Need {
    /// `present`, `limited` or `missing`.
    pub(super) state: String,
    /// The rest of the line.
    pub(super) words: String,
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// What the kernel calls itself.
    pub(super) release: String,
    pub(super) needs: Vec<Need>,
    /// Whether the agent says that it can run.
    pub(super) can_run: bool,
    /// By group, how many tests passed.
    pub(super) passed: BTreeMap<String, usize>,
    /// Tests that did not pass.
    pub(super) failed: Vec<String>,
    /// By test, the last lines of what it said when it failed.
    pub(super) words: BTreeMap<String, VecDeque<String>>,
    /// What else is wrong.
    pub(super) problems: Vec<String>,
}

impl Group {
    /// Reads the plan that the machine follows.
    ///
    /// # Errors
    ///
    /// Quotes a line that is no group.
    pub(super) fn all(plan: &str) -> anyhow::Result<Vec<Self>> {
        let lines = plan.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let groups = lines.map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned);
            let (Some(name), Some(program)) = (words.next(), words.next()) else {
                bail!("a group of tests is a name, a program and its arguments, not `{line}`");
            };
            Ok(Self { name, program, arguments: words.collect(), tests: BTreeSet::new() })
        });
        groups.collect()
    }

    /// Returns the group without the tests whose names contain one of some words.
    pub(super) fn without(&self, words: &[String]) -> Self {
        let mut group = self.clone();
        for word in words {
            group.tests.retain(|test| !test.contains(word));
            group.arguments.extend(["--skip".to_owned(), word.clone()]);
        }
        group
    }

    /// Writes the plan of some groups.
    pub(super) fn plan(groups: &[Self]) -> String {
        let lines = groups.iter().map(|Self { name, program, arguments, .. }| {
            format!("{name} {program} {}\n", arguments.join(" "))
        });
        lines.collect()
    }

    /// Adds the tests that the group's program lists.
    pub(super) fn add_tests(&mut self, listed: &str) {
        let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
        self.tests.extend(names.map(|name| without_kind(name).to_owned()));
    }
}

impl Outcome {
    /// Reads a console.
    ///
    /// # Errors
    ///
    /// The machine did not come to its end.
    pub(super) fn read(console: &str, groups: &[Group]) -> anyhow::Result<Self> {
        let mut outcome = Self::default();
        let mut group = None;
        let mut passed = BTreeSet::new();
        let mut telling = None;
        let mut is_over = false;
        for line in console.lines() {
            if let Some(said) = line.strip_prefix(MARK) {
                let (word, rest) = said.split_once(' ').unwrap_or((said, ""));
                telling = None;
                match word {
                    "KERNEL" => rest.clone_into(&mut outcome.release),
                    "CHECK" => outcome.needs.extend(need(rest)),
                    "CHECKED" => outcome.can_run = rest == "0",
                    "RUN" => group = Some(rest),
                    "RAN" => group = None,
                    "END" => is_over = true,
                    _ => outcome.problems.push(said.to_owned()),
                }
            } else if let (Some(group), Some(name)) = (group, passed_test(line)) {
                passed.insert((group, name));
            } else if let (Some(group), Some(name)) = (group, failed_test(line)) {
                telling = Some(label(name, group));
            } else if line == END_OF_WORDS {
                telling = None;
            } else if let Some(test) = &telling {
                let words: &mut VecDeque<_> = outcome.words.entry(test.clone()).or_default();
                if words.len() == MAX_LINES {
                    words.pop_front();
                }
                words.push_back(line.to_owned());
            }
        }
        if !is_over {
            bail!("the machine did not come to its end");
        }
        if outcome.release.is_empty() {
            bail!("the machine did not say which kernel it runs");
        }
        for Group { name: group, tests, .. } in groups {
            let is_passed = |test: &&String| passed.contains(&(group.as_str(), test.as_str()));
            let (good, bad): (Vec<_>, Vec<_>) = tests.iter().partition(is_passed);
            outcome.passed.insert(group.clone(), good.len());
            outcome.failed.extend(bad.into_iter().map(|test| label(test, group)));
        }
        Ok(outcome)
    }

    /// Returns whether everything passed.
    pub(super) fn is_good(&self) -> bool {
        self.can_run && self.failed.is_empty() && self.problems.is_empty()
    }
}

/// Reads what the agent says of a need. A remedy, which is a line of its own, is none.
fn need(line: &str) -> Option<Need> {
    let (state, words) = line.split_once(' ')?;
    let is_state = ["present", "limited", "missing"].contains(&state);
    is_state.then(|| Need { state: state.to_owned(), words: words.trim().to_owned() })
}

/// Returns the name of a test whose line says that it passed.
fn passed_test(line: &str) -> Option<&str> {
    let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
    (result == "ok").then(|| without_kind(name.trim()))
}

/// Returns the name of a test whose words at its failure follow: the standard harness adds to it what they were written to.
fn failed_test(line: &str) -> Option<&str> {
    let name = line.strip_prefix("---- ")?.strip_suffix(" ----")?;
    Some(without_kind(name.strip_suffix(" stdout").unwrap_or(name)))
}

/// Names a test among those of all groups.
fn label(test: &str, group: &str) -> String {
    format!("{test} ({group})")
}

/// Returns the name of a test without the kind in brackets that may stand before it.
fn without_kind(name: &str) -> &str {
    match name.split_once("] ") {
        Some((kind, name)) if kind.starts_with('[') => name,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = "# a comment\nroot oracle --skip x\nolder lifecycle\n";
    const GOOD: &str = "\
SeaBIOS
RIDLEY-KERNEL 6.1.0-56-cloud-amd64
RIDLEY-CHECK present  Linux 5.10 or newer: 6.1.0
RIDLEY-CHECK limited  CAP_SYS_PTRACE to name others: not granted
RIDLEY-CHECK grant it
RIDLEY-CHECKED 0
RIDLEY-RUN root
test [root] a ... ok
test [root] b ... ok
RIDLEY-RAN root 0
RIDLEY-RUN older
test c ... ok
RIDLEY-RAN older 0
RIDLEY-END
";

    /// Nor are they expected of it.
    #[test]
    fn a_kernel_does_not_run_what_it_lacks() {
        let [root, _] = groups().try_into().unwrap();
        let group = root.without(&["b".to_owned()]);
        assert_eq!(Group::plan(std::slice::from_ref(&group)), "root oracle --skip x --skip b\n");
        assert_eq!(group.tests, BTreeSet::from(["a".to_owned()]));
    }

    #[test]
    fn a_good_run_is_good() {
        let outcome = Outcome::read(GOOD, &groups()).unwrap();
        let need = |state: &str, words: &str| Need { state: state.to_owned(), words: words.to_owned() };
        assert_eq!(
            outcome,
            Outcome {
                release: "6.1.0-56-cloud-amd64".to_owned(),
                needs: vec![
                    need("present", "Linux 5.10 or newer: 6.1.0"),
                    need("limited", "CAP_SYS_PTRACE to name others: not granted"),
                ],
                can_run: true,
                passed: [("older".to_owned(), 1), ("root".to_owned(), 2)].into(),
                failed: Vec::new(),
                words: BTreeMap::new(),
                problems: Vec::new(),
            }
        );
        assert!(outcome.is_good());
    }

    #[test]
    fn what_is_not_said_did_not_happen() {
        check_bad("test [root] a ... ok\n", "", &["a (root)"], &[]);
        check_bad("test [root] b ... ok", "test [root] b ... FAILED", &["b (root)"], &[]);
        check_bad("test [root] b ... ok", "test [root] b ... ok but", &["b (root)"], &[]);
        // Passed, but not in its group.
        check_bad(
            "test c ... ok\nRIDLEY-RAN older 0\n",
            "RIDLEY-RAN older 0\ntest c ... ok\n",
            &["c (older)"],
            &[],
        );
        check_bad(
            "RIDLEY-END",
            "RIDLEY-KERNEL-COMPLAINT BUG: x\nRIDLEY-END",
            &[],
            &["KERNEL-COMPLAINT BUG: x"],
        );
        check_bad("RIDLEY-CHECKED 0", "RIDLEY-CHECKED 1", &[], &[]);
        check_bad("RIDLEY-CHECKED 0\n", "", &[], &[]);
    }

    /// Both harnesses, the oracle's and the standard one.
    #[test]
    fn what_a_test_said_when_it_failed_is_kept() {
        let long: String = (0..100).map(|n| format!("{n}\n")).collect();
        let root =
            format!("failures:\n\n---- b ----\nfirst\n\n{long}\nfailures:\n    b\n\nRIDLEY-RAN root 1\n");
        let older = "failures:\n\n---- c stdout ----\nError: second\n\nRIDLEY-RAN older 1\n";
        let console = GOOD
            .replace("test [root] b ... ok\nRIDLEY-RAN root 0\n", &root)
            .replace("test c ... ok\nRIDLEY-RAN older 0\n", older);
        let outcome = Outcome::read(&console, &groups()).unwrap();
        assert_eq!(outcome.failed, ["b (root)", "c (older)"]);
        let words = |test: &str| outcome.words[test].iter().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(words("c (older)"), ["Error: second", ""]);
        assert_eq!(words("b (root)").len(), MAX_LINES);
        assert_eq!(words("b (root)")[MAX_LINES - 2..], ["99", ""]);
    }

    #[test]
    fn a_machine_that_does_not_come_to_its_end_is_an_error() {
        for (part, expected) in [
            ("RIDLEY-END\n", "the machine did not come to its end"),
            ("RIDLEY-KERNEL 6.1.0-56-cloud-amd64\n", "the machine did not say which kernel it runs"),
        ] {
            let error = Outcome::read(&GOOD.replace(part, ""), &groups()).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    /// The kernel's own words are none of ours.
    #[test]
    fn what_is_the_emulators_fault_is_told_apart() {
        let begun = "[    1.2] Run /init as init process\n\nRIDLEY-KERNEL 6.1.0\n";
        let panic = "[    2.3] Kernel panic - not syncing: Fatal exception in interrupt\n";
        for (console, expected) in [
            (begun.to_owned(), false),
            (format!("SeaBIOS\n{panic}"), true),
            (format!("{begun}[    2.2] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI\n{panic}"), true),
            (format!("{begun}[    2.2] BUG: kernel NULL pointer dereference, address: 0\n{panic}"), false),
        ] {
            assert_eq!(is_emulators_fault(&console), expected, "{console}");
        }
    }

    #[test]
    fn a_plan_is_read_as_it_is_written() {
        let plan = "root oracle --skip x\nolder lifecycle --exact a b\n";
        let groups = Group::all(&format!("# a comment\n\n{plan}")).unwrap();
        assert_eq!(Group::plan(&groups), plan);
    }

    #[test]
    fn a_line_that_is_no_group_is_quoted() {
        let error = Group::all("root").unwrap_err();
        assert_eq!(error.to_string(), "a group of tests is a name, a program and its arguments, not `root`");
    }

    fn groups() -> Vec<Group> {
        let mut groups = Group::all(PLAN).unwrap();
        groups[0].add_tests("[root] a: test\n[root] b: test\n");
        groups[1].add_tests("c: test\n\n1 test, 0 benchmarks\n");
        groups
    }

    #[track_caller]
    fn check_bad(part: &str, instead: &str, failed: &[&str], problems: &[&str]) {
        assert!(GOOD.contains(part), "{part}");
        let outcome = Outcome::read(&GOOD.replace(part, instead), &groups()).unwrap();
        assert!(!outcome.is_good(), "{instead}");
        assert_eq!(outcome.failed, failed, "{instead}");
        assert_eq!(outcome.problems, problems, "{instead}");
    }
}
