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
    clock::{Clock as _, SystemClock},
    evidence::Evidence,
    measurement::{MrEnclave, Sha256Digest},
    verifier::Verifier,
};
use adytum_sim::Platform;
use aws_lc_rs::{
    encoding::AsDer,
    hmac, rand,
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
/// The attestation service, as its tokens name it.
pub const ISSUER: &str = "https://emulated.attest.azure.net";
/// The name of its key.
const KID: &str = "the service's key";
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
    /// The attestation service's certificate is under another root.
    OtherServiceRoot,
    /// The attestation service's certificate is for another host.
    OtherService,
    /// The first token, for ever.
    ReplayedToken,
    /// A token over other runtime data.
    OtherRuntimeData,
    /// A token of another issuer.
    OtherIssuer,
    /// A token that is over.
    ExpiredToken,
    /// A token by another key under the name of the genuine one.
    OtherTokenKey,
    /// A token without a signature, whose algorithm says so.
    UnsignedToken,
    /// A token with the public key as a shared secret.
    SharedSecretToken,
    /// A token in which a letter was changed after it was signed.
    AlteredToken,
    /// A token of an enclave that a debugger may read.
    DebugToken,
    /// A token longer than any evidence.
    LongToken,
    /// An answer of the attestation service without end.
    HugeToken,
    /// The attestation service refuses.
    ServiceRefuses,
    /// No answer of the attestation service.
    SlowService,
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
    secure_services: SocketAddr,
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
    first_token: Mutex<Option<String>>,
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
        let service_chain = match options.lie {
            Lie::OtherServiceRoot => Authority::new().chain(&tls_key, "127.0.0.1", 2050),
            Lie::OtherService => genuine.chain(&tls_key, "127.0.0.2", 2050),
            _ => genuine.chain(&tls_key, "127.0.0.1", 2050),
        };
        let service_tls = tls_server::configuration(service_chain, &tls_key);
        let state = Arc::new(State {
            client: Mutex::new(options.client),
            options,
            attestation_key: rsa::generate(),
            vault_key,
            other_key: rsa::generate(),
            chain,
            first: Mutex::default(),
            first_token: Mutex::default(),
        });
        let responder = |is_vault| {
            let state = state.clone();
            move |request| {
                let state = state.clone();
                async move { state.respond(request, is_vault).await }
            }
        };
        let (services, plain) = tls_server::serve(None, responder(false)).await;
        let (secure_services, service) = tls_server::serve(Some(service_tls), responder(false)).await;
        let (vault, secure) = tls_server::serve(Some(tls), responder(true)).await;
        let tasks = vec![plain, service, secure];
        Self { services, secure_services, vault, root: genuine.root(), state, tasks }
    }

    /// Changes the release policy of all keys.
    pub fn release_to(&self, client: MrEnclave) {
        *self.state.client.lock().unwrap() = client;
    }

    /// The URL of the attestation service, the metadata service and Microsoft Entra.
    pub fn services(&self) -> String {
        format!("http://{}", self.services)
    }

    /// The same with TLS.
    pub fn secure_services(&self) -> String {
        format!("https://{}", self.secure_services)
    }

    /// The JWK set of the attestation service.
    pub fn token_keys(&self) -> String {
        self.state.token_keys().to_string()
    }

    /// Where the vault is, whatever its name says.
    pub fn vault(&self) -> String {
        self.vault.to_string()
    }

    /// The root above the certificates of the vault and of the services, in PEM.
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
        if path_and_query.starts_with("/attest/") {
            match self.options.lie {
                Lie::SlowService => return std::future::pending().await,
                Lie::HugeToken => return Response::new(Full::new(Bytes::from(vec![b' '; 1 << 20]))),
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
            ("GET", "/certs") => Ok(self.token_keys()),
            ("GET", "/.well-known/openid-configuration") => Ok(json!({"issuer": ISSUER})),
            ("POST", _) if self.options.lie == Lie::ServiceRefuses => Err(bad("Unable to verify the quote.")),
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
        let Measured::Sgx { mr_enclave, mr_signer, isv_prod_id, isv_svn, .. } = claims.measured else {
            return Err(bad("no enclave"));
        };
        let lie = self.options.lie;
        if lie == Lie::OtherRuntimeData {
            expected[..32].copy_from_slice(&Sha256Digest::of_bytes(b"other data").0);
        }
        let now = SystemClock.now().0;
        let issued = if lie == Lie::ExpiredToken { now - 7200 } else { now };
        let issuer = if lie == Lie::OtherIssuer { "https://other.attest.azure.net" } else { ISSUER };
        let mut payload = json!({
            "iss": issuer, "iat": issued, "nbf": issued, "exp": issued + 3600,
            "x-ms-ver": "1.0",
            "x-ms-attestation-type": "sgx",
            "x-ms-sgx-mrenclave": mr_enclave.to_string(),
            "x-ms-sgx-mrsigner": mr_signer.to_string(),
            "x-ms-sgx-product-id": isv_prod_id,
            "x-ms-sgx-svn": isv_svn,
            "x-ms-sgx-is-debuggable": claims.debug || lie == Lie::DebugToken,
            "x-ms-sgx-report-data": hex::encode(&expected),
        });
        if lie == Lie::LongToken {
            payload["x-ms-sgx-collateral"] = "a".repeat(40_000).into();
        }
        match request["runtimeData"]["dataType"].as_str() {
            Some("JSON") => {
                payload["x-ms-runtime"] = serde_json::from_slice(&data).map_err(|_| bad("runtime data"))?;
            }
            Some("Binary") => payload["x-ms-sgx-ehd"] = URL_SAFE_NO_PAD.encode(&data).into(),
            _ => return Err(bad("dataType")),
        }
        Ok(json!({"token": self.token(&payload)}))
    }

    fn token(&self, payload: &Value) -> String {
        let header = |alg: &str| json!({"alg": alg, "kid": KID, "typ": "JWT"});
        let genuine = || jws(&header("RS256"), payload, &self.attestation_key);
        match self.options.lie {
            Lie::NoToken => "none".to_owned(),
            Lie::ReplayedToken => self.first_token.lock().unwrap().get_or_insert_with(genuine).clone(),
            Lie::OtherTokenKey => jws(&header("RS256"), payload, &self.other_key),
            Lie::UnsignedToken => {
                let token = jws(&header("none"), payload, &self.attestation_key);
                token.rsplit_once('.').unwrap().0.to_owned() + "."
            }
            Lie::SharedSecretToken => {
                shared_secret(&header("HS256"), payload, self.attestation_key.public_key().as_ref())
            }
            Lie::AlteredToken => {
                let token = genuine();
                let altered = payload.to_string().replacen("\"x-ms-ver\":\"1.0\"", "\"x-ms-ver\":\"1.1\"", 1);
                let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
                parts[1] = URL_SAFE_NO_PAD.encode(altered);
                parts.join(".")
            }
            _ => genuine(),
        }
    }

    fn token_keys(&self) -> Value {
        // RSAPublicKey (RFC 8017): two integers; the first begins with a zero.
        let modulus = &self.attestation_key.public_key().as_ref()[9..9 + 256];
        json!({"keys": [{"kty": "RSA", "use": "sig", "kid": KID, "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB"}]})
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
        let value = match lie {
            Lie::SharedSecret => shared_secret(&header, payload, self.vault_key.public_key().as_ref()),
            _ => jws(&header, payload, key),
        };
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
    signed(header, payload, |message| rsa::sign(key, message))
}

/// HS256 with bytes that everybody knows.
fn shared_secret(header: &Value, payload: &Value, secret: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    signed(header, payload, |message| hmac::sign(&key, message).as_ref().to_vec())
}

fn signed(header: &Value, payload: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(payload));
    let signature = sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
