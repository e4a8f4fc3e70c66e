//! Requests merged into batches, and TensorFlow Serving's `BatchingParameters`, which say how.
//!
//! Source: `session_bundle_config.proto`; the defaults are those of TensorFlow Serving's
//! batch scheduler.

mod batcher;
mod member;
mod queue;
mod run;

use std::{num::NonZeroUsize, time::Duration};

pub use batcher::Batcher;

use crate::text_format::{Fields, TextError, parse};

/// How requests are merged into batches. The scheduler has a default for each `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchingParameters {
    /// The most examples in a batch.
    pub max_batch_size: Option<NonZeroUsize>,
    /// The most examples in a batch that runs, if large requests are split. Without it
    /// `max_batch_size` counts.
    pub max_execution_batch_size: Option<NonZeroUsize>,
    /// Whether requests with more examples than a batch may have are split into several batches.
    pub enable_large_batch_splitting: bool,
    /// The longest time that a request waits for others.
    pub batch_timeout: Option<Duration>,
    /// The most batches that wait.
    pub max_enqueued_batches: Option<NonZeroUsize>,
    /// The most batches that run at once.
    pub num_batch_threads: Option<NonZeroUsize>,
    /// The sizes that batches are padded to, in ascending order; empty: any.
    pub allowed_batch_sizes: Vec<NonZeroUsize>,
    /// Whether inputs of different sizes are padded to the largest, with their first value, as
    /// TensorFlow Serving does it (`batching_util.cc`). Without it such requests go into
    /// different batches.
    pub pad_variable_length_inputs: bool,
}

/// The fault of a `BatchingParameters`.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchingError {
    /// The text is not a `BatchingParameters`.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A parameter has a value that it can't have.
    ///
    /// Do: give the value that the message names.
    #[error("BatchingParameters: {name} must be {expected}, found {found}")]
    Value { name: &'static str, expected: &'static str, found: i64 },
    /// The allowed sizes of batches don't go up to the largest batch.
    ///
    /// Do: list `allowed_batch_sizes` in ascending order, the last one equal to
    /// `max_batch_size`, or to `max_execution_batch_size` if large requests are split.
    #[error(
        "BatchingParameters: allowed_batch_sizes must be in ascending order, and the last one equal to \
         max_batch_size, or to max_execution_batch_size if that is given"
    )]
    Sizes,
    /// The size of the batches that run means nothing if large requests are not split, and can't
    /// be larger than `max_batch_size`.
    ///
    /// Do: give `enable_large_batch_splitting: true`, and a `max_execution_batch_size` of at
    /// most `max_batch_size`; or leave `max_execution_batch_size` out.
    #[error(
        "BatchingParameters: max_execution_batch_size needs enable_large_batch_splitting: true, and is at most \
         max_batch_size"
    )]
    ExecutionSize,
}

impl BatchingError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Text(error) => error.code(),
            Self::Value { .. } => "batching-value",
            Self::Sizes => "batching-sizes",
            Self::ExecutionSize => "batching-execution-size",
        }
    }
}

impl BatchingParameters {
    /// Reads protobuf's text format.
    pub fn parse(text: &[u8]) -> Result<Self, BatchingError> {
        const MESSAGE: &str = "BatchingParameters";
        let mut fields = Fields::new(MESSAGE, parse(MESSAGE, text)?);
        let timeout = fields.wrapped_integer("batch_timeout_micros")?;
        let parameters = Self {
            max_batch_size: positive("max_batch_size", fields.wrapped_integer("max_batch_size")?)?,
            max_execution_batch_size: positive(
                "max_execution_batch_size",
                fields.wrapped_integer("max_execution_batch_size")?,
            )?,
            enable_large_batch_splitting: fields
                .wrapped_boolean("enable_large_batch_splitting")?
                .unwrap_or(false),
            batch_timeout: timeout.map(micros).transpose()?,
            max_enqueued_batches: positive(
                "max_enqueued_batches",
                fields.wrapped_integer("max_enqueued_batches")?,
            )?,
            num_batch_threads: positive("num_batch_threads", fields.wrapped_integer("num_batch_threads")?)?,
            allowed_batch_sizes: fields
                .integers("allowed_batch_sizes")?
                .into_iter()
                .filter_map(|size| positive("allowed_batch_sizes", Some(size)).transpose())
                .collect::<Result<_, _>>()?,
            pad_variable_length_inputs: fields.boolean("pad_variable_length_inputs")?.unwrap_or(false),
        };
        // They exist, and the scheduler has no use for them.
        for name in [
            "thread_pool_name",
            "mixed_priority_batching_policy",
            "low_priority_max_batch_size",
            "low_priority_batch_timeout_micros",
            "low_priority_max_enqueued_batches",
            "low_priority_allowed_batch_sizes",
        ] {
            if fields.is_given(name) {
                tracing::warn!("{name} of the BatchingParameters has no effect here");
            }
        }
        fields.finish()?;
        parameters.check()
    }

