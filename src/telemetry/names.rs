//! Series that are told apart by a name which others choose: bounded, whatever they do.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use metrics::{Counter, counter};

/// The name of the series all others share.
pub const OTHER: &str = "other";
/// The most bytes of a client's name.
const NAME_BYTES_MAX: usize = 64;

/// What is counted of each series of a kind.
pub trait Counts {
    /// The handles of the series `name`, registered with the recorder that is in force.
    fn of(name: &str) -> Self;
}

/// The counters of a client, or of all that found no place.
#[derive(Debug)]
pub struct ClientCounts {
    /// Reads landed for it.
    pub reads: Counter,
    /// Bytes of them.
    pub bytes: Counter,
    /// Errors it was answered.
    pub errors: Counter,
}

impl Counts for ClientCounts {
    fn of(name: &str) -> Self {
        let name = name.to_owned();
        Self {
            reads: counter!("rdma_client_reads_total", "client" => name.clone()),
            bytes: counter!("rdma_client_bytes_total", "client" => name.clone()),
            errors: counter!("rdma_client_errors_total", "client" => name),
        }
    }
}

/// The counters of a volume, or of all that found no place.
#[derive(Debug)]
pub struct VolumeCounts {
    /// Reads landed from it.
    pub reads: Counter,
    /// Bytes of them.
    pub bytes: Counter,
}

impl Counts for VolumeCounts {
    fn of(name: &str) -> Self {
        let name = name.to_owned();
        Self {
            reads: counter!("rdma_volume_reads_total", "volume" => name.clone()),
            bytes: counter!("rdma_volume_bytes_total", "volume" => name),
        }
    }
}

/// A series: its label, its number, what it counts.
#[derive(Debug)]
pub struct Series<T> {
    /// The label.
    pub name: String,
    /// Its place among those of its kind; 0 is [`OTHER`].
    pub number: u32,
    /// What is counted.
    pub counts: T,
}

/// At most so many series by key, first come, and one for all the rest.
#[derive(Debug)]
pub struct Bounded<K, T> {
    known: RwLock<Known<K, T>>,
    other: Arc<Series<T>>,
    limit: usize,
}

#[derive(Debug)]
struct Known<K, T> {
    by_key: HashMap<K, Arc<Series<T>>>,
    in_order: Vec<Arc<Series<T>>>,
}

impl<K: Eq + Hash, T: Counts> Bounded<K, T> {
    /// Room for `limit` series besides [`OTHER`].
    pub fn new(limit: usize) -> Self {
        let other = Arc::new(Series {
            name: OTHER.to_owned(),
            number: 0,
            counts: T::of(OTHER),
        });
        Self {
            known: RwLock::new(Known {
                by_key: HashMap::new(),
                in_order: vec![Arc::clone(&other)],
            }),
            other,
            limit,
        }
    }

