//! `adytum predict` and `adytum bench` as programs, against a model server in
//! this process: every line they print and every error they end with.

use std::sync::Arc;

use adytum_testkit::{
    directory::Directory,
    model_server::{Behaviour, Identity, ModelServer, scored},
    program::Outcome,
};
use tonic::Status;

use crate::fixture::{adytum, message};

/// The output of a run that succeeded and printed no error.
#[track_caller]
fn succeeded(outcome: &Outcome) -> String {
    assert_eq!(outcome.stderr(), "");
    outcome.succeeded()
}

/// The error of a run that failed.
#[track_caller]
fn failed(code: i32, outcome: &Outcome) -> String {
    let message = message(code, outcome);
    assert!(message.starts_with("adytum: "), "{message}");
    message
}

/// A server, its certificate, and images for it.
struct Fixture {
    server: ModelServer,
    identity: Identity,
    directory: Directory,
}

impl Fixture {
    async fn new(behaviour: Behaviour) -> Self {
        let identity = Identity::new(&["localhost"]);
        let server = ModelServer::start(behaviour, Some(&identity)).await;
        Self { server, identity, directory: Directory::new() }
    }

    /// An 8x8 grey PNG that the server takes for this class.
    fn image(&self, class: u8) -> String {
        let path = self.directory.path(&format!("{class}.png"));
        image::GrayImage::from_pixel(8, 8, image::Luma([class * 26])).save(&path).unwrap();
        path
    }

    fn file(&self, name: &str, content: &str) -> String {
        self.directory.write(name, content)
    }

