//! The model server against the engine alone and against a bare echo.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use adytum_api::tensorflow::{
    DataType, TensorProto, TensorShapeProto,
    serving::{ModelSpec, PredictRequest},
    tensor_shape_proto::Dim,
};
use adytum_tests::{
    deployment::{Broker, Deployment, Replica, ReplicaConfiguration},
    owner::{self, ProvisionedModel},
    process::Process,
};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use prost::Message;
use rten::ThreadPool;
use tokio::process::Command;

use crate::{
    echo,
    in_process::InProcess,
    report::{Report, median},
    wire::{Client, saturate},
};

/// The path of `Predict`.
pub(crate) const PREDICT: &str = "/tensorflow.serving.PredictionService/Predict";
const START: Duration = Duration::from_secs(30);
/// A picture.
pub(crate) const IMAGE: [usize; 4] = [1, 224, 224, 3];
/// A digit.
pub(crate) const DIGIT: [usize; 4] = [1, 8, 8, 1];

/// A broker and what it takes to start replicas of one model.
pub(crate) struct Site<'a> {
    deployment: &'a Deployment,
    broker: &'a Broker,
    configuration: ReplicaConfiguration,
    provisioned: ProvisionedModel,
    binary: PathBuf,
    model: &'static str,
    models: PathBuf,
}

impl<'a> Site<'a> {
    /// Provisions the broker for this model and seals it.
    pub(crate) async fn prepare(
        deployment: &'a Deployment,
        broker: &'a Broker,
        model: &'static str,
        onnx: &Path,
    ) -> Result<Self> {
        let configuration = deployment.configure_replica(model, broker).await?;
        let provisioned = owner::provision(deployment, broker, model, &configuration.identity).await?;
        let models = deployment.directory().join("models").join(model);
        owner::seal(deployment, broker, onnx, model, 1, &provisioned.recipient, &models).await?;
        Ok(Self {
            deployment,
            broker,
            configuration,
            provisioned,
            binary: deployment.binary("adytum-serving"),
            model,
            models,
        })
    }

    /// Starts a replica; gives its port.
    pub(crate) async fn replica(&self) -> Result<(Process, u16)> {
        self.deployment
            .start_replica(
                &format!("replica-{}", self.model),
                &Replica {
                    binary: &self.binary,
                    configuration: &self.configuration.path,
                    broker: self.broker.address(),
                    model: self.model,
                    models: &self.models,
                },
            )
            .await
    }

    /// What clients trust, in PEM.
    pub(crate) fn certificate(&self) -> Result<String> {
        fs::read_to_string(&self.provisioned.server_crt).context("server.crt")
    }
}

/// `serving.resnet50.*`.
pub(crate) async fn resnet50(report: &mut Report, site: &Site<'_>, onnx: &Path) -> Result<()> {
    let size = fs::metadata(onnx)?.len() as f64;
    let began = Instant::now();
    let (mut replica, port) = site.replica().await?;
    let started = began.elapsed();
    let certificate = site.certificate()?;
    let body = request("resnet50", "input_1", &IMAGE);
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(Client::connect(port, &certificate, PREDICT).await?);
    }
    for client in &mut clients {
        client.call(body.clone()).await?;
    }

    let (input, cores) = (values(&IMAGE), thread::available_parallelism()?.get());
    let engine = Arc::new(InProcess::load(fs::read(onnx)?, IMAGE, input)?);
    let all_cores = Arc::new(ThreadPool::with_num_threads(cores));
    engine.time(&all_cores)?;

    // One at a time, turn by turn, so that both see the same machine.
    let (mut alone, mut served) = (Vec::new(), Vec::new());
    for _ in 0..60 {
        let (engine, pool) = (Arc::clone(&engine), Arc::clone(&all_cores));
        let time = tokio::task::spawn_blocking(move || engine.time(&pool)).await??;
        alone.push(time.as_secs_f64() * 1e3);
        let start = Instant::now();
        clients[0].call(body.clone()).await?;
        served.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let (alone, served) = (median(&mut alone), median(&mut served));
    report.compared("serving.resnet50.latency_ms", served, "ms", alone, "p50, batch 1 / the engine alone");
    report.figure("serving.resnet50.added_latency_ms", served - alone, "ms", "p50, batch 1; bar: at most 2");

    // Saturation, interleaved with the two ways to run the engine alone.
    let slice = Duration::from_secs(6);
    let (mut served, mut together, mut separate) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3 {
        served.push(saturate(&clients, 1, &body, slice).await?);
        let (a, b, pool) = (Arc::clone(&engine), Arc::clone(&engine), Arc::clone(&all_cores));
        together.push(tokio::task::spawn_blocking(move || a.all_cores(&pool, slice)).await??);
        separate.push(tokio::task::spawn_blocking(move || b.one_a_core(cores, slice)).await??);
    }
    let baseline = median(&mut together).max(median(&mut separate));
    report.compared(
        "serving.resnet50.throughput",
        median(&mut served),
        "images/s",
        baseline,
        "over TLS / better of two in-process ways; bar: 0.95",
    );

    // Steady: the memory that stays when the load has gone.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let memory = memory(replica.id())?;
    report.compared(
        "serving.resnet50.peak_rss",
        memory.peak,
        "bytes",
        size,
        "sealed / model file; bar: at most 2.3",
    );
    report.compared(
        "serving.resnet50.steady_rss",
        memory.steady,
        "bytes",
        size,
        "after load; bar: at most 1.5",
    );
    replica.stop().await;

    let plain = plain_load(onnx)?;
    report.compared(
        "replica.cold_start",
        started.as_secs_f64() * 1e3,
        "ms",
        plain.as_secs_f64() * 1e3,
        "exec to ready, sealed / plain in-process load; bar: at most 2.5",
    );
    Ok(())
}