    fn check(self) -> Result<Self, BatchingError> {
        if let Some(size) = self.max_execution_batch_size
            && (!self.enable_large_batch_splitting || self.max_batch_size.is_some_and(|most| size > most))
        {
            return Err(BatchingError::ExecutionSize);
        }
        let largest = self.max_execution_batch_size.or(self.max_batch_size);
        let sizes = &self.allowed_batch_sizes;
        let Some(last) = sizes.last() else { return Ok(self) };
        let ascending = sizes.windows(2).all(|pair| pair.first() < pair.last());
        if ascending && largest.is_none_or(|most| most == *last) {
            Ok(self)
        } else {
            Err(BatchingError::Sizes)
        }
    }
}

fn positive(name: &'static str, value: Option<i64>) -> Result<Option<NonZeroUsize>, BatchingError> {
    let Some(found) = value else { return Ok(None) };
    match usize::try_from(found).ok().and_then(NonZeroUsize::new) {
        Some(number) => Ok(Some(number)),
        None => Err(BatchingError::Value { name, expected: "at least 1", found }),
    }
}

fn micros(found: i64) -> Result<Duration, BatchingError> {
    let name = "batch_timeout_micros";
    u64::try_from(found).map(Duration::from_micros).map_err(|_| BatchingError::Value {
        name,
        expected: "at least 0",
        found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_as_tensorflow_serving_documents_it() {
        let text = "max_batch_size { value: 128 }\nbatch_timeout_micros { value: 0 }\n\
                    max_enqueued_batches { value: 1000000 }\nnum_batch_threads { value: 8 }\n\
                    allowed_batch_sizes: 64 allowed_batch_sizes: 128\npad_variable_length_inputs: true\n\
                    thread_pool_name { value: 'x' }";
        let parameters = BatchingParameters::parse(text.as_bytes()).unwrap();
        let number = |value| NonZeroUsize::new(value);
        assert_eq!(parameters.max_batch_size, number(128));
        assert_eq!(parameters.batch_timeout, Some(Duration::ZERO));
        assert_eq!(parameters.max_enqueued_batches, number(1_000_000));
        assert_eq!(parameters.num_batch_threads, number(8));
        assert_eq!(parameters.allowed_batch_sizes.last().copied(), number(128));
        assert!(parameters.pad_variable_length_inputs);
        assert_eq!(BatchingParameters::parse(b"").unwrap(), BatchingParameters::default());
    }

    #[test]
    fn large_requests_are_split_if_that_is_wanted() {
        let parse = |text: &str| BatchingParameters::parse(text.as_bytes()).unwrap();
        assert!(!parse("").enable_large_batch_splitting);
        assert!(parse("enable_large_batch_splitting: true").enable_large_batch_splitting);
        assert!(parse("enable_large_batch_splitting { value: true }").enable_large_batch_splitting);
        let split = parse(
            "max_batch_size { value: 128 } enable_large_batch_splitting: true \
             max_execution_batch_size { value: 32 } allowed_batch_sizes: [16, 32]",
        );
        assert_eq!(split.max_execution_batch_size, NonZeroUsize::new(32));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for (text, code) in [
            ("max_batch_size { value: 0 }", "batching-value"),
            ("batch_timeout_micros { value: -1 }", "batching-value"),
            ("max_batch_size: 8", "text-type"),
            ("allowed_batch_sizes: [8, 4]", "batching-sizes"),
            ("max_batch_size { value: 8 } allowed_batch_sizes: 4", "batching-sizes"),
            ("max_batch { value: 8 }", "text-unknown-field"),
            ("max_execution_batch_size { value: 8 }", "batching-execution-size"),
            (
                "max_batch_size { value: 8 } enable_large_batch_splitting: true max_execution_batch_size { value: 9 }",
                "batching-execution-size",
            ),
        ] {
            assert_eq!(BatchingParameters::parse(text.as_bytes()).unwrap_err().code(), code, "{text}");
        }
    }
}
