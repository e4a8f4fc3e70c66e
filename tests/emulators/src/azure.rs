//! Azure Attestation, the metadata service, Microsoft Entra and Key Vault, as far as secure key
//! release sees them, on a simulated platform.
//!
//! Each checks its requests as the original does: versions and encodings, the runtime data in
//! the quote, the access token, the attestation token's signature and the release policy.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use adytum_evidence::{
    claims::Measured,
    clock::SystemClock,
    evidence::Evidence,
    measurement::{MrEnclave, Sha256Digest},
    verifier::Verifier,
};
use adytum_sim::Platform;
use aws_lc_rs::{
    encoding::AsDer,
    rand,
    rsa::{
        KeyPair, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, PublicEncryptingKey,
        PublicKeyComponents,
    },
    signature::KeyPair as _,
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    key_wrap, rsa,
    tls_server::{self, Authority},
};

/// The vault's host name.
pub const VAULT: &str = "example.vault.azure.net";
const ACCESS_TOKEN: &str = "an-access-token";

/// The one fault of the services. Everything else about them is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Nothing.
    None,
    /// The vault's first answer, for ever.
    Replay,
    /// A nonce of the vault's own.
    OtherNonce,
    /// A letter of the payload changed after it was signed.
    AlteredPayload,
    /// A signature by another key.
    WrongSignature,
    /// No signature, and the algorithm says so.
    AlgorithmNone,
    /// A signature with the certificate's public bytes as a shared secret.
    SharedSecret,
    /// A chain up to a root of the liar's own.
    OtherRoot,
    /// The vault's certificate is over.
    Expired,
    /// A genuine certificate of another vault.
    OtherVault,
    /// No certificates.
    NoCertificates,
    /// Another key of the same vault.
    OtherKey,
    /// Wrapped by another algorithm than asked for, and it says so.
    OtherWrapping,
    /// Wrapped to another RSA key.
    OtherRecipient,
    /// A bit of the wrapped key changed before it was signed.
    AlteredKey,
    /// An answer without end.
    Huge,
    /// No answer.
    Slow,
    /// An answer that is no JSON.
    NoJson,
    /// A token that is none.
    NoToken,
}

/// How the services are.
#[derive(Clone)]
pub struct Options {
    /// The platform that the attestation service trusts.
    pub platform: Arc<Platform>,
    /// The enclave in the keys' release policy.
    pub client: MrEnclave,
    /// Kind and bytes, by name.
    pub keys: BTreeMap<String, (String, Vec<u8>)>,
    pub lie: Lie,
}

