//! KubeTEE's Enclave Configuration Service, as far as a program in a TEE sees it, on a
//! simulated platform.
//!
//! It checks its clients as the original does: only reports with collateral, the digest of
//! the PEM text in the report data, the signature over the JSON text.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use adytum_api::kubetee::{
    TaRemoteCallRequest, TaRemoteCallResponse, UnifiedAttestationAuthReport, UnifiedAttestationReport,
    aecs_server::{Aecs, AecsServer},
};
use adytum_evidence::{
    clock::SystemClock,
    collateral::QuoteCollateralV3,
    evidence::Evidence,
    measurement::{MrEnclave, ReportData, Sha256Digest},
    verifier::Verifier,
};
use adytum_sim::{Platform, Program};
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    rand,
    rsa::{KeyPair, OAEP_SHA1_MGF1SHA1},
    signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json, value::RawValue};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

use crate::rsa;

/// The one fault of a server. Everything else about it is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Nothing.
    None,
    /// Its first answer, for ever.
    Replay,
    /// An answer with a nonce of its own.
    OtherNonce,
    /// An answer without a nonce.
    NoNonce,
    /// The report of the genuine server, with a key that is not in it.
    OtherKey,
    /// A character of the answer changed after it was signed.
    AlteredJson,
    /// A signature by another key.
    WrongSignature,
    /// No answer.
    Slow,
    /// An answer of two MiB.
    Huge,
    /// A quote under another root.
    WrongChain,
    /// An enclave in debug mode.
    Debug,
    /// Another enclave.
    OtherEnclave,
    /// No report.
    NoReport,
    /// A report of another platform by name.
    OtherPlatform,
    /// A key of another form.
    OtherKeyForm,
    /// A bit of the encrypted content changed before the answer was signed.
    AlteredEnvelope,
    /// An envelope of another name.
    OtherEnvelopeName,
    /// A hash of something else.
    WrongHash,
    /// A hash that another key signed.
    WrongHashSignature,
    /// Another secret.
    OtherSecret,
    /// Content that is no secret.
    NoSecret,
    /// An answer that is no JSON.
    NoJson,
}

/// How a server is.
#[derive(Clone)]
pub struct Options {
    pub platform: Arc<Platform>,
    /// The platform that its clients run on.
    pub clients: Arc<Platform>,
    /// The one client that gets secrets; `None` is any.
    pub client: Option<MrEnclave>,
    pub program: Program,
    /// By service and name.
    pub secrets: BTreeMap<(String, String), String>,
    pub lie: Lie,
    /// Whether its own report has collateral.
    pub collateral: bool,
}

