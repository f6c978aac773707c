//! Sessions: one StartRead until its CompleteRead, its deadline, or its client's death.

mod clients;
mod id;
mod table;

pub use clients::{ClientKey, Clients};
pub use id::{NotASessionId, SessionId};
pub use table::{Admission, Came, Ended, Held, Opening, SessionError, Sessions};
