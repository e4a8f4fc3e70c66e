//! The client against a server in this process: what it sends, what it makes of
//! answers, and what it says when things go wrong.

#![allow(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

use std::{sync::Arc, time::Duration};

use adytum_client::{
    Client, ClientError, ClientOptions, ImageInput, ModelSelector, ServerAddress, image, ranking,
};
use adytum_testkit::model_server::{Behaviour, Identity, ModelServer, scored};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use tonic::{Code, Status};

/// An 8x8 grey PNG, all of this brightness.
fn picture(level: u8) -> image::DecodedImage {
    let grey = ::image::GrayImage::from_pixel(8, 8, ::image::Luma([level]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    grey.write_to(&mut bytes, ::image::ImageFormat::Png).unwrap();
    image::decode(bytes.get_ref(), "picture").unwrap()
}

fn trusting(identity: &Identity) -> ClientOptions {
    ClientOptions { certificate: Some(identity.crt()), ..ClientOptions::default() }
}

async fn connect(server: &ModelServer, options: &ClientOptions) -> Result<Client, ClientError> {
    Client::connect(&server.address().parse().unwrap(), options).await
}

async fn classify(client: &Client, model: &str, level: u8) -> Result<Vec<f64>, ClientError> {
    let model = ModelSelector::named(model);
    let input = ImageInput::of(&client.signature(&model).await?, None)?;
    let request = model.request(&input, input.tensor(&picture(level))?);
    ranking::scores(&client.predict(request).await?, None)
}

#[tokio::test]
async fn an_image_is_classified_over_tls_as_the_model_wants_it() {
    let identity = Identity::new(&["localhost"]);
    let server = ModelServer::start(Behaviour::default(), Some(&identity)).await;
    let client = connect(&server, &trusting(&identity)).await.unwrap();
    let scores = classify(&client, "digits", 102).await.unwrap();
    let best = ranking::top(&scores, 1)[0];
    assert_eq!((best.class, best.probability), (4, 0.75));

    let request = server.seen().last();
    let model = request.model_spec.unwrap();
    assert_eq!((model.name.as_str(), model.signature_name.as_str()), ("digits", "serving_default"));
    let tensor = &request.inputs["image"];
    assert_eq!(tensor.tensor_content.len(), 4 * 64);
    let sizes: Vec<_> = tensor.tensor_shape.as_ref().unwrap().dim.iter().map(|dim| dim.size).collect();
    assert_eq!(sizes, [1, 8, 8, 1]);
    assert_eq!(server.seen().connections(), 1);
}

#[tokio::test]
async fn without_a_certificate_there_is_no_tls() {
    let server = ModelServer::start(Behaviour::default(), None).await;
    let client = connect(&server, &ClientOptions::default()).await.unwrap();
    assert_eq!(classify(&client, "digits", 0).await.unwrap().len(), 10);
}

#[tokio::test]
async fn servers_without_metadata_are_taken_for_the_reference() {
    let behaviour = Behaviour {
        input: None,
        predict: Arc::new(|_, request| {
            assert_eq!(request.inputs["input_1"].tensor_content.len(), 4 * 224 * 224 * 3);
            Ok(scored("activation_49", &[0.1, 0.9]))
        }),
        ..Behaviour::default()
    };
    let server = ModelServer::start(behaviour, None).await;
    let client = connect(&server, &ClientOptions::default()).await.unwrap();
    let scores = classify(&client, "resnet", 9).await.unwrap();
    assert_eq!(ranking::top(&scores, 1)[0].class, 1);
}

#[tokio::test]
async fn another_certificate_is_refused_before_anything_is_sent() {
    let (identity, other) = (Identity::new(&["localhost"]), Identity::new(&["localhost"]));
    let server = ModelServer::start(Behaviour::default(), Some(&identity)).await;
    let error = connect(&server, &trusting(&other)).await.err().unwrap();
    assert_eq!(error.code(), "certificate-not-trusted");
    assert!(!error.retry());
    assert_eq!(server.seen().predictions(), 0);
}

#[tokio::test]
async fn another_name_is_refused_unless_it_is_said() {
    let identity = Identity::new(&["tf-demo-svc"]);
    let server = ModelServer::start(Behaviour::default(), Some(&identity)).await;
    let mut options = trusting(&identity);
    let error = connect(&server, &options).await.err().unwrap();
    assert_eq!(error.code(), "certificate-wrong-name");
    assert!(error.to_string().contains("for tf-demo-svc, not for localhost"), "{error}");
    options.server_name = Some("tf-demo-svc".to_owned());
    let client = connect(&server, &options).await.unwrap();
    classify(&client, "digits", 0).await.unwrap();
}

/// Answers every connection with these bytes once it has said something.
async fn answering(bytes: &'static [u8]) -> (ServerAddress, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("127.0.0.1:{}", listener.local_addr().unwrap().port()).parse().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(bytes).await;
        }
    });
    (address, task)
}

#[tokio::test]
async fn a_server_without_tls_1_3_is_refused() {
    // The fatal alert protocol_version (RFC 8446, section 6.2) of a server that
    // finds no version of its own among ours.
    let (address, task) = answering(&[21, 3, 3, 0, 2, 2, 70]).await;
    let identity = Identity::new(&["localhost"]);
    let error = Client::connect(&address, &trusting(&identity)).await.err().unwrap();
    assert_eq!(error.code(), "tls-incompatible", "{error}");
    assert!(error.to_string().contains("TLS 1.3 is needed"), "{error}");
    task.abort();
}

