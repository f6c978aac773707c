//! Where what is counted goes: gauges to the exporter for Prometheus, counters to [`Count`] and
//! histograms to [`Buckets`]. The exporter's counters are two atomic additions each, to lines that
//! all workers share; of a histogram it keeps every sample and later compares it with one bound
//! after the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Label, Metadata, Recorder, SharedString, Unit,
    describe_gauge, with_local_recorder,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use super::families::{FAMILIES, Kind};
use super::histogram::{Bounds, Buckets};
use super::shards::Count;
use super::text::Text;

/// Whether anything is counted: not in a build that shows what counting costs.
pub(super) const COUNTS: bool = !cfg!(feature = "noop-metrics");

/// What `metrics::counter!`, `gauge!` and `histogram!` register with.
#[derive(Debug)]
pub(super) struct Exporter {
    prometheus: PrometheusRecorder,
    /// Bounds of the histograms of times.
    seconds: Arc<Bounds>,
    /// Those of others, by name.
    bounds: Vec<(&'static str, Arc<Bounds>)>,
    counters: Mutex<Counters>,
    histograms: Mutex<Vec<(Key, Arc<Buckets>)>>,
}

/// In the order they were first asked for.
#[derive(Debug, Default)]
struct Counters {
    all: Vec<(Key, Arc<Count>)>,
    places: HashMap<Key, usize>,
}

impl Exporter {
    /// One that knows all families, with the histograms' bounds: `seconds`, but for those named
    /// in `bounds`.
    pub fn new(seconds: Arc<Bounds>, bounds: Vec<(&'static str, Arc<Bounds>)>) -> Self {
        let exporter = Self {
            // No idle timeout: it would orphan the handles.
            prometheus: PrometheusBuilder::new().build_recorder(),
            seconds,
            bounds,
            counters: Mutex::default(),
            histograms: Mutex::default(),
        };
        with_local_recorder(&exporter, || {
            for family in FAMILIES {
                // Others are described where they are written.
                if family.kind == Kind::Gauge {
                    describe_gauge!(family.name, family.help);
                }
            }
        });
        exporter
    }

    /// The buckets of a histogram, new ones when it was not asked for before.
    pub fn buckets(&self, key: &Key) -> Arc<Buckets> {
        let mut histograms = self.histograms();
        if let Some((_, buckets)) = histograms.iter().find(|(known, _)| known == key) {
            return Arc::clone(buckets);
        }
        let bounds = self.bounds.iter().find(|(name, _)| *name == key.name());
        let bounds = bounds.map_or(&self.seconds, |(_, bounds)| bounds);
        let buckets = Arc::new(Buckets::new(bounds));
        histograms.push((key.clone(), Arc::clone(&buckets)));
        buckets
    }

    /// Writes all that was counted.
    pub fn write(&self, text: &mut Text) {
        text.append(&self.prometheus.handle().render());
        self.write_counters(text);
        let histograms = self.histograms();
        for family in FAMILIES.iter().filter(|f| f.kind == Kind::Histogram) {
            let mut samples = text.family(family.name);
            for (key, buckets) in histograms.iter().filter(|(k, _)| k.name() == family.name) {
                let labels: Vec<_> = key.labels().map(|l| (l.key(), l.value())).collect();
                samples.histogram(&labels, buckets);
            }
        }
    }

    fn write_counters(&self, text: &mut Text) {
        let counters = self.counters();
        let mut by_name: HashMap<&str, Vec<&(Key, Arc<Count>)>> = HashMap::new();
        for counter in &counters.all {
            by_name.entry(counter.0.name()).or_default().push(counter);
        }
        for family in FAMILIES.iter().filter(|f| f.kind == Kind::Counter) {
            let Some(counters) = by_name.get(family.name) else {
                continue;
            };
            let mut samples = text.family(family.name);
            for (key, count) in counters {
                let labels: Vec<_> = key.labels().map(|l| (l.key(), l.value())).collect();
                samples.counter(&labels, count.total());
            }
        }
    }

    fn counters(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn histograms(&self) -> MutexGuard<'_, Vec<(Key, Arc<Buckets>)>> {
        let histograms = self.histograms.lock();
        histograms.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorder for Exporter {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.prometheus.describe_gauge(key, unit, description);
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut counters = self.counters();
        let Counters { all, places } = &mut *counters;
        let place = match places.get(key) {
            Some(place) => *place,
            None => {
                all.push((key.clone(), Arc::default()));
                places.insert(key.clone(), all.len() - 1);
                all.len() - 1
            }
        };
        if COUNTS {
            Counter::from_arc(Arc::clone(&all[place].1))
        } else {
            Counter::noop()
        }
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.prometheus.register_gauge(&literal(key), metadata)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let buckets = self.buckets(key);
        if COUNTS {
            Histogram::from_arc(buckets)
        } else {
            Histogram::noop()
        }
    }
}

/// `key` with every backslash doubled in its labels. The exporter takes a backslash before another
/// or before a quote for an escape that is already there, and two clients' names might become one.
fn literal(key: &Key) -> Key {
    let double = |label: &Label| {
        let value = label.value().replace('\\', "\\\\");
        Label::new(label.key().to_owned(), value)
    };
    let labels: Vec<Label> = key.labels().map(double).collect();
    Key::from_parts(key.name().to_owned(), labels)
}

#[cfg(test)]
mod tests {
    use metrics::counter;

    use super::*;

    fn page(exporter: &Exporter) -> String {
        let mut text = Text::with_capacity(0);
        exporter.write(&mut text);
        text.finish()
    }

    fn exporter() -> Exporter {
        Exporter::new(Bounds::seconds(&[1.0]), Vec::new())
    }

    #[test]
    fn a_label_is_shown_as_it_is_whatever_it_holds() {
        let exporter = exporter();
        for (name, shown) in [
            (r"a\b", r"a\\b"),
            (r"a\\b", r"a\\\\b"),
            (r#"a"} 1"#, r#"a\"} 1"#),
            (r#"a\"} 1"#, r#"a\\\"} 1"#),
            ("a\n", r"a\n"),
            ("a\\\n", r"a\\\n"),
            ("a\\", r"a\\"),
        ] {
            let reads =
                || counter!("rdma_client_reads_total", "client" => name.to_owned()).absolute(0);
            with_local_recorder(&exporter, reads);
            let sample = format!("\nrdma_client_reads_total{{client=\"{shown}\"}} 0\n");
            assert_eq!(page(&exporter).matches(&sample).count(), 1, "{name:?}");
        }
    }

    #[cfg(not(feature = "noop-metrics"))]
    #[test]
    fn handles_of_one_name_and_labels_are_of_one_histogram() {
        let exporter = exporter();
        for stage in ["verify", "verify", "reply"] {
            let handle = || metrics::histogram!("rdma_read_stage_seconds", "stage" => stage);
            with_local_recorder(&exporter, handle).record(0.5);
        }
        let page = page(&exporter);
        assert!(page.contains("\nrdma_read_stage_seconds_count{stage=\"verify\"} 2\n"));
        assert!(page.contains("\nrdma_read_stage_seconds_count{stage=\"reply\"} 1\n"));
    }
}
