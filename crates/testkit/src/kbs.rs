//! A client of the KBS protocol, as Confidential Containers have it in their guests: its
//! messages are those of the crate `kbs-types`, which they use. It speaks HTTP/1.1 by itself, so a
//! test sees and sends each byte. The broker's listener is here, too.

use std::{net::SocketAddr, sync::Arc};

use adytum_broker::{Broker, ServerLimits, kbs};
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{self, UnparsedPublicKey},
    digest,
    encoding::AsDer,
    key_wrap::{AES_256, AesKek, KeyWrap},
    rsa::{KeyPair, KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey},
    signature::KeyPair as _,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kbs_types::{
    Attestation, Challenge, CompositeEvidence, ErrorInformation, HashAlgorithm, Request, Response,
    RuntimeData, Tee, TeePubKey,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// The broker's listener on a free port of loopback, until it is dropped.
pub struct KbsPort {
    pub address: SocketAddr,
    serving: JoinHandle<()>,
}

impl KbsPort {
    /// Opens it.
    pub async fn open(broker: &Arc<Broker>, limits: ServerLimits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = kbs::serve(listener, Arc::clone(broker), limits, std::future::pending());
        Self { address, serving: tokio::spawn(serving) }
    }
}

impl Drop for KbsPort {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The kinds of key that a client may make.
#[derive(Clone, Copy, Debug)]
pub enum KeyKind {
    /// ECDH-ES+A256KW on P-256, as clients have by default.
    P256,
    /// The same on P-521.
    P521,
    /// RSA-OAEP-256 with 2048 bits.
    Rsa,
}

/// A client's key.
pub enum ClientKey {
    /// On the curve of this name.
    Ec { crv: &'static str, key: agreement::PrivateKey },
    /// With its public modulus.
    Rsa { modulus: Vec<u8>, key: OaepPrivateDecryptingKey },
}

impl ClientKey {
    /// Makes one.
    pub fn generate(kind: KeyKind) -> Self {
        let ec = |crv, algorithm| Self::Ec { crv, key: agreement::PrivateKey::generate(algorithm).unwrap() };
        match kind {
            KeyKind::P256 => ec("P-256", &agreement::ECDH_P256),
            KeyKind::P521 => ec("P-521", &agreement::ECDH_P521),
            KeyKind::Rsa => {
                let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
                // RSAPublicKey (RFC 8017): two integers; the first begins with a zero.
                let modulus = pair.public_key().as_ref()[9..9 + 256].to_vec();
                let key = PrivateDecryptingKey::from_pkcs8(pair.as_der().unwrap().as_ref()).unwrap();
                Self::Rsa { modulus, key: OaepPrivateDecryptingKey::new(key).unwrap() }
            }
        }
    }

    /// As a client sends it.
    pub fn public(&self) -> TeePubKey {
        match self {
            Self::Ec { crv, key } => {
                let point = key.compute_public_key().unwrap();
                let (x, y) = point.as_ref()[1..].split_at((point.as_ref().len() - 1) / 2);
                TeePubKey::EC {
                    crv: (*crv).to_owned(),
                    alg: "ECDH-ES+A256KW".to_owned(),
                    x: URL_SAFE_NO_PAD.encode(x),
                    y: URL_SAFE_NO_PAD.encode(y),
                }
            }
            Self::Rsa { modulus, .. } => TeePubKey::RSA {
                alg: "RSA-OAEP-256".to_owned(),
                k_mod: URL_SAFE_NO_PAD.encode(modulus),
                k_exp: "AQAB".to_owned(),
            },
        }
    }

    /// Decrypts an answer; `None` if it is for another key or was altered.
    pub fn decrypt(&self, response: &Response) -> Option<Vec<u8>> {
        let content_key = match self {
            Self::Ec { crv, key } => {
                let epk = response.protected.other_fields.get("epk")?;
                assert_eq!((response.protected.alg.as_str(), &epk["crv"]), ("ECDH-ES+A256KW", &json!(crv)));
                let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(epk[name].as_str().unwrap()).unwrap();
                let point = [&[4][..], &coordinate("x"), &coordinate("y")].concat();
                let peer = UnparsedPublicKey::new(key.algorithm(), point);
                let wrapping_key = agreement::agree(key, peer, (), |z| Ok(concat_kdf(z))).ok()?;
                let mut unwrapped = vec![0; 32];
                let kek = AesKek::new(&AES_256, &wrapping_key).unwrap();
                kek.unwrap(&response.encrypted_key, &mut unwrapped).ok()?.to_vec()
            }
            Self::Rsa { key, .. } => {
                assert_eq!(response.protected.alg, "RSA-OAEP-256");
                let mut decrypted = vec![0; key.min_output_size()];
                key.decrypt(&OAEP_SHA256_MGF1SHA256, &response.encrypted_key, &mut decrypted, None)
                    .ok()?
                    .to_vec()
            }
        };
        assert_eq!(response.protected.enc, "A256GCM");
        // What clients authenticate is the header as they write it out again.
        let aad = response.protected.generate_aad().unwrap();
        let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &content_key).ok()?);
        let nonce = Nonce::try_assume_unique_for_key(&response.iv).ok()?;
        let mut content = [&response.ciphertext[..], &response.tag].concat();
        Some(cipher.open_in_place(nonce, Aad::from(aad), &mut content).ok()?.to_vec())
    }
}

/// RFC 7518 section 4.6.2, for one block.
fn concat_kdf(z: &[u8]) -> Vec<u8> {
    let algorithm = b"ECDH-ES+A256KW";
    let mut hashed = vec![0, 0, 0, 1];
    hashed.extend(z);
    hashed.extend([0, 0, 0, 14]);
    hashed.extend(algorithm);
    hashed.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    digest::digest(&digest::SHA256, &hashed).as_ref().to_vec()
}

/// RFC 8785, for objects of texts and objects.
fn canonical(value: &Value) -> String {
    let Value::Object(members) = value else { return value.to_string() };
    let mut members: Vec<_> = members.iter().collect();
    members.sort_by_key(|(name, _)| name.as_str());
    let members: Vec<_> =
        members.into_iter().map(|(name, value)| format!("{}:{}", json!(name), canonical(value))).collect();
    format!("{{{}}}", members.join(","))
}

/// An answer in HTTP.
#[derive(Clone)]
pub struct HttpAnswer {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl std::fmt::Debug for HttpAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.fields, String::from_utf8_lossy(&self.body))
    }
}

