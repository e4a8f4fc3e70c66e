//! A Key Broker Service of Confidential Containers, version 0.4.0 of its protocol, on a simulated
//! platform.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use adytum_evidence::{
    claims::Measured, clock::SystemClock, evidence::Evidence, measurement::MrEnclave, verifier::Verifier,
};
use adytum_sim::Platform;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree},
    digest, rand,
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    key_wrap, rsa,
    tls_server::{self, Authority},
};

/// The host name of the server.
pub const NAME: &str = "kbs.example";

/// The one fault of a server. Everything else about it is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Nothing.
    None,
    /// The first resource that it gave, for ever.
    Replay,
    /// A certificate under another root.
    OtherRoot,
    /// A certificate of another name.
    OtherName,
    /// Encrypted to another key.
    OtherRecipient,
    /// A bit of the content changed.
    AlteredContent,
    /// The protected header changed after the encryption.
    AlteredHeader,
    /// A key that is encrypted by an algorithm that was not asked for.
    OtherAlgorithm,
    /// An epk that is not on the curve.
    NoPoint,
    /// The resource as it is, not encrypted.
    NotEncrypted,
    /// A hash that was not offered.
    OtherHash,
    /// A challenge without a session.
    NoSession,
    /// A nonce that is no base64.
    OtherNonce,
    /// An answer without end.
    Huge,
    /// No answer.
    Slow,
}

/// How a server is.
#[derive(Clone)]
pub struct Options {
    /// The platform that its clients run on.
    pub platform: Arc<Platform>,
    /// The one enclave that gets resources.
    pub client: MrEnclave,
    /// The bytes of each resource by its path, as in `default/key/model`.
    pub resources: BTreeMap<String, Vec<u8>>,
    /// The hash that it chooses; `None` names none.
    pub hash: Option<&'static str>,
    pub lie: Lie,
}

/// A running server; it ends when this is dropped.
pub struct Running {
    address: SocketAddr,
    root: String,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct State {
    options: Options,
    client: Mutex<MrEnclave>,
    resources: Mutex<BTreeMap<String, Vec<u8>>>,
    nonce: Mutex<String>,
    /// The key of the session whose evidence was accepted.
    attested: Mutex<Option<Value>>,
    first: Mutex<Option<String>>,
}

impl Running {
    /// A server on a free port.
    pub async fn start(options: Options) -> Self {
        let (key, genuine) = (rsa::generate(), Authority::new());
        let chain = match options.lie {
            Lie::OtherRoot => Authority::new().chain(&key, NAME, 2050),
            Lie::OtherName => genuine.chain(&key, "other.example", 2050),
            _ => genuine.chain(&key, NAME, 2050),
        };
        let state = Arc::new(State {
            client: Mutex::new(options.client),
            resources: Mutex::new(options.resources.clone()),
            options,
            nonce: Mutex::default(),
            attested: Mutex::default(),
            first: Mutex::default(),
        });
        let responder = state.clone();
        let tls = tls_server::configuration(chain, &key);
        let (address, task) = tls_server::serve(Some(tls), move |request| {
            let state = responder.clone();
            async move { state.respond(request).await }
        })
        .await;
        Self { address, root: genuine.root(), state, task }
    }

    /// Host and port.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The root above its certificate, in PEM.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Changes a resource.
    pub fn put(&self, path: &str, value: &[u8]) {
        self.state.resources.lock().unwrap().insert(path.to_owned(), value.to_vec());
    }

    /// Changes which enclave gets resources.
    pub fn release_to(&self, client: MrEnclave) {
        *self.state.client.lock().unwrap() = client;
    }
}

type Answer = Result<(String, Option<String>), (StatusCode, &'static str, &'static str)>;

impl State {
    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        match self.options.lie {
            Lie::Slow => return std::future::pending().await,
            Lie::Huge => return Response::new(Full::new(Bytes::from(vec![b' '; 1 << 20]))),
            _ => {}
        }
        match self.answer(&head.method, head.uri.path(), &head.headers, &body) {
            Ok((text, cookie)) => {
                let mut answer = Response::builder();
                if let Some(cookie) = cookie {
                    answer = answer.header("Set-Cookie", cookie);
                }
                answer.body(Full::new(Bytes::from(text))).unwrap()
            }
            Err((status, kind, detail)) => {
                let kind = format!("https://github.com/confidential-containers/kbs/errors/{kind}");
                let body = json!({"type": kind, "detail": detail}).to_string();
                Response::builder().status(status).body(Full::new(Bytes::from(body))).unwrap()
            }
        }
    }

