//! TensorFlow Serving's `MonitoringConfig`: whether metrics are shown, and where.
//!
//! Source: `monitoring_config.proto`.

use crate::text_format::{Fields, TextError, parse};

/// Where TensorFlow Serving shows its metrics.
pub const DEFAULT_PATH: &str = "/monitoring/prometheus/metrics";

/// What is shown of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MonitoringConfig {
    /// The path of the metrics on the REST port and the health port, if they are shown.
    pub prometheus: Option<String>,
}

impl MonitoringConfig {
    /// Reads protobuf's text format.
    pub fn parse(text: &[u8]) -> Result<Self, TextError> {
        const MESSAGE: &str = "MonitoringConfig";
        let mut fields = Fields::new(MESSAGE, parse(MESSAGE, text)?);
        let prometheus = fields.message("prometheus_config")?;
        fields.finish()?;
        let Some(prometheus) = prometheus else { return Ok(Self::default()) };
        let mut fields = Fields::new("PrometheusConfig", prometheus);
        let enable = fields.boolean("enable")?.unwrap_or(false);
        let path = fields.text("path")?.filter(|path| !path.is_empty());
        fields.finish()?;
        let path = path.unwrap_or_else(|| DEFAULT_PATH.to_owned());
        let path = if path.starts_with('/') { path } else { format!("/{path}") };
        Ok(Self { prometheus: enable.then_some(path) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_shown_if_asked_for() {
        let path = |text: &str| MonitoringConfig::parse(text.as_bytes()).unwrap().prometheus;
        assert_eq!(path(""), None);
        assert_eq!(path("prometheus_config { path: '/metrics' }"), None);
        assert_eq!(path("prometheus_config: { enable: true }").unwrap(), DEFAULT_PATH);
        assert_eq!(path("prometheus_config { enable: true, path: \"/metrics\" }").unwrap(), "/metrics");
        assert!(MonitoringConfig::parse(b"prometheus_config { enabled: true }").is_err());
    }
}
