//! What a file is that is no ONNX model, and how a model of that kind becomes one.

use std::fmt;

/// What a file may be, other than an ONNX model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Empty,
    GitLfsPointer,
    TorchArchive,
    TorchLegacy,
    TorchScript,
    Pickle,
    SklearnPickle,
    Compressed,
    KerasArchive,
    Hdf5,
    TensorFlowLite,
    SavedModelDefinition,
    FrozenGraph,
    Safetensors,
    Gguf,
    NumpyArray,
    NumpyArchive,
    XgboostJson,
    XgboostBinary,
    LightgbmText,
    OnnxText,
    OnnxArchive,
    SavedModelArchive,
    Zip,
    Tar,
    OnnxRuntime,
    CoreMl,
    OpenVino,
    TensorRt,
    Sealed,
    WebPage,
    Picture,
    Program,
    Json,
    Text,
    Protobuf,
    Unknown,
}

impl Format {
    /// What it is, as a noun with its article.
    fn name(self) -> &'static str {
        match self {
            Self::Empty => "an empty file",
            Self::GitLfsPointer => "a pointer of Git LFS: the model itself was not downloaded",
            Self::TorchArchive => "a checkpoint of PyTorch (.pt, .pth)",
            Self::TorchLegacy => "a checkpoint of PyTorch in its form before version 1.6",
            Self::TorchScript => "a TorchScript program of PyTorch",
            Self::Pickle => "a pickle of Python",
            Self::SklearnPickle => "a pickle of scikit-learn",
            Self::Compressed => "a compressed file",
            Self::KerasArchive => "a Keras model (.keras)",
            Self::Hdf5 => "an HDF5 file, as Keras writes (.h5)",
            Self::TensorFlowLite => "a TensorFlow Lite model (.tflite)",
            Self::SavedModelDefinition => "the file saved_model.pb of a TensorFlow SavedModel",
            Self::FrozenGraph => "a frozen graph of TensorFlow 1 (.pb)",
            Self::Safetensors => "a file of weights (.safetensors), which has no graph",
            Self::Gguf => "a file of llama.cpp (.gguf)",
            Self::NumpyArray => "an array of NumPy (.npy)",
            Self::NumpyArchive => "arrays of NumPy (.npz)",
            Self::XgboostJson | Self::XgboostBinary => "a model of XGBoost",
            Self::LightgbmText => "a model of LightGBM",
            Self::OnnxText => "an ONNX model in the text form of protocol buffers",
            Self::OnnxArchive => "a ZIP archive with an ONNX model in it",
            Self::SavedModelArchive => "a ZIP archive with a SavedModel in it",
            Self::Zip => "a ZIP archive",
            Self::Tar => "a tar archive",
            Self::OnnxRuntime => "a model in ONNX Runtime's own format (.ort)",
            Self::CoreMl => "a Core ML model",
            Self::OpenVino => "an OpenVINO model",
            Self::TensorRt => "a TensorRT engine",
            Self::Sealed => "a model that is sealed already, or another file of age",
            Self::WebPage => "a web page: the download gave a page instead of the model",
            Self::Picture => "a picture",
            Self::Program => "a program or a library (ELF)",
            Self::Json => "a JSON file",
            Self::Text => "a text file",
            Self::Protobuf => "a protocol buffer without a graph of ONNX",
            Self::Unknown => "a file of an unknown format",
        }
    }

    /// How to get an ONNX model of it.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::Empty => "copy or export the model again",
            Self::GitLfsPointer => "run `git lfs pull` in the repository, or download the file itself",
            Self::TorchArchive | Self::TorchLegacy => {
                "load it into its model in Python, then torch.onnx.export(model.eval(), (example,), \
                 \"model.onnx\", dynamo=True)"
            }
            Self::TorchScript => {
                "export the model that it was made of: torch.onnx.export(model.eval(), (example,), \
                 \"model.onnx\", dynamo=True)"
            }
            Self::Pickle => {
                "load it in Python, and export what it holds: scikit-learn with skl2onnx, XGBoost and \
                 LightGBM with onnxmltools, PyTorch with torch.onnx.export"
            }
            Self::SklearnPickle => {
                "load it in Python, then skl2onnx.to_onnx(model, X[:1]).SerializeToString() is the file's content"
            }
            Self::Compressed => "uncompress it, then give what was in it",
            Self::KerasArchive | Self::Hdf5 => {
                "in Python keras.saving.load_model(FILE).export(\"model\"), then give the directory model"
            }
            Self::TensorFlowLite => {
                "give the SavedModel that it was made of, or convert it: python -m tf2onnx.convert --tflite FILE \
                 --output model.onnx"
            }
            Self::SavedModelDefinition => {
                "give its directory, with the variables: saved_model.pb has only the graph"
            }
            Self::FrozenGraph => {
                "convert it: python -m tf2onnx.convert --graphdef FILE --inputs NAME:0 --outputs NAME:0 \
                 --output model.onnx"
            }
            Self::Safetensors => {
                "load it into its model in Python and export that: torch.onnx.export, or optimum-cli export onnx \
                 --model DIRECTORY onnx/"
            }
            Self::Gguf => "export the original model: optimum-cli export onnx --model NAME onnx/",
            Self::NumpyArray | Self::NumpyArchive => {
                "give the model itself; recorded inputs and outputs go to `adytum model check --expect`"
            }
            Self::XgboostJson | Self::XgboostBinary => {
                "load it in Python, then onnxmltools.convert_xgboost(model, initial_types=[(\"x\", \
                 FloatTensorType([None, COLUMNS]))])"
            }
            Self::LightgbmText => {
                "load it in Python, then onnxmltools.convert_lightgbm(lightgbm.Booster(model_file=FILE), \
                 initial_types=[(\"x\", FloatTensorType([None, COLUMNS]))])"
            }
            Self::OnnxText => {
                "convert it in Python: onnx.save(onnx.load(FILE, format=\"textproto\"), \"model.onnx\")"
            }
            Self::OnnxArchive => "unpack it, then give the ONNX file",
            Self::SavedModelArchive => "unpack it, then give the directory that holds saved_model.pb",
            Self::Zip | Self::Tar => "unpack it, then give the model in it",
            Self::OnnxRuntime => "give the ONNX model that it was made of",
            Self::CoreMl | Self::OpenVino | Self::TensorRt => {
                "export the model that it was made of as ONNX, from its own framework"
            }
            Self::Sealed => "give the plain model; `adytum unseal` opens a sealed one",
            Self::WebPage => {
                "download the file itself; on a web site that is often the link \"raw\" or \"download\""
            }
            Self::Picture | Self::Program | Self::Json | Self::Text | Self::Protobuf | Self::Unknown => {
                "give an ONNX file, or the directory of a SavedModel; docs/models.md says how frameworks export them"
            }
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the first bytes of a file of `length` bytes show; `None` if it may be an ONNX model.
pub(crate) fn recognise(head: &[u8], length: u64) -> Option<Format> {
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    if length == 0 {
        return Some(Format::Empty);
    }
    let by_magic: &[(usize, &[u8], Format)] = &[
        (0, b"version https://git-lfs", Format::GitLfsPointer),
        (0, b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46", Format::TorchLegacy),
        (0, b"\x1f\x8b", Format::Compressed),
        (0, b"BZh", Format::Compressed),
        (0, b"\xfd7zXZ\0", Format::Compressed),
        (0, b"\x28\xb5\x2f\xfd", Format::Compressed),
        (0, b"7z\xbc\xaf\x27\x1c", Format::Compressed),
        (0, b"\x89HDF\r\n\x1a\n", Format::Hdf5),
        (4, b"TFL3", Format::TensorFlowLite),
        (4, b"ORTM", Format::OnnxRuntime),
        (0, b"GGUF", Format::Gguf),
        (0, b"\x93NUMPY", Format::NumpyArray),
        (0, b"{L\0\0\0\0\0\0", Format::XgboostBinary),
        (0, b"ptrt", Format::TensorRt),
        (0, b"ftrt", Format::TensorRt),
        (0, b"age-encryption.org/", Format::Sealed),
        (0, b"\x89PNG", Format::Picture),
        (0, b"\xff\xd8\xff", Format::Picture),
        (0, b"GIF8", Format::Picture),
        (0, b"\x7fELF", Format::Program),
        (257, b"ustar", Format::Tar),
    ];
    if let Some((.., format)) = by_magic.iter().find(|(offset, magic, _)| at(*offset, magic)) {
        return Some(*format);
    }
    if at(0, b"PK\x03\x04") || at(0, b"PK\x05\x06") {
        return Some(Format::Zip);
    }
    if let [0x80, 2..=5, ..] = head {
        return Some(pickle(head));
    }
    // joblib compresses with zlib by default; no message of ONNX begins so.
    if let [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] = head {
        return Some(Format::Compressed);
    }
    if is_safetensors(head, length) {
        return Some(Format::Safetensors);
    }
    text(head)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn pickle(head: &[u8]) -> Format {
    if contains(head, b"sklearn") { Format::SklearnPickle } else { Format::Pickle }
}

/// A length of 8 bytes, then that much JSON.
fn is_safetensors(head: &[u8], length: u64) -> bool {
    head.first_chunk::<8>().is_some_and(|first| {
        let header = u64::from_le_bytes(*first);
        header >= 2 && header < length && head.get(8) == Some(&b'{')
    })
}

/// What a text is; `None` if the bytes are none.
fn text(head: &[u8]) -> Option<Format> {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // A letter may be cut off at the end of what was read.
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => {
            std::str::from_utf8(head.get(..error.valid_up_to())?).ok()?
        }
        Err(_) => return None,
    };
    let is_text = |letter: char| !letter.is_control() || matches!(letter, '\n' | '\r' | '\t' | '\u{feff}');
    if !text.chars().all(is_text) {
        return None;
    }
    let start = text.trim_start_matches(['\u{feff}', ' ', '\n', '\r', '\t']);
    let lower: String = start.chars().take(200).flat_map(char::to_lowercase).collect();
    Some(if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        Format::WebPage
    } else if lower.starts_with("<?xml") && text.contains("<net ") {
        Format::OpenVino
    } else if start.starts_with("ir_version:") || start.starts_with("graph {") {
        Format::OnnxText
    } else if start.starts_with("tree\nversion=") || start.starts_with("tree\r\nversion=") {
        Format::LightgbmText
    } else if start.starts_with('{') && text.contains("\"learner\"") {
        Format::XgboostJson
    } else if start.starts_with(['{', '[']) {
        Format::Json
    } else {
        Format::Text
    })
}

