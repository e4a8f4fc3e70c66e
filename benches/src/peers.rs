//! Model servers of others, on the same model, asked by the same client over the same protocol
//! (Open Inference Protocol, gRPC without TLS).

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use adytum_api::inference::{ModelInferRequest, model_infer_request::InferInputTensor};
use adytum_testkit::ports::free_port;
use adytum_tests::process::Process;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use prost::Message;
use tokio::process::Command;

use crate::{
    plain::{PlainServer, Start},
    report::{Report, median},
    serving::{DIGIT, IMAGE, PREDICT, request, values},
    wire::{Client, saturate},
};

/// Where each peer's environment is: `benches/peers/install.sh` makes them.
const ENVIRONMENTS: &str = "target/peers";
/// The programs that start them.
const PROGRAMS: &str = "benches/peers";
const PEERS: [&str; 3] = ["mlserver", "kserve", "pytriton"];

const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";

/// Importing their packages alone takes seconds.
const START: Duration = Duration::from_secs(120);

/// Our server and the models for all.
pub(crate) struct Compared<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) binary: PathBuf,
    pub(crate) digits: &'a Path,
    pub(crate) resnet50: &'a Path,
}

/// `serving.peers.*`: ours against each of theirs.
pub(crate) async fn run(report: &mut Report, place: &Compared<'_>) -> Result<()> {
    small(report, place).await?;
    large(report, place).await
}

/// The digits model with 1, 8 and 32 connections.
async fn small(report: &mut Report, place: &Compared<'_>) -> Result<()> {
    let onnx = fs::read(place.digits).with_context(|| place.digits.display().to_string())?;
    let (predict, infer) = (request("m", "image", &DIGIT), infer_request("image", &DIGIT));
    let mut ours = start_ours(place, "ours", &onnx, &[]).await?;
    let mut is_infer_reported = false;
    for peer in PEERS {
        let Some(mut theirs) = Peer::start(peer, place.directory, place.digits, 1).await? else { continue };
        theirs.wait(&infer).await?;
        for connections in [1, 8, 32] {
            let mut clients = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..connections {
                clients.0.push(Client::plain(ours.grpc, PREDICT).await?);
                clients.1.push(Client::plain(ours.grpc, INFER).await?);
                clients.2.push(Client::plain(theirs.port, INFER).await?);
            }
            let slice = Duration::from_secs(2);
            let mut rates = (Vec::new(), Vec::new(), Vec::new());
            for round in 0..4 {
                let by_predict = saturate(&clients.0, 1, &predict, slice).await?;
                let by_infer = saturate(&clients.1, 1, &infer, slice).await?;
                let by_peer = saturate(&clients.2, 1, &infer, slice).await?;
                if round > 0 {
                    rates.0.push(by_predict);
                    rates.1.push(by_infer);
                    rates.2.push(by_peer);
                }
            }
            let (by_predict, by_infer) = (median(&mut rates.0), median(&mut rates.1));
            let name = |what: &str| format!("serving.peers.{what}.c{connections}");
            let remark = format!("digits, {connections} connections, ours by Predict / {peer} by ModelInfer");
            report.compared(&name(peer), by_predict, "1/s", median(&mut rates.2), &remark);
            if !is_infer_reported {
                let remark = "digits, ours: ModelInfer / Predict; bar: 0.9";
                report.compared(&name("infer"), by_infer, "1/s", by_predict, remark);
            }
        }
        is_infer_reported = true;
        theirs.process.stop().await;
    }
    ours.process.stop().await;
    Ok(())
}

