//! What TensorFlow Serving's own test of its server asserts, of ours.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use adytum_api::tensorflow::{
    Example, Feature, Features, FloatList,
    feature::Kind,
    serving::{
        ClassificationRequest, ExampleList, ExampleListWithContext, GetModelMetadataRequest,
        GetModelStatusRequest, InferenceTask, Input, ModelSpec, MultiInferenceRequest, RegressionRequest,
        SignatureDefMap, inference_result, input, model_service_client::ModelServiceClient,
        model_spec::VersionChoice, prediction_service_client::PredictionServiceClient,
    },
};
use adytum_testkit::half_plus_two;
use fixture::{
    http::{get, post},
    server::{Running, channel, float_tensor, limits, request, specification, start},
};
use prost::Message;
use serde_json::json;
use tonic::{Code, transport::Channel};

fn serving() -> Running {
    let running = start(limits(), None);
    running.serve("default", 123, half_plus_two::model());
    running
}

async fn client(running: &Running) -> PredictionServiceClient<Channel> {
    running.client().await
}

fn example(values: &[(&str, f32)]) -> Example {
    let feature = values
        .iter()
        .map(|(name, value)| {
            let list = FloatList { value: vec![*value] };
            ((*name).to_owned(), Feature { kind: Some(Kind::FloatList(list)) })
        })
        .collect();
    Example { features: Some(Features { feature }) }
}

fn examples(values: &[f32]) -> Option<Input> {
    let examples = values.iter().map(|value| example(&[("x", *value)])).collect();
    Some(Input { kind: Some(input::Kind::ExampleList(ExampleList { examples })) })
}

fn named(signature: &str) -> Option<ModelSpec> {
    Some(ModelSpec { signature_name: signature.to_owned(), ..specification("default", None) })
}

#[track_caller]
fn assert_answered_by(found: Option<ModelSpec>, signature: &str) {
    let found = found.unwrap();
    assert_eq!((found.name.as_str(), found.signature_name.as_str()), ("default", signature));
    assert_eq!(found.version_choice, Some(VersionChoice::Version(123)));
}

#[tokio::test]
async fn predict_answers_with_and_without_a_filter() {
    let running = serving();
    let mut client = client(&running).await;
    for filter in [vec!["y".to_owned()], Vec::new()] {
        // The model takes [?,1]; the test sends [1].
        let mut request = request("default", "x", float_tensor(&[1], &[2.0]));
        request.output_filter = filter;
        let answer = client.predict(request).await.unwrap().into_inner();
        assert_eq!(answer.outputs["y"].float_val, [3.0]);
        assert_eq!(answer.outputs["y"].tensor_shape.as_ref().unwrap().dim.len(), 1);
        assert_answered_by(answer.model_spec, "serving_default");
    }
}

#[tokio::test]
async fn classify_and_regress_answer_examples() {
    let running = serving();
    let mut client = client(&running).await;
    let request =
        ClassificationRequest { model_spec: named("classify_x_to_y"), input: examples(&[2.0, 4.0]) };
    let answer = client.classify(request).await.unwrap().into_inner();
    let classes: Vec<(String, f32)> = answer
        .result
        .unwrap()
        .classifications
        .into_iter()
        .flat_map(|classifications| classifications.classes)
        .map(|class| (class.label, class.score))
        .collect();
    assert_eq!(classes, [(String::new(), 3.0), (String::new(), 4.0)]);
    assert_answered_by(answer.model_spec, "classify_x_to_y");

    let request = RegressionRequest { model_spec: named("regress_x_to_y"), input: examples(&[2.0]) };
    let answer = client.regress(request).await.unwrap().into_inner();
    assert_eq!(answer.result.unwrap().regressions[0].value, 3.0);
    assert_answered_by(answer.model_spec, "regress_x_to_y");

    let with_context = ExampleListWithContext {
        context: Some(example(&[("x", 6.0)])),
        examples: vec![example(&[]), example(&[("x", 2.0)])],
    };
    let input = Some(Input { kind: Some(input::Kind::ExampleListWithContext(with_context)) });
    let request = RegressionRequest { model_spec: named("regress_x_to_y2"), input };
    let answer = client.regress(request).await.unwrap().into_inner();
    let values: Vec<f32> = answer.result.unwrap().regressions.iter().map(|one| one.value).collect();
    assert_eq!(values, [6.0, 4.0]);
}

#[tokio::test]
async fn multi_inference_answers_each_task() {
    let running = serving();
    let mut client = client(&running).await;
    let task = |signature: &str, method: &str| InferenceTask {
        model_spec: named(signature),
        method_name: format!("tensorflow/serving/{method}"),
    };
    let good = vec![task("regress_x_to_y", "regress"), task("classify_x_to_y", "classify")];
    let ask = |tasks| MultiInferenceRequest { tasks, input: examples(&[2.0]) };
    let answer = client.multi_inference(ask(good.clone())).await.unwrap().into_inner();
    let [regression, classification] = <[_; 2]>::try_from(answer.results).unwrap();
    let Some(inference_result::Result::RegressionResult(values)) = regression.result else { unreachable!() };
    assert_eq!(values.regressions[0].value, 3.0);
    assert_answered_by(regression.model_spec, "regress_x_to_y");
    let Some(inference_result::Result::ClassificationResult(values)) = classification.result else {
        unreachable!()
    };
    assert_eq!(values.classifications[0].classes[0].score, 3.0);
    assert_answered_by(classification.model_spec, "classify_x_to_y");

    for (tasks, code) in [
        (Vec::new(), Code::InvalidArgument),
        (vec![good[0].clone(), good[0].clone()], Code::InvalidArgument),
        (vec![task("serving_default", "predict")], Code::Unimplemented),
        (vec![InferenceTask { model_spec: None, ..good[0].clone() }], Code::InvalidArgument),
    ] {
        assert_eq!(client.multi_inference(ask(tasks)).await.unwrap_err().code(), code);
    }
}