/// What an archive is, by the names in it.
pub(crate) fn recognise_archive(names: &[String]) -> Format {
    let any = |test: &dyn Fn(&str) -> bool| names.iter().any(|name| test(name));
    let ends = |end: &str| any(&|name| name == end || name.ends_with(&format!("/{end}")));
    if ends("data.pkl") {
        if ends("constants.pkl") || any(&|name| name.contains("/code/")) {
            return Format::TorchScript;
        }
        return Format::TorchArchive;
    }
    if ends("model.weights.h5") {
        return Format::KerasArchive;
    }
    if ends("saved_model.pb") {
        return Format::SavedModelArchive;
    }
    if any(&|name| name.ends_with(".onnx")) {
        return Format::OnnxArchive;
    }
    if !names.is_empty() && names.iter().all(|name| name.ends_with(".npy")) {
        return Format::NumpyArchive;
    }
    Format::Zip
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_what_their_first_bytes_say() {
        let recognised = |head: &[u8]| recognise(head, head.len() as u64);
        for (head, expected) in [
            (&b""[..], Some(Format::Empty)),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", Some(Format::GitLfsPointer)),
            (b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x13sklearn.linear_model", Some(Format::SklearnPickle)),
            (b"\x80\x05\x95\x10\0\0\0\0\0\0\0}\x94.", Some(Format::Pickle)),
            (b"\x89HDF\r\n\x1a\n\0", Some(Format::Hdf5)),
            (b"\x1c\0\0\0TFL3\x14\0", Some(Format::TensorFlowLite)),
            (b"\x10\0\0\0\0\0\0\0{\"a\":{}}        data", Some(Format::Safetensors)),
            (b"tree\nversion=v4\nnum_class=1\n", Some(Format::LightgbmText)),
            (b"{\"learner\":{\"attributes\":{}}}", Some(Format::XgboostJson)),
            (b"<!DOCTYPE html><html>", Some(Format::WebPage)),
            (b"ir_version: 8\ngraph {\n", Some(Format::OnnxText)),
            (b"dear diary", Some(Format::Text)),
            ("Gr\u{f6}\u{df}e".as_bytes(), Some(Format::Text)),
            (b"{}", Some(Format::Json)),
            (b"age-encryption.org/v1\n-> X25519", Some(Format::Sealed)),
            // An ONNX model: the version of the format, then the producer.
            (b"\x08\x08\x12\x07pytorch:\x04", None),
            (b"\x08\x08\x3a\x02\x0a\0", None),
        ] {
            assert_eq!(recognised(head), expected, "{head:?}");
        }
    }

    #[test]
    fn archives_are_what_their_names_say() {
        let of = |names: &[&str]| {
            recognise_archive(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(of(&["archive/data.pkl", "archive/data/0"]), Format::TorchArchive);
        assert_eq!(of(&["m/data.pkl", "m/constants.pkl", "m/code/x.py"]), Format::TorchScript);
        assert_eq!(of(&["metadata.json", "config.json", "model.weights.h5"]), Format::KerasArchive);
        assert_eq!(of(&["x/saved_model.pb"]), Format::SavedModelArchive);
        assert_eq!(of(&["a.npy", "b.npy"]), Format::NumpyArchive);
        assert_eq!(of(&["model.onnx", "readme.txt"]), Format::OnnxArchive);
        assert_eq!(of(&[]), Format::Zip);
    }
}
