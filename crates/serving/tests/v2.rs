//! The Open Inference Protocol over real connections.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use adytum_api::inference::{
    InferTensorContents, ModelInferRequest, ModelMetadataRequest, ModelReadyRequest, RepositoryIndexRequest,
    ServerLiveRequest, ServerMetadataRequest, ServerReadyRequest,
    grpc_inference_service_client::GrpcInferenceServiceClient,
    model_infer_request::{InferInputTensor, InferRequestedOutputTensor},
};
use fixture::{
    http::{Answer, get, post, request},
    onnx,
    server::{Running, channel, limits, start},
};
use serde_json::json;
use tonic::{Code, transport::Channel};

const HALF: u64 = 10;
const STRING: u64 = 8;

async fn serving() -> Running {
    let running = start(limits(), None);
    running.serve("m", 3, onnx::arithmetic());
    running.serve("half", 1, onnx::identity(HALF));
    running.serve("texts", 1, onnx::identity(STRING));
    running.server.set_serving(true).await;
    running
}

async fn client(running: &Running) -> GrpcInferenceServiceClient<Channel> {
    GrpcInferenceServiceClient::new(channel(running.server.address()).await)
}

fn input(name: &str, data_type: &str, shape: &[i64]) -> InferInputTensor {
    InferInputTensor {
        name: name.to_owned(),
        datatype: data_type.to_owned(),
        shape: shape.to_vec(),
        ..InferInputTensor::default()
    }
}

fn typed(values: &[f32]) -> ModelInferRequest {
    let contents = InferTensorContents { fp32_contents: values.to_vec(), ..InferTensorContents::default() };
    ModelInferRequest {
        model_name: "m".to_owned(),
        id: "7".to_owned(),
        inputs: vec![InferInputTensor { contents: Some(contents), ..input("x", "FP32", &[1, 3]) }],
        ..ModelInferRequest::default()
    }
}

#[tokio::test]
async fn grpc_tells_of_the_server_and_its_models() {
    let running = serving().await;
    let mut client = client(&running).await;
    assert!(client.server_live(ServerLiveRequest {}).await.unwrap().into_inner().live);
    assert!(client.server_ready(ServerReadyRequest {}).await.unwrap().into_inner().ready);
    let server = client.server_metadata(ServerMetadataRequest {}).await.unwrap().into_inner();
    assert_eq!(
        (server.name.as_str(), server.version.as_str()),
        ("adytum-serving", env!("CARGO_PKG_VERSION"))
    );
    let mut ready = async |name: &str, version: &str| {
        let request = ModelReadyRequest { name: name.to_owned(), version: version.to_owned() };
        client.model_ready(request).await.unwrap().into_inner().ready
    };
    assert!(ready("m", "").await && ready("m", "3").await);
    assert!(!ready("m", "4").await && !ready("other", "").await);
    let request = ModelMetadataRequest { name: "m".to_owned(), version: String::new() };
    let model = client.model_metadata(request).await.unwrap().into_inner();
    assert_eq!((model.versions, model.inputs[0].datatype.as_str()), (vec!["3".to_owned()], "FP32"));
    assert_eq!(model.inputs[0].shape, [-1, 3]);
    let request = ModelMetadataRequest { name: "other".to_owned(), version: String::new() };
    assert_eq!(client.model_metadata(request).await.unwrap_err().code(), Code::NotFound);
    let index = client.repository_index(RepositoryIndexRequest::default()).await.unwrap().into_inner();
    let models: Vec<_> =
        index.models.iter().map(|model| (model.name.as_str(), model.state.as_str())).collect();
    assert_eq!(models, [("m", "READY"), ("half", "READY"), ("texts", "READY")]);
    running.server.set_serving(false).await;
    assert!(!client.server_ready(ServerReadyRequest {}).await.unwrap().into_inner().ready);
}

