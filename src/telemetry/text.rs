//! Prometheus's text format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::fmt::{Display, Write as _};

use super::families::FAMILIES;
use super::histogram::Buckets;

/// Names and values of a sample's labels.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// A page being written.
pub(super) struct Text(String);

impl Text {
    /// An empty page with room for `bytes`.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(String::with_capacity(bytes))
    }

    /// Begins the family `name`.
    pub(super) fn family(&mut self, name: &'static str) -> Samples<'_> {
        let family = FAMILIES.iter().find(|family| family.name == name);
        debug_assert!(family.is_some(), "{name} is in no table");
        if let Some(family) = family {
            let (kind, help) = (family.kind.as_str(), family.help);
            // Writing to a String can not fail.
            let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        }
        Samples {
            page: &mut self.0,
            name,
        }
    }

    /// Appends families that are text already.
    pub(super) fn append(&mut self, families: &str) {
        self.0.push_str(families);
    }

    /// The page.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// The samples of a family.
pub(super) struct Samples<'a> {
    page: &'a mut String,
    name: &'static str,
}

impl Samples<'_> {
    /// The one sample of a family without labels.
    pub(super) fn only(self, value: impl Display) {
        let _ = writeln!(self.page, "{} {value}", self.name);
    }

    /// A sample with labels, or with none.
    pub(super) fn counter(&mut self, labels: Labels<'_>, value: u64) {
        if labels.is_empty() {
            let _ = writeln!(self.page, "{} {value}", self.name);
        } else {
            self.sample(labels, value);
        }
    }

    /// A sample with labels.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        self.page.push_str(self.name);
        self.page.push('{');
        self.labels(labels);
        let _ = writeln!(self.page, "}} {value}");
    }

    /// The samples of a histogram.
    pub(super) fn histogram(&mut self, labels: Labels<'_>, buckets: &Buckets) {
        let reading = buckets.read();
        let mut count = 0;
        let bounds = buckets.bounds().texts();
        for (bound, observations) in bounds.zip(&reading.counts) {
            count += observations;
            self.page.push_str(self.name);
            self.page.push_str("_bucket{");
            if !labels.is_empty() {
                self.labels(labels);
                self.page.push(',');
            }
            let _ = writeln!(self.page, "le=\"{bound}\"}} {count}");
        }
        for (suffix, value) in [("_sum", reading.sum), ("_count", count as f64)] {
            self.page.push_str(self.name);
            self.page.push_str(suffix);
            if !labels.is_empty() {
                self.page.push('{');
                self.labels(labels);
                self.page.push('}');
            }
            let _ = writeln!(self.page, " {value}");
        }
    }

    fn labels(&mut self, labels: Labels<'_>) {
        for (place, (name, value)) in labels.iter().enumerate() {
            if place > 0 {
                self.page.push(',');
            }
            self.page.push_str(name);
            self.page.push_str("=\"");
            escape(value, self.page);
            self.page.push('"');
        }
    }
}

fn escape(value: &str, into: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => into.push_str("\\\\"),
            '"' => into.push_str("\\\""),
            '\n' => into.push_str("\\n"),
            c => into.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics::HistogramFn as _;

    use super::super::histogram::Bounds;
    use super::*;

    #[test]
    fn a_label_can_not_break_out_of_its_quotes() {
        let mut text = Text::with_capacity(0);
        let mut samples = text.family("rdma_client_sessions");
        samples.sample(&[("client", "a\"} 1\n\\"), ("b", "c")], 7);
        let page = text.finish();
        let sample = "rdma_client_sessions{client=\"a\\\"} 1\\n\\\\\",b=\"c\"} 7\n";
        assert!(page.ends_with(sample), "{page}");
        assert_eq!(page.lines().count(), 3);
    }

    #[test]
    fn a_histogram_is_cumulative_and_ends_with_all_there_is() {
        let buckets = Buckets::new(&Bounds::seconds(&[0.000_001, 0.5]));
        for seconds in [0.001, 0.002, 0.7] {
            buckets.record(seconds);
        }
        let mut text = Text::with_capacity(0);
        let mut samples = text.family("rdma_read_stage_seconds");
        samples.histogram(&[("stage", "verify")], &buckets);
        let page = text.finish();
        let samples: Vec<&str> = page.lines().skip(2).collect();
        assert_eq!(
            samples,
            [
                "rdma_read_stage_seconds_bucket{stage=\"verify\",le=\"0.000001\"} 0",
                "rdma_read_stage_seconds_bucket{stage=\"verify\",le=\"0.5\"} 2",
                "rdma_read_stage_seconds_bucket{stage=\"verify\",le=\"+Inf\"} 3",
                "rdma_read_stage_seconds_sum{stage=\"verify\"} 0.703",
                "rdma_read_stage_seconds_count{stage=\"verify\"} 3",
            ]
        );
    }
}
