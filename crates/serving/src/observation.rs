//! The record of each request: a line of the access log, and a trace.
//!
//! The host reads both. So nothing that a client sent gets in, with one exception: the ids of a
//! well-formed `traceparent`. The call comes from a closed list, and the model's name from
//! the configuration. While a request is answered, the code that knows something notes it
//! with the task ([`note_call`], [`note_model`], [`current`]). Without an [`Observer`] a note costs
//! a look at a thread's variable.

mod body;
mod entry;
mod observer;
mod spans;
mod trace_parent;
mod watch;

pub(crate) use self::entry::{current, note_call, note_model};
pub use self::{
    entry::{Entry, Protocol, Ran},
    observer::Observer,
    spans::{TraceOptions, Traces},
    trace_parent::TraceParent,
};