impl HttpAnswer {
    /// A field of its head.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Its body.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// An error, as clients read it: status, our code, and the explanation.
    pub fn error(&self) -> (u16, String, String) {
        let information: ErrorInformation = serde_json::from_slice(&self.body).unwrap();
        let prefix = "https://github.com/confidential-containers/kbs/errors/";
        assert!(information.error_type.starts_with(prefix), "{information:?}");
        (self.status, self.json()["code"].as_str().unwrap().to_owned(), information.detail)
    }
}

/// A client, with one connection and one session.
pub struct KbsClient {
    stream: BufStream<TcpStream>,
    pub cookie: Option<String>,
    pub token: Option<String>,
    pub key: ClientKey,
}

impl KbsClient {
    /// Connects, with a key of its own.
    pub async fn connect(address: SocketAddr, key: KeyKind) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufStream::new(stream), cookie: None, token: None, key: ClientKey::generate(key) }
    }

    /// Sends a request with the client's cookie, and reads the answer.
    pub async fn send(&mut self, method: &str, path: &str, fields: &str, body: &[u8]) -> HttpAnswer {
        let cookie = self.cookie.as_ref().map(|cookie| format!("Cookie: {cookie}\r\n")).unwrap_or_default();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: kbs\r\nContent-Length: {length}\r\n{cookie}{fields}\r\n"
        );
        self.stream.write_all(head.as_bytes()).await.unwrap();
        // The server may answer before it has read all.
        let _ = self.stream.write_all(body).await;
        let _ = self.stream.flush().await;
        let answer = self.receive().await;
        if let Some(set) = answer.field("set-cookie") {
            self.cookie = set.split(';').next().map(str::to_owned);
        }
        answer
    }

    async fn receive(&mut self) -> HttpAnswer {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.unwrap();
        let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("{line:?}")).parse().unwrap();
        let mut fields = Vec::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line).await.unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            fields.push((name.to_owned(), value.to_owned()));
        }
        let mut answer = HttpAnswer { status, fields, body: Vec::new() };
        let length = answer.field("content-length").unwrap().parse().unwrap();
        answer.body.resize(length, 0);
        self.stream.read_exact(&mut answer.body).await.unwrap();
        answer
    }

    /// Asks for a challenge.
    pub async fn auth(&mut self, tee: Tee) -> Result<Challenge, HttpAnswer> {
        let algorithms = HashAlgorithm::list_all();
        let extra_params = json!({ "supported-hash-algorithms": algorithms });
        let request = Request { version: "0.4.0".to_owned(), tee, extra_params };
        let answer = self.send("POST", "/kbs/v0/auth", "", &serde_json::to_vec(&request).unwrap()).await;
        match answer.status {
            200 => Ok(serde_json::from_slice(&answer.body).unwrap()),
            _ => Err(answer),
        }
    }

    /// What a client with this challenge attests, and the hash of it that goes into evidence.
    pub fn runtime_data(&self, challenge: &Challenge) -> (RuntimeData, Vec<u8>) {
        let selected = challenge.extra_params["selected-hash-algorithm"].as_str().unwrap_or("sha384");
        let algorithm: HashAlgorithm = serde_json::from_value(json!(selected)).unwrap();
        let (nonce, tee_pubkey) = (challenge.nonce.clone(), self.key.public());
        let bound = json!({ "tee-pubkey": tee_pubkey, "nonce": nonce, "additional-evidence": "" });
        (RuntimeData { nonce, tee_pubkey }, algorithm.digest(canonical(&bound).as_bytes()))
    }

    /// Shows evidence.
    pub async fn attest(
        &mut self,
        runtime_data: RuntimeData,
        primary_evidence: Value,
    ) -> Result<String, HttpAnswer> {
        let tee_evidence = CompositeEvidence { primary_evidence, additional_evidence: String::new() };
        let attestation = Attestation { init_data: None, runtime_data, tee_evidence };
        let body = serde_json::to_vec(&attestation).unwrap();
        let answer = self.send("POST", "/kbs/v0/attest", "Content-Type: application/json\r\n", &body).await;
        match answer.status {
            200 => {
                let token = answer.json()["token"].as_str().unwrap().to_owned();
                self.token = Some(token.clone());
                Ok(token)
            }
            _ => Err(answer),
        }
    }

    /// Both steps, with evidence that `evidence` makes for 64 bytes of report data.
    pub async fn handshake(
        &mut self,
        tee: Tee,
        evidence: impl AsyncFn([u8; 64]) -> Value,
    ) -> Result<String, HttpAnswer> {
        let challenge = self.auth(tee).await?;
        let (runtime_data, digest) = self.runtime_data(&challenge);
        let mut report_data = [0; 64];
        report_data[..digest.len()].copy_from_slice(&digest);
        let evidence = evidence(report_data).await;
        self.attest(runtime_data, evidence).await
    }

    /// Fetches a secret.
    pub async fn resource(&mut self, path: &str) -> Result<Vec<u8>, HttpAnswer> {
        let answer = self.send("GET", &format!("/kbs/v0/resource/{path}"), "", b"").await;
        if answer.status != 200 {
            return Err(answer);
        }
        let response: Response = serde_json::from_slice(&answer.body).unwrap();
        Ok(self.key.decrypt(&response).expect("it is for this client's key"))
    }
}
