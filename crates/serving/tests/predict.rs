//! The API, over real connections.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use std::time::Duration;

use adytum_api::tensorflow::{
    DataType,
    serving::{
        GetModelMetadataRequest, GetModelStatusRequest, ModelSpec, SignatureDefMap,
        model_service_client::ModelServiceClient, model_spec::VersionChoice, model_version_status::State,
    },
    tensor_info::Encoding,
};
use adytum_serving::{
    models::{Servable, VersionState},
    server::Drained,
    status::ERROR_CODE_KEY,
};
use fixture::{
    engines::{Gated, Panicking},
    onnx,
    server::{Limits, channel, float_tensor, limits, request, specification, start},
};
use prost::Message;
use tonic::{Code, Status};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

#[track_caller]
fn assert_status(status: &Status, code: Code, parts: &[&str]) {
    assert_eq!(status.code(), code, "{status:?}");
    for part in parts {
        assert!(status.message().contains(part), "{part:?} in {:?}", status.message());
    }
    assert!(status.metadata().contains_key(ERROR_CODE_KEY), "{status:?}");
}

#[tokio::test]
async fn an_answer_has_typed_values_and_the_version() {
    let running = start(limits(), None);
    running.serve("m", 123, onnx::arithmetic());
    let mut client = running.client().await;
    let tensor = float_tensor(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let answer = client.predict(request("m", "x", tensor.clone())).await.unwrap().into_inner();
    let double = &answer.outputs["double"];
    assert_eq!(double.float_val, [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
    assert!(double.tensor_content.is_empty());
    assert_eq!(double.dtype(), DataType::DtFloat);
    let shape: Vec<i64> = double.tensor_shape.as_ref().unwrap().dim.iter().map(|dim| dim.size).collect();
    assert_eq!(shape, [2, 3]);
    assert_eq!(answer.outputs.len(), 2);
    let specification = answer.model_spec.unwrap();
    assert_eq!(specification.version_choice, Some(VersionChoice::Version(123)));
    assert_eq!(specification.signature_name, "serving_default");

    let mut filtered = request("m", "x", tensor);
    filtered.output_filter = vec!["square".to_owned()];
    filtered.model_spec.as_mut().unwrap().signature_name = "serving_default".to_owned();
    let answer = client.predict(filtered).await.unwrap().into_inner();
    assert_eq!(answer.outputs.keys().collect::<Vec<_>>(), ["square"]);
    assert_eq!(answer.outputs["square"].float_val[5], 36.0);
}

#[tokio::test]
async fn wrong_requests_get_tensorflow_servings_codes() {
    let running = start(limits(), None);
    running.serve("m", 1, onnx::arithmetic());
    let mut client = running.client().await;
    let good = || request("m", "x", float_tensor(&[1, 3], &[1.0, 2.0, 3.0]));
    let mut fails = async |request| client.predict(request).await.unwrap_err();

    let mut bad = good();
    bad.model_spec = None;
    assert_status(&fails(bad).await, Code::InvalidArgument, &["Missing ModelSpec"]);
    let mut bad = good();
    bad.model_spec = Some(specification("other", None));
    assert_status(&fails(bad).await, Code::NotFound, &["Servable not found for request: Latest(other)"]);
    let mut bad = good();
    bad.model_spec = Some(specification("m", Some(7)));
    assert_status(&fails(bad).await, Code::NotFound, &["Servable not found for request: Specific(m, 7)"]);
    let mut bad = good();
    let label = Some(VersionChoice::VersionLabel("stable".to_owned()));
    bad.model_spec = Some(ModelSpec { version_choice: label, ..specification("m", None) });
    assert_status(&fails(bad).await, Code::InvalidArgument, &["stable"]);
    let mut bad = good();
    bad.model_spec.as_mut().unwrap().signature_name = "classify".to_owned();
    let status = fails(bad).await;
    assert_status(&status, Code::FailedPrecondition, &["Serving signature key \"classify\" not found."]);

    let mut bad = good();
    let tensor = bad.inputs.remove("x").unwrap();
    bad.inputs.insert("z".to_owned(), tensor.clone());
    let parts = ["1!=1", "Sent extra: {z}", "Missing but required: {x}"];
    assert_status(&fails(bad).await, Code::InvalidArgument, &parts);
    let mut bad = good();
    bad.inputs.insert("z".to_owned(), tensor);
    let parts = ["input size does not match signature: 2!=1", "Sent extra: {z}"];
    assert_status(&fails(bad).await, Code::InvalidArgument, &parts);
    let mut bad = good();
    bad.inputs.clear();
    assert_status(&fails(bad).await, Code::InvalidArgument, &["0!=1", "Missing but required: {x}"]);

    let mut bad = good();
    bad.output_filter = vec!["probabilities".to_owned()];
    let parts = ["output tensor alias not found", "probabilities", "{double,square}"];
    assert_status(&fails(bad).await, Code::InvalidArgument, &parts);
    let mut bad = good();
    bad.output_filter = vec!["double".to_owned(), "double".to_owned()];
    assert_status(&fails(bad).await, Code::InvalidArgument, &["duplicate output tensor alias: double"]);

    let mut bad = good();
    bad.inputs.get_mut("x").unwrap().dtype = DataType::DtUint8.into();
    let parts = ["\"x\"", "expected to be float but uint8 is provided"];
    assert_status(&fails(bad).await, Code::InvalidArgument, &parts);
    let bad = request("m", "x", float_tensor(&[1, 4], &[0.0; 4]));
    assert_status(&fails(bad).await, Code::InvalidArgument, &["[?,3]", "[1,4]"]);
    let mut bad = good();
    let content = bad.inputs["x"].tensor_content.slice(..11);
    bad.inputs.get_mut("x").unwrap().tensor_content = content;
    assert_status(&fails(bad).await, Code::InvalidArgument, &["expected 12 bytes", "found 11"]);
    let bad = request("m", "x", float_tensor(&[i64::MAX, 3], &[0.0]));
    assert_status(&fails(bad).await, Code::InvalidArgument, &["more elements than fit"]);
    let bad = request("m", "x", float_tensor(&[-1, 3], &[0.0]));
    assert_status(&fails(bad).await, Code::InvalidArgument, &["negative", "[?,3]"]);

    // After all of these the connection still works.
    client.predict(good()).await.unwrap();
}

#[tokio::test]
async fn health_follows_the_server() {
    let running = start(limits(), None);
    let mut client = HealthClient::new(channel(running.server.address()).await);
    let service = "tensorflow.serving.PredictionService";
    let mut check = async |service: &str| {
        let request = HealthCheckRequest { service: service.to_owned() };
        client.check(request).await.map(|answer| answer.into_inner().status())
    };
    assert_eq!(check("").await.unwrap(), ServingStatus::NotServing);
    assert_eq!(check(service).await.unwrap(), ServingStatus::NotServing);
    running.server.set_serving(true).await;
    assert_eq!(check("").await.unwrap(), ServingStatus::Serving);
    assert_eq!(check(service).await.unwrap(), ServingStatus::Serving);
    assert_eq!(check("other").await.unwrap_err().code(), Code::NotFound);

    // A watching client learns when the server begins to drain.
    let mut watching = HealthClient::new(channel(running.server.address()).await);
    let mut states =
        watching.watch(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner();
    assert_eq!(states.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let draining = tokio::spawn(running.server.drain(Duration::from_secs(30)));
    assert_eq!(states.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    drop((states, watching));
    assert_eq!(draining.await.unwrap(), Drained::Completely);
}

#[tokio::test]
async fn a_drain_ends_in_time_even_if_requests_do_not() {
    let running = start(limits(), None);
    let gated = Gated::new();
    running.serve_loaded("m", 1, Box::new(gated.clone()));
    let mut client = running.client().await;
    let stuck =
        tokio::spawn(async move { client.predict(request("m", "x", float_tensor(&[1], &[1.0]))).await });
    gated.wait_for_runs(1).await;
    let drained = running.server.drain(Duration::from_millis(50)).await;
    assert_eq!(drained, Drained::TimedOut { connections: 1 });
    gated.open();
    stuck.await.unwrap().unwrap();
}

#[tokio::test]
async fn metadata_describes_the_signature() {
    let running = start(limits(), None);
    running.serve("m", 5, onnx::arithmetic());
    let mut client = running.client().await;
    let ask = |fields: &[&str]| GetModelMetadataRequest {
        model_spec: Some(specification("m", None)),
        metadata_field: fields.iter().map(|field| (*field).to_owned()).collect(),
    };
    let answer = client.get_model_metadata(ask(&["signature_def"])).await.unwrap().into_inner();
    assert_eq!(answer.model_spec.unwrap().version_choice, Some(VersionChoice::Version(5)));
    let any = &answer.metadata["signature_def"];
    assert_eq!(any.type_url, "type.googleapis.com/tensorflow.serving.SignatureDefMap");
    let map = SignatureDefMap::decode(any.value.as_slice()).unwrap();
    let definition = &map.signature_def["serving_default"];
    assert_eq!(definition.method_name, "tensorflow/serving/predict");
    let input = &definition.inputs["x"];
    assert_eq!(input.encoding, Some(Encoding::Name("x".to_owned())));
    assert_eq!(input.dtype(), DataType::DtFloat);
    let shape: Vec<i64> = input.tensor_shape.as_ref().unwrap().dim.iter().map(|dim| dim.size).collect();
    assert_eq!(shape, [-1, 3]);
    assert_eq!(definition.outputs.keys().collect::<Vec<_>>(), ["double", "square"]);

    let status = client.get_model_metadata(ask(&[])).await.unwrap_err();
    assert_status(&status, Code::InvalidArgument, &["at least one metadata_field"]);
    let status = client.get_model_metadata(ask(&["assets"])).await.unwrap_err();
    assert_status(&status, Code::InvalidArgument, &["assets", "signature_def"]);
}

#[tokio::test]
async fn statuses_tell_what_became_of_each_version() {
    let running = start(limits(), None);
    running.models.declare("m");
    let mut predict = running.client().await;
    let good = || request("m", "x", float_tensor(&[1, 3], &[1.0, 2.0, 3.0]));
    assert_status(&predict.predict(good()).await.unwrap_err(), Code::Unavailable, &["being loaded"]);
    running.models.set("m", 9, VersionState::End(Some("below the floor".to_owned())));
    running.serve("m", 3, onnx::arithmetic());
    let mut client = ModelServiceClient::new(channel(running.server.address()).await);
    let ask = |name: &str, version| GetModelStatusRequest { model_spec: Some(specification(name, version)) };
    let answer = client.get_model_status(ask("m", None)).await.unwrap().into_inner();
    let [nine, three] = answer.model_version_status.as_slice() else { panic!("{answer:?}") };
    assert_eq!((nine.version, nine.state()), (9, State::End));
    let status = nine.status.as_ref().unwrap();
    assert_eq!(status.error_message, "below the floor");
    assert_ne!(status.error_code, 0);
    assert_eq!((three.version, three.state()), (3, State::Available));
    assert_eq!(three.status.as_ref().unwrap().error_code, 0);
    let answer = client.get_model_status(ask("m", Some(3))).await.unwrap().into_inner();
    assert_eq!(answer.model_version_status.len(), 1);
    let status = client.get_model_status(ask("x", None)).await.unwrap_err();
    assert_status(&status, Code::NotFound, &["Could not find any versions of model x"]);
    let status = client.get_model_status(ask("m", Some(4))).await.unwrap_err();
    assert_status(&status, Code::NotFound, &["Could not find version 4 of model m"]);

    // The highest that is available answers, and a swap is seen at once.
    assert_eq!(
        predict.predict(good()).await.unwrap().into_inner().model_spec.unwrap().version_choice,
        Some(VersionChoice::Version(3))
    );
    running.serve("m", 4, onnx::arithmetic());
    assert_eq!(
        predict.predict(good()).await.unwrap().into_inner().model_spec.unwrap().version_choice,
        Some(VersionChoice::Version(4))
    );
}

#[tokio::test]
async fn what_the_engine_cannot_do_is_an_answer_not_a_crash() {
    let running = start(limits(), None);
    running.serve_loaded("panics", 1, Box::new(Panicking::new()));
    running.serve("int64", 1, onnx::identity(onnx::INT64));
    let mut client = running.client().await;
    let status = client.predict(request("panics", "x", float_tensor(&[1], &[1.0]))).await.unwrap_err();
    assert_status(&status, Code::Internal, &["panicked"]);
    let mut tensor = float_tensor(&[1], &[]);
    tensor.dtype = DataType::DtInt64.into();
    tensor.int64_val = vec![1 << 40];
    let answer = client.predict(request("int64", "x", tensor)).await.unwrap().into_inner();
    assert_eq!(answer.outputs["y"].int64_val, [1 << 40]);
}

#[tokio::test]
async fn large_messages_pass_and_larger_ones_are_refused() {
    let limits = Limits { message_limit: 8 << 20, ..limits() };
    let running = start(limits, None);
    running.serve("m", 1, onnx::identity(onnx::FLOAT));
    let mut client = running.client().await;
    let values = vec![0.5_f32; 2 << 20];
    let fits = &values[..values.len() - 64];
    let size = i64::try_from(fits.len()).unwrap();
    let answer = client.predict(request("m", "x", float_tensor(&[size], fits))).await.unwrap().into_inner();
    assert_eq!(answer.outputs["y"].float_val.len(), fits.len());
    let size = i64::try_from(values.len()).unwrap();
    let status = client.predict(request("m", "x", float_tensor(&[size], &values))).await.unwrap_err();
    assert_status(&status, Code::ResourceExhausted, &["larger than max", "8388608"]);
    // One value that stands for many counts as many.
    let mut bomb = float_tensor(&[1 << 30], &[]);
    bomb.float_val = vec![1.0];
    let status = client.predict(request("m", "x", bomb)).await.unwrap_err();
    assert_status(&status, Code::InvalidArgument, &["8388608"]);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let running = start(Limits { queue: 2, ..limits() }, None);
    let gated = Gated::new();
    running.serve_loaded("m", 1, Box::new(gated.clone()));
    let client = running.client().await;
    let ask = || {
        let mut client = client.clone();
        async move { client.predict(request("m", "x", float_tensor(&[1], &[1.0]))).await }
    };
    // Two run and two wait; they must be there before the fifth comes.
    let mut accepted = Vec::new();
    for count in 1..=4 {
        accepted.push(tokio::spawn(ask()));
        while running.scheduler.load() < count {
            tokio::task::yield_now().await;
        }
        gated.wait_for_runs(count.min(2)).await;
    }
    let status = ask().await.unwrap_err();
    assert_status(&status, Code::ResourceExhausted, &["2 requests are waiting"]);
    gated.open();
    for request in accepted {
        request.await.unwrap().unwrap();
    }
    assert_eq!(gated.cores.lock().unwrap()[..2], [2, 1], "the first was alone, the second was not");
}

#[tokio::test]
async fn requests_that_nobody_waits_for_are_not_run() {
    let running = start(limits(), None);
    let gated = Gated::new();
    running.serve_loaded("m", 1, Box::new(gated.clone()));
    let client = running.client().await;
    let ask = |timeout: Option<Duration>| {
        let mut client = client.clone();
        let mut request = tonic::Request::new(request("m", "x", float_tensor(&[1], &[1.0])));
        if let Some(timeout) = timeout {
            request.set_timeout(timeout);
        }
        async move { client.predict(request).await }
    };
    let running_now: Vec<_> = (0..2).map(|_| tokio::spawn(ask(None))).collect();
    gated.wait_for_runs(2).await;
    // One runs out of time while it waits, one is cancelled.
    let late = ask(Some(Duration::from_millis(30))).await.unwrap_err();
    assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled), "{late:?}");
    let cancelled = tokio::spawn(ask(None));
    while running.scheduler.load() < 3 {
        tokio::task::yield_now().await;
    }
    cancelled.abort();
    let _ = cancelled.await;
    // A request that comes after them on the same connection: when it has
    // come, their ends have come too.
    let last = tokio::spawn(ask(None));
    while running.scheduler.load() < 4 {
        tokio::task::yield_now().await;
    }
    gated.open();
    for request in running_now {
        request.await.unwrap().unwrap();
    }
    last.await.unwrap().unwrap();
    assert_eq!(gated.cores.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn memory_for_requests_is_bounded_over_connections() {
    let limits = Limits { message_limit: 1 << 20, request_memory: 2 << 20, ..limits() };
    let running = start(limits, None);
    let gated = Gated::new();
    running.serve_loaded("m", 1, Box::new(gated.clone()));
    let values = vec![0.0_f32; 200_000];
    let ask =
        |mut client: adytum_api::tensorflow::serving::prediction_service_client::PredictionServiceClient<
            _,
        >| {
            let request = request("m", "x", float_tensor(&[200_000], &values));
            async move { client.predict(request).await }
        };
    let mut accepted = Vec::new();
    for count in 1..=2 {
        accepted.push(tokio::spawn(ask(running.client().await)));
        gated.wait_for_runs(count).await;
    }
    let status = ask(running.client().await).await.unwrap_err();
    assert_status(&status, Code::ResourceExhausted, &["2097152 bytes"]);
    // A small message whose one value stands for many takes as much.
    let mut client = running.client().await;
    let mut unfolding = float_tensor(&[200_000], &[]);
    unfolding.float_val = vec![1.0];
    let status = client.predict(request("m", "x", unfolding)).await.unwrap_err();
    assert_status(&status, Code::ResourceExhausted, &["2097152 bytes"]);
    gated.open();
    for request in accepted {
        request.await.unwrap().unwrap();
    }
    ask(running.client().await).await.unwrap();
}

/// A model in place of ResNet-50: as large a picture, and activations of 12.8 MB for each.
fn pictures() -> Vec<u8> {
    onnx::model(
        &[
            onnx::node("MatMul", &["x", "w"], &["wide"], &[]),
            onnx::node("Relu", &["wide"], &["active"], &[]),
            onnx::node("ReduceSum", &["active"], &["y"], &[]),
        ],
        &[onnx::value("x", onnx::FLOAT, &[-1, 224, 224, 3])],
        &[onnx::value("y", onnx::FLOAT, &[1, 1, 1, 1])],
        &[onnx::floats("w", &[3, 64], &[0.5; 192])],
    )
}

/// The attack of the review: eight requests of 40 bytes made a replica grow by 2.6 GB and
/// held others up for seconds.
#[tokio::test]
async fn requests_of_forty_bytes_cost_what_they_weigh() {
    let running = start(limits(), None);
    running.serve("m", 1, pictures());
    let client = running.client().await;
    let mut tensor = float_tensor(&[100, 224, 224, 3], &[]);
    for values in [vec![], vec![1.0]] {
        tensor.float_val = values;
        let attacks: Vec<_> = (0..8)
            .map(|_| {
                let (mut client, tensor) = (client.clone(), tensor.clone());
                tokio::spawn(async move { client.predict(request("m", "x", tensor)).await })
            })
            .collect();
        for attack in attacks {
            let status = attack.await.unwrap().unwrap_err();
            assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        }
    }
    // One picture may be a single value.
    let one = float_tensor(&[1, 224, 224, 3], &[]);
    let answer = client.clone().predict(request("m", "x", one)).await.unwrap().into_inner();
    assert_eq!(answer.outputs["y"].float_val, [0.0]);
}

#[tokio::test]
async fn a_batch_that_was_really_sent_is_charged_its_activations() {
    let servable = Servable::new("m".to_owned(), 1, fixture::load(pictures()).unwrap(), fixture::resources());
    let servable = servable.unwrap();
    let picture = 224 * 224 * 3;
    let signature = servable.signature("").unwrap();
    servable.check_memory(signature, picture).unwrap();
    let error = servable.check_memory(signature, 100 * picture).unwrap_err();
    assert_eq!(error.code(), "run-too-large", "{error}");
}
