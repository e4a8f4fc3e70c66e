//! The REST API over real connections: forms, types, errors, limits.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use std::io::Write;

use adytum_serving::status::ERROR_CODE_KEY;
use fixture::{
    engines::{Gated, Panicking},
    http::{Answer, get, post, request},
    onnx,
    server::{Limits, Running, limits, start, start_with},
};
use flate2::{Compression, write::GzEncoder};
use serde_json::json;

/// A model of two inputs and two outputs: `sum = x + y` for floats [N, 2], `n = m` for int64 [N].
fn two_inputs() -> Vec<u8> {
    onnx::model(
        &[onnx::node("Add", &["x", "x"], &["double"], &[]), onnx::node("Identity", &["m"], &["n"], &[])],
        &[onnx::value("x", onnx::FLOAT, &[-1, 2]), onnx::value("m", onnx::INT64, &[-1])],
        &[onnx::value("double", onnx::FLOAT, &[-1, 2]), onnx::value("n", onnx::INT64, &[-1])],
        &[],
    )
}

const BOOL: u64 = 9;
const STRING: u64 = 8;
const DOUBLE: u64 = 11;

fn serving() -> Running {
    let running = start(limits(), None);
    running.serve("two", 1, two_inputs());
    running.serve("floats", 1, onnx::identity(onnx::FLOAT));
    running.serve("doubles", 1, onnx::identity(DOUBLE));
    running.serve("integers", 1, onnx::identity(onnx::INT64));
    running.serve("booleans", 1, onnx::identity(BOOL));
    running.serve("texts", 1, onnx::identity(STRING));
    running
}

async fn predict(running: &Running, model: &str, body: &str) -> Answer {
    post(running.server.address(), &format!("/v1/models/{model}:predict"), body).await
}

#[track_caller]
fn assert_error(answer: &Answer, status: u16, parts: &[&str]) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let error = answer.error();
    for part in parts {
        assert!(error.contains(part), "{part:?} in {error:?}");
    }
    assert!(answer.header(ERROR_CODE_KEY).is_some());
}

#[tokio::test]
async fn both_forms_carry_named_tensors() {
    let running = serving();
    let rows = json!({"instances": [{"x": [1, 2.5], "m": 7}, {"m": 9007199254740993_i64, "x": [3, 4]}]});
    let answer = predict(&running, "two", &rows.to_string()).await;
    let expected = json!({"predictions": [
        {"double": [2.0, 5.0], "n": 7}, {"double": [6.0, 8.0], "n": 9007199254740993_i64}]});
    assert_eq!(answer.json(), expected);
    let columns = json!({"inputs": {"x": [[1, 2.5]], "m": [-1]}});
    let answer = predict(&running, "two", &columns.to_string()).await;
    assert_eq!(answer.json(), json!({"outputs": {"double": [[2.0, 5.0]], "n": [-1]}}));
}