/// A running server; it ends when this is dropped.
pub struct Running {
    address: SocketAddr,
    /// The PEM text of its key.
    public_key: String,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    /// A server on a free port.
    pub async fn start(options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = Service::new(options);
        let public_key = rsa::pem(&service.key);
        let server = Server::builder().add_service(AecsServer::new(service));
        let task = tokio::spawn(async move {
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { address, public_key, task }
    }

    /// Host and port.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The PEM text of its key.
    pub fn public_key(&self) -> &str {
        &self.public_key
    }
}

struct Service {
    options: Options,
    key: KeyPair,
    other_key: KeyPair,
    first: Mutex<Option<TaRemoteCallResponse>>,
}

#[tonic::async_trait]
impl Aecs for Service {
    async fn ta_remote_call(
        &self,
        request: Request<TaRemoteCallRequest>,
    ) -> Result<Response<TaRemoteCallResponse>, Status> {
        let request = request.into_inner();
        let client_key = self.check(&request)?;
        if self.options.lie == Lie::Slow {
            return std::future::pending().await;
        }
        if request.function_name != "TaGetSecret" {
            return Err(Status::internal("no such function"));
        }
        let answer = self.answer(&request.req_json, &client_key)?;
        let mut first = self.first.lock().unwrap();
        if self.options.lie == Lie::Replay {
            return Ok(Response::new(first.get_or_insert(answer).clone()));
        }
        Ok(Response::new(answer))
    }
}

impl Service {
    fn new(options: Options) -> Self {
        Self { options, key: rsa::generate(), other_key: rsa::generate(), first: Mutex::default() }
    }

    /// Gives the client's key in DER.
    fn check(&self, request: &TaRemoteCallRequest) -> Result<Vec<u8>, Status> {
        let refuse = |why: &str| Status::internal(why.to_owned());
        let shown = request.auth_report.as_ref().ok_or_else(|| refuse("no report"))?;
        let report = shown.report.as_ref().ok_or_else(|| refuse("no report"))?;
        if (&*report.str_report_version, &*report.str_tee_platform) != ("1.0", "SGX_DCAP") {
            return Err(refuse("another platform"));
        }
        if report.str_report_type != "Passport" {
            return Err(refuse("TEE_ERROR_RA_VERIFY_NEED_RERERENCE_DATA"));
        }
        let dcap: Value = serde_json::from_str(&report.json_report).map_err(|_| refuse("json_report"))?;
        let quote = STANDARD.decode(dcap["b64_quote"].as_str().unwrap()).map_err(|_| refuse("b64_quote"))?;
        let collateral: Value = serde_json::from_str(dcap["json_collateral"].as_str().unwrap())
            .map_err(|_| refuse("json_collateral"))?;
        if collateral["version"] != json!("3") {
            return Err(refuse("a version that is no string"));
        }
        let verifier = Verifier::new(
            vec![self.options.clients.trust_root().unwrap()],
            Arc::new(self.options.clients.collateral_source()),
            Arc::new(SystemClock),
        );
        let claims = verifier
            .verify_with(&Evidence::dcap_quote(quote.clone()), &collateral_of(&collateral))
            .map_err(|error| refuse(&error.to_string()))?;
        let mut expected = [0; 64];
        expected[32..].copy_from_slice(&Sha256Digest::of_bytes(shown.pem_public_key.as_bytes()).0);
        if claims.report_data != ReportData(expected) {
            return Err(refuse("TEE_ERROR_RA_VERIFY_ATTR_PUBKEY"));
        }
        // MRENCLAVE lies 64 bytes after the 48 of the header in an SGX quote.
        let enclave = quote.get(48 + 64..48 + 96).unwrap_or_default();
        if self.options.client.is_some_and(|client| client.0 != *enclave) {
            return Err(refuse("TEE_ERROR_RA_VERIFY_ATTR_TA_MEASUREMENT"));
        }
        assert!(shown.pem_public_key.starts_with("-----BEGIN RSA PUBLIC KEY-----\n"));
        let key = pem::parse(&shown.pem_public_key).map_err(|_| refuse("public key"))?.into_contents();
        let signature = STANDARD.decode(&request.signature_b64).map_err(|_| refuse("signature"))?;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key)
            .verify(request.req_json.as_bytes(), &signature)
            .map_err(|_| refuse("signature"))?;
        Ok(key)
    }

    fn answer(&self, req_json: &str, client_key: &[u8]) -> Result<TaRemoteCallResponse, Status> {
        let lie = self.options.lie;
        let request: Value = serde_json::from_str(req_json).map_err(|_| Status::internal("req_json"))?;
        let text = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
        let (service, name) = (text("serviceName"), text("secretName"));
        let Some(value) = self.options.secrets.get(&(service.clone(), name.clone())) else {
            return Err(Status::internal("TEE_ERROR_AECS_SECRET_NOT_FOUND"));
        };
        let nonce = match lie {
            Lie::OtherNonce => hex::encode([7; 32]),
            _ => text("nonce"),
        };
        let name = if lie == Lie::OtherSecret { "another".to_owned() } else { name };
        let secret = match lie {
            Lie::NoSecret => json!("a text"),
            _ => json!({
                "spec": {"secretName": name, "serviceName": service, "type": "SECRET_TYPE_IMPORT_DATA"},
                "data": value,
            }),
        };
        let mut answer =
            json!({"secretEnc": self.envelope(secret.to_string().as_bytes(), client_key), "nonce": nonce});
        if lie == Lie::NoNonce {
            answer.as_object_mut().unwrap().remove("nonce");
        }
        let mut res_json = match lie {
            Lie::Huge => " ".repeat(2 << 20) + &answer.to_string(),
            Lie::NoJson => "no JSON".to_owned(),
            _ => answer.to_string(),
        };
        let (shown, signing) = match lie {
            Lie::OtherKey => (&self.other_key, &self.other_key),
            Lie::WrongSignature => (&self.key, &self.other_key),
            _ => (&self.key, &self.key),
        };
        let signature = rsa::sign(signing, res_json.as_bytes());
        if lie == Lie::AlteredJson {
            res_json.push(' ');
        }
        let pem_public_key = match lie {
            Lie::OtherKeyForm => rsa::pem(shown).replace("RSA PUBLIC KEY", "PUBLIC KEY"),
            _ => rsa::pem(shown),
        };
        let report = (lie != Lie::NoReport).then(|| self.report(&pem_public_key));
        Ok(TaRemoteCallResponse {
            auth_report: Some(UnifiedAttestationAuthReport { report, pem_public_key }),
            res_json,
            signature_b64: STANDARD.encode(signature),
        })
    }

    fn envelope(&self, plain: &[u8], client_key: &[u8]) -> Value {
        let lie = self.options.lie;
        let (mut key, mut iv) = ([0; 32], [0; 12]);
        rand::fill(&mut key).unwrap();
        rand::fill(&mut iv).unwrap();
        let aad: &[u8] = if lie == Lie::OtherEnvelopeName { b"Other" } else { b"Enclave" };
        let sealing = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
        let mut cipher = plain.to_vec();
        let mac = sealing
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(iv), Aad::from(aad), &mut cipher)
            .unwrap();
        if lie == Lie::AlteredEnvelope {
            cipher[0] ^= 1;
        }
        let hash = match lie {
            Lie::WrongHash => Sha256Digest::of_bytes(b"something else").to_string(),
            _ => Sha256Digest::of_bytes(plain).to_string(),
        };
        let signing = match lie {
            Lie::WrongHashSignature | Lie::OtherKey => &self.other_key,
            _ => &self.key,
        };
        json!({
            "aesCipher": {
                "cipher": STANDARD.encode(&cipher),
                "mac": STANDARD.encode(mac.as_ref()),
                "aad": STANDARD.encode(aad),
                "iv": STANDARD.encode(iv),
            },
            "encryptedKey": STANDARD.encode(rsa::encrypt(client_key, &OAEP_SHA1_MGF1SHA1, &key)),
            "plainHash": STANDARD.encode(&hash),
            "plainHashSig": STANDARD.encode(rsa::sign(signing, hash.as_bytes())),
        })
    }

