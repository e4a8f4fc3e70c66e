//! `adytum doctor --maa`, against a server that answers as an attestation service does.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
};

use adytum_testkit::ports::free_port;
use serde_json::{Value, json};

use crate::fixture::adytum;

/// Answers these two paths, each with JSON.
fn serve(issuer: impl Fn(&str) -> String, keys: Value) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let configuration = json!({ "issuer": issuer(&url), "jwks_uri": format!("{url}/certs") });
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap();
            let body = match String::from_utf8_lossy(&request[..length]).split(' ').nth(1) {
                Some("/certs") => keys.to_string(),
                Some("/.well-known/openid-configuration") => configuration.to_string(),
                _ => "{}".to_owned(),
            };
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
        }
    });
    url
}

/// The states of the parts that are about the service.
fn states(url: &str, exit: i32) -> Vec<(String, String)> {
    let outcome = adytum(["doctor", "--port", "0", "--maa", url, "--json"]);
    assert_eq!(outcome.exit_code(), Some(exit), "{outcome:?}");
    let findings: Vec<Value> = serde_json::from_str(&outcome.stdout()).unwrap();
    let ours = findings.iter().filter(|finding| finding["part"] == "MAA");
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    ours.map(|finding| (text(finding, "state"), text(finding, "found") + " " + &text(finding, "remedy")))
        .collect()
}

#[test]
fn a_service_is_asked_for_its_name_and_keys() {
    // 2048 bits that are all ones.
    let modulus = format!("{}w", "_".repeat(341));
    let keys = json!({ "keys": [{ "kty": "RSA", "kid": "the key", "n": modulus, "e": "AQAB" }] });
    let good = states(&serve(str::to_owned, keys.clone()), 0);
    assert_eq!(good[0].0, "ok", "{good:?}");
    assert!(good[0].1.contains("the key"), "{good:?}");
    assert!(good[1].1.contains("THIM") && good[1].1.contains("PCCS"), "{good:?}");
    let other = states(&serve(|_| "https://other.example.com".to_owned(), keys), 0);
    assert_eq!(other[0].0, "warning", "{other:?}");
    assert!(other[0].1.contains("https://other.example.com") && other[0].1.contains("--issuer"), "{other:?}");
    for wrong in
        [json!({ "keys": [] }), json!({ "keys": [{ "kty": "oct", "kid": "a", "k": "AA" }] }), json!([])]
    {
        let wrong = states(&serve(str::to_owned, wrong), 1);
        assert_eq!(wrong[0].0, "fault", "{wrong:?}");
    }
    let nobody = states(&format!("http://127.0.0.1:{}", free_port()), 1);
    assert!(nobody[0].1.contains("check the URL"), "{nobody:?}");
}
