//! Tests of reading an `SSLConfig` and serving with it.

use proptest::prelude::*;

use super::{ssl_config::SslConfig, *};

fn code(text: &str) -> (&'static str, String) {
    let error = SslConfig::parse(text.as_bytes()).unwrap_err();
    (error.code(), error.to_string())
}

#[test]
fn the_forms_of_the_format_are_read() {
    let text = "# made by make_ssl_config.sh\nserver_key: \"a\\nb\"  'c\\'d' # joined\n\
                server_cert:'\\101\\x42\\u00e4\\\\',\n custom_ca : \"\" ; client_verify: true";
    let config = SslConfig::parse(text.as_bytes()).unwrap();
    assert_eq!(config.server_key.as_str(), "a\nbc'd");
    assert_eq!(config.server_cert, "ABä\\");
    assert_eq!(config.custom_ca, "");
    assert!(config.client_verify);
    assert!(!SslConfig::parse(b"client_verify: False").unwrap().client_verify);
    assert_eq!(SslConfig::parse(b" \n# nothing\n").unwrap(), SslConfig::default());
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let (kind, message) = code("server_key: \"k\"\nserver_keys: \"k\"");
    assert_eq!(kind, "text-unknown-field");
    assert!(message.contains("line 2") && message.contains("server_keys"), "{message}");
    assert_eq!(code("server_key: \"k\" server_key: \"k\"").0, "text-repeated-field");
    assert_eq!(code("client_verify: \"true\"").0, "text-type");
    assert_eq!(code("server_cert: true").0, "text-type");
    assert_eq!(code("server_key: \"\\377\"").0, "text-type");
    for broken in [
        "server_key",
        "server_key \"k\"",
        "server_key:",
        "server_key: \"k",
        "server_key: \"k\n\"",
        "server_key: \"\\q\"",
        "server_key: \"\\400\"",
        "server_key: \"\\x\"",
        "server_key: \"\\u12\"",
        "{",
    ] {
        assert_eq!(code(broken).0, "text-syntax", "{broken}");
    }
}

#[test]
fn keys_do_not_print() {
    let config = SslConfig::parse(b"server_key: \"sesame\"").unwrap();
    assert!(!format!("{config:?}").contains("sesame"));
    let error = server_configuration(
        &SslConfig {
            server_cert: "sesame".into(),
            server_key: "sesame".to_owned().into(),
            ..SslConfig::default()
        },
        TlsVersion::Tls13,
    );
    assert!(!error.unwrap_err().to_string().contains("sesame"));
}

fn valid() -> SslConfig {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    SslConfig {
        server_key: certified.signing_key.serialize_pem().into(),
        server_cert: certified.cert.pem(),
        ..SslConfig::default()
    }
}

#[test]
fn a_server_offers_tls_1_3_and_http_2_only() {
    let configuration = server_configuration(&valid(), TlsVersion::default()).unwrap();
    assert_eq!(configuration.alpn_protocols, [b"h2"]);
    assert_eq!(configuration.send_tls13_tickets, 0);
    assert_eq!(configuration.max_early_data_size, 0);
}

#[test]
fn bad_pem_names_the_field() {
    let message =
        |config: SslConfig| server_configuration(&config, TlsVersion::Tls13).unwrap_err().to_string();
    let key = message(SslConfig { server_key: valid().server_cert.into(), ..valid() });
    assert!(key.contains("server_key") && key.contains("private key"), "{key}");
    let certificate = message(SslConfig { server_cert: String::new(), ..valid() });
    assert!(certificate.contains("server_cert") && certificate.contains("missing"), "{certificate}");
    let roots = message(SslConfig { client_verify: true, ..valid() });
    assert!(roots.contains("custom_ca"), "{roots}");
    let other = message(SslConfig { server_key: valid().server_key, ..valid() });
    assert!(other.contains("server_key and server_cert"), "{other}");
    let cut = valid();
    let half = cut.server_cert[..cut.server_cert.len() / 2].to_owned();
    assert!(message(SslConfig { server_cert: half, ..cut }).contains("END"));
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = SslConfig::parse(&bytes);
    }

    #[test]
    fn near_misses_are_parsed_or_refused(text in "(server_key|client_verify|#)[ :\"'\\\\a-z0-7\n,;]{0,40}") {
        let _ = SslConfig::parse(text.as_bytes());
    }

    #[test]
    fn any_text_survives_escaping(text in any::<String>()) {
        let escaped: String = text.bytes().map(|byte| format!("\\{byte:03o}")).collect();
        let config = SslConfig::parse(format!("custom_ca: \"{escaped}\"").as_bytes()).unwrap();
        prop_assert_eq!(config.custom_ca, text);
    }
}
