//! How a broker gets its root key, and what it is without one.
//!
//! - [`opening`]: what a start finds in the state directory.
//! - [`recovery`]: k shares come, the root key comes back.
//! - [`standby`]: a broker without its root key.
//!
//! An upgrade: another broker, of the code that the owners have named, gets the root key
//! from this one and goes on with its state.
//!
//! - [`taking`]: the successor verifies the broker it takes over from, proves
//!   itself, gets the key and opens the store with it.
//! - [`handing`](crate::broker::handing): the broker fences itself, durably, and only then
//!   answers.
//! - [`fence`]: the broker after that. It releases nothing any more; it gives the key
//!   to that one successor again, should the answer have been lost.
//!
//! So at every moment at most one broker releases secrets, and as long as either
//! of both can be started, one of them comes to. A successor is a TEE: of several
//! that the owners' policy allows, the first that comes is the one.

pub mod fence;
pub mod opening;
pub mod recovery;
pub mod standby;
pub mod taking;