#[tokio::test]
async fn grpc_infers_from_typed_and_raw_tensors() {
    let running = serving().await;
    let mut client = client(&running).await;
    let answer = client.model_infer(typed(&[1.0, 2.0, 3.0])).await.unwrap().into_inner();
    assert_eq!(
        (answer.model_name.as_str(), answer.model_version.as_str(), answer.id.as_str()),
        ("m", "3", "7")
    );
    assert_eq!(answer.outputs[0].name, "double");
    assert_eq!(answer.outputs[0].contents.as_ref().unwrap().fp32_contents, [2.0, 4.0, 6.0]);
    assert!(answer.raw_output_contents.is_empty());

    let raw = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let request = ModelInferRequest {
        model_name: "m".to_owned(),
        model_version: "3".to_owned(),
        inputs: vec![input("x", "FP32", &[2, 3])],
        outputs: vec![InferRequestedOutputTensor { name: "square".to_owned(), ..Default::default() }],
        raw_input_contents: vec![raw(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])],
        ..ModelInferRequest::default()
    };
    let answer = client.model_infer(request).await.unwrap().into_inner();
    assert_eq!((answer.outputs.len(), answer.outputs[0].shape.as_slice()), (1, &[2, 3][..]));
    assert_eq!(answer.raw_output_contents[0], raw(&[1.0, 4.0, 9.0, 16.0, 25.0, 36.0]));

    let request = ModelInferRequest {
        model_name: "half".to_owned(),
        inputs: vec![input("x", "FP16", &[2])],
        raw_input_contents: vec![vec![0, 0x3c, 0, 0xc0]],
        ..ModelInferRequest::default()
    };
    let answer = client.model_infer(request).await.unwrap().into_inner();
    assert_eq!(
        (answer.outputs[0].datatype.as_str(), &answer.raw_output_contents[0][..]),
        ("FP16", &[0, 0x3c, 0, 0xc0][..])
    );
}

