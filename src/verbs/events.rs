//! Asynchronous events: what happens to a device, its port and its queue pairs unasked.

use std::io;
use std::sync::Arc;

use ibverbs_sys as ffi;

use super::adapter::Adapter;
use super::counters::count;

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
    /// keeps [`Self::is_usable`] and [`Self::fatal_queue_pair`] true. Never ends by itself.
    ///
    /// # Errors
    /// When events can not be had any more; the adapter is then no longer usable.
    pub async fn follow_events(self: Arc<Self>) -> io::Result<()> {
        let followed = self.follow().await;
        self.lost();
        followed
    }

    async fn follow(&self) -> io::Result<()> {
        let watched = self.context().watch()?;
        // What happened before anybody looked.
        self.refresh();
        loop {
            watched.readable().await?.clear_ready();
            while self.context().next_event(|event| self.note(event))? {}
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
                    self.remember_fatal(qpn);
                    tracing::error!(device, qpn, event = event_name, "a queue pair failed");
                }
                _ => tracing::debug!(device, qpn, event = event_name, "a queue pair's event"),
            },
            Subject::Device if event.kind == ffi::IBV_EVENT_DEVICE_FATAL => {
                self.lost();
                tracing::error!(device, event = event_name, "the RDMA device is gone");
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
}