    fn report(&self, shown: &str) -> UnifiedAttestationReport {
        let Options { platform, program, lie, .. } = &self.options;
        let genuine = rsa::pem(&self.key);
        let bound = if *lie == Lie::OtherKey { &genuine } else { shown };
        let mut data = [0; 64];
        data[32..].copy_from_slice(&Sha256Digest::of_bytes(bound.as_bytes()).0);
        let mut program = program.clone();
        program.debug |= *lie == Lie::Debug;
        if *lie == Lie::OtherEnclave {
            program.mr_enclave = MrEnclave([0xee; 32]);
        }
        let other;
        let platform = if *lie == Lie::WrongChain {
            other = Platform::ephemeral().unwrap();
            &other
        } else {
            platform
        };
        let quote = platform.quote(&program, ReportData(data)).unwrap();
        let mut report = json!({"b64_quote": STANDARD.encode(quote)});
        if self.options.collateral {
            report["json_collateral"] = collateral_text(&platform.collateral()).into();
        }
        let name = if *lie == Lie::OtherPlatform { "HyperEnclave" } else { "SGX_DCAP" };
        UnifiedAttestationReport {
            str_report_version: "1.0".to_owned(),
            str_report_type: if self.options.collateral { "Passport" } else { "BackgroundCheck" }.to_owned(),
            str_tee_platform: name.to_owned(),
            json_report: report.to_string(),
            json_nested_reports: String::new(),
        }
    }
}

/// As a PCCS of version 3 answers, each answer a text.
fn collateral_text(collateral: &QuoteCollateralV3) -> String {
    let signed = |name: &str, body: &str, signature: &[u8]| {
        format!("{{\"{name}\":{body},\"signature\":\"{}\"}}", hex::encode(signature))
    };
    json!({
        "version": "3",
        "pck_crl_issuer_chain": collateral.pck_crl_issuer_chain,
        "root_ca_crl": hex::encode(&collateral.root_ca_crl),
        "pck_crl": hex::encode(&collateral.pck_crl),
        "tcb_info_issuer_chain": collateral.tcb_info_issuer_chain,
        "tcb_info": signed("tcbInfo", &collateral.tcb_info, &collateral.tcb_info_signature),
        "qe_identity_issuer_chain": collateral.qe_identity_issuer_chain,
        "qe_identity": signed("enclaveIdentity", &collateral.qe_identity, &collateral.qe_identity_signature),
    })
    .to_string()
}

fn collateral_of(carried: &Value) -> QuoteCollateralV3 {
    let text = |name: &str| carried[name].as_str().unwrap_or_default().to_owned();
    let document = |name: &str, member: &str| {
        let document: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&text(name)).unwrap();
        let signature: String = serde_json::from_str(document["signature"].get()).unwrap();
        (document[member].get().to_owned(), hex::decode(signature).unwrap())
    };
    let (tcb_info, tcb_info_signature) = document("tcb_info", "tcbInfo");
    let (qe_identity, qe_identity_signature) = document("qe_identity", "enclaveIdentity");
    QuoteCollateralV3 {
        pck_crl_issuer_chain: text("pck_crl_issuer_chain"),
        root_ca_crl: hex::decode(text("root_ca_crl")).unwrap(),
        pck_crl: hex::decode(text("pck_crl")).unwrap(),
        tcb_info_issuer_chain: text("tcb_info_issuer_chain"),
        tcb_info,
        tcb_info_signature,
        qe_identity_issuer_chain: text("qe_identity_issuer_chain"),
        qe_identity,
        qe_identity_signature,
        pck_certificate_chain: None,
    }
}
