//! Clients that are not ours, through the proxy: TensorFlow Serving's API, `tritonclient`, KServe's
//! client and Python's `urllib`. They know nothing of attested sessions, and are not changed.

use std::path::{Path, PathBuf};

use adytum_testkit::{half_plus_two, onnx};
use adytum_tests::process::run;
use anyhow::{Result, ensure};
use tokio::process::Command;

use crate::{
    fixture::{Fixture, proxy},
    several::{Model, Several, port},
};

/// ONNX's numbers of texts and of 16-bit floats.
const STRING: u64 = 8;
const HALF: u64 = 10;

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol_clients")
}

#[tokio::test]
async fn clients_of_others_ask_through_the_proxy() -> Result<()> {
    // The Python of `tests/protocol_clients/install.sh`, if it was run.
    let python = clients().join("../../target/protocol-clients/bin/python");
    if !python.is_file() {
        println!("SKIPPED: no clients; tests/protocol_clients/install.sh installs them");
        return Ok(());
    }
    let mut fixture = Fixture::prepare().await?;
    // As the clients' checks expect them.
    let models = [
        Model { name: "default", versions: 123..=123, onnx: half_plus_two::model() },
        Model { name: "texts", versions: 1..=1, onnx: onnx::identity(STRING) },
        Model { name: "halves", versions: 1..=1, onnx: onnx::identity(HALF) },
    ];
    let several = Several::prepare(&fixture, &models).await?;
    let mut replica = several.spawn(&fixture, "several", &[]).await?;
    let port = port(&mut replica).await?;
    fixture.service = fixture.directory.path().join("several.toml");
    fixture.export(&fixture.service, &[]).await?;
    let (process, local) = proxy(&fixture, &format!("localhost:{port}")).await?;
    for client in ["tensorflow-serving", "triton", "kserve"] {
        let mut command = Command::new(&python);
        command
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(clients().join("check.py"))
            .arg(client)
            .arg(format!("--grpc=127.0.0.1:{local}"))
            .arg(format!("--rest=127.0.0.1:{local}"));
        let printed = run(command).await?;
        ensure!(printed.ends_with("all checks passed\n"), "{client}: {printed}");
    }
    fixture.stop([process, replica]).await;
    Ok(())
}