/// Running services; they end when this is dropped.
pub struct Running {
    services: SocketAddr,
    vault: SocketAddr,
    root: String,
    state: Arc<State>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

struct State {
    options: Options,
    /// The enclave in the keys' release policy.
    client: Mutex<MrEnclave>,
    attestation_key: KeyPair,
    vault_key: KeyPair,
    other_key: KeyPair,
    chain: Vec<CertificateDer<'static>>,
    first: Mutex<Option<String>>,
}

type Answer = Result<Value, (StatusCode, &'static str)>;

impl Running {
    /// Services on free ports.
    pub async fn start(options: Options) -> Self {
        let vault_key = rsa::generate();
        let genuine = Authority::new();
        let (name, not_after) = match options.lie {
            Lie::OtherVault => ("other.vault.azure.net", 2050),
            Lie::Expired => (VAULT, 2001),
            _ => (VAULT, 2050),
        };
        let chain = match options.lie {
            Lie::OtherRoot => Authority::new().chain(&vault_key, name, not_after),
            _ => genuine.chain(&vault_key, name, not_after),
        };
        // The connection is to the genuine name: the lie is in the signed answer.
        let tls_key = rsa::generate();
        let tls = tls_server::configuration(genuine.chain(&tls_key, VAULT, 2050), &tls_key);
        let state = Arc::new(State {
            client: Mutex::new(options.client),
            options,
            attestation_key: rsa::generate(),
            vault_key,
            other_key: rsa::generate(),
            chain,
            first: Mutex::default(),
        });
        let responder = |is_vault| {
            let state = state.clone();
            move |request| {
                let state = state.clone();
                async move { state.respond(request, is_vault).await }
            }
        };
        let (services, plain) = tls_server::serve(None, responder(false)).await;
        let (vault, secure) = tls_server::serve(Some(tls), responder(true)).await;
        Self { services, vault, root: genuine.root(), state, tasks: vec![plain, secure] }
    }

    /// Changes the release policy of all keys.
    pub fn release_to(&self, client: MrEnclave) {
        *self.state.client.lock().unwrap() = client;
    }

    /// The URL of the attestation service, the metadata service and Microsoft Entra.
    pub fn services(&self) -> String {
        format!("http://{}", self.services)
    }

    /// Where the vault is, whatever its name says.
    pub fn vault(&self) -> String {
        self.vault.to_string()
    }

    /// The root above the vault's certificate, in PEM.
    pub fn root(&self) -> &str {
        &self.root
    }
}

impl State {
    async fn respond(&self, request: Request<Incoming>, is_vault: bool) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path_and_query = head.uri.to_string();
        if is_vault {
            match self.options.lie {
                Lie::Slow => return std::future::pending().await,
                Lie::Huge => return Response::new(Full::new(Bytes::from(vec![b' '; 1 << 20]))),
                Lie::NoJson => return Response::new(Full::new(Bytes::from_static(b"no JSON"))),
                _ => {}
            }
        }
        let answer = match is_vault {
            true => self.release(&head.method, &path_and_query, &head.headers, &body),
            false => self.service(&head.method, &path_and_query, &head.headers, &body),
        };
        match answer {
            Ok(answer) => Response::new(Full::new(Bytes::from(answer.to_string()))),
            Err((status, message)) => {
                let body = json!({"error": {"code": "Refused", "message": message}}).to_string();
                Response::builder().status(status).body(Full::new(Bytes::from(body))).unwrap()
            }
        }
    }

    fn service(&self, method: &Method, path: &str, headers: &HeaderMap, body: &[u8]) -> Answer {
        let bad = |why| (StatusCode::BAD_REQUEST, why);
        match (method.as_str(), path) {
            ("POST", "/attest/SgxEnclave?api-version=2020-10-01") => {
                self.attest(body, |text| STANDARD.decode(text).ok())
            }
            ("POST", "/attest/SgxEnclave?api-version=2025-06-01") => {
                self.attest(body, |text| URL_SAFE_NO_PAD.decode(text).ok())
            }
            (
                "GET",
                "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net",
            ) if headers.get("Metadata").is_some_and(|value| value == "true") => {
                Ok(json!({"access_token": ACCESS_TOKEN, "expires_in": "3599", "token_type": "Bearer"}))
            }
            ("POST", "/a-tenant/oauth2/v2.0/token") => {
                let body = std::str::from_utf8(body).unwrap();
                let expected = [
                    "client_id=a-client",
                    "grant_type=client_credentials",
                    "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer",
                    "client_assertion=a-federated-token",
                    "scope=https%3A%2F%2Fvault.azure.net%2F.default",
                ];
                if body.split('&').ne(expected) {
                    return Err(bad("AADSTS700021"));
                }
                Ok(json!({"access_token": ACCESS_TOKEN, "expires_in": 3599, "token_type": "Bearer"}))
            }
            _ => Err((StatusCode::NOT_FOUND, "no such thing")),
        }
    }

    fn attest(&self, body: &[u8], decode: impl Fn(&str) -> Option<Vec<u8>>) -> Answer {
        let bad = |why| (StatusCode::BAD_REQUEST, why);
        let request: Value = serde_json::from_slice(body).map_err(|_| bad("no JSON"))?;
        let bytes = |value: &Value| value.as_str().and_then(&decode).ok_or(bad("encoding"));
        let (quote, data) = (bytes(&request["quote"])?, bytes(&request["runtimeData"]["data"])?);
        let platform = &self.options.platform;
        let verifier = Verifier::new(
            vec![platform.trust_root().unwrap()],
            Arc::new(platform.collateral_source()),
            Arc::new(SystemClock),
        );
        let claims = verifier
            .verify_with(&Evidence::dcap_quote(quote), &*platform.collateral())
            .map_err(|_| bad("the quote is invalid"))?;
        let mut expected = Sha256Digest::of_bytes(&data).0.to_vec();
        expected.resize(64, 0);
        if claims.report_data.0 != *expected {
            return Err(bad("the runtime data are not those in the quote"));
        }
        let Measured::Sgx { mr_enclave, .. } = claims.measured else { return Err(bad("no enclave")) };
        let mut payload = json!({
            "iss": "https://emulated.attest.azure.net",
            "x-ms-sgx-mrenclave": mr_enclave.to_string(),
            "x-ms-sgx-is-debuggable": claims.debug,
        });
        match request["runtimeData"]["dataType"].as_str() {
            Some("JSON") => {
                payload["x-ms-runtime"] = serde_json::from_slice(&data).map_err(|_| bad("runtime data"))?;
            }
            Some("Binary") => payload["x-ms-sgx-ehd"] = URL_SAFE_NO_PAD.encode(&data).into(),
            _ => return Err(bad("dataType")),
        }
        if self.options.lie == Lie::NoToken {
            return Ok(json!({"token": "none"}));
        }
        let header = json!({"alg": "RS256", "kid": "1", "typ": "JWT"});
        Ok(json!({"token": jws(&header, &payload, &self.attestation_key)}))
    }

    fn release(&self, method: &Method, path: &str, headers: &HeaderMap, body: &[u8]) -> Answer {
        let lie = self.options.lie;
        let forbidden = |why| (StatusCode::FORBIDDEN, why);
        if method != Method::POST {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "POST"));
        }
        if headers.get("Authorization").is_none_or(|value| value != &format!("Bearer {ACCESS_TOKEN}")) {
            return Err((StatusCode::UNAUTHORIZED, "no access token"));
        }
        let asked = path
            .strip_prefix("/keys/")
            .and_then(|rest| rest.strip_suffix("/release?api-version=7.4"))
            .ok_or((StatusCode::NOT_FOUND, "no such thing"))?;
        let name = asked.split('/').next().unwrap_or_default();
        let (kind, key) = self.options.keys.get(name).ok_or((StatusCode::NOT_FOUND, "no such key"))?;
        let request: Value = serde_json::from_slice(body).unwrap();
        let claims = self.claims(request["target"].as_str().unwrap()).ok_or(forbidden("the token"))?;
        let policy = (self.client.lock().unwrap().to_string(), false);
        if (claims["x-ms-sgx-mrenclave"].as_str(), claims["x-ms-sgx-is-debuggable"].as_bool())
            != (Some(&policy.0), Some(policy.1))
        {
            return Err(forbidden("Target environment attestation statement cannot be verified."));
        }
        let recipient = &claims["x-ms-runtime"]["keys"][0];
        assert_eq!((&recipient["kty"], &recipient["key_ops"]), (&json!("RSA"), &json!(["encrypt"])));
        let enc = match lie {
            Lie::OtherWrapping => "CKM_RSA_AES_KEY_WRAP",
            _ => request["enc"].as_str().unwrap_or("CKM_RSA_AES_KEY_WRAP"),
        };
        let nonce = match lie {
            Lie::OtherNonce => json!("another"),
            _ => request["nonce"].clone(),
        };
        let ciphertext = URL_SAFE_NO_PAD.encode(self.wrapped(recipient, enc, key));
        let hsm = json!({"schema_version": "1.0", "header": {"kid": "TpmEphemeralEncryptionKey"}, "ciphertext": ciphertext});
        let version = "0123456789abcdef0123456789abcdef";
        let named = if lie == Lie::OtherKey { "other" } else { name };
        let kid = format!("https://{VAULT}/keys/{named}/{version}");
        let payload = json!({
            "request": {"api-version": "7.4", "enc": enc, "kid": kid, "nonce": nonce},
            "response": {"key": {
                "attributes": {"enabled": true, "exportable": true},
                "key": {
                    "kid": kid, "kty": kind, "key_ops": ["decrypt"],
                    "key_hsm": URL_SAFE_NO_PAD.encode(hsm.to_string()),
                },
                "release_policy": {"contentType": "application/json; charset=utf-8", "data": ""},
            }},
        });
        let value = self.signed(&payload);
        let mut first = self.first.lock().unwrap();
        let value = if lie == Lie::Replay { first.get_or_insert(value).clone() } else { value };
        Ok(json!({"value": value}))
    }

    fn signed(&self, payload: &Value) -> String {
        let lie = self.options.lie;
        let x5c: Vec<String> = match lie {
            Lie::NoCertificates => Vec::new(),
            _ => self.chain.iter().map(|der| STANDARD.encode(der)).collect(),
        };
        let algorithm = match lie {
            Lie::AlgorithmNone => "none",
            Lie::SharedSecret => "HS256",
            _ => "RS256",
        };
        let header = json!({"alg": algorithm, "kid": "leaf", "x5c": x5c});
        let key = if lie == Lie::WrongSignature { &self.other_key } else { &self.vault_key };
        let value = jws(&header, payload, key);
        match lie {
            Lie::AlgorithmNone => value.rsplit_once('.').unwrap().0.to_owned() + ".",
            Lie::AlteredPayload => {
                let mut parts: Vec<String> = value.split('.').map(str::to_owned).collect();
                let altered = payload.to_string().replacen("true", "null", 1);
                parts[1] = URL_SAFE_NO_PAD.encode(altered);
                parts.join(".")
            }
            _ => value,
        }
    }

    /// The claims of a token that this attestation service has signed.
    fn claims(&self, token: &str) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        (rsa::sign(&self.attestation_key, signed.as_bytes()) == signature).then_some(())?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(signed.split_once('.')?.1).ok()?).ok()
    }

    fn wrapped(&self, recipient: &Value, enc: &str, key: &[u8]) -> Vec<u8> {
        let number = |name: &str| URL_SAFE_NO_PAD.decode(recipient[name].as_str().unwrap()).unwrap();
        let asked: PublicEncryptingKey =
            PublicKeyComponents { n: number("n"), e: number("e") }.try_into().unwrap();
        let mut public = asked.as_der().unwrap().as_ref().to_vec();
        if self.options.lie == Lie::OtherRecipient {
            public = self.other_key.public_key().as_ref().to_vec();
        }
        let algorithm = match enc {
            "CKM_RSA_AES_KEY_WRAP" => &OAEP_SHA1_MGF1SHA1,
            "RSA_AES_KEY_WRAP_256" => &OAEP_SHA256_MGF1SHA256,
            "RSA_AES_KEY_WRAP_384" => &OAEP_SHA384_MGF1SHA384,
            other => panic!("{other}"),
        };
        let mut kek = [0; 32];
        rand::fill(&mut kek).unwrap();
        let mut wrapped = rsa::encrypt(&public, algorithm, &kek);
        wrapped.extend(key_wrap::wrap(&kek, key));
        if self.options.lie == Lie::AlteredKey {
            *wrapped.last_mut().unwrap() ^= 1;
        }
        wrapped
    }
}

fn jws(header: &Value, payload: &Value, key: &KeyPair) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(payload));
    let signature = rsa::sign(key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
