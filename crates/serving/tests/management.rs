//! A configuration that a client sends to the real binary, and those that may not send one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use adytum_api::tensorflow::serving::{
    ModelConfig, ModelConfigList, ModelServerConfig, ReloadConfigRequest, model_server_config::Config,
    model_service_client::ModelServiceClient, prediction_service_client::PredictionServiceClient,
};
use adytum_testkit::half_plus_two;
use fixture::{
    onnx,
    server::{channel, client_tls, float_tensor, request, tls_channel},
};
use rcgen::{CertifiedKey, KeyPair};
use tonic::{Code, transport::Channel};

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(arguments: &[String]) -> (Process, SocketAddr) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adytum-serving"));
    command.env_clear().args(["--port=0", "--allow_plain_models", "--model_name=first"]).args(arguments);
    let mut process = Process(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port = line.trim_end_matches(" ...\n").rsplit(':').next().unwrap().parse::<u16>();
    (process, ([127, 0, 0, 1], port.unwrap_or_else(|_| panic!("{line:?}"))).into())
}

fn write(root: &Path, name: &str, model: Vec<u8>) {
    fs::create_dir_all(root.join(name).join("1")).unwrap();
    fs::write(root.join(name).join("1/model.onnx"), model).unwrap();
}

fn configuration(models: &[(&str, &str)]) -> ReloadConfigRequest {
    let config = models
        .iter()
        .map(|(name, base)| ModelConfig {
            name: (*name).to_owned(),
            base_path: (*base).to_owned(),
            ..ModelConfig::default()
        })
        .collect();
    let config = Some(Config::ModelConfigList(ModelConfigList { config }));
    ReloadConfigRequest { config: Some(ModelServerConfig { config }), metric_names: Vec::new() }
}

async fn connect(
    address: SocketAddr,
    server: &rcgen::Certificate,
    client: &CertifiedKey<KeyPair>,
) -> Channel {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = client.signing_key.serialize_der().try_into().unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    let pair = rustls::sign::CertifiedKey::new(vec![client.cert.der().clone()], key);
    let mut tls = client_tls(std::slice::from_ref(server));
    tls.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(pair));
    tls_channel(address, Arc::new(tls)).await.unwrap()
}

#[tokio::test]
async fn only_a_named_client_changes_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("models");
    write(&root, "first", half_plus_two::model());
    write(&root, "second", onnx::arithmetic());
    write(directory.path(), "outside", onnx::arithmetic());
    let made = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (server, manager, other) = (made("localhost"), made("manager"), made("other"));
    let escaped = |text: String| text.replace('\n', "\\n");
    let ssl = directory.path().join("ssl.cfg");
    let text = format!(
        "server_key: \"{}\" server_cert: \"{}\" client_verify: true custom_ca: \"{}\"",
        escaped(server.signing_key.serialize_pem()),
        escaped(server.cert.pem()),
        escaped(manager.cert.pem() + &other.cert.pem())
    );
    fs::write(&ssl, text).unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, manager.cert.der());
    let digest: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    let (_process, address) = start(&[
        format!("--model_base_path={}", root.join("first").display()),
        format!("--model_root={}", root.display()),
        format!("--ssl_config_file={}", ssl.display()),
        format!("--model_manager_certificates={}", digest.join(":")),
    ]);

    // Somebody with a good certificate, but not that one.
    let mut stranger = ModelServiceClient::new(connect(address, &server.cert, &other).await);
    let second = configuration(&[("second", "second")]);
    let status = stranger.handle_reload_config_request(second.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");

    let channel = connect(address, &server.cert, &manager).await;
    let mut client = ModelServiceClient::new(channel.clone());
    let outside = directory.path().join("outside").display().to_string();
    for refused in [
        configuration(&[("outside", outside.as_str())]),
        configuration(&[("outside", "../outside")]),
        configuration(&[("second", "")]),
        configuration(&[("second", "second"), ("second", "second")]),
        ReloadConfigRequest::default(),
    ] {
        let status = client.handle_reload_config_request(refused).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    let mut predict = PredictionServiceClient::new(channel);
    let first = || request("first", "x", float_tensor(&[1, 1], &[2.0]));
    predict.predict(first()).await.unwrap();

    let answer = client.handle_reload_config_request(second).await.unwrap().into_inner();
    assert_eq!(answer.status.unwrap().error_code, 0);
    let answer =
        predict.predict(request("second", "x", float_tensor(&[1, 3], &[1.0, 2.0, 3.0]))).await.unwrap();
    assert_eq!(answer.into_inner().outputs["double"].float_val, [2.0, 4.0, 6.0]);
    assert_eq!(predict.predict(first()).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn without_a_named_client_nobody_does() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "first", half_plus_two::model());
    let (_process, address) = start(&[
        format!("--model_base_path={}", directory.path().join("first").display()),
        format!("--model_root={}", directory.path().display()),
    ]);
    let mut client = ModelServiceClient::new(channel(address).await);
    let status = client.handle_reload_config_request(configuration(&[("first", "first")])).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
}
