//! TensorFlow Serving's SSLConfig in protobuf's text format.

#![no_main]

use adytum_serving::tls::ssl_config::SslConfig;
use libfuzzer_sys::fuzz_target;

/// Every byte as an octal escape.
fn quoted(text: &str) -> String {
    text.bytes().map(|byte| format!("\\{byte:03o}")).collect()
}

fuzz_target!(|text: &[u8]| {
    let Ok(config) = SslConfig::parse(text) else { return };
    let printed = format!(
        "server_key: \"{}\" server_cert: '{}', custom_ca: \"{}\"; client_verify: {}",
        quoted(&config.server_key),
        quoted(&config.server_cert),
        quoted(&config.custom_ca),
        config.client_verify
    );
    assert_eq!(SslConfig::parse(printed.as_bytes()).as_ref(), Ok(&config));
});