    fn answer(&self, method: &Method, path: &str, headers: &HeaderMap, body: &[u8]) -> Answer {
        let refused = |kind, detail| Err((StatusCode::UNAUTHORIZED, kind, detail));
        let lie = self.options.lie;
        if (method.as_str(), path) == ("POST", "/kbs/v0/auth") {
            let request: Value = serde_json::from_slice(body).unwrap();
            if request["version"] != "0.4.0" {
                return refused("ProtocolVersion", "the version");
            }
            assert_eq!(request["tee"], "sgx");
            let mut nonce = [0; 32];
            rand::fill(&mut nonce).unwrap();
            let nonce = if lie == Lie::OtherNonce { "\"}".to_owned() } else { STANDARD.encode(nonce) };
            self.nonce.lock().unwrap().clone_from(&nonce);
            let hash = if lie == Lie::OtherHash { Some("sm3") } else { self.options.hash };
            let extra = hash.map_or(json!(""), |hash| json!({"selected-hash-algorithm": hash}));
            let cookie =
                (lie != Lie::NoSession).then(|| "kbs-session-id=0123abcd; Path=/; HttpOnly".to_owned());
            return Ok((json!({"nonce": nonce, "extra-params": extra}).to_string(), cookie));
        }
        if headers.get("Cookie").is_none_or(|cookie| cookie != "kbs-session-id=0123abcd") {
            return refused("SessionNotFound", "no session");
        }
        if (method.as_str(), path) == ("POST", "/kbs/v0/attest") {
            return match self.attest(&serde_json::from_slice(body).unwrap()) {
                Ok(key) => {
                    *self.attested.lock().unwrap() = Some(key);
                    Ok((json!({"token": "a.b.c"}).to_string(), None))
                }
                Err(detail) => refused("AttestationFailed", detail),
            };
        }
        let Some(path) = path.strip_prefix("/kbs/v0/resource/").filter(|_| method == Method::GET) else {
            return Err((StatusCode::NOT_FOUND, "InvalidRequestPath", "no such thing"));
        };
        let attested = self.attested.lock().unwrap().clone();
        let Some(key) = attested else { return refused("TokenNotFound", "not attested") };
        let Some(resource) = self.resources.lock().unwrap().get(path).cloned() else {
            return refused("PolicyDeny", "the policy gives this resource to nobody here");
        };
        if lie == Lie::NotEncrypted {
            return Ok((String::from_utf8_lossy(&resource).into_owned(), None));
        }
        let jwe = self.encrypted(&key, &resource);
        let mut first = self.first.lock().unwrap();
        let jwe = if lie == Lie::Replay { first.get_or_insert(jwe).clone() } else { jwe };
        Ok((jwe, None))
    }

