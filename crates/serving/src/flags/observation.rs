//! The flags of the access log and of traces. All of them are measured: they say what the host
//! learns about requests, and who else does.

use clap::Args;
use http::Uri;

use super::values::parse_boolean;

/// The flags of the access log and of traces.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct ObservationFlags {
    /// Write a line to the log for each request: call, model, status, sizes and times
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_boolean)]
    pub access_log: bool,

    /// OpenTelemetry collector that gets traces by OTLP over gRPC, as in
    /// http://collector:4317. Without the flag there are no traces
    #[arg(long, value_name = "URL", default_value = "", value_parser = parse_endpoint)]
    pub trace_endpoint: OptionalEndpoint,

    /// Attributes of this server in its traces, as in service.name=digits,k8s.namespace.name=prod
    #[arg(long, value_name = "KEY=VALUE,...", value_delimiter = ',', value_parser = parse_attribute)]
    pub trace_attributes: Vec<TraceAttribute>,

    /// Share of the requests that are traced, from 0 to 1; of a request with a traceparent,
    /// its client decides
    #[arg(long, value_name = "SHARE", default_value = "1", value_parser = parse_share)]
    pub trace_ratio: f64,
}

/// The address of a collector, or none.
pub type OptionalEndpoint = Option<TraceEndpoint>;

/// The address of a collector: `http`, a host, and no path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEndpoint(pub Uri);

/// An attribute of this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceAttribute {
    pub key: String,
    pub value: String,
}

/// The longest key or value of an attribute in bytes.
const LONGEST: usize = 256;

fn parse_endpoint(text: &str) -> Result<OptionalEndpoint, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let uri: Uri = text.parse().map_err(|_| "expected a URL, as in http://collector:4317".to_owned())?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => {
            return Err("traces are sent by http:// only; they hold nothing that the host may not read. \
                        For TLS on the way, name a collector on this machine"
                .to_owned());
        }
        _ => return Err("expected a URL that begins with http://, as in http://collector:4317".to_owned()),
    }
    let has_path = uri.path_and_query().is_some_and(|path| path.as_str() != "/");
    let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    if has_path || has_user || uri.host().is_none_or(str::is_empty) {
        return Err("expected a host and a port only, as in http://collector:4317".to_owned());
    }
    Ok(Some(TraceEndpoint(uri)))
}

fn parse_attribute(text: &str) -> Result<TraceAttribute, String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("expected KEY=VALUE, found {text:?}"))?;
    if key.is_empty() || key.len() > LONGEST || value.len() > LONGEST {
        return Err(format!("a key has 1 to {LONGEST} bytes, and a value at most {LONGEST}"));
    }
    Ok(TraceAttribute { key: key.to_owned(), value: value.to_owned() })
}

fn parse_share(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collectors_are_named_by_host_and_port() {
        assert_eq!(parse_endpoint(""), Ok(None));
        for right in ["http://collector:4317", "http://127.0.0.1:4317/", "http://[::1]:4317"] {
            assert!(parse_endpoint(right).unwrap().is_some(), "{right}");
        }
        for wrong in [
            "collector:4317",
            "collector",
            "https://collector:4317",
            "http://collector:4317/v1/traces",
            "http://collector:4317?x=1",
            "http://user:word@collector:4317",
            "grpc://collector:4317",
            "http://",
            "http://a b",
        ] {
            assert!(parse_endpoint(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn attributes_and_shares_are_checked() {
        let attribute = parse_attribute("service.name=a=b").unwrap();
        assert_eq!((attribute.key.as_str(), attribute.value.as_str()), ("service.name", "a=b"));
        for wrong in
            ["", "key", "=value", &format!("{}=x", "k".repeat(257)), &format!("k={}", "x".repeat(257))]
        {
            assert!(parse_attribute(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_share("0.25"), Ok(0.25));
        for wrong in ["", "-0.1", "1.1", "NaN", "inf", "x"] {
            assert!(parse_share(wrong).is_err(), "{wrong}");
        }
    }
}
