//! What a load's totals say.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::CliError;
use super::super::show::{self, Times};
use super::load::{Load, Totals};

/// The figures of a run, as printed.
#[derive(Debug, Serialize)]
pub struct Report {
    connections: u16,
    depth: usize,
    needles: usize,
    offset: u64,
    size: u64,
    seconds: f64,
    reads: u64,
    bytes: u64,
    reads_per_second: f64,
    /// 10⁹ bytes a second.
    gigabytes_per_second: f64,
    /// None when no read succeeded.
    read_ns: Option<Times>,
    errors: BTreeMap<String, u64>,
    completions_refused: u64,
    /// None when nothing was to be verified.
    verified: Option<Verified>,
    #[serde(skip)]
    first_errors: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Verified {
    reads: u64,
    mismatches: u64,
}

impl Report {
    /// Works the totals of `load` out.
    pub fn new(load: &Load, connections: u16, totals: &Totals) -> Self {
        let seconds = totals.elapsed.as_secs_f64();
        let reads = totals.times.len();
        let per_second = |amount: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
        let errors = totals.errors.iter();
        Self {
            connections,
            depth: load.depth,
            needles: load.fids.len(),
            offset: load.offset,
            size: load.size,
            seconds,
            reads,
            bytes: totals.bytes,
            reads_per_second: per_second(reads as f64),
            gigabytes_per_second: per_second(totals.bytes as f64) / 1e9,
            read_ns: (reads > 0).then(|| Times::from(&totals.times)),
            errors: errors.map(|(code, e)| (code.clone(), e.count)).collect(),
            completions_refused: totals.refused,
            verified: load.pool.is_some().then_some(Verified {
                reads: totals.verified,
                mismatches: totals.mismatches,
            }),
            first_errors: totals
                .errors
                .values()
                .map(|e| e.first.to_string())
                .collect(),
        }
    }

    /// The figures as a short table.
    pub fn human(&self) -> String {
        let mut rows = vec![(
            "reads",
            format!(
                "{} of {} in {:.2} s on {} connections, {} under way on each",
                self.reads,
                show::bytes(self.bytes),
                self.seconds,
                self.connections,
                self.depth
            ),
        )];
        if let Some(times) = &self.read_ns {
            rows.push(("reads/s", format!("{:.0}", self.reads_per_second)));
            rows.push(("GB/s", format!("{:.3}", self.gigabytes_per_second)));
            rows.push(("time", times.line()));
        }
        if let Some(Verified { reads, mismatches }) = &self.verified {
            rows.push(("verified", format!("{reads} right, {mismatches} wrong")));
        }
        if self.completions_refused > 0 {
            rows.push((
                "refused",
                format!("{} CompleteReads", self.completions_refused),
            ));
        }
        for (count, first) in self.errors.values().zip(&self.first_errors) {
            rows.push(("errors", format!("{count}, the first: {first}")));
        }
        show::table(&rows)
    }

    /// Whether the run was a success.
    ///
    /// # Errors
    /// When no read succeeded, or one that was to be verified was not right.
    pub fn verdict(&self) -> Result<(), CliError> {
        let failed = |why: String| Err(CliError::Failed(why));
        if self.reads == 0 {
            let first = self
                .first_errors
                .first()
                .map_or("none was tried", String::as_str);
            return failed(format!("no read succeeded: {first}"));
        }
        let Some(Verified { reads, mismatches }) = &self.verified else {
            return Ok(());
        };
        if *mismatches > 0 {
            return failed(format!(
                "{mismatches} of {} reads were not what the engine said they were",
                reads + mismatches
            ));
        }
        match self.completions_refused {
            0 => Ok(()),
            refused => failed(format!("the engine refused {refused} CompleteReads")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::Until;
    use super::*;
    use crate::client::EngineError;
    use std::time::Duration;

    fn load() -> Load {
        Load {
            fids: vec!["3,01637037d6".parse().unwrap()],
            offset: 0,
            size: 4096,
            depth: 2,
            until: Until::Reads(10),
            auth_token: None,
            pool: None,
        }
    }

    fn exhausted(message: &str) -> EngineError {
        EngineError {
            code: "RESOURCE_EXHAUSTED".into(),
            message: message.into(),
            category: "resource".into(),
            recoverable: true,
        }
    }

    #[test]
    fn rates_are_over_the_time_the_reads_took() {
        let mut totals = Totals::new().unwrap();
        for _ in 0..10 {
            totals.times.saturating_record(50_000);
        }
        totals.bytes = 10 * 4096;
        totals.elapsed = Duration::from_millis(500);
        let report = Report::new(&load(), 4, &totals);
        assert_eq!(report.reads_per_second, 20.0);
        assert_eq!(report.gigabytes_per_second, 81_920.0 / 1e9);
        report.verdict().unwrap();
        let text = report.human();
        assert!(
            text.starts_with("reads    10 of 40 KiB in 0.50 s on 4 connections"),
            "{text}"
        );
    }

    #[test]
    fn errors_are_counted_by_code_with_the_first_of_each() {
        let mut totals = Totals::new().unwrap();
        totals.failed(exhausted("first"));
        totals.failed(exhausted("second"));
        let report = Report::new(&load(), 1, &totals);
        assert_eq!(report.errors["RESOURCE_EXHAUSTED"], 2);
        let text = report.human();
        assert!(text.contains("first") && !text.contains("second"), "{text}");
    }

    #[test]
    fn a_run_without_a_read_fails_with_the_reason() {
        let mut totals = Totals::new().unwrap();
        totals.failed(exhausted("the pool is full"));
        let report = Report::new(&load(), 1, &totals);
        assert!(report.read_ns.is_none());
        let verdict = report.verdict().unwrap_err().to_string();
        assert!(verdict.contains("the pool is full"), "{verdict}");
    }

    #[test]
    fn wrong_bytes_and_refused_completions_fail_a_run_that_verifies() {
        let mut totals = Totals::new().unwrap();
        totals.times.saturating_record(1);
        let verifying = |mismatches, completions_refused| Report {
            verified: Some(Verified {
                reads: 1,
                mismatches,
            }),
            completions_refused,
            ..Report::new(&load(), 1, &totals)
        };
        verifying(0, 0).verdict().unwrap();
        verifying(1, 0).verdict().unwrap_err();
        verifying(0, 1).verdict().unwrap_err();
    }
}
