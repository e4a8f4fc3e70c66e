//! Flags that say which server and which model are asked: the same for `call`,
//! `predict` and `bench`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use adytum_client::{
    Client, ClientError, ClientIdentity, ClientOptions, ImageInput, ModelSelector, ServerAddress, Signature,
};

use crate::{attest::Attest, request::quoted};

/// Which server and which model.
#[derive(Debug, clap::Args)]
pub(crate) struct Served {
    /// The model server, as HOST:PORT.
    #[arg(long, default_value = "localhost:9000", value_name = "HOST:PORT")]
    pub(crate) server: ServerAddress,
    /// The server's certificate in PEM: TLS that trusts exactly it. Without it and
    /// without --attest nothing is encrypted.
    #[arg(long, value_name = "FILE", conflicts_with = "attest")]
    pub(crate) crt: Option<PathBuf>,
    /// The name in the server's certificate, where it isn't the host of --server.
    #[arg(long, value_name = "NAME", requires = "crt")]
    server_name: Option<String>,
    /// The client's own certificate in PEM, for a server that asks for one.
    #[arg(long, value_name = "FILE", requires_all = ["crt", "client_key"])]
    client_crt: Option<PathBuf>,
    /// The key of --client-crt in PEM.
    #[arg(long, value_name = "FILE", requires = "client_crt")]
    client_key: Option<PathBuf>,
    #[command(flatten)]
    attest: Attest,
    /// The longest time a request may take.
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = duration)]
    timeout: Duration,
    /// The model's name.
    #[arg(long, default_value = "resnet", value_name = "NAME")]
    model: String,
    /// The model's version; by default the server's choice.
    #[arg(long, value_name = "NUMBER")]
    model_version: Option<i64>,
    /// The model's signature.
    #[arg(long, default_value = ModelSelector::DEFAULT_SIGNATURE, value_name = "NAME")]
    signature: String,
}

/// Which server and which model, and where it takes images.
#[derive(Debug, clap::Args)]
pub(crate) struct Target {
    #[command(flatten)]
    pub(crate) served: Served,
    /// The input that takes the image, where the signature has several.
    #[arg(long, value_name = "NAME")]
    input: Option<String>,
}

fn identity((certificate, key): (PathBuf, PathBuf)) -> ClientIdentity {
    ClientIdentity { certificate, key }
}

impl Served {
    /// How to connect.
    pub(crate) fn options(&self) -> anyhow::Result<ClientOptions> {
        Ok(ClientOptions {
            certificate: self.crt.clone(),
            identity: self.client_crt.clone().zip(self.client_key.clone()).map(identity),
            server_name: self.server_name.clone(),
            timeout: self.timeout,
            attestation: self.attest.load()?,
        })
    }

    /// Must the server prove its code?
    pub(crate) fn is_attested(&self) -> bool {
        self.attest.file().is_some()
    }

    /// The client's certificate and its key.
    pub(crate) fn client_files(&self) -> Option<(PathBuf, PathBuf)> {
        self.client_crt.clone().zip(self.client_key.clone())
    }

    /// The name in the server's certificate, where it is not the host.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// A command for this server, with what it must prove and more flags, for a shell.
    pub(crate) fn flags(&self, command: &str, more: &str) -> String {
        let path = |path: Option<&Path>| path.map(|path| path.display().to_string());
        let flags = [
            ("server", Some(self.server.to_string())),
            ("crt", path(self.crt.as_deref())),
            ("server-name", self.server_name.clone()),
            ("client-crt", path(self.client_crt.as_deref())),
            ("client-key", path(self.client_key.as_deref())),
        ];
        let flags = flags.into_iter().filter_map(|(flag, value)| Some((flag, value?)));
        let mut line = command.to_owned();
        for (flag, value) in flags.chain(self.attest.flags()) {
            line.push_str(&format!(" --{flag} {}", quoted(&value)));
        }
        line + more
    }

    /// What to ask.
    pub(crate) fn model(&self) -> ModelSelector {
        ModelSelector {
            name: self.model.clone(),
            version: self.model_version,
            signature: self.signature.clone(),
        }
    }

    /// Connects and learns what the model takes and gives.
    pub(crate) async fn connect(&self, options: &ClientOptions) -> Result<(Client, Signature), ClientError> {
        let client = Client::connect(&self.server, options).await?;
        let signature = client.signature(&self.model()).await?;
        Ok((client, signature))
    }
}

impl Target {
    /// Connects and learns how the model wants its image.
    pub(crate) async fn connect(&self, options: &ClientOptions) -> Result<(Client, ImageInput), ClientError> {
        let (client, signature) = self.served.connect(options).await?;
        let input = ImageInput::of(&signature, self.input.as_deref())?;
        Ok((client, input))
    }
}

/// A time as `500ms`, `10s`, `2m` or `1.5h`, more than nothing.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wanted = "give a number with its unit, as in 500ms, 10s, 2m or 1h";
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(wanted)?;
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wanted.to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| wanted)?;
    match Duration::try_from_secs_f64(number * seconds) {
        // gRPC's own limit of 8 digits of hours is far beyond a day.
        Ok(duration) if duration > Duration::from_hours(24) => Err("at most 24h are allowed".to_owned()),
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(wanted.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("0.5s", 500),
            ("24h", 86_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in
            ["", "10", "s", "10 s", "-1s", "0s", "1d", "1.2.3s", "25h", "999999999999999999999h", "١s"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
