//! The file of warm-up requests that a SavedModel brings: `assets.extra/tf_serving_warmup_requests`.
//!
//! The file is a series of records as TensorFlow's `TFRecord` has them: the length (8
//! bytes), its masked CRC-32C (4), the data, its masked CRC-32C (4), all little-endian.
//! Each holds a `PredictionLog` (`prediction_log.proto`): a log of one kind, with the request in
//! its field 1. Records of `SessionRun` name tensors of a graph of TensorFlow, which is not here
//! any more, so they ask for nothing.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use adytum_api::tensorflow::serving::{
    ClassificationRequest, Input, MultiInferenceRequest, PredictRequest, RegressionRequest,
};
use adytum_engine::tensor::Tensor;
use prost::Message;

use crate::{
    error::RequestError,
    examples::Batch,
    inference::inputs::{example_inputs, request_inputs, run_inputs},
    models::{ServedSignature, Signatures, find_signature},
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

/// The values of one input in bytes.
const LARGEST_INPUT: usize = 256 << 20;

/// A run that a record asks for: the signature, and what it takes.
pub(super) type Asked<'s> = (&'s ServedSignature, Vec<Tensor>);

/// The records of a version's directory, one after another.
pub(super) struct Records {
    file: io::BufReader<File>,
    /// Records that were read.
    count: usize,
}

impl Records {
    /// The records below a version's directory; `None` if it has no such file.
    pub(super) fn open(directory: &Path) -> Result<Option<Self>, WarmUpError> {
        match File::open(directory.join(FILE)) {
            Ok(file) => Ok(Some(Self { file: io::BufReader::new(file), count: 0 })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Records that were read.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The runs that the next record asks for, none if it has no request. `None` at the end of the file.
    pub(super) fn next<'s>(
        &mut self,
        signatures: &'s Signatures,
    ) -> Result<Option<Vec<Asked<'s>>>, WarmUpError> {
        let record = self.count + 1;
        let Some(data) = read_record(&mut self.file, record)? else { return Ok(None) };
        self.count = record;
        if record > MOST_RECORDS {
            return Err(WarmUpError::TooMany);
        }
        let malformed =
            |error: prost::DecodeError| WarmUpError::Malformed { record, reason: error.to_string() };
        let Some(log) = PredictionLog::decode(data.as_slice()).map_err(malformed)?.log else {
            return Ok(Some(Vec::new()));
        };
        let asked = log.asked(signatures);
        asked.map(Some).map_err(|source| WarmUpError::Request { record, source: Box::new(source) })
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
    /// The runs that the request of a record asks for; none if it has none.
    fn asked<'s>(&self, signatures: &'s Signatures) -> Result<Vec<Asked<'s>>, RequestError> {
        let name = |model: &Option<adytum_api::tensorflow::serving::ModelSpec>| {
            model.as_ref().map(|model| model.signature_name.clone()).unwrap_or_default()
        };
        match self {
            Self::Predict(PredictLog { request: Some(request) }) => Ok(vec![predict(signatures, request)?]),
            Self::Classify(ClassifyLog { request: Some(request) }) => {
                Ok(vec![examples(signatures, &name(&request.model_spec), request.input.as_ref())?])
            }
            Self::Regress(RegressLog { request: Some(request) }) => {
                Ok(vec![examples(signatures, &name(&request.model_spec), request.input.as_ref())?])
            }
            Self::MultiInference(MultiInferenceLog { request: Some(request) }) => {
                let tasks = request.tasks.iter();
                tasks
                    .map(|task| examples(signatures, &name(&task.model_spec), request.input.as_ref()))
                    .collect()
            }
            _ => Ok(Vec::new()),
        }
    }
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

fn predict<'s>(signatures: &'s Signatures, request: &PredictRequest) -> Result<Asked<'s>, RequestError> {
    let name = request.model_spec.as_ref().map_or("", |specification| specification.signature_name.as_str());
    let signature = find_signature(signatures, name)?;
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
    Ok((signature, run_inputs(signature, inputs, LARGEST_INPUT)?))
}

fn examples<'s>(
    signatures: &'s Signatures,
    signature: &str,
    input: Option<&Input>,
) -> Result<Asked<'s>, RequestError> {
    let signature = find_signature(signatures, signature)?;
    let message = input.map(Input::encode_to_vec).unwrap_or_default();
    let batch = Batch::of_input(&message, LARGEST_INPUT)?;
    Ok((signature, example_inputs(signature, &batch, LARGEST_INPUT)?))
}

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
