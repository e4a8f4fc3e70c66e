//! `adytum call`: asks a served model for anything that its signature takes.

mod input;
pub(crate) mod tensor;
mod values;

use std::collections::BTreeMap;

use adytum_api::tensorflow::serving::{ModelSpec, PredictRequest, model_spec::VersionChoice};
use anyhow::Context as _;
use serde_json::{Map, Value, json};

use self::input::Given;
use crate::{attest::Verified, output, predict::target::Served};

/// Ask a served model, whatever its inputs are.
///
/// Values are JSON, or the files of NumPy (.npy), CSV (.csv) or JSON that @ names. They become the
/// types that the model's signature has; a value that a type can't hold is refused.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  adytum call --server localhost:8501 --crt server.crt --model iris --input 'X=[[5.1, 3.5, 1.4, 0.2]]'
  adytum call --server localhost:8501 --crt server.crt --model iris --input X=@rows.csv --json")]
pub(crate) struct Args {
    #[command(flatten)]
    served: Served,
    /// An input: its name and its values; may be given several times. The name may be left out where
    /// the signature has one input.
    #[arg(long = "input", required = true, value_name = "NAME=JSON|NAME=@FILE")]
    inputs: Vec<Given>,
    /// Print these outputs only; may be given several times.
    #[arg(long = "output", value_name = "NAME")]
    outputs: Vec<String>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    // A fault of a file is reported before the server is bothered.
    let given: Vec<(Option<&str>, Value)> =
        args.inputs.iter().map(|given| Ok((given.name(), given.read()?))).collect::<anyhow::Result<_>>()?;
    let options = args.served.options()?;
    let (client, signature) = args.served.connect(&options).await?;
    let known = || signature.inputs.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let mut inputs = BTreeMap::new();
    for (name, value) in given {
        let found = match (name, signature.inputs.iter().next()) {
            (Some(name), _) => signature.inputs.get_key_value(name),
            (None, only) if signature.inputs.len() == 1 => only,
            (None, _) => None,
        };
        let Some((name, specification)) = found else {
            bail_input!("name an input of the model as in NAME=VALUES; it has {}", known());
        };
        let tensor = tensor::encode(&value, specification.element_type)
            .with_context(|| format!("the input {name} {}", specification.shape_text()))?;
        if inputs.insert(name.clone(), tensor).is_some() {
            bail_input!("the input {name} is given twice; give each one once");
        }
    }
    if let Some(missing) = signature.inputs.keys().find(|name| !inputs.contains_key(*name)) {
        bail_input!("the input {missing} is missing; give all of {}", known());
    }
    let model = args.served.model();
    let response = client
        .predict(PredictRequest {
            model_spec: Some(ModelSpec {
                name: model.name,
                version_choice: model.version.map(VersionChoice::Version),
                signature_name: model.signature,
            }),
            inputs: inputs.into_iter().collect(),
            output_filter: args.outputs.clone(),
        })
        .await?;
    let verified = options.attestation.as_ref().and_then(|attestation| {
        let version = response.model_spec.as_ref().and_then(|model| model.version_choice.clone());
        Verified::of(&attestation.last()?, args.served.model().name.as_str(), version)
    });
    let mut outputs = Map::new();
    for (name, tensor) in &response.outputs {
        let value = tensor::decode(tensor).with_context(|| format!("the output {name} can't be used"))?;
        outputs.insert(name.clone(), value);
    }
    if output::is_json() {
        let answered = response.model_spec.unwrap_or_default();
        let version = match answered.version_choice {
            Some(VersionChoice::Version(version)) => json!(version),
            _ => Value::Null,
        };
        let mut answer = json!({ "model": answered.name, "version": version, "outputs": outputs });
        if let (Some(verified), Some(fields)) = (verified, answer.as_object_mut()) {
            fields.insert("verified".to_owned(), serde_json::to_value(verified)?);
        }
        return output::line(answer);
    }
    // Before the answer: which code and model gave it.
    verified.iter().for_each(output::note);
    outputs.iter().try_for_each(|(name, value)| output::line(format_args!("{name}: {value}")))
}
