//! Finding a volume, looking once more before saying that there is none.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::error::{Code, Error, Result};
use crate::telemetry::RateLimited;
use crate::volume::{Registry, Volume, VolumeError};

/// The least time between two looks at the directories, so that requests for volumes that do
/// not exist cost little.
const RESCAN_INTERVAL: Duration = Duration::from_millis(200);

/// The volumes of this host.
#[derive(Debug)]
pub struct Volumes {
    registry: Arc<Registry>,
    /// When the last look at the directories began.
    scanned: Mutex<Instant>,
}

impl Volumes {
    /// Those `registry` has found.
    pub fn new(registry: Registry) -> Self {
        Self {
            registry: Arc::new(registry),
            scanned: Mutex::new(Instant::now()),
        }
    }

    /// Volumes being served.
    pub fn count(&self) -> usize {
        self.registry.len()
    }

    /// Live needles in them.
    pub fn needles(&self) -> usize {
        self.registry.needles()
    }

    /// The volumes being served: id and collection.
    pub fn served(&self) -> Vec<(u32, String)> {
        self.registry.open_ids()
    }

    /// Looks for new volumes on disk.
    ///
    /// # Errors
    /// When the thread that looks can not; a directory that can not be listed is only logged, and
    /// what is known is still served.
    pub async fn rescan(&self) -> Result<()> {
        let registry = Arc::clone(&self.registry);
        let looked = tokio::task::spawn_blocking(move || registry.rescan()).await;
        let failed = |e| Error::new(Code::Internal, format!("looking for volumes: {e}"));
        if let Err(error) = looked.map_err(failed)? {
            static TOLD: RateLimited = RateLimited::new(Duration::from_secs(10));
            if let Some(suppressed) = TOLD.pass(std::time::Instant::now()) {
                tracing::warn!(%error, suppressed, "looking for volumes failed");
            }
        }
        Ok(())
    }

    /// The volume `id`, with its index read up to now. One that is not known is looked for on
    /// disk, so that a volume that was there when the request came is found.
    ///
    /// # Errors
    /// When it is not there, not of that collection, or can not be read.
    pub async fn find(&self, id: u32, collection: Option<&str>) -> Result<Arc<Volume>> {
        let volume = self.look_for(id, collection).await?;
        if volume.is_far_behind() {
            let volume = Arc::clone(&volume);
            tokio::task::spawn_blocking(move || volume.catch_up())
                .await
                .map_err(|e| Error::new(Code::Internal, format!("reading the index: {e}")))??;
        }
        Ok(volume)
    }

    /// Whether the volume is known, without looking at the disk.
    pub fn knows(&self, id: u32) -> bool {
        !matches!(
            self.registry.find(id, None),
            Err(VolumeError::VolumeNotFound(_))
        )
    }

    async fn look_for(&self, id: u32, collection: Option<&str>) -> Result<Arc<Volume>> {
        let asked = Instant::now();
        let missing = match self.registry.find(id, collection) {
            Err(VolumeError::VolumeNotFound(_)) => true,
            Err(VolumeError::CorruptVolume(_) | VolumeError::Io { .. }) => false,
            found => return Ok(found?),
        };
        let mut scanned = self.scanned.lock().await;
        // A volume that can not be read is looked at again no sooner than the interval allows.
        if *scanned < asked && (missing || scanned.elapsed() >= RESCAN_INTERVAL) {
            tokio::time::sleep_until(*scanned + RESCAN_INTERVAL).await;
            *scanned = Instant::now();
            self.rescan().await?;
        }
        drop(scanned);
        Ok(self.registry.find(id, collection)?)
    }
}
