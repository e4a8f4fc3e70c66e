//! One round of questions to a server.

use std::{sync::Arc, time::Duration};

use adytum_api::kubetee::{
    TaRemoteCallRequest, TaRemoteCallResponse, UnifiedAttestationAuthReport, aecs_client::AecsClient as Stub,
};
use adytum_evidence::{attester::Attester, collateral::CollateralSource};
use aws_lc_rs::rand;
use base64::{Engine, engine::general_purpose::STANDARD};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use zeroize::Zeroizing;

use super::{AecsError, AecsName, Server, answer::read_answer, messages::GetSecretRequest, passport};
use crate::rsa_key::{KeyError, RsaKey, is_signed};

/// For one round: the quote, the connection and all answers.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// For the connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// The largest answer. A report with its collateral has about 40 KiB.
const LARGEST_ANSWER: usize = 1024 * 1024;
/// Of a server's reason, this many characters are repeated.
const LONGEST_REASON: usize = 500;
/// The function that gives a secret to a program in a TEE.
const GET_SECRET: &str = "TaGetSecret";

/// Asks one server for secrets, as a program in a TEE.
pub struct AecsClient {
    address: String,
    server: Server,
    attester: Arc<dyn Attester>,
    collateral: Arc<dyn CollateralSource>,
    deadline: Duration,
}

impl AecsClient {
    /// A client of the server at `address` (`host:port`), if `server` accepts it. `attester`
    /// makes the report of this program, and `collateral` is what it is sent with.
    pub fn new(
        address: String,
        server: Server,
        attester: Arc<dyn Attester>,
        collateral: Arc<dyn CollateralSource>,
    ) -> Self {
        Self { address, server, attester, collateral, deadline: DEADLINE }
    }

    /// The same with another limit for each round.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// The values of these secrets in their order, or none.
    pub async fn secrets(&self, names: &[&AecsName]) -> Result<Vec<Zeroizing<Vec<u8>>>, AecsError> {
        let slow = |_| AecsError::Slow { peer: self.address.clone(), limit: self.deadline };
        tokio::time::timeout(self.deadline, self.ask_for(names)).await.map_err(slow)?
    }

    async fn ask_for(&self, names: &[&AecsName]) -> Result<Vec<Zeroizing<Vec<u8>>>, AecsError> {
        let key = RsaKey::generate().await?;
        let report = passport::passport(&*self.attester, &*self.collateral, &key.public_pem()).await?;
        let mut stub = Stub::new(self.connect().await?).max_decoding_message_size(LARGEST_ANSWER);
        let mut values = Vec::with_capacity(names.len());
        for name in names {
            values.push(self.secret(&mut stub, &key, &report, name).await?);
        }
        Ok(values)
    }

    async fn connect(&self) -> Result<Channel, AecsError> {
        let unusable = |reason: String| AecsError::Address { address: self.address.clone(), reason };
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address))
            .map_err(|error| unusable(error.to_string()))?;
        let unreachable =
            |error| AecsError::Unreachable { peer: self.address.clone(), reason: with_causes(&error) };
        endpoint.connect_timeout(CONNECT_LIMIT).connect().await.map_err(unreachable)
    }

    async fn secret(
        &self,
        stub: &mut Stub<Channel>,
        key: &RsaKey,
        report: &UnifiedAttestationAuthReport,
        name: &AecsName,
    ) -> Result<Zeroizing<Vec<u8>>, AecsError> {
        let mut nonce = [0; 32];
        rand::fill(&mut nonce).map_err(|_| KeyError)?;
        let nonce = hex::encode(nonce);
        let arguments =
            GetSecretRequest { service_name: name.service(), secret_name: name.name(), nonce: &nonce };
        let req_json = serde_json::to_string(&arguments)
            .map_err(|error| AecsError::Answer { reason: error.to_string() })?;
        let request = TaRemoteCallRequest {
            auth_report: Some(report.clone()),
            function_name: GET_SECRET.to_owned(),
            signature_b64: STANDARD.encode(key.sign(req_json.as_bytes())?),
            req_json,
        };
        let answer = stub.ta_remote_call(request).await.map_err(|status| self.refused(name, &status))?;
        let TaRemoteCallResponse { auth_report, res_json, signature_b64 } = answer.into_inner();
        let server_key = self.server.judge(auth_report.as_ref()).await?;
        let signature = STANDARD.decode(signature_b64).unwrap_or_default();
        if !is_signed(&server_key, res_json.as_bytes(), &signature) {
            return Err(AecsError::Signature);
        }
        read_answer(&res_json)?.value(&nonce, name, key, &server_key)
    }

    fn refused(&self, name: &AecsName, status: &Status) -> AecsError {
        let peer = self.address.clone();
        // A status with a cause is the transport's, and no server's.
        if std::error::Error::source(status).is_some() {
            return AecsError::Unreachable { peer, reason: with_causes(status) };
        }
        let reason = status.message().chars().take(LONGEST_REASON).collect();
        match status.code() {
            // tonic says it so of an answer above the limit.
            Code::OutOfRange => AecsError::TooLarge { peer, limit: LARGEST_ANSWER },
            Code::Unavailable | Code::Cancelled | Code::Aborted | Code::ResourceExhausted => {
                AecsError::Unreachable { peer, reason }
            }
            code => {
                AecsError::Refused { peer, secret: name.to_string(), status: format!("{code:?}"), reason }
            }
        }
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
