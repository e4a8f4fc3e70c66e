//! A request for a served model in several languages: the model server's REST API, with nothing
//! but what each language brings along.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use serde_json::{Map, Value, json};

/// Inputs with more values than these are made by a program instead of written down.
const MAXIMUM_SHOWN: usize = 32;

/// The signature that requests mean if they name none.
const DEFAULT_SIGNATURE: &str = "serving_default";

/// What prints a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    Python,
    Javascript,
    Curl,
    /// The request's body.
    Json,
}

/// An input of one value throughout.
#[derive(Clone, Debug)]
pub(crate) struct Filled {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) value: Value,
}

impl Filled {
    /// As lists in lists.
    pub(crate) fn nested(&self) -> Value {
        self.shape.iter().rev().fold(self.value.clone(), |inner, size| Value::Array(vec![inner; *size]))
    }

    fn count(&self) -> usize {
        self.shape.iter().fold(1, |count, size| count.saturating_mul(*size))
    }
}

/// How a server proves who it is, and how a client does.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) certificate: PathBuf,
    /// The client's certificate and its key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    /// The name in the server's certificate, where it is not the host.
    pub(crate) server_name: Option<String>,
}

/// A request, and where it goes.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Option<Tls>,
    pub(crate) model: String,
    pub(crate) version: Option<i64>,
    pub(crate) signature: String,
    pub(crate) inputs: Vec<Filled>,
    /// The command that prints the body, for a long one.
    pub(crate) body_command: String,
}

impl Request {
    /// The body.
    pub(crate) fn body(&self) -> Value {
        let inputs = self.inputs.iter().map(|input| (input.name.clone(), input.nested()));
        let mut body = Map::from_iter([("inputs".to_owned(), Value::Object(inputs.collect()))]);
        if let Some(signature) = self.named_signature() {
            body.insert("signature_name".to_owned(), json!(signature));
        }
        Value::Object(body)
    }

    /// The program in a language.
    pub(crate) fn program(&self, language: Language) -> String {
        match language {
            Language::Python => self.python(),
            Language::Javascript => self.javascript(),
            Language::Curl => self.curl(),
            Language::Json => format!("{}\n", self.body()),
        }
    }

    fn named_signature(&self) -> Option<&str> {
        Some(self.signature.as_str()).filter(|name| *name != DEFAULT_SIGNATURE)
    }

    fn is_short(&self) -> bool {
        self.inputs.iter().fold(0, |count: usize, input| count.saturating_add(input.count())) <= MAXIMUM_SHOWN
    }

    /// The name by which a client that knows no other calls the server.
    fn name(&self) -> &str {
        let named = self.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
        named.unwrap_or(&self.host)
    }

    fn path(&self) -> String {
        let model = percent(&self.model);
        match self.version {
            Some(version) => format!("/v1/models/{model}/versions/{version}:predict"),
            None => format!("/v1/models/{model}:predict"),
        }
    }

    fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}:{}{}", bracketed(self.name()), self.port, self.path())
    }

    fn curl(&self) -> String {
        let mut command = String::from("curl");
        if let Some(tls) = &self.tls {
            // A `String` takes all that is written to it.
            let _ = write!(command, " --cacert {}", shell_path(&tls.certificate));
            if let Some((certificate, key)) = &tls.identity {
                let _ = write!(command, " --cert {} --key {}", shell_path(certificate), shell_path(key));
            }
            if tls.server_name.is_some() {
                let (name, host, port) = (bracketed(self.name()), bracketed(&self.host), self.port);
                let _ = write!(command, " --connect-to {}", quoted(&format!("{name}:{port}:{host}:{port}")));
            }
        }
        let url = quoted(&self.url());
        match self.is_short() {
            true => format!("{command} -d {} {url}\n", quoted(&self.body().to_string())),
            false => format!("{} | {command} -d @- {url}\n", self.body_command),
        }
    }

    fn python(&self) -> String {
        let mut program = String::from("import http.client, json, socket, ssl\n\n");
        program.push_str(&self.made(
            "def filled(shape, value):\n    return [filled(shape[1:], value) for _ in range(shape[0])] if shape else value\n\n",
            python_literal,
            "request = ",
        ));
        let (host, port) = (text(&self.host), self.port);
        match &self.tls {
            None => {
                let _ = writeln!(program, "connection = http.client.HTTPConnection({host}, {port})");
            }
            Some(tls) => {
                let _ = writeln!(
                    program,
                    "trusted = ssl.create_default_context(cafile={})",
                    path_text(&tls.certificate)
                );
                if let Some((certificate, key)) = &tls.identity {
                    let (certificate, key) = (path_text(certificate), path_text(key));
                    let _ = writeln!(program, "trusted.load_cert_chain({certificate}, {key})");
                }
                let name = text(self.name());
                let _ = writeln!(
                    program,
                    "connection = http.client.HTTPSConnection({name}, {port}, context=trusted)"
                );
                if tls.server_name.is_some() {
                    let _ = writeln!(
                        program,
                        "plain = socket.create_connection(({host}, {port}))\n\
                         connection.sock = trusted.wrap_socket(plain, server_hostname={name})"
                    );
                }
            }
        }
        let _ = write!(
            program,
            "connection.request(\"POST\", {}, json.dumps(request), {{\"Content-Type\": \"application/json\"}})\n\
             print(json.dumps(json.load(connection.getresponse())))\n",
            text(&self.path())
        );
        program
    }

    fn javascript(&self) -> String {
        let made = self.made(
            "const filled = (shape, value) =>\n  shape.length ? Array.from({ length: shape[0] }, () => filled(shape.slice(1), value)) : value;\n\n",
            Value::to_string,
            "const request = ",
        );
        let Some(tls) = &self.tls else {
            return format!(
                "{made}fetch({}, {{ method: \"POST\", body: JSON.stringify(request) }})\n  \
                 .then((answer) => answer.json())\n  .then((answer) => console.log(JSON.stringify(answer)));\n",
                text(&self.url())
            );
        };
        // fetch trusts no certificate of one's own.
        let mut options = format!(
            "  host: {}, port: {}, path: {}, method: \"POST\",\n  servername: {},\n  ca: fs.readFileSync({}),\n",
            text(&self.host),
            self.port,
            text(&self.path()),
            text(self.name()),
            path_text(&tls.certificate)
        );
        if let Some((certificate, key)) = &tls.identity {
            let (certificate, key) = (path_text(certificate), path_text(key));
            let _ = writeln!(options, "  cert: fs.readFileSync({certificate}), key: fs.readFileSync({key}),");
        }
        format!(
            "const fs = require(\"fs\"), https = require(\"https\");\n\n{made}const call = https.request({{\n{options}}}, (answer) => {{\n  \
             let text = \"\";\n  answer.on(\"data\", (part) => (text += part));\n  \
             answer.on(\"end\", () => console.log(JSON.stringify(JSON.parse(text))));\n}});\n\
             call.end(JSON.stringify(request));\n"
        )
    }

    /// The body as an expression of a language; long inputs are made by the function `filled`.
    fn made(&self, function: &str, literal: fn(&Value) -> String, assignment: &str) -> String {
        if self.is_short() {
            return format!("{assignment}{}\n", literal(&self.body()));
        }
        let inputs: Vec<String> = self
            .inputs
            .iter()
            .map(|input| match input.count() <= MAXIMUM_SHOWN {
                true => format!("{}: {}", text(&input.name), literal(&input.nested())),
                false => {
                    format!(
                        "{}: filled({}, {})",
                        text(&input.name),
                        json!(input.shape),
                        literal(&input.value)
                    )
                }
            })
            .collect();
        let signature = self
            .named_signature()
            .map(|name| format!(", \"signature_name\": {}", text(name)))
            .unwrap_or_default();
        format!("{function}{assignment}{{\"inputs\": {{{}}}{signature}}}\n", inputs.join(", "))
    }
}

/// A word of a shell's command.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=@,+%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

fn shell_path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

/// JSON's texts are Python's and JavaScript's, too.
fn text(text: &str) -> String {
    json!(text).to_string()
}

fn path_text(path: &Path) -> String {
    text(&path.display().to_string())
}

/// An IPv6 address as a URL has it.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// A segment of a URL's path (RFC 3986, section 2.1).
fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut path, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            // A `String` takes all that is written to it.
            let _ = write!(path, "%{byte:02X}");
        }
        path
    })
}

/// A value as Python writes it.
pub(crate) fn python_literal(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(found) => text(found),
        Value::Array(values) => {
            format!("[{}]", values.iter().map(python_literal).collect::<Vec<_>>().join(", "))
        }
        Value::Object(fields) => {
            let field =
                |(name, value): (&String, &Value)| format!("{}: {}", text(name), python_literal(value));
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(shape: &[usize]) -> Request {
        Request {
            host: "::1".to_owned(),
            port: 8501,
            tls: None,
            model: "it's/mine".to_owned(),
            version: Some(2),
            signature: "other".to_owned(),
            inputs: vec![Filled { name: "x".to_owned(), shape: shape.to_vec(), value: json!(0.5) }],
            body_command: "adytum model show --language json".to_owned(),
        }
    }

    #[test]
    fn a_short_request_is_written_down() {
        let request = request(&[1, 2]);
        assert_eq!(request.body(), json!({ "inputs": { "x": [[0.5, 0.5]] }, "signature_name": "other" }));
        assert_eq!(
            request.program(Language::Curl),
            "curl -d '{\"inputs\":{\"x\":[[0.5,0.5]]},\"signature_name\":\"other\"}' \
             'http://[::1]:8501/v1/models/it%27s%2Fmine/versions/2:predict'\n"
        );
    }

    #[test]
    fn a_long_request_is_made() {
        let request = request(&[1, 224, 224, 3]);
        for (language, part) in [
            (Language::Curl, "adytum model show --language json | curl -d @- "),
            (Language::Python, "{\"x\": filled([1,224,224,3], 0.5)}, \"signature_name\": \"other\"}"),
            (Language::Javascript, "{\"x\": filled([1,224,224,3], 0.5)}, \"signature_name\": \"other\"}"),
        ] {
            let program = request.program(language);
            assert!(program.contains(part) && program.len() < 1000, "{program}");
        }
    }

    #[test]
    fn words_of_a_shell_are_quoted() {
        assert_eq!(quoted("a/b.pem"), "a/b.pem");
        assert_eq!(quoted("it's $x"), r"'it'\''s $x'");
        assert_eq!(quoted(""), "''");
        assert_eq!(python_literal(&json!([true, null, "a"])), "[True, None, \"a\"]");
    }
}
