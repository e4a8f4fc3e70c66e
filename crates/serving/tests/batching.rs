//! Requests of several clients run in one batch, through the real binary.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use adytum_api::tensorflow::{
    DataType, TensorProto, serving::prediction_service_client::PredictionServiceClient,
};
use adytum_testkit::ports::free_port;
use fixture::{
    onnx,
    server::{channel, float_tensor, request},
};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use tonic::Code;

/// A process that is ended whatever becomes of the test.
struct Server {
    process: Child,
    port: u16,
    health: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves the model with these parameters of batches.
fn start(directory: &Path, model: &[u8], parameters: &str) -> Server {
    let base = directory.join("m");
    fs::create_dir_all(base.join("1")).unwrap();
    fs::write(base.join("1/model.onnx"), model).unwrap();
    let write = |name: &str, text: &str| {
        let file = directory.join(name);
        fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let monitoring = write("monitoring", "prometheus_config { enable: true path: '/metrics' }");
    let batching = write("batching", parameters);
    // A port that was free a moment ago may be another's by then: the server ends, and the
    // next one gets another port.
    for _ in 0..10 {
        let health = free_port();
        let mut process = Command::new(env!("CARGO_BIN_EXE_adytum-serving"))
            .env_clear()
            .args(["--port=0", "--allow_plain_models", "--model_name=m", "--enable_batching"])
            .arg(format!("--model_base_path={}", base.display()))
            .arg(format!("--monitoring_config_file={monitoring}"))
            .arg(format!("--batching_parameters_file={batching}"))
            .arg(format!("--health_port={health}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() {
            process.wait().unwrap();
            continue;
        }
        let port = line
            .strip_prefix("Running gRPC ModelServer at 0.0.0.0:")
            .and_then(|rest| rest.strip_suffix(" ...\n"))
            .unwrap_or_else(|| panic!("{line:?}"));
        return Server { port: port.parse().unwrap(), process, health };
    }
    panic!("the server did not start");
}

impl Server {
    /// A value of the batch sizes: `count` or `sum`.
    fn batches(&self, value: &str) -> u64 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.health)).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let name = format!(":tensorflow:serving:batching_session:batch_size_{value}{{model_name=\"m\"}} ");
        let found = text.lines().find_map(|line| line.strip_prefix(&name));
        found.unwrap_or_else(|| panic!("{text}")).trim().parse().unwrap()
    }