    /// The series of `key`, whose label would be `name`: one that is there, a new one while there
    /// is room, or that of all the rest.
    pub fn get(&self, key: K, name: impl FnOnce(&K) -> String) -> Arc<Series<T>> {
        let known = self.known();
        if let Some(series) = known.by_key.get(&key) {
            return Arc::clone(series);
        }
        if known.by_key.len() >= self.limit {
            return self.other();
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = known.by_key.get(&key) {
            return Arc::clone(series);
        }
        let name = name(&key);
        if known.by_key.len() >= self.limit || name == OTHER {
            return self.other();
        }
        let series = Arc::new(Series {
            number: known.in_order.len() as u32,
            counts: T::of(&name),
            name,
        });
        known.by_key.insert(key, Arc::clone(&series));
        known.in_order.push(Arc::clone(&series));
        series
    }

    /// The series of all the rest.
    pub fn other(&self) -> Arc<Series<T>> {
        Arc::clone(&self.other)
    }

    /// All of them, [`OTHER`] first.
    pub(super) fn all(&self) -> Vec<Arc<Series<T>>> {
        self.known().in_order.clone()
    }

    /// Calls `look` with all of them, by number.
    pub(super) fn with_all<R>(&self, look: impl FnOnce(&[Arc<Series<T>>]) -> R) -> R {
        look(&self.known().in_order)
    }

    fn known(&self) -> RwLockReadGuard<'_, Known<K, T>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The series of clients, by name.
pub type ClientSeries = Bounded<String, ClientCounts>;
/// The series of volumes, by id.
pub type VolumeSeries = Bounded<u32, VolumeCounts>;

/// A client's name, and the series it is counted under.
#[derive(Debug)]
pub struct Named {
    /// What it calls itself, or what the kernel says of it.
    pub name: String,
    /// Where it is counted.
    pub series: Arc<Series<ClientCounts>>,
}

/// Who a client process is. It may say so at any time, on any of its connections; the first name
/// it gives is kept. A series is looked for only when there is something to count, so that who
/// merely asks for a sign of life takes no place.
#[derive(Debug)]
pub struct Identity {
    fallback: String,
    said: OnceLock<String>,
    /// By the name it said.
    named: OnceLock<Arc<Named>>,
    /// By the fallback, if it was needed before the client said its name.
    assumed: OnceLock<Arc<Named>>,
}

impl Identity {
    /// A client that is called `fallback` unless it says otherwise.
    pub fn new(fallback: String) -> Self {
        Self {
            fallback,
            said: OnceLock::new(),
            named: OnceLock::new(),
            assumed: OnceLock::new(),
        }
    }

    /// The client says who it is.
    pub fn say(&self, client_id: &str) {
        if self.said.get().is_none()
            && let Some(name) = printable(client_id)
        {
            self.said.get_or_init(|| name);
        }
    }

    /// Who it is, as far as is known.
    pub fn get(&self, series: &ClientSeries) -> &Arc<Named> {
        if let Some(named) = self.named.get() {
            return named;
        }
        match self.said.get() {
            Some(name) => self.named.get_or_init(|| named(name, series)),
            None => self.assumed.get_or_init(|| named(&self.fallback, series)),
        }
    }
}

fn named(name: &str, series: &ClientSeries) -> Arc<Named> {
    Arc::new(Named {
        name: name.to_owned(),
        series: series.get(name.to_owned(), Clone::clone),
    })
}

/// A name cut to 64 printable ASCII bytes; others become a question mark. None if nothing is left.
fn printable(name: &str) -> Option<String> {
    let printable = |c: char| match c {
        ' '..='~' => c,
        _ => '?',
    };
    let cut: String = name.chars().take(NAME_BYTES_MAX).map(printable).collect();
    let cut = cut.trim();
    (!cut.is_empty()).then(|| cut.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_names_have_series_of_their_own_and_the_rest_share_one() {
        let series = ClientSeries::new(2);
        let number = |name: &str| series.get(name.to_owned(), Clone::clone).number;
        assert_eq!(["a", "b", "c", "d", "a"].map(number), [1, 2, 0, 0, 1]);
        assert_eq!(series.all().len(), 3);
    }

    #[test]
    fn a_client_that_calls_itself_other_is_among_the_others() {
        let series = ClientSeries::new(2);
        assert_eq!(series.get(OTHER.to_owned(), Clone::clone).number, 0);
        assert_eq!(series.all().len(), 1);
    }

    #[test]
    fn the_first_name_a_client_gives_is_kept_and_one_that_gives_none_has_its_users() {
        let series = ClientSeries::new(10);
        let client = Identity::new("uid-7".to_owned());
        assert_eq!(client.get(&series).name, "uid-7");
        client.say(" \u{7}x ");
        assert_eq!(client.get(&series).name, "?x");
        let client = Identity::new("uid-8".to_owned());
        client.say("  ");
        client.say("sidecar");
        assert_eq!(series.all().len(), 3, "nothing to count yet");
        client.say("another");
        assert_eq!(client.get(&series).name, "sidecar");
        assert_eq!(series.all().len(), 4, "other, uid-7, ?x and sidecar");
    }

    #[test]
    fn a_name_is_cut_and_has_nothing_a_terminal_would_obey() {
        assert_eq!(printable("a\x1b[2Jb\u{202e}é"), Some("a?[2Jb??".to_owned()));
        assert_eq!(printable(&"x".repeat(1000)).map(|n| n.len()), Some(64));
        assert_eq!(printable(""), None);
    }
}
