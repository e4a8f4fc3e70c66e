//! The requests that a SavedModel brings to be warmed up with:
//! `assets.extra/tf_serving_warmup_requests`.
//!
//! The file is a series of records as TensorFlow's `TFRecord` has them: the length (8
//! bytes), its masked CRC-32C (4), the data, its masked CRC-32C (4), all little-endian.
//! Each holds a `PredictionLog` (`prediction_log.proto`); `predict_log` (field 6) has the
//! request in field 1.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use adytum_api::tensorflow::serving::PredictRequest;
use adytum_engine::{operators::Cancellation, threads::Threads};
use prost::Message;

use crate::{error::RequestError, models::Servable, tensor::EncodedTensor};

/// Where the requests are, below a version's directory.
pub(super) const FILE: &str = "assets.extra/tf_serving_warmup_requests";

/// TensorFlow Serving reads no more records either.
const MOST_RECORDS: usize = 1000;

/// The largest record in bytes.
const LARGEST_RECORD: u64 = 64 << 20;

/// The reason why a model's own requests did not warm it up.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum WarmUpError {
    /// The file of warm-up requests can't be read.
    ///
    /// Do: check that the server's user may read the file, or remove it.
    #[error("{FILE} can't be read: {0}")]
    Read(#[from] io::Error),
    /// The file of warm-up requests is not a series of `PredictionLog` records.
    ///
    /// Do: write the file again with `tf.io.TFRecordWriter`, or remove it.
    #[error("{FILE}, record {record}: {reason}; write the file again, or remove it")]
    Malformed {
        /// Counted from 1.
        record: usize,
        reason: String,
    },
    /// The file has more warm-up requests than a server runs.
    ///
    /// Do: keep at most 1000 records.
    #[error("{FILE} has more than {MOST_RECORDS} records")]
    TooMany,
    /// The model did not answer one of its own warm-up requests.
    ///
    /// Do: write the file again with requests that the model answers, or remove it.
    #[error("{FILE}, record {record}: the model does not answer it: {source}")]
    Request {
        /// Counted from 1.
        record: usize,
        source: Box<RequestError>,
    },
}

impl WarmUpError {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Read(_) => "warm-up-unreadable",
            Self::Malformed { .. } => "warm-up-malformed",
            Self::TooMany => "warm-up-too-many",
            Self::Request { .. } => "warm-up-request",
        }
    }
}

/// `PredictionLog`, as far as it is replayed.
#[derive(Clone, PartialEq, Message)]
struct PredictionLog {
    #[prost(message, optional, tag = "6")]
    predict: Option<PredictLog>,
}

#[derive(Clone, PartialEq, Message)]
struct PredictLog {
    #[prost(message, optional, tag = "1")]
    request: Option<PredictRequest>,
}