#[tokio::test]
async fn every_type_is_answered_as_it_was_asked() {
    let running = serving();
    for (model, body, expected) in [
        (
            "floats",
            r#"{"instances": [0.1, NaN, Infinity, -Infinity, 1e-7]}"#,
            "[0.1, NaN, Infinity, -Infinity, 1e-07",
        ),
        (
            "doubles",
            r#"{"instances": [0.1, 16777217, 0.30000000000000004]}"#,
            "[0.1, 16777217.0, 0.30000000000000004",
        ),
        ("integers", r#"{"instances": [9223372036854775807, -1]}"#, "[9223372036854775807, -1"),
        ("booleans", r#"{"instances": [true, false]}"#, "[true, false"),
        (
            "texts",
            r#"{"instances": ["a", {"b64": "aGk="}, {"b64": "/w=="}]}"#,
            r#"["a", "hi", {"b64": "/w=="}"#,
        ),
    ] {
        let answer = predict(&running, model, body).await;
        let text = answer.text();
        assert_eq!(text, format!("{{\n    \"predictions\": {expected}\n    ]\n}}"), "{model}");
    }
    let answer = predict(&running, "texts", r#"{"inputs": {"x": [{"b64": "aGk="}]}}"#).await;
    assert_eq!(answer.json(), json!({"outputs": ["hi"]}));
}

#[tokio::test]
async fn wrong_bodies_are_refused_with_their_place() {
    let running = serving();
    for (model, body, part) in [
        ("floats", "", "JSON Parse error"),
        ("floats", "{", "JSON Parse error"),
        ("floats", "[1]", "is not of expected type: object"),
        ("floats", r#"{"instances": [1]} x"#, "must not be followed"),
        ("floats", "{}", "Missing 'inputs' or 'instances' key"),
        ("floats", r#"{"instances": [1], "inputs": [1]}"#, "expecting only one of"),
        ("floats", r#"{"instances": []}"#, "No values in 'instances' array"),
        ("floats", r#"{"instances": 1}"#, "is not of expected type: list"),
        ("floats", r#"{"instances": [1, "a"]}"#, "Failed to process element: 1 key: x of 'instances' list"),
        ("floats", r#"{"instances": [1, [2]]}"#, "Expecting shape [] but got: [1]"),
        ("floats", r#"{"inputs": [[1, 2], [3]]}"#, "at unexpected size: 1 at level: 1 expected size: 2"),
        ("floats", r#"{"inputs": [[1, 2], [3, 4]]}"#, "expected the shape [?] but [2,2] is provided"),
        ("floats", r#"{"instances": [1, {"x": 1}]}"#, "Expecting value/list but got object at item 1"),
        ("floats", r#"{"instances": [{"x": 1}, 1]}"#, "Expecting object but got list at item 1"),
        ("floats", r#"{"instances": [{"x": 1, "x": 2}]}"#, "\"x\" is given twice"),
        ("floats", r#"{"instances": [{"x": 1}, {"x": 1, "x": 2}]}"#, "keys must be equal to: x"),
        ("floats", r#"{"instances": [{"y": 1}]}"#, "keys must be equal to: x"),
        ("floats", r#"{"signature_name": 1, "instances": [1]}"#, "is not of expected type: string"),
        (
            "floats",
            r#"{"signature_name": "other", "instances": [1]}"#,
            "Serving signature key \"other\" not found",
        ),
        ("floats", r#"{"instances": [16777217]}"#, "to float without loss of precision"),
        (
            "integers",
            r#"{"instances": [1.5]}"#,
            "JSON Value: 1.5 Type: Number is not of expected type: int64",
        ),
        ("two", r#"{"instances": [1]}"#, "expecting list of objects as multiple input tensors required: x,m"),
        ("two", r#"{"instances": [{"x": [1, 2]}]}"#, "keys must be equal to: x,m"),
        ("two", r#"{"inputs": {"x": [[1, 2]]}}"#, "keys must be equal to: x,m"),
        ("two", r#"{"inputs": [1]}"#, "multiple input tensors required"),
    ] {
        let answer = predict(&running, model, body).await;
        assert_error(&answer, 400, &[part]);
    }
    let deep = format!("{{\"inputs\": {}1{}}}", "[".repeat(5000), "]".repeat(5000));
    assert_error(&predict(&running, "floats", &deep).await, 400, &["more than 64 lists and objects"]);
}

#[tokio::test]
async fn errors_have_the_codes_of_tensorflow_serving() {
    let running = serving();
    let address = running.server.address();
    let answer = predict(&running, "other", r#"{"instances": [1]}"#).await;
    assert_error(&answer, 404, &["Servable not found for request: Latest(other)"]);
    assert_error(
        &get(address, "/v1/models/other").await,
        404,
        &["Could not find any versions of model other"],
    );
    let answer = post(address, "/v1/models/floats/versions/7:predict", r#"{"instances": [1]}"#).await;
    assert_error(&answer, 404, &["Servable not found for request: Specific(floats, 7)"]);
    assert_error(&post(address, "/v1/models/floats/labels/x:predict", "{}").await, 400, &["label: x"]);
    assert_error(
        &get(address, "/v1/models/floats:predict").await,
        400,
        &["Malformed request: GET /v1/models/floats"],
    );
    assert_error(&post(address, "/v1/models/floats", "{}").await, 400, &["Malformed request: POST"]);
    assert_error(&get(address, "/").await, 404, &["no API at /"]);
    running.serve_loaded("panics", 1, Box::new(Panicking::new()));
    assert_error(&predict(&running, "panics", r#"{"instances": [1]}"#).await, 500, &["panicked"]);
    running.models.declare("loading");
    assert_error(&predict(&running, "loading", r#"{"instances": [1]}"#).await, 503, &["being loaded"]);
    // Examples, where the model takes none.
    let answer = post(address, "/v1/models/floats:classify", r#"{"examples": [{"x": 1.0}]}"#).await;
    assert_error(&answer, 400, &["\"classes\" or \"scores\""]);
    let answer = post(address, "/v1/models/floats:regress", r#"{"examples": [{"x": [1.0, "a"]}]}"#).await;
    assert_error(&answer, 400, &["Unexpected element type in feature: x expecting type: float"]);
    assert_error(
        &post(address, "/v1/models/floats:regress", "{}").await,
        400,
        &["key 'examples' is expected"],
    );
}

#[tokio::test]
async fn bodies_are_limited_in_every_form() {
    let running = start(Limits { message_limit: 64 << 10, request_memory: 512 << 10, queue: 8 }, None);
    running.serve("floats", 1, onnx::identity(onnx::FLOAT));
    running.serve("texts", 1, onnx::identity(STRING));
    let address = running.server.address();
    let path = "/v1/models/floats:predict";
    let large = format!("{{\"instances\": [{}1]}}", "1, ".repeat(40_000));
    assert_error(&post(address, path, &large).await, 429, &["larger than max"]);
    // Without a length in the header.
    let chunk = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    let answer = request(address, "POST", path, &[("transfer-encoding", "chunked")], chunk.as_bytes()).await;
    assert!(answer.status == 429 || answer.status == 400, "{}", answer.text());
    // What unpacks to more.
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(large.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    let gzip = [("content-encoding", "gzip")];
    assert_error(&request(address, "POST", path, &gzip, &packed).await, 429, &["larger than max"]);
    // Texts of no letters stand for more than they weigh.
    let texts = format!("{{\"instances\": [{}\"\"]}}", "\"\",".repeat(10_000));
    assert_error(&post(address, "/v1/models/texts:predict", &texts).await, 400, &["values take up to"]);
    // And a good one passes, packed too.
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(br#"{"instances": [1.5]}"#).unwrap();
    let answer = request(address, "POST", path, &gzip, &packed.finish().unwrap()).await;
    assert_eq!(answer.json(), json!({"predictions": [1.5]}));
    assert_error(
        &request(address, "POST", path, &[("content-encoding", "br")], b"x").await,
        501,
        &["\"br\""],
    );
    assert_error(&request(address, "POST", path, &gzip, b"hello").await, 400, &["can't be unpacked"]);
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_given_up() {
    let running = start_with(limits(), None, |options| {
        options.rest.timeout = std::time::Duration::from_millis(200);
        options.rest.any_origin = true;
    });
    let gated = Gated::new();
    running.serve_loaded("m", 1, Box::new(gated.clone()));
    let answer = predict(&running, "m", r#"{"instances": [1]}"#).await;
    gated.open();
    assert_error(&answer, 504, &["no answer within 200 ms"]);
    // Pages of any origin may read the answers, errors too.
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let path = "/v1/models/m:predict";
    let preflight =
        request(running.server.address(), "OPTIONS", path, &[("origin", "http://example.org")], b"").await;
    assert_eq!(
        (preflight.status, preflight.header("access-control-allow-methods")),
        (200, Some("POST, GET, OPTIONS"))
    );
    let without = start(limits(), None);
    let answer = get(without.server.address(), "/v1/models").await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
}
