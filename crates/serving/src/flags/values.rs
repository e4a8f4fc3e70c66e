//! The values of flags.

use std::{path::PathBuf, time::Duration};

/// A path, or none: as TensorFlow Serving reads it, an empty one means that the flag is
/// not given.
pub type OptionalPath = Option<PathBuf>;

/// Reads a path that may be empty.
pub(super) fn parse_path(text: &str) -> Result<OptionalPath, String> {
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
}

/// Reads a boolean as TensorFlow does: `true` or `false`. The flag alone means `true`.
pub(super) fn parse_boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("expected true or false, or the flag alone for true".to_owned()),
    }
}

/// How often something is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polling {
    /// Only when the server starts, and when it is asked to.
    Once,
    /// Again after each of these.
    Every(Duration),
}

impl Polling {
    /// The time between two looks.
    pub fn interval(self) -> Option<Duration> {
        match self {
            Self::Once => None,
            Self::Every(interval) => Some(interval),
        }
    }
}

/// Reads an interval in seconds: 0 and negative numbers mean once.
pub(super) fn parse_polling(text: &str) -> Result<Polling, String> {
    let seconds: i32 =
        text.parse().map_err(|_| "expected a whole number of seconds of 32 bits".to_owned())?;
    Ok(match u64::try_from(seconds) {
        Ok(0) | Err(_) => Polling::Once,
        Ok(seconds) => Polling::Every(Duration::from_secs(seconds)),
    })
}

/// Reads an interval in microseconds: negative numbers mean no time at all.
pub(super) fn parse_micros(text: &str) -> Result<Duration, String> {
    let micros: i64 =
        text.parse().map_err(|_| "expected a whole number of microseconds of 64 bits".to_owned())?;
    Ok(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

/// Settings of the gRPC server, as `--grpc_channel_arguments` lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelArguments {
    /// `grpc.max_connection_age_ms`
    pub connection_age: Option<Duration>,
    /// `grpc.max_receive_message_length` in bytes
    pub message_length: Option<u64>,
    /// `grpc.max_concurrent_streams`
    pub streams: Option<u32>,
    /// The names of the others, which have no effect.
    pub others: Vec<String>,
}

/// Reads `name=value,name=value`.
pub(super) fn parse_channel_arguments(text: &str) -> Result<ChannelArguments, String> {
    let mut arguments = ChannelArguments::default();
    for argument in text.split(',').map(str::trim).filter(|argument| !argument.is_empty()) {
        let (name, value) =
            argument.split_once('=').ok_or_else(|| format!("expected NAME=VALUE, found {argument:?}"))?;
        let number =
            || value.parse::<u32>().map_err(|_| format!("{name}: expected a number, found {value:?}"));
        match name {
            "grpc.max_connection_age_ms" => {
                arguments.connection_age = Some(Duration::from_millis(number()?.into()));
            }
            "grpc.max_receive_message_length" => arguments.message_length = Some(number()?.into()),
            "grpc.max_concurrent_streams" => arguments.streams = Some(number()?),
            other => arguments.others.push(other.to_owned()),
        }
    }
    Ok(arguments)
}