/// Runs the requests of a version's directory, each `iterations` times. Without the file
/// there is nothing to do.
pub(super) fn replay(directory: &Path, servable: &Servable, iterations: u32) -> Result<(), WarmUpError> {
    let mut file = match File::open(directory.join(FILE)) {
        Ok(file) => io::BufReader::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let threads = Threads::new(1);
    let (mut number, mut skipped) = (0, 0);
    loop {
        let record = number + 1;
        let Some(data) = read_record(&mut file, record)? else { break };
        number = record;
        if number > MOST_RECORDS {
            return Err(WarmUpError::TooMany);
        }
        let malformed =
            |error: prost::DecodeError| WarmUpError::Malformed { record, reason: error.to_string() };
        let log = PredictionLog::decode(data.as_slice()).map_err(malformed)?;
        let Some(request) = log.predict.and_then(|log| log.request) else {
            skipped += 1;
            continue;
        };
        for _ in 0..iterations.max(1) {
            threads
                .enter(|| run(servable, &request, &threads))
                .map_err(|source| WarmUpError::Request { record, source: Box::new(source) })?;
        }
    }
    let (model, version) = (servable.name(), servable.version());
    tracing::info!(model, version, requests = number - skipped, "answered its own warm-up requests");
    if skipped > 0 {
        tracing::info!(model, version, skipped, "warm-up requests of other kinds than Predict are not run");
    }
    Ok(())
}

fn read_record(file: &mut impl Read, record: usize) -> Result<Option<Vec<u8>>, WarmUpError> {
    let malformed = |reason: &str| WarmUpError::Malformed { record, reason: reason.to_owned() };
    let mut header = Vec::new();
    file.by_ref().take(12).read_to_end(&mut header)?;
    if header.is_empty() {
        return Ok(None);
    }
    let (length, sum) = header
        .split_first_chunk::<8>()
        .and_then(|(length, rest)| Some((*length, rest.first_chunk::<4>()?)))
        .ok_or_else(|| malformed("it is cut"))?;
    if masked(&length) != u32::from_le_bytes(*sum) {
        return Err(malformed("its length has a wrong checksum"));
    }
    let length = u64::from_le_bytes(length);
    if length > LARGEST_RECORD {
        return Err(malformed("it is larger than 64 MiB"));
    }
    let mut data = Vec::new();
    file.by_ref().take(length.saturating_add(4)).read_to_end(&mut data)?;
    let (found, sum) = data.split_last_chunk::<4>().ok_or_else(|| malformed("it is cut"))?;
    if found.len() as u64 != length {
        return Err(malformed("it is cut"));
    }
    if masked(found) != u32::from_le_bytes(*sum) {
        return Err(malformed("its data has a wrong checksum"));
    }
    data.truncate(data.len() - 4);
    Ok(Some(data))
}

/// The checksum as `TFRecord` masks it.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn run(servable: &Servable, request: &PredictRequest, threads: &Threads) -> Result<(), RequestError> {
    let name = request.model_spec.as_ref().map_or("", |specification| specification.signature_name.as_str());
    let signature = servable.signature(name)?;
    let inputs = signature
        .inputs
        .iter()
        .map(|input| {
            let sent = request.inputs.get(&input.name).ok_or_else(|| RequestError::InputNames {
                sent: request.inputs.keys().cloned().collect(),
                expected: signature.input_names(),
            })?;
            let message = sent.encode_to_vec();
            let tensor = EncodedTensor::parse(&message, input, LARGEST_INPUT).and_then(EncodedTensor::read);
            tensor.map_err(|source| RequestError::Tensor { input: input.name.clone(), source })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let outputs: Vec<usize> = (0..signature.outputs.len()).collect();
    servable.run(signature, inputs, &outputs, threads, &Cancellation::default())?;
    Ok(())
}

/// The values of one input in bytes.
const LARGEST_INPUT: usize = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(data: &[u8]) -> Vec<u8> {
        let length = (data.len() as u64).to_le_bytes();
        let parts = [&length[..], &masked(&length).to_le_bytes(), data, &masked(data).to_le_bytes()];
        parts.concat()
    }

    #[test]
    fn records_are_read_or_refused() {
        // As TensorFlow's tf.io.TFRecordWriter wrote b"abc".
        let known = b"\x03\0\0\0\0\0\0\0\xb0\x99\x49\x0eabc\x6e\x57\xf1\x21";
        assert_eq!(record(b"abc"), known);
        let file = [record(b"abc"), record(b"")].concat();
        let mut rest = file.as_slice();
        assert_eq!(read_record(&mut rest, 1).unwrap().unwrap(), b"abc");
        assert_eq!(read_record(&mut rest, 2).unwrap().unwrap(), b"");
        assert!(read_record(&mut rest, 3).unwrap().is_none());
        for length in 1..file.len() - 16 {
            assert!(read_record(&mut &file[..length], 1).is_err(), "{length}");
        }
        for index in 0..19 {
            let mut file = file.clone();
            file[index] ^= 1;
            assert!(read_record(&mut file.as_slice(), 1).is_err(), "{index}");
        }
    }
}
