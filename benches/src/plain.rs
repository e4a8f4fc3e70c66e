//! A model server without TLS and without a broker, and clients of it: for what is compared with
//! the same server, where neither matters.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use adytum_testkit::ports::free_port;
use adytum_tests::process::Process;
use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::Command,
};

const START: Duration = Duration::from_secs(30);

/// A running server.
pub(crate) struct PlainServer {
    pub(crate) process: Process,
    pub(crate) grpc: u16,
    pub(crate) rest: u16,
}

/// What a server is started with.
pub(crate) struct Start<'a> {
    pub(crate) binary: &'a Path,
    /// Where its files go: an empty directory.
    pub(crate) directory: PathBuf,
    pub(crate) onnx: &'a [u8],
    pub(crate) arguments: &'a [&'a str],
    /// The one core that it may use; `None`: all.
    pub(crate) core: Option<usize>,
}

impl PlainServer {
    /// Serves a model as version 1 of `m`.
    pub(crate) async fn start(start: Start<'_>) -> Result<Self> {
        let Start { binary, directory, onnx, arguments, core } = start;
        let base = directory.join("m");
        fs::create_dir_all(base.join("1"))?;
        fs::write(base.join("1/model.onnx"), onnx)?;
        let rest = free_port();
        let mut command = match core {
            None => Command::new(binary),
            Some(core) => {
                let mut command = Command::new("taskset");
                command.arg("-c").arg(core.to_string()).arg(binary);
                command
            }
        };
        command
            .args(["--port=0", "--model_name=m", "--allow_plain_models"])
            .arg(format!("--model_base_path={}", base.display()))
            .arg(format!("--rest_api_port={rest}"))
            .args(arguments);
        let mut process = Process::start("server", command, &directory).await?;
        let line = process.wait_for("Running gRPC ModelServer at 0.0.0.0:", START).await?;
        let port = line.split_whitespace().next().unwrap_or_default();
        let grpc = port.parse().with_context(|| format!("the port in {line:?}"))?;
        process.wait_for("Exporting HTTP/REST API at:localhost:", START).await?;
        Ok(Self { process, grpc, rest })
    }
}

/// A connection of HTTP/1.1.
pub(crate) struct Rest(BufReader<TcpStream>);

impl Rest {
    pub(crate) async fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends JSON and reads the answer, which must be a good one.
    pub(crate) async fn post(&mut self, path: &str, body: &[u8]) -> Result<Vec<u8>> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        self.0.get_mut().write_all(&[head.as_bytes(), body].concat()).await?;
        let (mut line, mut length, mut first) = (String::new(), None, true);
        loop {
            line.clear();
            if self.0.read_line(&mut line).await? == 0 {
                bail!("the server closed the connection");
            }
            let text = line.trim_end();
            if first && !text.starts_with("HTTP/1.1 200") {
                bail!("{text}");
            }
            first = false;
            if text.is_empty() {
                break;
            }
            if let Some((name, value)) = text.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok();
            }
        }
        let mut answer = vec![0; length.context("an answer without a length")?];
        self.0.read_exact(&mut answer).await?;
        Ok(answer)
    }
}
