//! What a server does against crowds. Anybody can connect, so whatever a connection
//! holds has a limit, and the limits share fairly between addresses.
//!
//! - [`places`]: a number of places for connections, sessions or requests. When all are
//!   taken, one is displaced: the longest idle of the address that has the most.
//! - [`bucket`]: how much an address may use in a time.
//! - [`known`]: keys of peers that have shown accepted evidence. Limits for strangers do not
//!   hold for them.
//! - [`quotes`]: the TEE makes few quotes at a time; known peers have some for themselves.
//!
//! Nothing here reads a clock: the caller says what time it is.

#![forbid(unsafe_code)]

pub mod address;
pub mod bucket;
pub mod known;
pub mod places;
pub mod quotes;
mod signal;
