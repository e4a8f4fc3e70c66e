//! The root key, and how it lives through what happens to the machine it was made on.
//!
//! - [`root_key`] is the key under which everything in a store is encrypted.
//! - [`sealing`]: it lies in the store's envelope, sealed under the key that only
//!   this code on this CPU has.
//! - [`sharing`]: a recovery key is shared among recipients, k of n; and
//!   [`arrangement`]: the root key sealed under it, with the wrapped shares and
//!   the broker's evidence that it was a broker who made them.

pub mod arrangement;
pub mod root_key;
pub mod sealing;
pub mod sharing;

use self::sharing::RecoveryRecipient;

/// How the root key comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveryRule {
    /// Shares of a recovery key.
    Shares {
        /// How many must come together; 1 to the number of recipients.
        threshold: u8,
        /// The holders of one share each; distinct, at most
        /// [`MAXIMUM_RECIPIENTS`](sharing::MAXIMUM_RECIPIENTS).
        recipients: Vec<RecoveryRecipient>,
    },
    /// Not at all: the owners have said so.
    Unrecoverable,
}
