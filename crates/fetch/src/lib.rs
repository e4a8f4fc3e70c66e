//! Models from object stores into the directory that a model server polls, and sealed ones into stores.
//!
//! Sealed models need no trusted fetcher: their bytes are encrypted, and the server verifies
//! the owner's statement about them. So `adytum-serving` links no client of an object store;
//! a program that is not measured runs next to it and fills its directory.
//!
//! What a source holds is the work of people who are not trusted: names, sizes and the
//! number of files are checked before anything is written. A version appears in the
//! directory at once and whole, or not at all.

#![forbid(unsafe_code)]

mod content;
mod error;
mod listing;
mod names;
mod publish;
mod pull;
mod roots;
mod selection;
mod source;
mod staging;
mod transfer;
mod watch;

pub use error::PullError;
pub use listing::Limits;
pub use publish::{PublishError, Published, publish, published};
pub use pull::{Event, Puller, Round};
pub use selection::{Selection, SelectionError};
pub use source::{Environment, Source};
pub use watch::{Pauses, watch};
