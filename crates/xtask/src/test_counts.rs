//! Counts tests from what their runners print: cargo's and wasm-bindgen's
//! `test result:` lines and the summaries of Node's test runner and Python's unittest. No I/O.

use std::fmt;
use std::ops::AddAssign;

/// Numbers of tests.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct TestCounts {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
}

impl TestCounts {
    /// The sum of all summaries in a runner's output.
    pub fn read(output: &str) -> Self {
        let mut counts = Self::default();
        // Of unittest, whose number of tests stands in a line before the verdict.
        let mut ran = None;
        for line in output.lines() {
            let line = without_colours(line);
            ran = unittest_ran(&line).or(ran);
            if let Some((_, summary)) = line.trim().split_once("test result: ") {
                counts += cargo(summary);
            } else if let Some(summary) =
                ["# ", "ℹ "].iter().find_map(|mark| line.trim().strip_prefix(mark))
            {
                counts += node(summary);
            } else if let Some(tests) = ran
                && let Some(remarks) =
                    ["OK", "FAILED"].iter().find_map(|verdict| line.strip_prefix(verdict))
            {
                counts += unittest(tests, remarks);
                ran = None;
            }
        }
        counts
    }

    /// All tests that were run.
    pub fn run(self) -> u64 {
        self.passed + self.failed
    }
}

impl AddAssign for TestCounts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for TestCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

/// `ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s`
fn cargo(summary: &str) -> TestCounts {
    let mut counts = TestCounts::default();
    let numbers = summary.split_once(". ").map_or(summary, |(_, rest)| rest);
    for part in numbers.split(';') {
        let mut words = part.split_whitespace();
        let Some(count) = words.next().and_then(|word| word.parse::<u64>().ok()) else {
            continue;
        };
        match words.next() {
            Some("passed") => counts.passed += count,
            Some("failed") => counts.failed += count,
            Some("ignored") => counts.skipped += count,
            _ => {}
        }
    }
    counts
}

/// `pass 3`, `fail 0`, `cancelled 0`, `skipped 0`, `todo 0`
fn node(summary: &str) -> TestCounts {
    let mut counts = TestCounts::default();
    if let Some((word, count)) = summary.split_once(' ')
        && let Ok(count) = count.trim().parse::<u64>()
    {
        match word {
            "pass" => counts.passed = count,
            "fail" | "cancelled" => counts.failed = count,
            "skipped" | "todo" => counts.skipped = count,
            _ => {}
        }
    }
    counts
}

/// `Ran 5 tests in 0.1s`
fn unittest_ran(line: &str) -> Option<u64> {
    let (number, rest) = line.strip_prefix("Ran ")?.split_once(' ')?;
    if rest.starts_with("test") { number.parse().ok() } else { None }
}

/// ` (failures=1, errors=2, skipped=1)` of a verdict, or nothing. A test whose parts fail may
/// count more than once.
fn unittest(tests: u64, remarks: &str) -> TestCounts {
    let mut counts = TestCounts::default();
    let words = remarks.trim().trim_start_matches('(').trim_end_matches(')').split(", ");
    for (word, number) in words.filter_map(|remark| remark.split_once('=')) {
        let number: u64 = number.parse().unwrap_or(0);
        match word {
            "failures" | "errors" | "unexpected successes" => counts.failed += number,
            "skipped" => counts.skipped = number,
            _ => {}
        }
    }
    counts.passed = tests.saturating_sub(counts.failed + counts.skipped);
    counts
}

/// `line` less its terminal escapes (`ESC [ … letter`).
fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, escape)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        let end = escape
            .find(|letter: char| letter.is_ascii_alphabetic())
            .map_or(escape.len(), |at| at + 1);
        rest = &escape[end..];
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(passed: u64, failed: u64, skipped: u64) -> TestCounts {
        TestCounts { passed, failed, skipped }
    }

    #[test]
    fn cargo_summaries_add_up() {
        let output = "\
running 4 tests
test a ... ok

test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s

test result: \u{1b}[31mFAILED\u{1b}[0m. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s
";
        assert_eq!(TestCounts::read(output), counts(4, 2, 1));
    }

    #[test]
    fn node_summaries_add_up_in_both_formats() {
        let tap = "# tests 4\n# suites 0\n# pass 2\n# fail 1\n# cancelled 1\n# skipped 0\n# todo 0\n# duration_ms 5.1\n";
        let spec = "\u{1b}[34mℹ pass 5\u{1b}[39m\n\u{1b}[34mℹ fail 0\u{1b}[39m\nℹ skipped 2\n";
        assert_eq!(TestCounts::read(tap), counts(2, 2, 0));
        assert_eq!(TestCounts::read(spec), counts(5, 0, 2));
    }

    #[test]
    fn unittest_summaries_add_up() {
        let good = "test_a (test_b.C.test_a) ... ok\n\nRan 5 tests in 0.1s\n\nOK (skipped=1)\n";
        let bad = "Ran 4 tests in 2.5s\n\nFAILED (failures=1, errors=1)\n";
        assert_eq!(TestCounts::read(good), counts(4, 0, 1));
        assert_eq!(TestCounts::read(&format!("{good}{bad}")), counts(6, 2, 1));
        assert_eq!(TestCounts::read("Ran 1 test in 0.1s\n\nOK\n"), counts(1, 0, 0));
        assert_eq!(TestCounts::read("OK\nRan away\nFAILED (failures=1)\n"), counts(0, 0, 0));
    }

    #[test]
    fn other_lines_count_nothing() {
        assert_eq!(TestCounts::read("# Heading\n5 passed\n# pass the salt\n"), counts(0, 0, 0));
    }

    #[test]
    fn skipped_is_told_only_if_there_are_any() {
        assert_eq!(counts(3, 0, 0).to_string(), "3 passed, 0 failed");
        assert_eq!(counts(3, 1, 2).to_string(), "3 passed, 1 failed, 2 skipped");
    }
}
