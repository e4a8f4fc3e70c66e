//! One round of releases from a vault.

use std::{sync::Arc, time::Duration};

use adytum_evidence::{attester::Attester, clock::Clock, collateral::CollateralSource};
use aws_lc_rs::rand;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bech32::{Bech32, Hrp};
use rustls_pki_types::CertificateDer;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    AttestationService, AzureError, Form, Identity, KeyName, KeyWrapping, VaultName,
    attestation::DataType,
    release::{Expected, ReleasedKey, read_release},
    service::{Service, post_json},
};
use crate::{
    http_exchange::HttpClient,
    rsa_key::{KeyError, RsaKey},
};

const NAME: &str = "Key Vault";
/// The version of the vault's interface.
const API_VERSION: &str = "7.4";
/// For one round: the quote, the tokens and all releases.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// The human-readable part of an age identity, in lower case.
const AGE_IDENTITY: &str = "age-secret-key-";

/// How a vault is asked.
#[derive(Clone)]
pub struct KeyVaultOptions {
    pub vault: VaultName,
    /// Where the vault is reached, if not at its name: `HOST:PORT`.
    pub address: Option<String>,
    /// The URL of the attestation service.
    pub attestation: String,
    pub wrapping: KeyWrapping,
    /// What certificates of the vault must chain to.
    pub roots: Vec<CertificateDer<'static>>,
    /// Whose access token the vault gets.
    pub identity: Identity,
}

/// Gets keys from one vault, as a program in a TEE.
pub struct KeyVaultClient {
    options: KeyVaultOptions,
    http: HttpClient,
    attestation: AttestationService,
    attester: Arc<dyn Attester>,
    collateral: Option<Arc<dyn CollateralSource>>,
    clock: Arc<dyn Clock>,
    deadline: Duration,
}

#[derive(Deserialize)]
struct Released {
    value: String,
}

impl KeyVaultClient {
    /// A client of this vault. `collateral` is where the certificates above a SEV-SNP report come
    /// from; other evidence needs none.
    pub fn new(
        options: KeyVaultOptions,
        attester: Arc<dyn Attester>,
        collateral: Option<Arc<dyn CollateralSource>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AzureError> {
        let http = HttpClient::new(&options.roots).map_err(|reason| AzureError::Roots { reason })?;
        let attestation = AttestationService::with(&options.attestation, Default::default(), http.clone());
        Ok(Self { options, http, attestation, attester, collateral, clock, deadline: DEADLINE })
    }

    /// The same with another limit for each round.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// The values of these keys in their order, or none.
    pub async fn keys(&self, names: &[&KeyName]) -> Result<Vec<Zeroizing<Vec<u8>>>, AzureError> {
        let slow = |_| AzureError::Slow { limit: self.deadline };
        tokio::time::timeout(self.deadline, self.ask_for(names)).await.map_err(slow)?
    }

    async fn ask_for(&self, names: &[&KeyName]) -> Result<Vec<Zeroizing<Vec<u8>>>, AzureError> {
        let key = RsaKey::generate().await?;
        let (keys, collateral) = (key.jwk_set()?, self.collateral.as_deref());
        let token =
            self.attestation.token(&*self.attester, collateral, keys.as_bytes(), DataType::Json).await?;
        let access = self.options.identity.token(&self.http, self.options.vault.resource()).await?;
        let mut values = Vec::with_capacity(names.len());
        for name in names {
            values.push(self.release(&key, &token, &access, name).await?);
        }
        Ok(values)
    }

    async fn release(
        &self,
        key: &RsaKey,
        token: &str,
        access: &str,
        name: &KeyName,
    ) -> Result<Zeroizing<Vec<u8>>, AzureError> {
        let KeyVaultOptions { vault, wrapping, roots, .. } = &self.options;
        let mut nonce = [0; 32];
        rand::fill(&mut nonce).map_err(|_| KeyError)?;
        let nonce = URL_SAFE_NO_PAD.encode(nonce);
        let url = format!("https://{vault}{}/release?api-version={API_VERSION}", name.path());
        let body = json!({"target": token, "enc": wrapping.name(), "nonce": nonce}).to_string();
        let service = Service { name: NAME, http: &self.http, address: self.options.address.as_deref() };
        let Released { value } = service.ask(post_json(url, body, Some(access))?).await?;
        let expected =
            Expected { vault, name, wrapping: *wrapping, nonce: &nonce, roots, now: self.clock.now() };
        formed(read_release(&value)?.open(key, &expected)?, name)
    }
}

/// The key in the form in which it is wanted.
fn formed(key: ReleasedKey, name: &KeyName) -> Result<Zeroizing<Vec<u8>>, AzureError> {
    let unfit = |reason: &str| AzureError::Form { key: name.to_string(), reason: reason.to_owned() };
    match (key, name.form()) {
        (ReleasedKey::Symmetric(bytes), Form::Plain) => Ok(bytes),
        (ReleasedKey::Symmetric(bytes), Form::Hexadecimal) => {
            Ok(Zeroizing::new(hex::encode(&*bytes).into_bytes()))
        }
        (ReleasedKey::Symmetric(bytes), Form::AgeIdentity) => {
            if bytes.len() != 32 {
                return Err(unfit("an age identity is made of 32 bytes, and the key has another length"));
            }
            let prefix = Hrp::parse(AGE_IDENTITY).map_err(|_| unfit("no prefix"))?;
            let text = bech32::encode_upper::<Bech32>(prefix, &bytes).map_err(|_| unfit("no text"))?;
            Ok(Zeroizing::new(text.into_bytes()))
        }
        (ReleasedKey::Private(der), Form::Plain) => {
            let configuration = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
            let block = pem::Pem::new("PRIVATE KEY", der.to_vec());
            Ok(Zeroizing::new(pem::encode_config(&block, configuration).into_bytes()))
        }
        (ReleasedKey::Private(_), Form::Hexadecimal | Form::AgeIdentity) => {
            Err(unfit("it is a private key, which is given on as PKCS #8 only"))
        }
    }
}
