//! `adytum model show`: what a served model takes and gives, and a request that works.

use std::collections::BTreeMap;

use adytum_api::tensorflow::{
    DataType,
    serving::{ModelSpec, PredictRequest, model_spec::VersionChoice},
};
use adytum_client::{Client, ClientError, Signature, TensorSpecification};
use serde_json::{Value, json};

use crate::{
    call::tensor,
    output,
    predict::target::Served,
    request::{Filled, Language, Request, Tls, quoted},
};

/// Where `adytum proxy` listens in what is printed, for a server that must prove its code.
const PROXY: (&str, u16) = ("127.0.0.1", 8500);

/// Ask a server what a model takes and gives, and print requests that work: Python, JavaScript, curl.
///
/// The values in the requests are made up. The server is asked once with them, so that it is known whether
/// they work. A dimension of any size is 1.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    served: Served,
    /// The port of the server's REST API; by default that of --server, which has both APIs in
    /// adytum-serving.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    rest_port: Option<u16>,
    /// Print the request in this language only.
    #[arg(long, value_enum, value_name = "LANGUAGE", conflicts_with = "json")]
    language: Option<Language>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let options = args.served.options()?;
    let (client, signature) = args.served.connect(&options).await?;
    let request = request(&args, &signature)?;
    if let Some(language) = args.language {
        return output::text(&request.program(language));
    }
    let answer = ask(&client, &request, &signature).await?;
    if output::is_json() {
        let program = |language| request.program(language);
        return output::line(json!({
            "model": request.model,
            "version": answer.as_ref().ok().copied().flatten(),
            "signature": request.signature,
            "inputs": tensors(&signature.inputs),
            "outputs": tensors(&signature.outputs),
            "answered": answer.is_ok(),
            "request": request.body(),
            "python": program(Language::Python),
            "javascript": program(Language::Javascript),
            "curl": program(Language::Curl),
        }));
    }
    output::line(format_args!("model      {}", request.model))?;
    if let Ok(Some(version)) = answer {
        output::line(format_args!("version    {version}"))?;
    }
    output::line(format_args!("signature  {}", request.signature))?;
    for (kind, tensors) in [("input", &signature.inputs), ("output", &signature.outputs)] {
        for (name, tensor) in tensors {
            let element_type = type_name(tensor.element_type);
            output::line(format_args!("{kind:<9}  {name}  {element_type} {}", tensor.shape_text()))?;
        }
    }
    if args.served.is_attested() {
        let (address, port) = PROXY;
        output::line(format_args!(
            "\nThese clients can't verify the server; adytum proxy does it for them:\n  {}",
            args.served.flags("adytum proxy", &format!(" --listen {address}:{port}"))
        ))?;
    }
    for (title, language) in
        [("curl", Language::Curl), ("Python", Language::Python), ("JavaScript", Language::Javascript)]
    {
        output::line(format_args!("\n{title}:\n"))?;
        output::text(&request.program(language))?;
    }
    if let Err(reason) = answer {
        output::note(format_args!(
            "\nadytum: the server does not answer the made-up values, so put values of your own there: {reason}"
        ));
    }
    Ok(())
}

/// A request with values that every model of this signature should take.
fn request(args: &Args, signature: &Signature) -> anyhow::Result<Request> {
    let model = args.served.model();
    let mut inputs = Vec::new();
    for (name, specification) in &signature.inputs {
        let TensorSpecification { element_type, shape } = specification;
        let Some(value) = value(*element_type) else {
            bail_input!(
                "the input {name} is of the type {}, which JSON has no values for; ask with gRPC",
                type_name(*element_type)
            );
        };
        let shape = match shape {
            Some(sizes) => sizes.iter().map(|size| size.unwrap_or(1)).collect(),
            None => vec![1],
        };
        inputs.push(Filled { name: name.clone(), shape, value });
    }
    let server = &args.served.server;
    let (host, port, tls) = if args.served.is_attested() {
        (PROXY.0.to_owned(), PROXY.1, None)
    } else {
        let tls = args.served.crt.clone().map(|certificate| Tls {
            certificate,
            identity: args.served.client_files(),
            server_name: args.served.server_name().map(str::to_owned),
        });
        (server.host().to_owned(), args.rest_port.unwrap_or(server.port()), tls)
    };
    let mut more = format!(" --model {} --language json", quoted(&model.name));
    if let Some(version) = model.version {
        more.push_str(&format!(" --model-version {version}"));
    }
    if model.signature != adytum_client::ModelSelector::DEFAULT_SIGNATURE {
        more.push_str(&format!(" --signature {}", quoted(&model.signature)));
    }
    Ok(Request {
        host,
        port,
        tls,
        model: model.name,
        version: model.version,
        signature: model.signature,
        inputs,
        body_command: args.served.flags("adytum model show", &more),
    })
}

/// The version that answers the request, or the server's reason not to.
async fn ask(
    client: &Client,
    request: &Request,
    signature: &Signature,
) -> anyhow::Result<Result<Option<i64>, String>> {
    let mut inputs = BTreeMap::new();
    for input in &request.inputs {
        let Some(specification) = signature.inputs.get(&input.name) else { continue };
        inputs.insert(input.name.clone(), tensor::encode(&input.nested(), specification.element_type)?);
    }
    let answer = client
        .predict(PredictRequest {
            model_spec: Some(ModelSpec {
                name: request.model.clone(),
                version_choice: request.version.map(VersionChoice::Version),
                signature_name: request.signature.clone(),
            }),
            inputs: inputs.into_iter().collect(),
            output_filter: Vec::new(),
        })
        .await;
    match answer {
        Ok(answer) => Ok(Ok(match answer.model_spec.and_then(|model| model.version_choice) {
            Some(VersionChoice::Version(version)) => Some(version),
            _ => None,
        })),
        // Only the values are in question: the connection and the model are there.
        Err(ClientError::Refused { message, .. }) => Ok(Err(message)),
        Err(error) => Err(error.into()),
    }
}

/// A value of this type that an index or a size may have, too.
fn value(element_type: DataType) -> Option<Value> {
    match element_type {
        DataType::DtFloat | DataType::DtDouble | DataType::DtHalf | DataType::DtBfloat16 => Some(json!(0.5)),
        DataType::DtInt8
        | DataType::DtInt16
        | DataType::DtInt32
        | DataType::DtInt64
        | DataType::DtUint8
        | DataType::DtUint16
        | DataType::DtUint32
        | DataType::DtUint64 => Some(json!(1)),
        DataType::DtBool => Some(json!(true)),
        DataType::DtString => Some(json!("text")),
        _ => None,
    }
}

/// As NumPy calls it.
fn type_name(element_type: DataType) -> String {
    match element_type {
        DataType::DtFloat => "float32".to_owned(),
        DataType::DtDouble => "float64".to_owned(),
        DataType::DtHalf => "float16".to_owned(),
        other => other.as_str_name().trim_start_matches("DT_").to_lowercase(),
    }
}

fn tensors(all: &BTreeMap<String, TensorSpecification>) -> Value {
    let described = all.iter().map(|(name, tensor)| {
        json!({ "name": name, "type": type_name(tensor.element_type), "shape": tensor.shape })
    });
    Value::Array(described.collect())
}