#[tokio::test]
async fn wrong_examples_get_tensorflow_servings_codes() {
    let running = serving();
    let mut client = client(&running).await;
    let mut fails = async |signature: &str, input: Option<Input>| {
        let request = ClassificationRequest { model_spec: named(signature), input };
        client.classify(request).await.unwrap_err()
    };
    let status = fails("classify_x_to_y", None).await;
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "Input is empty."));
    let input = Some(Input {
        kind: Some(input::Kind::ExampleList(ExampleList { examples: vec![example(&[("z", 1.0)])] })),
    });
    let status = fails("classify_x_to_y", input).await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("Feature: x (data type: float) is required"), "{status:?}");
    assert_eq!(fails("no_such", examples(&[1.0])).await.code(), Code::FailedPrecondition);
    let status = fails("serving_default", examples(&[1.0])).await;
    assert!(status.message().contains("\"classes\" or \"scores\""), "{status:?}");
}

#[tokio::test]
async fn status_metadata_and_labels_are_told() {
    let running = serving();
    running.models.set_labels("default", [("stable".to_owned(), 123)].into());
    let mut models = ModelServiceClient::new(channel(running.server.address()).await);
    let request = GetModelStatusRequest { model_spec: Some(specification("default", None)) };
    let answer = models.get_model_status(request).await.unwrap().into_inner();
    assert_eq!(answer.model_version_status.len(), 1);
    assert_eq!(answer.model_version_status[0].version, 123);
    assert_eq!(answer.model_version_status[0].status.as_ref().unwrap().error_code, 0);

    let mut client = client(&running).await;
    let request = GetModelMetadataRequest {
        model_spec: Some(specification("default", None)),
        metadata_field: vec!["signature_def".to_owned()],
    };
    let answer = client.get_model_metadata(request).await.unwrap().into_inner();
    let map = SignatureDefMap::decode(answer.metadata["signature_def"].value.as_slice()).unwrap();
    assert_eq!(map.signature_def.len(), 4);
    let classify = &map.signature_def["classify_x_to_y"];
    assert_eq!(classify.method_name, "tensorflow/serving/classify");
    assert_eq!(classify.inputs["inputs"].dtype().as_str_name(), "DT_STRING");

    let mut labelled = self::request("default", "x", float_tensor(&[1, 1], &[2.0]));
    let choose = |label: &str| Some(VersionChoice::VersionLabel(label.to_owned()));
    labelled.model_spec.as_mut().unwrap().version_choice = choose("stable");
    assert_answered_by(
        client.predict(labelled.clone()).await.unwrap().into_inner().model_spec,
        "serving_default",
    );
    labelled.model_spec.as_mut().unwrap().version_choice = choose("canary");
    assert_eq!(client.predict(labelled).await.unwrap_err().code(), Code::InvalidArgument);
    let mut old = self::request("default", "x", float_tensor(&[1, 1], &[2.0]));
    old.model_spec = Some(specification("default", Some(122)));
    assert_eq!(client.predict(old).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn the_rest_api_answers_the_same() {
    let running = serving();
    let address = running.server.address();
    let ask = async |method: &str, body: serde_json::Value| {
        let answer = post(address, &format!("/v1/models/default:{method}"), &body.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/json"));
        answer.json()
    };
    let body = json!({"signature_name": "classify_x_to_y", "examples": [{"x": 2.0}]});
    assert_eq!(ask("classify", body).await, json!({"results": [[["", 3.0]]]}));
    let body = json!({"signature_name": "regress_x_to_y", "examples": [{"x": 2.0}]});
    assert_eq!(ask("regress", body).await, json!({"results": [3.0]}));
    let body = json!({"signature_name": "regress_x_to_y", "context": {"x": 4}, "examples": [{}, {"x": [2]}]});
    assert_eq!(ask("regress", body).await, json!({"results": [4.0, 3.0]}));
    let body = json!({"instances": [2.0, 3.0, 4.0]});
    assert_eq!(ask("predict", body).await, json!({"predictions": [3.0, 3.5, 4.0]}));
    let body = json!({"inputs": [2.0, 3.0, 4.0]});
    assert_eq!(ask("predict", body).await, json!({"outputs": [3.0, 3.5, 4.0]}));
    let body = json!({"instances": [{"x": [2.0]}, {"x": [3.0]}]});
    assert_eq!(ask("predict", body).await, json!({"predictions": [[3.0], [3.5]]}));

    let status = json!({"model_version_status": [
        {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}]});
    assert_eq!(get(address, "/v1/models/default").await.json(), status);
    assert_eq!(get(address, "/v1/models/default/versions/123").await.json(), status);
    assert_eq!(get(address, "/v1/models").await.json(), json!({"models": ["default"]}));
    let metadata = get(address, "/v1/models/default/metadata").await.json();
    assert_eq!(metadata["model_spec"], json!({"name": "default", "signature_name": "", "version": "123"}));
    assert_eq!(
        metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]["x"],
        json!({
            "dtype": "DT_FLOAT",
            "tensor_shape": {"dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}], "unknown_rank": false},
            "name": "x",
        })
    );
}