    fn run(&self, verb: &str, more: &[&str]) -> Outcome {
        let (target, crt) = (self.server.target("localhost"), self.identity.crt());
        let crt = crt.to_str().unwrap();
        let mut arguments = vec![verb, "--server", &target, "--crt", crt];
        arguments.extend(more);
        adytum(arguments)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn predict_prints_the_occlum_clients_lines() {
    let fixture = Fixture::new(Behaviour::default()).await;
    let output = succeeded(&fixture.run("predict", &["--image", &fixture.image(4)]));
    assert_eq!(output, "Prediction class:  4\nProbability:  0.75\n");
    assert_eq!(fixture.server.seen().last().model_spec.unwrap().name, "resnet");
}

#[tokio::test(flavor = "multi_thread")]
async fn predict_says_more_when_asked() {
    let fixture = Fixture::new(Behaviour::default()).await;
    let names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
    let labels = fixture.file("labels.txt", &names.join("\n"));
    let (four, nine) = (fixture.image(4), fixture.image(9));
    let output = succeeded(
        &fixture.run("predict", &["--image", &four, "--image", &nine, "--labels", &labels, "--top", "2"]),
    );
    let second = "0.05000000074505806";
    assert_eq!(
        output,
        format!(
            "Image:  {four}\nPrediction class:  4\nLabel:  four\nProbability:  0.75\n2. class 5 (five): {second}\n\
             Image:  {nine}\nPrediction class:  9\nLabel:  nine\nProbability:  0.75\n2. class 0 (zero): {second}\n"
        )
    );

    let output =
        succeeded(&fixture.run("predict", &["--image", &four, "--labels", &labels, "--json", "--top", "2"]));
    let json: serde_json::Value = serde_json::from_str(&output).unwrap();
    assert_eq!(
        (&json["class"], &json["label"], &json["probability"]),
        (&"4".into(), &"four".into(), &0.75.into())
    );
    assert_eq!(json["top"].as_array().unwrap().len(), 2);
    assert_eq!(output.lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wanted_model_is_asked_for() {
    let fixture = Fixture::new(Behaviour::default()).await;
    let more = [
        "--model",
        "digits",
        "--model-version",
        "3",
        "--output",
        "probabilities",
        "--image",
        &fixture.image(1),
    ];
    succeeded(&fixture.run("predict", &more));
    let request = fixture.server.seen().last();
    assert_eq!(request.output_filter, ["probabilities"]);
    let model = request.model_spec.unwrap();
    assert_eq!(model.name, "digits");
    assert_eq!(format!("{:?}", model.version_choice.unwrap()), "Version(3)");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_is_one_clear_line() {
    let fixture = Fixture::new(Behaviour::default()).await;
    let image = fixture.image(1);
    let text = fixture.file("text.png", "not an image");
    let few = fixture.file("labels.txt", "one\ntwo\n");
    let missing = fixture.directory.path("missing.png");
    for (code, more, words) in [
        (78, vec!["--image", &text], "not a JPEG or PNG image"),
        (78, vec!["--image", &missing], "missing.png: No such file"),
        (78, vec!["--image", &image, "--model", "missing"], "answered NotFound: Servable not found"),
        (
            78,
            vec!["--image", &image, "--signature", "other"],
            "no signature \"other\"; it has serving_default",
        ),
        (78, vec!["--image", &image, "--input", "other"], "no input \"other\"; it has image"),
        (1, vec!["--image", &image, "--output", "other"], "no output \"other\"; it has probabilities"),
        (78, vec!["--image", &image, "--labels", &few], "2 labels for 10 classes"),
        (78, vec!["--image", &image, "--labels", &missing], "missing.png: No such file"),
        (77, vec!["--image", &image, "--server-name", "elsewhere"], "is for localhost, not for elsewhere"),
    ] {
        let error = failed(code, &fixture.run("predict", &more));
        assert!(error.contains(words), "{more:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_certificate_no_server_and_a_silent_one_are_told_apart() {
    let fixture = Fixture::new(Behaviour { stalls: true, ..Behaviour::default() }).await;
    let image = fixture.image(1);
    let target = fixture.server.target("localhost");

    let other = Identity::new(&["localhost"]);
    let crt = other.crt();
    let error = failed(
        77,
        &adytum(["predict", "--server", &target, "--crt", crt.to_str().unwrap(), "--image", &image]),
    );
    assert!(error.contains("is not the trusted one"), "{error}");

    let error = failed(75, &fixture.run("predict", &["--image", &image, "--timeout", "300ms"]));
    assert!(error.contains("no answer from localhost") && error.contains("within 300ms"), "{error}");

    fixture.server.stop().await;
    let error = failed(69, &adytum(["predict", "--server", &target, "--image", &image]));
    assert!(error.contains("connection refused"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bench_prints_the_occlum_benchmarks_lines() {
    let fixture = Fixture::new(Behaviour::default()).await;
    let image = fixture.image(2);
    let more = ["--cnum", "2", "--loop", "3", "--image", &image];
    let output = succeeded(&fixture.run("bench", &more));
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines.len(), 6 + 3, "{output}");
    for line in &lines[..6] {
        let rest = line.strip_prefix("query: secure channel, task ").unwrap();
        let (task, rest) = rest.split_once(", loop_idx ").unwrap();
        let (index, rest) = rest.split_once(", latency(ms) ").unwrap();
        let (latency, tps) = rest.split_once(", tps: ").unwrap();
        assert!(task.parse::<u32>().unwrap() < 2 && index.parse::<u32>().unwrap() < 3, "{line}");
        assert!(latency.parse::<f64>().unwrap() > 0.0 && tps.parse::<f64>().unwrap() > 0.0, "{line}");
    }
    let rest = lines[6].strip_prefix("summary: cnum 2, e2e time(s) ").unwrap();
    let (seconds, rest) = rest.split_once(", average latency(ms) ").unwrap();
    let (average, tps) = rest.split_once(", tps: ").unwrap();
    for number in [seconds, average, tps] {
        assert!(number.parse::<f64>().unwrap() > 0.0, "{}", lines[6]);
    }
    assert!(lines[7].starts_with("latency(ms): p50 "), "{output}");
    assert_eq!(lines[8], "requests: 6 answered, 0 failed");
    // Five of warm-up for each task.
    assert_eq!(fixture.server.seen().predictions(), 2 * (5 + 3));

    let quiet = succeeded(&fixture.run("bench", &[&more[..], &["--quiet"]].concat()));
    assert_eq!(quiet.lines().count(), 3, "{quiet}");
    let more = ["--cnum", "2", "--duration", "50ms", "--warmup", "1", "--json", "--image", &image];
    let json: serde_json::Value = serde_json::from_str(&succeeded(&fixture.run("bench", &more))).unwrap();
    assert!(json["tps"].as_f64().unwrap() > 0.0, "{json}");
    assert!(json["latency_ms"]["p99"].as_f64().unwrap() > 0.0, "{json}");
    assert_eq!((&json["cnum"], &json["failed"]), (&2.into(), &0.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn bench_fails_when_requests_failed() {
    let behaviour = Behaviour {
        predict: Arc::new(|number, _| match number {
            0 => Ok(scored("p", &[1.0])),
            _ => Err(Status::resource_exhausted("full")),
        }),
        ..Behaviour::default()
    };
    let fixture = Fixture::new(behaviour).await;
    let more = ["--cnum", "1", "--loop", "2", "--warmup", "1", "--image", &fixture.image(2)];
    let run = fixture.run("bench", &more);
    assert!(
        run.stdout().contains("\nrequests: 0 answered, 2 failed\nerror resource-exhausted: 2\n"),
        "{}",
        run.stdout()
    );
    assert!(failed(1, &run).contains("2 of 2 requests failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn senseless_flags_are_refused() {
    for (more, words) in [
        (&["bench", "--image", "x", "--loop", "0"][..], "--loop"),
        (&["bench", "--image", "x", "--cnum", "0"], "--cnum"),
        (&["bench", "--image", "x", "--duration", "0s"], "500ms, 10s, 2m"),
        (&["bench", "--image", "x", "--loop", "1", "--duration", "1s"], "cannot be used with"),
        (&["predict"], "--image"),
        (&["predict", "--image", "x", "--top", "0"], "--top"),
        (&["predict", "--image", "x", "--server", "localhost"], "it has no port"),
        (&["predict", "--image", "x", "--server-name", "y"], "--crt"),
    ] {
        let error = adytum(more).failed_with(2);
        assert!(error.contains(words), "{more:?}: {error}");
    }
}
