//! What the real binary writes down about requests, and that nothing of a client's is in it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use adytum_api::{
    inference::{
        InferTensorContents, ModelInferRequest, grpc_inference_service_client::GrpcInferenceServiceClient,
        model_infer_request::InferInputTensor,
    },
    tensorflow::{
        DataType, TensorProto, TensorShapeProto,
        serving::{
            GetModelStatusRequest, ModelSpec, PredictRequest, model_service_client::ModelServiceClient,
            model_spec::VersionChoice, prediction_service_client::PredictionServiceClient,
        },
        tensor_shape_proto::Dim,
    },
};
use adytum_testkit::ports::free_port;
use fixture::{
    http, onnx,
    server::{channel, float_tensor, request},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

/// A word that is nowhere but in requests.
const MARK: &str = "xyzzymark";
/// A number that is nowhere but in requests.
const NUMBER: f32 = 86_753.09;
/// It, its double and its square.
const DIGITS: [&str; 3] = ["86753.09", "173506.18", "7526098"];
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const STRING: u64 = 8;

/// A collector that keeps what it is sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = TraceServiceServer::new(self.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        address
    }

    fn spans(&self) -> Vec<Span> {
        let all = self.0.lock().unwrap();
        let resources = all.iter().flat_map(|sent| &sent.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }
}

/// A server and what it wrote.
struct Running {
    process: Child,
    health: u16,
    grpc: SocketAddr,
    rest: SocketAddr,
    reader: Option<JoinHandle<String>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Running {
    fn start(directory: &Path, arguments: &[&str]) -> Self {
        let model = |name: &str, file: Vec<u8>| {
            let version = directory.join(name).join("1");
            fs::create_dir_all(&version).unwrap();
            fs::write(version.join("model.onnx"), file).unwrap();
            let base = directory.join(name);
            format!("config {{ name: '{name}' base_path: '{}' }}", base.display())
        };
        let models = [model("arithmetic", onnx::arithmetic()), model("texts", onnx::identity(STRING))];
        let models = format!("model_config_list {{ {} }}", models.join(" "));
        let write = |name: &str, text: &str| {
            let file = directory.join(name);
            fs::write(&file, text).unwrap();
            file.display().to_string()
        };
        let models = write("models", &models);
        let monitoring = write("monitoring", "prometheus_config { enable: true path: '/metrics' }");
        // A port that was free a moment ago may be another's by then.
        for _ in 0..10 {
            let (health, rest) = (free_port(), free_port());
            let mut process = Command::new(env!("CARGO_BIN_EXE_adytum-serving"))
                .env_clear()
                .env("RUST_LOG", "trace")
                .args(["--port=0", "--allow_plain_models"])
                .arg(format!("--health_port={health}"))
                .arg(format!("--rest_api_port={rest}"))
                .arg(format!("--model_config_file={models}"))
                .arg(format!("--monitoring_config_file={monitoring}"))
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut errors = process.stderr.take().unwrap();
            let reader = std::thread::spawn(move || {
                let mut all = Vec::new();
                errors.read_to_end(&mut all).unwrap();
                String::from_utf8_lossy(&all).into_owned()
            });
            let mut lines = BufReader::new(process.stdout.take().unwrap());
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            if line.is_empty() {
                process.wait().unwrap();
                continue;
            }
            let port = line
                .strip_prefix("Running gRPC ModelServer at 0.0.0.0:")
                .and_then(|rest| rest.strip_suffix(" ...\n"))
                .unwrap_or_else(|| panic!("{line:?}"));
            return Self {
                process,
                health,
                grpc: SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap())),
                rest: SocketAddr::from(([127, 0, 0, 1], rest)),
                reader: Some(reader),
            };
        }
        panic!("the server did not start");
    }

    fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.health)).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// Ends it, and gives its log.
    fn end(mut self) -> String {
        kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGTERM).unwrap();
        assert!(self.process.wait().unwrap().success());
        self.reader.take().unwrap().join().unwrap()
    }
}

fn texts(values: &[&str]) -> TensorProto {
    TensorProto {
        dtype: DataType::DtString.into(),
        tensor_shape: Some(TensorShapeProto {
            dim: vec![Dim { size: i64::try_from(values.len()).unwrap(), name: String::new() }],
            unknown_rank: false,
        }),
        string_val: values.iter().map(|value| value.as_bytes().to_vec()).collect(),
        ..TensorProto::default()
    }
}

fn marked<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let headers = request.metadata_mut();
    headers.insert("traceparent", PARENT.parse().unwrap());
    headers.insert("tracestate", format!("{MARK}=1").parse().unwrap());
    headers.insert("user-agent", MARK.parse().unwrap());
    headers.insert("x-request-id", MARK.parse().unwrap());
    headers.insert("authorization", format!("Bearer {MARK}").parse().unwrap());
    request
}