fn plain_load(onnx: &Path) -> Result<Duration> {
    let start = Instant::now();
    let _model = InProcess::load(fs::read(onnx)?, IMAGE, values(&IMAGE))?;
    Ok(start.elapsed())
}

/// `serving.small.rps`.
pub(crate) async fn small(report: &mut Report, site: &Site<'_>) -> Result<()> {
    let (mut replica, port) = site.replica().await?;
    let (certificate, body) = (site.certificate()?, request("digits", "image", &DIGIT));
    let (mut echo_server, echo_port, echo_certificate) = start_echo(site.deployment).await?;
    let (mut served, mut echoed) = (Vec::new(), Vec::new());
    let (mut predict, mut echo) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        predict.push(Client::connect(port, &certificate, PREDICT).await?);
        echo.push(Client::connect(echo_port, &echo_certificate, echo::PATH).await?);
    }
    let slice = Duration::from_secs(3);
    saturate(&predict, 8, &body, slice / 3).await?;
    saturate(&echo, 8, &body, slice / 3).await?;
    for _ in 0..5 {
        served.push(saturate(&predict, 8, &body, slice).await?);
        echoed.push(saturate(&echo, 8, &body, slice).await?);
    }
    report.compared(
        "serving.small.rps",
        median(&mut served),
        "1/s",
        median(&mut echoed),
        "digits / bare tonic TLS echo of the same bytes; bar: 0.6",
    );
    replica.stop().await;
    echo_server.stop().await;
    Ok(())
}

async fn start_echo(deployment: &Deployment) -> Result<(Process, u16, String)> {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).context("echo's certificate")?;
    let (certificate, private) =
        (deployment.directory().join("echo.crt"), deployment.directory().join("echo.key"));
    fs::write(&certificate, key.cert.pem())?;
    fs::write(&private, key.signing_key.serialize_pem())?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("echo-server").arg(&certificate).arg(&private);
    let mut process = Process::start("echo", command, deployment.directory()).await?;
    let port = process.wait_for("echo listening on ", START).await?;
    Ok((process, port.parse()?, key.cert.pem()))
}

pub(crate) struct Memory {
    pub(crate) peak: f64,
    pub(crate) steady: f64,
}

/// VmHWM and VmRSS (proc(5)).
pub(crate) fn memory(id: Option<u32>) -> Result<Memory> {
    let Some(id) = id else { bail!("the replica has ended") };
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let fields: BTreeMap<_, _> = status.lines().filter_map(|line| line.split_once(':')).collect();
    let bytes = |name: &str| -> Result<f64> {
        let text = fields.get(name).with_context(|| format!("no {name}"))?;
        let kibibytes: f64 = text.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kibibytes * 1024.0)
    };
    Ok(Memory { peak: bytes("VmHWM")?, steady: bytes("VmRSS")? })
}

/// The same pseudo-random picture each time, values in 0..1.
pub(crate) fn values(shape: &[usize]) -> Vec<f32> {
    let mut state = 0x2545_f491_u32;
    (0..shape.iter().product::<usize>())
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1u32 << 24) as f32
        })
        .collect()
}

pub(crate) fn request(model: &str, input: &str, shape: &[usize]) -> Bytes {
    let content: Vec<u8> = values(shape).iter().flat_map(|value| value.to_le_bytes()).collect();
    let tensor = TensorProto {
        dtype: DataType::DtFloat as i32,
        tensor_shape: Some(TensorShapeProto {
            dim: shape.iter().map(|size| Dim { size: *size as i64, name: String::new() }).collect(),
            unknown_rank: false,
        }),
        tensor_content: content.into(),
        ..TensorProto::default()
    };
    PredictRequest {
        model_spec: Some(ModelSpec { name: model.to_owned(), ..ModelSpec::default() }),
        inputs: BTreeMap::from([(input.to_owned(), tensor)]),
        output_filter: Vec::new(),
    }
    .encode_to_vec()
    .into()
}