/// ResNet-50 with the same engine as theirs, if there is a server that was built with it.
async fn large(report: &mut Report, place: &Compared<'_>) -> Result<()> {
    let (Some(library), Some(binary)) =
        (std::env::var_os("ADYTUM_ONNXRUNTIME_LIBRARY"), std::env::var_os("ADYTUM_ONNXRUNTIME_SERVING"))
    else {
        println!(
            "ResNet-50 against peers is left out: ADYTUM_ONNXRUNTIME_LIBRARY and ADYTUM_ONNXRUNTIME_SERVING (a server \
             built with the feature onnxruntime) are not set"
        );
        return Ok(());
    };
    let onnx = fs::read(place.resnet50).with_context(|| place.resnet50.display().to_string())?;
    let input = "input_1";
    let (predict, infer) = (request("m", input, &IMAGE), infer_request(input, &IMAGE));
    let library = format!("--onnxruntime_library={}", Path::new(&library).display());
    let place_of_ours = Compared { binary: PathBuf::from(binary), ..*place };
    let arguments = ["--engine=onnxruntime", &library];
    let mut ours = start_ours(&place_of_ours, "ours-resnet50", &onnx, &arguments).await?;
    for peer in PEERS {
        let Some(mut theirs) = Peer::start(peer, place.directory, place.resnet50, 1).await? else { continue };
        theirs.wait(&infer).await?;
        let mut clients = (Vec::new(), Vec::new());
        for _ in 0..4 {
            clients.0.push(Client::plain(ours.grpc, PREDICT).await?);
            clients.1.push(Client::plain(theirs.port, INFER).await?);
        }
        let slice = Duration::from_secs(4);
        let mut rates = (Vec::new(), Vec::new());
        for round in 0..4 {
            let by_predict = saturate(&clients.0, 1, &predict, slice).await?;
            let by_peer = saturate(&clients.1, 1, &infer, slice).await?;
            if round > 0 {
                rates.0.push(by_predict);
                rates.1.push(by_peer);
            }
        }
        report.compared(
            &format!("serving.peers.{peer}.resnet50"),
            median(&mut rates.0),
            "1/s",
            median(&mut rates.1),
            "ResNet-50, 4 connections, both with ONNX Runtime; bar: 0.95 of the best",
        );
        theirs.process.stop().await;
    }
    ours.process.stop().await;
    Ok(())
}

async fn start_ours(
    place: &Compared<'_>,
    name: &str,
    onnx: &[u8],
    arguments: &[&str],
) -> Result<PlainServer> {
    let directory = place.directory.join(name);
    fs::create_dir_all(&directory)?;
    let start = Start { binary: &place.binary, directory, onnx, arguments, core: None };
    PlainServer::start(start).await
}

/// Float values as `ModelInfer` takes them, in their bytes.
fn infer_request(input: &str, shape: &[usize]) -> Bytes {
    let content: Vec<u8> = values(shape).iter().flat_map(|value| value.to_le_bytes()).collect();
    let tensor = InferInputTensor {
        name: input.to_owned(),
        datatype: "FP32".to_owned(),
        shape: shape.iter().map(|size| *size as i64).collect(),
        ..InferInputTensor::default()
    };
    let request = ModelInferRequest {
        model_name: "m".to_owned(),
        inputs: vec![tensor],
        raw_input_contents: vec![content],
        ..ModelInferRequest::default()
    };
    request.encode_to_vec().into()
}

/// A server of others.
struct Peer {
    name: &'static str,
    process: Process,
    port: u16,
}

impl Peer {
    /// `None` if it is not installed here.
    async fn start(
        name: &'static str,
        directory: &Path,
        model: &Path,
        threads: usize,
    ) -> Result<Option<Self>> {
        let python = Path::new(ENVIRONMENTS).join(name).join("bin/python");
        if !python.exists() {
            println!("{name} is left out: it is not installed ({PROGRAMS}/install.sh)");
            return Ok(None);
        }
        let port = free_port();
        let mut command = Command::new(std::path::absolute(python)?);
        command
            .arg(Path::new(PROGRAMS).canonicalize()?.join(format!("{name}_server.py")))
            .env("PEER_MODEL", model.canonicalize()?)
            .env("PEER_THREADS", threads.to_string())
            .env("PEER_GRPC_PORT", port.to_string())
            .env("PEER_HTTP_PORT", free_port().to_string())
            .env("ORT_DISABLE_TELEMETRY", "1");
        let process = Process::start(name, command, directory).await?;
        Ok(Some(Self { name, process, port }))
    }

    /// Waits until it answers.
    async fn wait(&mut self, request: &Bytes) -> Result<()> {
        let start = Instant::now();
        loop {
            let answer = match Client::plain(self.port, INFER).await {
                Ok(mut client) => client.call(request.clone()).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(_) => return Ok(()),
                Err(error) if start.elapsed() > START => {
                    return Err(error).with_context(|| {
                        format!("{} does not answer; its log: {}", self.name, self.process.log().display())
                    });
                }
                Err(_) if self.process.id().is_none() => bail!("{} has ended", self.name),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }
}
