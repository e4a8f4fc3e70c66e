//! Upgrade: another broker, of the code that the owners have named, gets the root
//! key from this one and goes on with its state.
//!
//! - [`authorisation`]: what owners sign for that.
//! - [`taking`]: the successor verifies the broker it takes over from, proves
//!   itself, gets the key and opens the store with it.
//! - [`handing`]: the broker fences itself, durably, and only then answers.
//! - [`fence`]: what is left of it. It releases nothing any more; it gives the key
//!   to that one successor again, should the answer have been lost.
//!
//! So at every moment at most one broker releases secrets, and as long as either
//! of both can be started, one of them comes to. A successor is a TEE: of several
//! that the owners' policy allows, the first that comes is the one.

pub mod authorisation;
pub mod fence;
pub mod handing;
pub mod taking;
