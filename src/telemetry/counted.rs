//! The counters of the volumes a worker has read, so that none is looked up among those all share.

use std::cell::RefCell;
use std::sync::Arc;

use super::{Metrics, Series, VolumeCounts};

/// Volumes a worker remembers, one of each remainder. Ids are given out one after the other.
const REMEMBERED: usize = 1024;

/// By volume, for one worker.
#[derive(Debug, Default)]
pub struct VolumesCounted(RefCell<Vec<Option<Known>>>);

type Known = (u32, Arc<Series<VolumeCounts>>);

impl VolumesCounted {
    /// Calls `look` with the series of volume `id`, or that of all the rest.
    pub fn with<R>(
        &self,
        id: u32,
        metrics: &Metrics,
        look: impl FnOnce(&Series<VolumeCounts>) -> R,
    ) -> R {
        let mut known = self.0.borrow_mut();
        if known.is_empty() {
            known.resize(REMEMBERED, None);
        }
        let place = &mut known[id as usize % REMEMBERED];
        match place {
            Some((known, series)) if *known == id => look(series),
            _ => look(&place.insert((id, metrics.volume(id))).1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::tests::local;
    use super::*;

    #[test]
    fn volumes_that_share_a_place_keep_their_own_series() {
        let (counted, metrics) = (VolumesCounted::default(), local());
        let name = |id| counted.with(id, &metrics, |series| series.name.clone());
        let far = 7 + REMEMBERED as u32;
        assert_eq!(
            [7, far, 7, 8].map(name),
            ["7", &far.to_string(), "7", "8"].map(str::to_owned)
        );
    }
}
