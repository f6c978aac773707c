//! The pool's memory on this host: as good as it can be had, and said plainly where it could be
//! better.

use std::io;
use std::sync::Arc;

use super::StartError;
use crate::config::Hugepages;
use crate::pool::{Pages, Pool};

const HUGE_PAGE_BYTES: u64 = 2 << 20;

/// A pool of `buffer_size` bytes for transfers of up to `max_transfer`. The second value says why
/// it lies on ordinary pages, where huge ones were wanted.
///
/// # Errors
/// When there is no memory for it.
pub fn allocate(
    buffer_size: u64,
    max_transfer: u64,
    hugepages: Hugepages,
) -> Result<(Arc<Pool>, Option<String>), StartError> {
    // A compressed needle is decoded inside one reservation: both forms of it must fit, and the
    // stored one can be the longer.
    let largest = max_transfer.saturating_mul(4);
    let make = |pages| Pool::new(buffer_size as usize, largest as usize, pages);
    let wanted = buffer_size.div_ceil(HUGE_PAGE_BYTES);
    let hint = format!("reserve huge pages with: sysctl -w vm.nr_hugepages={wanted}");
    let failed = |hint: String| {
        move |source| StartError::Pool {
            bytes: buffer_size,
            source,
            hint,
        }
    };
    let ordinary =
        || make(Pages::Ordinary).map_err(failed("choose a smaller --buffer-size".to_owned()));
    match hugepages {
        Hugepages::Never => Ok((ordinary()?, None)),
        Hugepages::Require => make(Pages::Huge)
            .map(|pool| (pool, None))
            .map_err(failed(hint)),
        Hugepages::Auto => match make(Pages::Huge) {
            Ok(pool) => Ok((pool, None)),
            Err(error) => {
                let why = format!(
                    "the pool lies on ordinary pages, because huge ones can not be had ({error}); {hint}"
                );
                tracing::warn!("{why}");
                Ok((ordinary()?, Some(why)))
            }
        },
    }
}

/// Says why reads do without fixed buffers.
pub fn registration_refused(error: &io::Error) -> String {
    let hint = match error
        .raw_os_error()
        .map(rustix::io::Errno::from_raw_os_error)
    {
        Some(rustix::io::Errno::NOMEM) => {
            "raise the limit on locked memory with: ulimit -l unlimited (LimitMEMLOCK=infinity in a systemd unit)"
        }
        _ => "does this kernel's io_uring know IORING_REGISTER_BUFFERS?",
    };
    format!(
        "reads do without fixed buffers, because the pool could not be registered ({error}); {hint}"
    )
}
