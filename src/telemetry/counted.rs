//! The counters of the volumes a worker has read, so that none is looked up among those all share.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::{Metrics, Series, VolumeCounts};

/// Volumes a worker remembers; beyond that it begins anew.
const REMEMBERED: usize = 4096;

/// By volume, for one worker.
#[derive(Debug, Default)]
pub struct VolumesCounted(RefCell<HashMap<u32, Arc<Series<VolumeCounts>>>>);

impl VolumesCounted {
    /// The counters of volume `id`.
    pub fn get(&self, id: u32, metrics: &Metrics) -> Arc<Series<VolumeCounts>> {
        let mut known = self.0.borrow_mut();
        if let Some(series) = known.get(&id) {
            return Arc::clone(series);
        }
        if known.len() >= REMEMBERED {
            known.clear();
        }
        Arc::clone(known.entry(id).or_insert(metrics.volume(id)))
    }
}
