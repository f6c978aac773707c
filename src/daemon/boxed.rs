//! Futures of some kilobytes, which are not moved.

use std::pin::Pin;

/// The future that `make` gives, in memory of its own. It is made there: what is made first and
/// then given to `Box::pin`, or to a runtime, is copied as a whole.
#[inline]
pub fn boxed<F: Future>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    let place = Box::new_uninit();
    Box::into_pin(Box::write(place, make()))
}