/// Requests with the marks, those that are answered and those that are refused.
async fn ask_by_grpc(address: SocketAddr) {
    let channel = channel(address).await;
    let mut client = PredictionServiceClient::new(channel.clone());
    let values = float_tensor(&[1, 3], &[NUMBER; 3]);
    client.predict(marked(request("arithmetic", "x", values.clone()))).await.unwrap();
    client.predict(marked(request("texts", "x", texts(&[MARK, MARK])))).await.unwrap();
    // Wrong in each place where a name can be.
    for wrong in [
        request(MARK, "x", values.clone()),
        request("arithmetic", MARK, values.clone()),
        request("arithmetic", "x", texts(&[MARK])),
        PredictRequest { output_filter: vec![MARK.to_owned()], ..request("arithmetic", "x", values.clone()) },
        PredictRequest {
            model_spec: Some(ModelSpec {
                name: "arithmetic".to_owned(),
                signature_name: MARK.to_owned(),
                version_choice: None,
            }),
            ..request("arithmetic", "x", values.clone())
        },
        PredictRequest {
            model_spec: Some(ModelSpec {
                name: "arithmetic".to_owned(),
                signature_name: String::new(),
                version_choice: Some(VersionChoice::VersionLabel(MARK.to_owned())),
            }),
            ..request("arithmetic", "x", values.clone())
        },
    ] {
        client.predict(marked(wrong)).await.unwrap_err();
    }
    let specification = ModelSpec { name: MARK.to_owned(), ..ModelSpec::default() };
    let status = GetModelStatusRequest { model_spec: Some(specification) };
    ModelServiceClient::new(channel.clone()).get_model_status(marked(status)).await.unwrap_err();

    let mut client = GrpcInferenceServiceClient::new(channel);
    let infer = |model: &str, name: &str| ModelInferRequest {
        model_name: model.to_owned(),
        id: MARK.to_owned(),
        inputs: vec![InferInputTensor {
            name: name.to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![1, 3],
            contents: Some(InferTensorContents { fp32_contents: vec![NUMBER; 3], ..Default::default() }),
            ..InferInputTensor::default()
        }],
        ..ModelInferRequest::default()
    };
    client.model_infer(marked(infer("arithmetic", "x"))).await.unwrap();
    client.model_infer(marked(infer("arithmetic", MARK))).await.unwrap_err();
    client.model_infer(marked(infer(MARK, "x"))).await.unwrap_err();
}

async fn ask_by_rest(address: SocketAddr) {
    let headers = [("traceparent", PARENT), ("x-request-id", MARK), ("user-agent", MARK), ("origin", MARK)];
    let ask = async |path: &str, body: &str, status: u16| {
        let answer = http::request(address, "POST", path, &headers, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.text());
    };
    let row = format!("[{NUMBER}, {NUMBER}, {NUMBER}]");
    ask("/v1/models/arithmetic:predict", &format!("{{\"instances\": [{row}]}}"), 200).await;
    ask("/v1/models/texts:predict", &format!("{{\"instances\": [\"{MARK}\"]}}"), 200).await;
    ask("/v1/models/arithmetic:predict", &format!("{{\"{MARK}\": [{row}]}}"), 400).await;
    ask("/v1/models/arithmetic:predict", &format!("{{\"instances\": {MARK}}}"), 400).await;
    ask(&format!("/v1/models/{MARK}:predict"), "{\"instances\": [1]}", 404).await;
    ask(&format!("/v1/models/arithmetic/labels/{MARK}:predict"), "{\"instances\": [1]}", 400).await;
    ask(&format!("/v1/models/arithmetic:{MARK}"), "{}", 400).await;
    ask(&format!("/{MARK}?{MARK}"), "{}", 404).await;
    let infer = |name: &str| {
        format!(
            "{{\"id\": \"{MARK}\", \"inputs\": [{{\"name\": \"{name}\", \"datatype\": \"FP32\", \
             \"shape\": [1, 3], \"data\": {row}}}]}}"
        )
    };
    ask("/v2/models/arithmetic/infer", &infer("x"), 200).await;
    ask("/v2/models/arithmetic/infer", &infer(MARK), 400).await;
}

fn assert_unmarked(place: &str, text: &str) {
    let text = text.to_lowercase();
    for mark in [MARK].iter().chain(&DIGITS) {
        if let Some(at) = text.find(mark) {
            let around: String = text.chars().skip(at.saturating_sub(300)).take(600).collect();
            panic!("{mark} is in {place}: {around}");
        }
    }
}

fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_word_or_value_of_a_client_is_in_any_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let collector = Collector::default();
    let endpoint = format!("--trace_endpoint=http://{}", collector.start().await);
    let attributes = "--trace_attributes=service.name=test,deployment.environment.name=ci";
    let running = Running::start(directory.path(), &["--access_log", &endpoint, attributes]);
    ask_by_grpc(running.grpc).await;
    ask_by_rest(running.rest).await;
    let metrics = running.metrics();
    let log = tokio::task::spawn_blocking(|| running.end()).await.unwrap();
    assert!(log.contains(" TRACE "), "the log is as long as it can be");
    assert_unmarked("the log", &log);
    assert_unmarked("the metrics", &metrics);
    let sent = collector.0.lock().unwrap().clone();
    assert_unmarked("the traces", &format!("{sent:?}"));

    // And each request is in all of them.
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("call=")).collect();
    let (grpc, rest): (Vec<&str>, Vec<&str>) =
        lines.iter().copied().partition(|line: &&str| line.contains("protocol=grpc"));
    assert_eq!((grpc.len(), rest.len()), (12, 10), "{}", lines.join("\n"));
    for line in &lines {
        assert!(line.contains(&format!("trace={TRACE}")), "{line}");
    }
    let first = grpc.first().unwrap();
    for part in
        ["call=tensorflow.serving.PredictionService/Predict", "model=arithmetic", "version=1", "status=0"]
    {
        assert!(first.contains(part), "{part}: {first}");
    }
    let count = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
    assert_eq!(count("model=- version=- status=5"), 3, "models that are not there, by gRPC");
    assert_eq!(count("status=200"), 3);
    assert_eq!(count("call=- "), 2, "paths that are none");

    let resource = sent.first().unwrap().resource_spans.first().unwrap().resource.clone().unwrap();
    for (key, value) in [("service.name", "test"), ("deployment.environment.name", "ci")] {
        let expected = Value::StringValue(value.to_owned());
        assert_eq!(attribute(&resource.attributes, key), Some(&expected), "{key}");
    }
    let spans = collector.spans();
    let mut names: HashMap<&str, usize> = HashMap::new();
    for span in &spans {
        *names.entry(span.name.as_str()).or_default() += 1;
        assert_eq!(
            span.trace_id,
            [0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36]
        );
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
    }
    assert_eq!((names["queue"], names["engine"]), (6, 6), "one for each answer: {names:?}");
    assert_eq!(names["tensorflow.serving.PredictionService/Predict"], 8);
    assert_eq!(names["POST /v1/models/{model}:predict"], 6);
    let predict = spans.iter().find(|span| span.name.ends_with("/Predict")).unwrap();
    assert_eq!(predict.parent_span_id, [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]);
    let engine = spans.iter().find(|span| span.name == "engine").unwrap();
    assert!(spans.iter().any(|span| span.span_id == engine.parent_span_id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_not_there_or_never_answers_costs_no_request() {
    let directory = tempfile::tempdir().unwrap();
    // It takes connections, and never says anything.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = free_port();
    for endpoint in [silent.local_addr().unwrap().to_string(), format!("127.0.0.1:{nobody}")] {
        let endpoint = format!("--trace_endpoint=http://{endpoint}");
        let running = Running::start(directory.path(), &[&endpoint]);
        let mut client = PredictionServiceClient::new(channel(running.grpc).await);
        // More spans than the queue has places for.
        for _ in 0..1000 {
            let sent = request("arithmetic", "x", float_tensor(&[1, 3], &[1.0; 3]));
            tokio::time::timeout(Duration::from_secs(5), client.predict(sent)).await.unwrap().unwrap();
        }
        let log = tokio::task::spawn_blocking(|| running.end()).await.unwrap();
        assert!(!log.contains("call="), "there is no access log unless it is asked for");
    }
    drop(silent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_decide_whether_their_requests_are_traced_and_else_the_ratio_does() {
    let directory = tempfile::tempdir().unwrap();
    let collector = Collector::default();
    let endpoint = format!("--trace_endpoint=http://{}", collector.start().await);
    let running = Running::start(directory.path(), &[&endpoint, "--trace_ratio=0"]);
    let mut client = PredictionServiceClient::new(channel(running.grpc).await);
    let parents = [None, Some(PARENT.to_owned()), Some(PARENT.replace("-01", "-00")), Some(MARK.to_owned())];
    for parent in parents {
        let mut sent = Request::new(request("arithmetic", "x", float_tensor(&[1, 3], &[1.0; 3])));
        if let Some(parent) = parent {
            sent.metadata_mut().insert("traceparent", parent.parse().unwrap());
        }
        client.predict(sent).await.unwrap();
    }
    let log = tokio::task::spawn_blocking(|| running.end()).await.unwrap();
    assert_unmarked("the log", &log);
    let spans = collector.spans();
    assert_eq!(spans.iter().filter(|span| span.name.ends_with("/Predict")).count(), 1, "{spans:?}");
}
