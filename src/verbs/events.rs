//! Asynchronous events: what happens to a device, its port and its queue pairs unasked.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ibverbs_sys as ffi;

use super::adapter::Adapter;
use super::counters::count;
use crate::telemetry::RateLimited;

/// How often a port that is not usable is looked at, whatever events say.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// An event, already acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AsyncEvent {
    pub(super) kind: ffi::ibv_event_type,
    pub(super) subject: Subject,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Port(i32),
    QueuePair(u32),
    Device,
}

/// The name verbs give a kind of event.
pub(super) const fn name(kind: ffi::ibv_event_type) -> &'static str {
    match kind {
        ffi::IBV_EVENT_CQ_ERR => "IBV_EVENT_CQ_ERR",
        ffi::IBV_EVENT_QP_FATAL => "IBV_EVENT_QP_FATAL",
        ffi::IBV_EVENT_QP_REQ_ERR => "IBV_EVENT_QP_REQ_ERR",
        ffi::IBV_EVENT_QP_ACCESS_ERR => "IBV_EVENT_QP_ACCESS_ERR",
        ffi::IBV_EVENT_COMM_EST => "IBV_EVENT_COMM_EST",
        ffi::IBV_EVENT_SQ_DRAINED => "IBV_EVENT_SQ_DRAINED",
        ffi::IBV_EVENT_PATH_MIG => "IBV_EVENT_PATH_MIG",
        ffi::IBV_EVENT_PATH_MIG_ERR => "IBV_EVENT_PATH_MIG_ERR",
        ffi::IBV_EVENT_DEVICE_FATAL => "IBV_EVENT_DEVICE_FATAL",
        ffi::IBV_EVENT_PORT_ACTIVE => "IBV_EVENT_PORT_ACTIVE",
        ffi::IBV_EVENT_PORT_ERR => "IBV_EVENT_PORT_ERR",
        ffi::IBV_EVENT_LID_CHANGE => "IBV_EVENT_LID_CHANGE",
        ffi::IBV_EVENT_PKEY_CHANGE => "IBV_EVENT_PKEY_CHANGE",
        ffi::IBV_EVENT_SM_CHANGE => "IBV_EVENT_SM_CHANGE",
        ffi::IBV_EVENT_SRQ_ERR => "IBV_EVENT_SRQ_ERR",
        ffi::IBV_EVENT_SRQ_LIMIT_REACHED => "IBV_EVENT_SRQ_LIMIT_REACHED",
        ffi::IBV_EVENT_QP_LAST_WQE_REACHED => "IBV_EVENT_QP_LAST_WQE_REACHED",
        ffi::IBV_EVENT_CLIENT_REREGISTER => "IBV_EVENT_CLIENT_REREGISTER",
        ffi::IBV_EVENT_GID_CHANGE => "IBV_EVENT_GID_CHANGE",
        ffi::IBV_EVENT_WQ_FATAL => "IBV_EVENT_WQ_FATAL",
        _ => "an event nobody knows",
    }
}

impl Adapter {
    /// Follows the device's asynchronous events, in an ordinary tokio task: logs each by name,
    /// keeps [`Self::is_usable`] and [`Self::fatal_queue_pair`] true. Returns when events can not
    /// be had any more, as after the device was taken away; the adapter is then no longer usable.
    pub async fn follow_events(self: Arc<Self>) {
        let Err(error) = self.follow().await;
        self.lost();
        tracing::error!(
            device = self.name(),
            %error,
            "the RDMA device's events can not be had any more; it is not used again before a restart"
        );
    }

    async fn follow(&self) -> io::Result<Infallible> {
        let watched = self.context().watch()?;
        // What happened before anybody looked.
        self.refresh();
        loop {
            match tokio::time::timeout(LOOK_INTERVAL, watched.readable()).await {
                Ok(readable) => readable?.clear_ready(),
                Err(_) => self.look_again(),
            }
            while self.context().next_event(|event| self.note(event))? {}
        }
    }

    /// Asks again for a port that was not usable: perhaps it only could not be asked then, and no
    /// event will tell.
    fn look_again(&self) {
        if self.is_usable() {
            return;
        }
        self.refresh();
        if self.is_usable() {
            let (device, port) = (self.name(), self.port());
            tracing::warn!(device, port, "the RDMA port is usable again");
        }
    }

    fn note(&self, event: AsyncEvent) {
        count(&self.counters().events);
        let (device, event_name) = (self.name(), name(event.kind));
        match event.subject {
            Subject::Port(port) if port == i32::from(self.port()) => {
                match event.kind {
                    ffi::IBV_EVENT_PORT_ERR => count(&self.counters().port_down),
                    ffi::IBV_EVENT_PORT_ACTIVE => count(&self.counters().port_up),
                    _ => {}
                }
                self.refresh();
                let usable = self.is_usable();
                tracing::warn!(
                    device,
                    port,
                    event = event_name,
                    usable,
                    "the RDMA port changed"
                );
            }
            Subject::Port(port) => {
                tracing::info!(
                    device,
                    port,
                    event = event_name,
                    "another RDMA port changed"
                );
            }
            Subject::QueuePair(qpn) => match event.kind {
                ffi::IBV_EVENT_QP_FATAL
                | ffi::IBV_EVENT_QP_REQ_ERR
                | ffi::IBV_EVENT_QP_ACCESS_ERR => {
                    self.pairs().broke(qpn);
                    // A peer's wrong READs, as many as it likes, break one each.
                    static TOLD: RateLimited = RateLimited::new(Duration::from_secs(1));
                    if let Some(suppressed) = TOLD.pass(Instant::now()) {
                        tracing::error!(
                            device,
                            qpn,
                            event = event_name,
                            suppressed,
                            "a queue pair failed"
                        );
                    }
                }
                _ => tracing::debug!(device, qpn, event = event_name, "a queue pair's event"),
            },
            Subject::Device if ends_use(event.kind) => {
                self.lost();
                tracing::error!(
                    device,
                    event = event_name,
                    "the RDMA device failed; it is not used again before a restart"
                );
            }
            Subject::Device => {
                tracing::error!(
                    device,
                    event = event_name,
                    "the RDMA device reports trouble"
                );
            }
        }
    }
}

/// Whether an event leaves nothing that could be used: the device has failed, or a completion
/// queue, from which READs are no longer seen to complete.
const fn ends_use(kind: ffi::ibv_event_type) -> bool {
    matches!(kind, ffi::IBV_EVENT_DEVICE_FATAL | ffi::IBV_EVENT_CQ_ERR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_verbs_define_has_its_name() {
        let names: std::collections::HashSet<_> = (ffi::IBV_EVENT_CQ_ERR..=ffi::IBV_EVENT_WQ_FATAL)
            .map(name)
            .collect();
        assert_eq!(names.len(), 20);
        assert!(names.iter().all(|n| n.starts_with("IBV_EVENT_")));
        assert!(!name(999).starts_with("IBV_EVENT_"));
    }

    #[test]
    fn only_a_failed_device_or_completion_queue_ends_the_use_of_a_device() {
        let ending: Vec<_> = (ffi::IBV_EVENT_CQ_ERR..=ffi::IBV_EVENT_WQ_FATAL)
            .filter(|&kind| ends_use(kind))
            .map(name)
            .collect();
        assert_eq!(ending, ["IBV_EVENT_CQ_ERR", "IBV_EVENT_DEVICE_FATAL"]);
    }
}
