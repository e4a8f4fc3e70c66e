//! `adytum model check`, `adytum model import` and what `adytum seal` does with models: models, and what
//! newcomers give instead of one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use adytum_testkit::{
    directory::Directory,
    onnx::{Attribute, FLOAT, floats, model, node, put_bytes, put_number},
    program::Outcome,
};

use crate::fixture::{adytum, succeeds};

/// Runs `adytum model check`: its exit code and what it printed.
fn check(path: &str, more: &[&str]) -> (i32, String) {
    let outcome = adytum([&["model", "check", path], more].concat());
    let stderr = outcome.stderr();
    assert!(!stderr.contains("panicked"), "{path}: {stderr}");
    (outcome.exit_code().unwrap(), outcome.stdout() + &stderr)
}

/// The report as JSON.
fn report(path: &str, more: &[&str]) -> (i32, serde_json::Value) {
    let (code, text) = check(path, &[&["--json"], more].concat());
    (code, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

fn repository(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join(path).canonicalize().unwrap().to_str().unwrap().to_owned()
}

/// Writes a file, and the directories that it is in.
fn write(directory: &Directory, name: &str, bytes: &[u8]) -> String {
    fs::create_dir_all(directory.root().join(name).parent().unwrap()).unwrap();
    directory.write(name, bytes)
}

/// An input or output of floats; an open dimension has a name.
fn port(name: &str, shape: &[Result<u64, &str>]) -> Vec<u8> {
    let mut dimensions = Vec::new();
    for size in shape {
        let mut dimension = Vec::new();
        match size {
            Ok(size) => put_number(&mut dimension, 1, *size),
            Err(name) => put_bytes(&mut dimension, 2, name.as_bytes()),
        }
        put_bytes(&mut dimensions, 1, &dimension);
    }
    let mut tensor = Vec::new();
    put_number(&mut tensor, 1, FLOAT);
    put_bytes(&mut tensor, 2, &dimensions);
    let mut kind = Vec::new();
    put_bytes(&mut kind, 1, &tensor);
    let mut port = Vec::new();
    put_bytes(&mut port, 1, name.as_bytes());
    put_bytes(&mut port, 2, &kind);
    port
}

/// y = 2 x + 1, in batches of pairs.
fn line() -> Vec<u8> {
    let row = [Err("batch"), Ok(2)];
    model(
        &[node("Mul", &["x", "two"], &["p"], &[]), node("Add", &["p", "one"], &["y"], &[])],
        &[port("x", &row)],
        &[port("y", &row)],
        &[floats("two", &[1], &[2.0]), floats("one", &[1], &[1.0])],
    )
}

#[test]
fn a_model_is_described_and_its_batch_agrees() {
    let (code, text) = check(&repository("examples/digits/model.onnx"), &[]);
    assert_eq!(code, 0, "{text}");
    for expected in ["inputs", "outputs", "Conv", "parameters", "at rest", "verdict      servable"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let folder = Directory::new();
    let path = write(&folder, "line.onnx", &line());
    let (code, found) = report(&path, &[]);
    assert_eq!((code, &found["verdict"]), (0, &"servable".into()), "{found}");
    assert_eq!(found["inputs"][0]["shape"], serde_json::json!(["batch", "2"]));
    assert_eq!(found["signatures"][0]["batch"]["result"], "agrees");
    assert_eq!(found["operators"]["Mul"]["nodes"], 1);
    assert_eq!(found["parameters"], 2);
    let (_, text) = check(&path, &["--plan"]);
    assert!(text.contains("plan\n") && text.contains("Mul"), "{text}");
}

#[test]
fn what_newcomers_give_is_named() {
    let folder = Directory::new();
    let cut_off = {
        let whole = line();
        whole[..whole.len() - 20].to_vec()
    };
    let mut saved_model = vec![0x08, 0x01];
    put_bytes(&mut saved_model, 2, &[0x0a, 0x00]);
    let archive = |name: &str| {
        let mut file = b"PK\x03\x04".to_vec();
        file.extend([0; 22]);
        file.extend((name.len() as u16).to_le_bytes());
        file.extend([0, 0]);
        file.extend(name.as_bytes());
        file
    };
    let cases: &[(&str, &[u8], &str)] = &[
        ("model.pkl", b"\x80\x04\x95\x10\0\0\0\0\0\0\0}\x94.", "a pickle of Python"),
        ("forest.joblib", b"\x80\x04\x95\xff\0\0\0\0\0\0\0\x8c\x18sklearn.ensemble._forest", "skl2onnx"),
        ("lfs.onnx", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git lfs pull"),
        ("net.pt", &archive("archive/data.pkl"), "torch.onnx.export"),
        ("net.keras", &archive("model.weights.h5"), "keras.saving.load_model"),
        ("net.h5", b"\x89HDF\r\n\x1a\n\0\0", "HDF5"),
        ("net.tflite", b"\x1c\0\0\0TFL3\x14\0\x20\0", "TensorFlow Lite"),
        ("frozen.pb", b"\x0a\x04\x0a\x02ab\x22\x02\x08\x01", "frozen graph"),
        ("other.pb", &saved_model, "saved_model.pb of a TensorFlow SavedModel"),
        ("net.safetensors", b"\x08\0\0\0\0\0\0\0{\"a\":{}}data", "optimum-cli"),
        ("notes.onnx", b"dear diary", "a text file"),
        ("page.onnx", b"<!DOCTYPE html><html></html>", "a web page"),
        ("empty.onnx", b"", "an empty file"),
        ("some.zip", &archive("readme.txt"), "a ZIP archive"),
        ("cut.onnx", &cut_off, "is cut off"),
        ("noise.onnx", &[0xff; 100], "unknown format"),
        ("zeros.onnx", &[0; 100], "unknown format"),
        ("sealed.age", b"age-encryption.org/v1\n", "sealed already"),
    ];
    for (name, bytes, expected) in cases {
        let path = write(&folder, name, bytes);
        let (code, text) = check(&path, &[]);
        assert_eq!(code, 3, "{name}: {text}");
        assert!(text.contains(expected) && text.contains("not servable"), "{name}: {text}");
        let (code, found) = report(&path, &[]);
        assert_eq!((code, &found["verdict"]), (3, &"not_servable".into()), "{name}");
        assert!(found["code"].as_str().unwrap().starts_with("model-source-"), "{name}: {found}");
        // Nothing of the kind is sealed.
        seal(&folder, &path, &[]).failed_with(78);
        assert!(!Path::new(&folder.path("sealed/1")).exists(), "{name} was sealed");
    }
    let (code, text) = check(&folder.path("missing.onnx"), &[]);
    assert_eq!(code, 3);
    assert!(text.contains("No such file"), "{text}");
    let (code, text) = check("/dev/zero", &[]);
    assert_eq!(code, 3);
    assert!(text.contains("a pipe or a device"), "{text}");
}

#[test]
fn damaged_models_are_refused_and_never_end_the_process() {
    let folder = Directory::new();
    let whole = line();
    for place in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x55;
        let path = write(&folder, "damaged.onnx", &bytes);
        let (code, text) = check(&path, &[]);
        assert!([0, 3, 4, 5].contains(&code), "byte {place}: {code}: {text}");
    }
}

#[test]
fn directories_are_understood() {
    let folder = Directory::new();
    for name in
        ["versions/1/model.onnx", "versions/3/model.onnx", "off/inner/net.onnx", "two/a.onnx", "two/b.onnx"]
    {
        write(&folder, name, &line());
    }
    let (code, text) = check(&folder.path("versions"), &[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("versions/3/model.onnx") && text.contains("the highest of 1, 3"), "{text}");
    let (code, text) = check(&folder.path("off"), &[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("inner in it is used"), "{text}");
    let (code, text) = check(&folder.path("two"), &[]);
    assert_eq!(code, 3);
    assert!(text.contains("a.onnx, b.onnx"), "{text}");
    let saved_model = repository("crates/import/tests/data/half_plus_two");
    for path in [saved_model.clone(), format!("{saved_model}/saved_model.pb")] {
        let (code, found) = report(&path, &[]);
        assert_eq!((code, &found["format"]), (0, &"SavedModel".into()), "{found}");
        assert!(found["signatures"].as_array().unwrap().len() >= 3, "{found}");
    }
    let (code, text) = check(&format!("{saved_model}/variables"), &[]);
    assert_eq!(code, 3);
    assert!(text.contains("part of the SavedModel"), "{text}");
}

#[test]
fn an_operator_that_nobody_computes_is_named() {
    let folder = Directory::new();
    let file = model(
        &[node("Frobnicate", &["x"], &["y"], &[])],
        &[port("x", &[Ok(2)])],
        &[port("y", &[Ok(2)])],
        &[],
    );
    let (code, found) = report(&write(&folder, "odd.onnx", &file), &[]);
    assert_eq!(code, 3);
    assert_eq!(found["code"], "plan-node");
    assert!(found["reason"].as_str().unwrap().contains("Frobnicate"), "{found}");
    assert!(found["next_step"].as_str().is_some_and(|step| !step.is_empty()), "{found}");
}

#[test]
fn a_model_that_answers_nothing_is_not_servable() {
    let folder = Directory::new();
    // Three columns of weights for two of the input, which the file does not say.
    let file = model(
        &[node("MatMul", &["x", "w"], &["y"], &[])],
        &[port("x", &[Err("batch"), Err("n")])],
        &[port("y", &[Err("batch"), Ok(1)])],
        &[floats("w", &[3, 1], &[1.0; 3])],
    );
    let path = write(&folder, "odd.onnx", &file);
    let (code, text) = check(&path, &[]);
    assert_eq!(code, 4, "{text}");
    let (code, text) = check(&path, &["--size", "n=3"]);
    assert_eq!(code, 0, "{text}");
    assert!(seal(&folder, &path, &[]).failed_with(77).contains("--unchecked"));
    seal(&folder, &path, &["--unchecked"]).succeeded();
}

#[test]
fn rows_that_influence_each_other_are_found() {
    let folder = Directory::new();
    // The mean over the first dimension is taken away.
    let file = model(
        &[
            node("ReduceMean", &["x"], &["m"], &[Attribute::Integers("axes", &[0])]),
            node("Sub", &["x", "m"], &["y"], &[]),
        ],
        &[port("x", &[Err("batch"), Ok(2)])],
        &[port("y", &[Err("batch"), Ok(2)])],
        &[],
    );
    let path = write(&folder, "centred.onnx", &file);
    let (code, text) = check(&path, &[]);
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("depends on the other elements"), "{text}");
    assert_eq!(check(&path, &["--no-batch"]).0, 0);
    let fixed =
        model(&[node("Abs", &["x"], &["y"], &[])], &[port("x", &[Ok(3)])], &[port("y", &[Ok(3)])], &[]);
    let (code, text) = check(&write(&folder, "fixed.onnx", &fixed), &[]);
    assert_eq!(code, 0);
    assert!(text.contains("none: the first dimension of no input is open"), "{text}");
}

/// One array of floats as `numpy.savez` writes it.
fn npz(name: &str, shape: &str, values: &[f32]) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut array = b"\x93NUMPY\x01\x00".to_vec();
    array.extend((header.len() as u16).to_le_bytes());
    array.extend(header.as_bytes());
    array.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    let name = format!("{name}.npy");
    let mut file = b"PK\x03\x04".to_vec();
    file.extend([0; 22]);
    file.extend((name.len() as u16).to_le_bytes());
    file.extend([0, 0]);
    file.extend(name.as_bytes());
    file.extend(&array);
    let directory = file.len() as u32;
    file.extend(b"PK\x01\x02");
    file.extend([0; 16]);
    file.extend((array.len() as u32).to_le_bytes());
    file.extend([0; 4]);
    file.extend((name.len() as u16).to_le_bytes());
    file.extend([0; 16]);
    file.extend(name.as_bytes());
    let length = file.len() as u32 - directory;
    file.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    file.extend(length.to_le_bytes());
    file.extend(directory.to_le_bytes());
    file.extend([0, 0]);
    file
}

#[test]
fn recorded_outputs_are_compared() {
    let folder = Directory::new();
    let path = write(&folder, "line.onnx", &line());
    let inputs = write(&folder, "inputs.npz", &npz("x", "(1, 2)", &[1.0, -2.0]));
    let outputs = write(&folder, "outputs.npz", &npz("y", "(1, 2)", &[3.0, -3.0]));
    let (code, text) = check(&path, &["--expect", &inputs, &outputs]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("y is as recorded"), "{text}");
    let wrong = write(&folder, "wrong.npz", &npz("y", "(1, 2)", &[3.0, -3.01]));
    let (code, text) = check(&path, &["--expect", &inputs, &wrong]);
    assert_eq!(code, 6, "{text}");
    assert!(text.contains("\"y\" is not what was recorded"), "{text}");
    assert_eq!(check(&path, &["--expect", &inputs, &wrong, "--tolerance", "0.1"]).0, 0);
    let other = write(&folder, "other.npz", &npz("z", "(1, 2)", &[3.0, -3.0]));
    let (code, text) = check(&path, &["--expect", &inputs, &other]);
    assert_eq!(code, 6, "{text}");
    assert!(text.contains("no output of that name"), "{text}");
    // A file that can't be read is an error of the command, not a verdict on the model.
    assert_eq!(check(&path, &["--expect", &path, &outputs]).0, 78);
    assert_eq!(check(&path, &["--size", "nonsense"]).0, 2);
}

#[test]
fn a_saved_model_is_imported() {
    let folder = Directory::new();
    let saved_model = repository("crates/import/tests/data/convolution");
    let out = folder.path("net.onnx");
    let import = ["model", "import", &saved_model, "--out", &out];
    assert!(succeeds(import).contains("serving_default"));
    assert_eq!(check(&out, &[]).0, 0);
    assert!(adytum(import).failed_with(78).contains("File exists"));
    let none = adytum(["model", "import", &out, "--out", &folder.path("x.onnx")]);
    assert!(none.failed_with(78).contains("needs no import"));
    let import = ["model", "import", &saved_model, "--out", &folder.path("again.onnx"), "--json"];
    crate::json::objects("model import", &succeeds(import));
}

/// Seals a model as version 1, with keys that are made for it.
fn seal(folder: &Directory, model: &str, more: &[&str]) -> Outcome {
    let (owner, identity) = (folder.path("owner.pem"), folder.path("key.txt"));
    if !Path::new(&owner).exists() {
        succeeds(["owner", "new", "--out", &owner]);
        succeeds(["model-key", "new", "--out", &identity]);
    }
    let recipient = succeeds(["model-key", "show", &identity]);
    let out = folder.path("sealed");
    let arguments = [
        &["seal", model, "--model", "net", "--version", "1", "--recipient", recipient.trim()][..],
        &["--owner", &owner, "--out", &out],
        more,
    ];
    adytum(arguments.concat())
}

/// The model that was sealed, in a file.
fn unsealed(folder: &Directory) -> PathBuf {
    let signer = succeeds(["owner", "show", &folder.path("owner.pem")]);
    let (identity, sealed, out) =
        (folder.path("key.txt"), folder.path("sealed/1"), folder.path("plain.onnx"));
    succeeds(["unseal", &sealed, "--identity", &identity, "--signer", signer.trim(), "--out", &out]);
    out.into()
}

#[test]
fn a_saved_model_is_sealed_as_onnx() {
    let folder = Directory::new();
    seal(&folder, &repository("crates/import/tests/data/half_plus_two"), &[]).succeeded();
    let (code, found) = report(unsealed(&folder).to_str().unwrap(), &[]);
    assert_eq!((code, &found["format"]), (0, &"ONNX".into()), "{found}");
    assert!(found["signatures"].as_array().unwrap().len() >= 3, "{found}");
}

#[test]
fn weights_in_other_files_are_sealed_with_the_model() {
    let folder = Directory::new();
    let mut tensor = Vec::new();
    put_number(&mut tensor, 1, 600);
    put_number(&mut tensor, 2, FLOAT);
    put_bytes(&mut tensor, 8, b"w");
    for (key, value) in [("location", "w.data"), ("offset", "4")] {
        let mut entry = Vec::new();
        put_bytes(&mut entry, 1, key.as_bytes());
        put_bytes(&mut entry, 2, value.as_bytes());
        put_bytes(&mut tensor, 13, &entry);
    }
    put_number(&mut tensor, 14, 1);
    let row = [Err("batch"), Ok(600)];
    let file =
        model(&[node("Add", &["x", "w"], &["y"], &[])], &[port("x", &row)], &[port("y", &row)], &[tensor]);
    let path = write(&folder, "net/model.onnx", &file);
    // Without the data the model is refused, with the file's name.
    let (code, text) = check(&path, &[]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("w.data"), "{text}");
    let data: Vec<u8> = (0..601_u16).flat_map(|value| f32::from(value).to_le_bytes()).collect();
    write(&folder, "net/w.data", &data);
    assert_eq!(check(&folder.path("net"), &[]).0, 0);
    seal(&folder, &folder.path("net"), &[]).succeeded();
    let whole = fs::read(unsealed(&folder)).unwrap();
    assert!(whole.windows(2400).any(|window| window == &data[4..]), "the data is not in the file");
    assert_eq!(check(folder.path("plain.onnx").as_str(), &[]).0, 0);
}