    /// Gives the client's key, if its evidence is bound to it.
    fn attest(&self, shown: &Value) -> Result<Value, &'static str> {
        let (runtime, evidence) = (&shown["runtime-data"], &shown["tee-evidence"]);
        if runtime["nonce"] != self.nonce.lock().unwrap().as_str() {
            return Err("another nonce");
        }
        let key = runtime["tee-pubkey"].clone();
        assert_eq!(
            (&key["kty"], &key["crv"], &key["alg"]),
            (&json!("EC"), &json!("P-256"), &json!("ECDH-ES+A256KW"))
        );
        let quote = STANDARD.decode(evidence["primary_evidence"]["quote"].as_str().unwrap()).unwrap();
        let platform = &self.options.platform;
        let verifier = Verifier::new(
            vec![platform.trust_root().unwrap()],
            Arc::new(platform.collateral_source()),
            Arc::new(SystemClock),
        );
        let claims = verifier
            .verify_with(&Evidence::dcap_quote(quote), &*platform.collateral())
            .map_err(|_| "the quote is invalid")?;
        // Sorted by the names of the members, as this map is.
        let members: BTreeMap<&str, String> = [
            ("additional-evidence", evidence["additional_evidence"].to_string()),
            ("nonce", runtime["nonce"].to_string()),
            ("tee-pubkey", sorted(&key)),
        ]
        .into();
        let text = object(&members);
        let algorithm = match self.options.hash.unwrap_or("sha384") {
            "sha256" => &digest::SHA256,
            "sha512" => &digest::SHA512,
            _ => &digest::SHA384,
        };
        let mut expected = digest::digest(algorithm, text.as_bytes()).as_ref().to_vec();
        expected.resize(64, 0);
        if claims.report_data.0 != *expected {
            return Err("the report data are another's");
        }
        match claims.measured {
            Measured::Sgx { mr_enclave, .. } if mr_enclave == *self.client.lock().unwrap() => Ok(key),
            _ => Err("the policy does not accept this enclave"),
        }
    }

    fn encrypted(&self, key: &Value, plain: &[u8]) -> String {
        let lie = self.options.lie;
        let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
        let mut point = [vec![4], coordinate("x"), coordinate("y")].concat();
        if lie == Lie::OtherRecipient {
            point = PrivateKey::generate(&ECDH_P256).unwrap().compute_public_key().unwrap().as_ref().to_vec();
        }
        let ephemeral = PrivateKey::generate(&ECDH_P256).unwrap();
        let public = ephemeral.compute_public_key().unwrap().as_ref().to_vec();
        let kek = agree(&ephemeral, UnparsedPublicKey::new(&ECDH_P256, point), (), |shared| {
            // RFC 7518, section 4.6.2.
            let other_info =
                [&14u32.to_be_bytes()[..], b"ECDH-ES+A256KW", &[0; 4], &[0; 4], &256u32.to_be_bytes()]
                    .concat();
            let input = [&1u32.to_be_bytes()[..], shared, &other_info].concat();
            Ok(digest::digest(&digest::SHA256, &input).as_ref().to_vec())
        })
        .unwrap();
        let (mut content_key, mut iv) = ([0; 32], [0; 12]);
        rand::fill(&mut content_key).unwrap();
        rand::fill(&mut iv).unwrap();
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let x = if lie == Lie::NoPoint { encode(&[1; 32]) } else { encode(&public[1..33]) };
        let alg = if lie == Lie::OtherAlgorithm { "RSA1_5" } else { "ECDH-ES+A256KW" };
        let epk = json!({"kty": "EC", "crv": "P-256", "x": x, "y": encode(&public[33..])});
        let header = json!({"alg": alg, "enc": "A256GCM", "epk": epk}).to_string();
        let mut protected = encode(header.as_bytes());
        let sealing = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &content_key).unwrap());
        let mut ciphertext = plain.to_vec();
        let tag = sealing
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(iv),
                Aad::from(protected.as_bytes()),
                &mut ciphertext,
            )
            .unwrap();
        if lie == Lie::AlteredContent {
            ciphertext[0] ^= 1;
        }
        if lie == Lie::AlteredHeader {
            protected = encode(format!("{header} ").as_bytes());
        }
        json!({
            "protected": protected,
            "encrypted_key": encode(&key_wrap::wrap_whole(&kek, &content_key)),
            "iv": encode(&iv),
            "ciphertext": encode(&ciphertext),
            "tag": encode(tag.as_ref()),
        })
        .to_string()
    }
}

/// RFC 8785, for an object of texts.
fn sorted(value: &Value) -> String {
    let members: BTreeMap<&str, String> =
        value.as_object().unwrap().iter().map(|(name, value)| (name.as_str(), value.to_string())).collect();
    object(&members)
}

fn object(members: &BTreeMap<&str, String>) -> String {
    let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}