#[tokio::test]
async fn tls_and_plain_do_not_meet_and_the_error_says_so() {
    let identity = Identity::new(&["localhost"]);
    let plain = ModelServer::start(Behaviour::default(), None).await;
    let error = connect(&plain, &trusting(&identity)).await.err().unwrap();
    assert_eq!(error.code(), "not-tls", "{error}");

    let tls = ModelServer::start(Behaviour::default(), Some(&identity)).await;
    let error = match connect(&tls, &ClientOptions::default()).await {
        Ok(client) => classify(&client, "digits", 0).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.code(), "connection-broken", "{error}");
    assert!(error.to_string().contains("give its certificate"), "{error}");
}

#[tokio::test]
async fn nobody_there_is_told_from_an_unknown_name() {
    let server = ModelServer::start(Behaviour::default(), None).await;
    let address: ServerAddress = server.address().parse().unwrap();
    server.stop().await;
    let error = Client::connect(&address, &ClientOptions::default()).await.err().unwrap();
    assert_eq!(error.code(), "connection-refused", "{error}");
    assert!(error.retry());

    // No label of a host name has 64 letters: no resolver needs to be asked.
    let unknown = format!("{}.invalid:1", "a".repeat(64)).parse().unwrap();
    let error = Client::connect(&unknown, &ClientOptions::default()).await.err().unwrap();
    assert_eq!(error.code(), "name-not-resolved", "{error}");
}

#[tokio::test]
async fn the_servers_own_errors_come_through() {
    let behaviour = Behaviour {
        predict: Arc::new(|_, _| Err(Status::invalid_argument("expected float32"))),
        ..Behaviour::default()
    };
    let server = ModelServer::start(behaviour, None).await;
    let client = connect(&server, &ClientOptions::default()).await.unwrap();
    let error = classify(&client, "missing", 0).await.unwrap_err();
    assert_eq!(error.code(), "not-found");
    assert!(error.to_string().contains("Servable not found for request"), "{error}");
    let error = classify(&client, "digits", 0).await.unwrap_err();
    assert!(matches!(&error, ClientError::Refused { status: Code::InvalidArgument, .. }), "{error:?}");
    assert_eq!(server.seen().predictions(), 1, "an answer is not asked for twice");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    let server = ModelServer::start(Behaviour { stalls: true, ..Behaviour::default() }, None).await;
    let options = ClientOptions { timeout: Duration::from_millis(200), ..ClientOptions::default() };
    let client = connect(&server, &options).await.unwrap();
    let error = classify(&client, "digits", 0).await.unwrap_err();
    assert_eq!(error.code(), "deadline-exceeded", "{error}");
    assert_eq!(client.repeated(), 0);
}

#[tokio::test]
async fn a_lost_connection_is_opened_again() {
    let identity = Identity::new(&["localhost"]);
    let server = ModelServer::start(Behaviour::default(), Some(&identity)).await;
    let client = connect(&server, &trusting(&identity)).await.unwrap();
    for round in 1..=3 {
        classify(&client, "digits", 0).await.unwrap();
        assert_eq!(server.seen().connections(), round);
        server.drop_connections();
    }
    server.stop().await;
    let error = classify(&client, "digits", 0).await.unwrap_err();
    assert_eq!(error.code(), "connection-refused", "{error}");
}

/// A replica that ends takes connections with it, and some new ones are led to it
/// for a moment.
#[tokio::test]
async fn a_call_outlasts_a_replica_that_ends() {
    let server = ModelServer::start(Behaviour::default(), None).await;
    let client = connect(&server, &ClientOptions::default()).await.unwrap();
    classify(&client, "digits", 0).await.unwrap();
    server.close_next(3);
    server.drop_connections();
    classify(&client, "digits", 0).await.unwrap();
    assert!(client.repeated() >= 3, "{}", client.repeated());
    assert_eq!(server.seen().predictions(), 2);
}

#[tokio::test]
async fn a_server_that_is_gone_is_given_up() {
    let server = ModelServer::start(Behaviour::default(), None).await;
    let client = connect(&server, &ClientOptions::default()).await.unwrap();
    server.close_next(usize::MAX);
    server.drop_connections();
    let error = classify(&client, "digits", 0).await.unwrap_err();
    assert_eq!(error.code(), "connection-broken", "{error}");
    assert_eq!(client.repeated(), adytum_client::REPEATS.len() as u64);
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    // 68 MiB of scores.
    let behaviour =
        Behaviour { predict: Arc::new(|_, _| Ok(scored("p", &vec![0.5; 17 << 20]))), ..Behaviour::default() };
    let server = ModelServer::start(behaviour, None).await;
    let client = connect(&server, &ClientOptions::default()).await.unwrap();
    let error = classify(&client, "digits", 0).await.unwrap_err();
    assert!(error.to_string().contains("too large"), "{error}");
}

#[tokio::test]
async fn what_speaks_no_http2_is_an_error() {
    let (address, task) = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let error = match Client::connect(&address, &ClientOptions::default()).await {
        Ok(client) => classify(&client, "digits", 0).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.code(), "connection-broken", "{error}");
    task.abort();
}
