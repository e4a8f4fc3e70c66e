//! The requests that a SavedModel brings to be warmed up with:
//! `assets.extra/tf_serving_warmup_requests`.
//!
//! The file is a series of records as TensorFlow's `TFRecord` has them: the length (8
//! bytes), its masked CRC-32C (4), the data, its masked CRC-32C (4), all little-endian.
//! Each holds a `PredictionLog` (`prediction_log.proto`): a log of one kind, with the request in
//! its field 1. Records of `SessionRun` name tensors of a graph of TensorFlow, which is not here
//! any more, so they are not run.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use adytum_api::tensorflow::serving::{
    ClassificationRequest, Input, MultiInferenceRequest, PredictRequest, RegressionRequest,
};
use adytum_engine::{operators::Cancellation, tensor::Tensor, threads::Threads};
use prost::Message;

use crate::{
    error::RequestError,
    examples::Batch,
    inference::inputs::{example_inputs, request_inputs, run_inputs},
    models::{Servable, ServedSignature},
    tensor::EncodedTensor,
};

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
        /// The place of the record in the file, counted from 1.
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
        /// The place of the record in the file, counted from 1.
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
    #[prost(oneof = "Log", tags = "2, 3, 4, 6")]
    log: Option<Log>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Log {
    #[prost(message, tag = "2")]
    Classify(ClassifyLog),
    #[prost(message, tag = "3")]
    Regress(RegressLog),
    #[prost(message, tag = "4")]
    MultiInference(MultiInferenceLog),
    #[prost(message, tag = "6")]
    Predict(PredictLog),
}

#[derive(Clone, PartialEq, Message)]
struct ClassifyLog {
    #[prost(message, optional, tag = "1")]
    request: Option<ClassificationRequest>,
}

#[derive(Clone, PartialEq, Message)]
struct RegressLog {
    #[prost(message, optional, tag = "1")]
    request: Option<RegressionRequest>,
}

#[derive(Clone, PartialEq, Message)]
struct MultiInferenceLog {
    #[prost(message, optional, tag = "1")]
    request: Option<MultiInferenceRequest>,
}

#[derive(Clone, PartialEq, Message)]
struct PredictLog {
    #[prost(message, optional, tag = "1")]
    request: Option<PredictRequest>,
}

impl Log {
    /// Runs the request of a record; `false` if it has none.
    fn run(&self, servable: &Servable, threads: &Threads) -> Result<bool, RequestError> {
        let name = |model: &Option<adytum_api::tensorflow::serving::ModelSpec>| {
            model.as_ref().map(|model| model.signature_name.clone()).unwrap_or_default()
        };
        match self {
            Self::Predict(PredictLog { request: Some(request) }) => predict(servable, request, threads)?,
            Self::Classify(ClassifyLog { request: Some(request) }) => {
                examples(servable, &name(&request.model_spec), request.input.as_ref(), threads)?;
            }
            Self::Regress(RegressLog { request: Some(request) }) => {
                examples(servable, &name(&request.model_spec), request.input.as_ref(), threads)?;
            }
            Self::MultiInference(MultiInferenceLog { request: Some(request) }) => {
                for task in &request.tasks {
                    examples(servable, &name(&task.model_spec), request.input.as_ref(), threads)?;
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
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
        let failed = |source| WarmUpError::Request { record, source: Box::new(source) };
        let mut ran = false;
        if let Some(log) = &log.log {
            for _ in 0..iterations.max(1) {
                ran = threads.enter(|| log.run(servable, &threads)).map_err(failed)?;
            }
        }
        skipped += usize::from(!ran);
    }
    let (model, version) = (servable.name(), servable.version());
    tracing::info!(model, version, requests = number - skipped, "answered its own warm-up requests");
    if skipped > 0 {
        tracing::info!(
            model,
            version,
            skipped,
            "warm-up requests of SessionRun are not run, since they name tensors of TensorFlow's graph, and records \
             without a request are not either"
        );
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

fn predict(servable: &Servable, request: &PredictRequest, threads: &Threads) -> Result<(), RequestError> {
    let name = request.model_spec.as_ref().map_or("", |specification| specification.signature_name.as_str());
    let signature = servable.signature(name)?;
    let inputs = request_inputs(signature)
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
    let inputs = run_inputs(signature, inputs, LARGEST_INPUT)?;
    run(servable, signature, inputs, threads)
}

fn examples(
    servable: &Servable,
    signature: &str,
    input: Option<&Input>,
    threads: &Threads,
) -> Result<(), RequestError> {
    let signature = servable.signature(signature)?;
    let message = input.map(Input::encode_to_vec).unwrap_or_default();
    let batch = Batch::of_input(&message, LARGEST_INPUT)?;
    let inputs = example_inputs(signature, &batch, LARGEST_INPUT)?;
    run(servable, signature, inputs, threads)
}

fn run(
    servable: &Servable,
    signature: &ServedSignature,
    inputs: Vec<Tensor>,
    threads: &Threads,
) -> Result<(), RequestError> {
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