#[tokio::test]
async fn grpc_refuses_what_does_not_fit() {
    let running = serving().await;
    let mut client = client(&running).await;
    let good = typed(&[1.0, 2.0, 3.0]);
    let with = |change: &dyn Fn(&mut ModelInferRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    for (request, code, part) in [
        (with(&|r| r.model_name = "other".to_owned()), Code::NotFound, "Latest(other)"),
        (with(&|r| r.model_version = "9".to_owned()), Code::NotFound, "Specific(m, 9)"),
        (with(&|r| r.model_version = "stable".to_owned()), Code::InvalidArgument, "label: stable"),
        (with(&|r| r.inputs[0].name = "y".to_owned()), Code::InvalidArgument, "unexpected input \"y\""),
        (with(&|r| r.inputs.push(r.inputs[0].clone())), Code::InvalidArgument, "unexpected input \"x\""),
        (with(&|r| r.inputs.clear()), Code::InvalidArgument, "\"x\" is missing"),
        (with(&|r| r.inputs[0].datatype = "FP64".to_owned()), Code::InvalidArgument, "expected to be float"),
        (with(&|r| r.inputs[0].datatype = "FLOAT".to_owned()), Code::InvalidArgument, "unknown datatype"),
        (with(&|r| r.inputs[0].shape = vec![1, 4]), Code::InvalidArgument, "[?,3]"),
        (with(&|r| r.inputs[0].shape = vec![2, 3]), Code::InvalidArgument, "expected 6 values"),
        (with(&|r| r.inputs[0].shape = vec![1 << 40, 3]), Code::InvalidArgument, "more elements than fit"),
        (with(&|r| r.inputs[0].shape = vec![-1, 3]), Code::InvalidArgument, "negative"),
        (with(&|r| r.inputs[0].contents = None), Code::InvalidArgument, "there is no data"),
        (with(&|r| r.raw_input_contents = vec![vec![0; 4]]), Code::InvalidArgument, "expected 12 bytes"),
        (
            with(&|r| r.raw_input_contents = vec![vec![0; 12]; 2]),
            Code::InvalidArgument,
            "2 raw contents for 1 inputs",
        ),
        (
            with(&|r| {
                r.outputs = vec![InferRequestedOutputTensor { name: "z".to_owned(), ..Default::default() }]
            }),
            Code::InvalidArgument,
            "unexpected output \"z\"",
        ),
    ] {
        let status = client.model_infer(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(part), "{part:?} in {:?}", status.message());
    }
    client.model_infer(good).await.unwrap();
}

#[tokio::test]
async fn rest_tells_of_the_server_and_its_models() {
    let running = serving().await;
    let address = running.server.address();
    assert_eq!(get(address, "/v2/health/live").await.status, 200);
    assert_eq!(get(address, "/v2/health/ready").await.status, 200);
    assert_eq!(get(address, "/v2").await.json()["name"], "adytum-serving");
    assert_eq!(get(address, "/v2/models/m/ready").await.status, 200);
    assert_eq!(get(address, "/v2/models/m/versions/3/ready").await.status, 200);
    assert_eq!(get(address, "/v2/models/other/ready").await.status, 404);
    let model = get(address, "/v2/models/m").await.json();
    assert_eq!(model["inputs"], json!([{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]));
    let index = post(address, "/v2/repository/index", r#"{"ready": true}"#).await.json();
    assert_eq!(index[0], json!({"name": "m", "version": "3", "state": "READY", "reason": ""}));
    running.models.declare("loading");
    running.server.set_serving(false).await;
    assert_eq!(get(address, "/v2/health/ready").await.status, 503);
    assert_eq!(get(address, "/v2/models/loading/ready").await.status, 503);
}

async fn infer(running: &Running, model: &str, body: &str) -> Answer {
    post(running.server.address(), &format!("/v2/models/{model}/infer"), body).await
}

#[tokio::test]
async fn rest_infers_from_json_and_binary_data() {
    let running = serving().await;
    let body = json!({"id": "7", "inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}],
        "outputs": [{"name": "double"}]});
    let answer = infer(&running, "m", &body.to_string()).await;
    assert_eq!(
        answer.json(),
        json!({"model_name": "m", "model_version": "3", "id": "7", "outputs": [
            {"name": "double", "datatype": "FP32", "shape": [1, 3], "data": [2.0, 4.0, 6.0]}]})
    );
    // Lists in lists, and values before their type.
    let body = json!({"inputs": [{"data": [[1, 2, 3], [4, 5, 6]], "datatype": "FP32", "shape": [2, 3], "name": "x"}]});
    let answer = infer(&running, "m", &body.to_string()).await;
    assert_eq!(answer.json()["outputs"][1]["data"], json!([1.0, 4.0, 9.0, 16.0, 25.0, 36.0]));

    let head = json!({"inputs": [{"name": "x", "shape": [2], "datatype": "BYTES",
        "parameters": {"binary_data_size": 11}}], "parameters": {"binary_data_output": true}})
    .to_string();
    let data = b"\x02\0\0\0\xff\0\x01\0\0\0a";
    let body = [head.as_bytes(), data].concat();
    let length = head.len().to_string();
    let headers = [("Inference-Header-Content-Length", length.as_str())];
    let answer = request(running.server.address(), "POST", "/v2/models/texts/infer", &headers, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json_length: usize = answer.header("inference-header-content-length").unwrap().parse().unwrap();
    assert_eq!(&answer.body[json_length..], data);
    let described: serde_json::Value = serde_json::from_slice(&answer.body[..json_length]).unwrap();
    assert_eq!(described["outputs"][0]["parameters"]["binary_data_size"], 11);
    // The same bytes don't fit into JSON.
    let body = [head.replace("true", "false ").as_bytes(), data].concat();
    let length = (head.len() + 2).to_string();
    let headers = [("Inference-Header-Content-Length", length.as_str())];
    let answer = request(running.server.address(), "POST", "/v2/models/texts/infer", &headers, &body).await;
    assert!(answer.status == 400, "{}", answer.text());
}

#[tokio::test]
async fn rest_refuses_what_does_not_fit() {
    let running = serving().await;
    let with = |input: &str| format!(r#"{{"inputs": [{{"name": "x", "datatype": "FP32", {input}}}]}}"#);
    for (body, part) in [
        ("{}".to_owned(), "the key 'inputs' is missing"),
        (with(r#""data": [1, 2, 3]"#), "an input needs 'name', 'datatype' and 'shape'"),
        (with(r#""shape": [1, 3]"#), "there is no data"),
        (with(r#""shape": [1, 3], "data": [1, 2]"#), "expected 3 values"),
        (with(r#""shape": [1, 3], "data": [1, 2, "a"]"#), "is not of expected type: float"),
        (with(r#""shape": [1, 3], "data": 1"#), "expected"),
        (with(r#""shape": [1, 3], "parameters": {"binary_data_size": 12}"#), "the body ends before"),
        (with(r#""shape": [1, 3], "data": [1, 2, 3]"#).replace("FP32", "INT8"), "expected to be float"),
    ] {
        let answer = infer(&running, "m", &body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.error().contains(part), "{part:?} in {:?}", answer.error());
    }
    let address = running.server.address();
    let headers = [("Inference-Header-Content-Length", "9")];
    let answer = request(address, "POST", "/v2/models/m/infer", &headers, b"{}").await;
    assert_eq!((answer.status, answer.error().contains("not within the body")), (400, true));
    let body = with(r#""shape": [1, 3], "data": [1, 2, 3]"#);
    let length = body.len().to_string();
    let headers = [("Inference-Header-Content-Length", length.as_str())];
    let answer =
        request(address, "POST", "/v2/models/m/infer", &headers, format!("{body}more").as_bytes()).await;
    assert_eq!((answer.status, answer.error().contains("more data than its inputs")), (400, true));
}