    /// Sends each of these batches of rows on a connection of its own, all at once. The
    /// answers must be those of `double`.
    async fn ask(&self, all: Vec<Vec<f32>>) {
        let address = ([127, 0, 0, 1], self.port).into();
        let mut asked = Vec::new();
        for values in all {
            let mut client = PredictionServiceClient::new(channel(address).await);
            asked.push(tokio::spawn(async move {
                let rows = i64::try_from(values.len() / 3).unwrap();
                let sent = request("m", "x", float_tensor(&[rows, 3], &values));
                let answer = client.predict(sent).await.unwrap().into_inner();
                let double: Vec<f32> = values.iter().map(|value| value * 2.0).collect();
                assert_eq!(answer.outputs["double"].float_val, double);
                let shape = answer.outputs["double"].tensor_shape.clone().unwrap();
                assert_eq!(shape.dim.iter().map(|dim| dim.size).collect::<Vec<_>>(), [rows, 3]);
            }));
        }
        for one in asked {
            one.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_several_connections_run_together_and_each_gets_its_answer() {
    let directory = tempfile::tempdir().unwrap();
    // Four rows go at once. Fewer would wait for ten minutes, and the test with them.
    let parameters = "max_batch_size { value: 4 } batch_timeout_micros { value: 600000000 }";
    let server = start(directory.path(), &onnx::arithmetic(), parameters);
    server.ask((0..4_u8).map(|row| vec![f32::from(row), 5.0, 7.5]).collect()).await;
    assert_eq!((server.batches("count"), server.batches("sum")), (1, 4));
    // More rows than a batch has: alone.
    server.ask(vec![vec![1.5; 15]]).await;
    assert_eq!((server.batches("count"), server.batches("sum")), (2, 9));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_requests_get_the_answers_that_they_get_alone() {
    let directory = tempfile::tempdir().unwrap();
    let parameters = "max_batch_size { value: 8 } batch_timeout_micros { value: 2000 } \
                      max_enqueued_batches { value: 1000 } allowed_batch_sizes: [4, 8]";
    let server = start(directory.path(), &onnx::arithmetic(), parameters);
    let rows = (1..12_usize).prop_flat_map(|rows| proptest::collection::vec(-1e6..1e6_f32, rows * 3));
    let requests = proptest::collection::vec(rows, 1..24);
    let mut runner = TestRunner::new(Config::default());
    for _ in 0..8 {
        server.ask(requests.new_tree(&mut runner).unwrap().current()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_whose_rows_depend_on_each_other_is_not_batched() {
    let directory = tempfile::tempdir().unwrap();
    // y = x + the sum of all rows of x.
    let model = onnx::model(
        &[onnx::node("ReduceSum", &["x"], &["sum"], &[]), onnx::node("Add", &["x", "sum"], &["double"], &[])],
        &[onnx::value("x", onnx::FLOAT, &[-1, 3])],
        &[onnx::value("double", onnx::FLOAT, &[-1, 3])],
        &[],
    );
    let parameters = "max_batch_size { value: 4 } batch_timeout_micros { value: 600000000 }";
    let server = start(directory.path(), &model, parameters);
    let address = ([127, 0, 0, 1], server.port).into();
    let mut client = PredictionServiceClient::new(channel(address).await);
    // It would wait for others.
    let sent = request("m", "x", float_tensor(&[1, 3], &[1.0, 2.0, 3.0]));
    let answer = client.predict(sent).await.unwrap().into_inner();
    assert_eq!(answer.outputs["double"].float_val, [7.0, 8.0, 9.0]);
}

/// `double = x + x` for floats of any two sizes.
fn any_width() -> Vec<u8> {
    onnx::model(
        &[onnx::node("Add", &["x", "x"], &["double"], &[])],
        &[onnx::value("x", onnx::FLOAT, &[-1, -1])],
        &[onnx::value("double", onnx::FLOAT, &[-1, -1])],
        &[],
    )
}

/// The shape and the values of an answer's `double`.
fn double(output: &TensorProto) -> (Vec<i64>, Vec<f32>) {
    let shape = output.tensor_shape.clone().unwrap();
    (shape.dim.iter().map(|dim| dim.size).collect(), output.float_val.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_other_sizes_are_padded_with_their_first_value_if_that_is_wanted() {
    for pads in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        // Unpadded, the two go into two batches, which are run when they are due.
        let timeout = if pads { 600_000_000 } else { 1000 };
        let parameters = format!(
            "max_batch_size {{ value: 2 }} batch_timeout_micros {{ value: {timeout} }} \
             pad_variable_length_inputs: {pads}"
        );
        let server = start(directory.path(), &any_width(), &parameters);
        let address = ([127, 0, 0, 1], server.port).into();
        let ask = async |values: &[f32]| {
            let mut client = PredictionServiceClient::new(channel(address).await);
            let width = i64::try_from(values.len()).unwrap();
            let answer = client.predict(request("m", "x", float_tensor(&[1, width], values))).await.unwrap();
            double(&answer.into_inner().outputs["double"])
        };
        let (short, long) = tokio::join!(ask(&[1.0, 2.0]), ask(&[3.0, 4.0, 5.0, 6.0]));
        assert_eq!(long, (vec![1, 4], vec![6.0, 8.0, 10.0, 12.0]));
        // As TensorFlow Serving does it: the answer is as wide as the batch.
        let expected =
            if pads { (vec![1, 4], vec![2.0, 4.0, 2.0, 2.0]) } else { (vec![1, 2], vec![2.0, 4.0]) };
        assert_eq!(short, expected, "{pads}");
        assert_eq!((server.batches("count"), server.batches("sum")), (if pads { 1 } else { 2 }, 2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_request_is_split_if_that_is_wanted() {
    let directory = tempfile::tempdir().unwrap();
    let parameters = "max_batch_size { value: 64 } batch_timeout_micros { value: 1000 } \
                      enable_large_batch_splitting: true max_execution_batch_size { value: 4 } \
                      allowed_batch_sizes: [2, 4]";
    let server = start(directory.path(), &onnx::arithmetic(), parameters);
    server.ask(vec![(0..30_u8).map(f32::from).collect()]).await;
    // 4, 4 and 2 rows.
    assert_eq!((server.batches("count"), server.batches("sum")), (3, 10));
    server.ask((0..5_u8).map(|row| vec![f32::from(row); 21]).collect()).await;
    assert!(server.batches("sum") >= 10 + 35);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_request_in_a_batch_fails_alone() {
    let directory = tempfile::tempdir().unwrap();
    // The value at a place of a table of three.
    let model = onnx::model(
        &[onnx::node("Gather", &["table", "x"], &["double"], &[])],
        &[onnx::value("x", onnx::INT64, &[-1, 1])],
        &[onnx::value("double", onnx::FLOAT, &[-1, 1])],
        &[onnx::floats("table", &[3], &[10.0, 20.0, 30.0])],
    );
    let parameters = "max_batch_size { value: 3 } batch_timeout_micros { value: 600000000 }";
    let server = start(directory.path(), &model, parameters);
    let address = ([127, 0, 0, 1], server.port).into();
    let ask = async |place: i64| {
        let mut client = PredictionServiceClient::new(channel(address).await);
        let tensor = TensorProto {
            dtype: DataType::DtInt64.into(),
            tensor_content: place.to_le_bytes().to_vec().into(),
            ..float_tensor(&[1, 1], &[0.0])
        };
        client.predict(request("m", "x", tensor)).await.map(|answer| {
            let (_, values) = double(&answer.into_inner().outputs["double"]);
            values
        })
    };
    let (first, bad, last) = tokio::join!(ask(0), ask(7), ask(2));
    assert_eq!((first.unwrap(), last.unwrap()), (vec![10.0], vec![30.0]));
    assert_eq!(bad.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_vanish_or_whose_time_is_up_leave_their_batch_to_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let parameters = "max_batch_size { value: 4 } batch_timeout_micros { value: 5000000 }";
    let server = start(directory.path(), &onnx::arithmetic(), parameters);
    let address = ([127, 0, 0, 1], server.port).into();
    let one = || request("m", "x", float_tensor(&[1, 3], &[1.0, 2.0, 3.0]));
    // Its time is up long before its batch is due.
    let mut client = PredictionServiceClient::new(channel(address).await);
    let mut hasty = tonic::Request::new(one());
    hasty.set_timeout(Duration::from_millis(50));
    let code = client.predict(hasty).await.unwrap_err().code();
    assert!(matches!(code, Code::DeadlineExceeded | Code::Cancelled), "{code:?}");
    // It goes while its batch waits: the second call is answered after the first has come.
    let mut other = client.clone();
    let mut waits = Box::pin(async move { other.predict(one()).await });
    assert!(futures_util::poll!(&mut waits).is_pending());
    client.predict(request("other", "x", float_tensor(&[1, 3], &[1.0; 3]))).await.unwrap_err();
    drop(waits);
    client.predict(request("other", "x", float_tensor(&[1, 3], &[1.0; 3]))).await.unwrap_err();
    server.ask((0..4_u8).map(|row| vec![f32::from(row), 5.0, 7.5]).collect()).await;
    assert_eq!((server.batches("count"), server.batches("sum")), (1, 4), "without those that have gone");
}
