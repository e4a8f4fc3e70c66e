//! A server that runs: what it shows before anything is sent to it.

use std::{fmt, sync::Arc, time::Duration};

use adytum_api::address::parse_address;
use adytum_evidence::{claims::Claims, verifier::Verifier};
use adytum_governance::announcement::{BrokerAnnouncement, ServingAnnouncement, WorkloadAnnouncement};
use adytum_ratls::{
    configuration::ConnectorConfiguration, connector::AttestedConnector, judge::AnyEvidence, limits::Limits,
    protocol::ALPN, session::Peer,
};
use rustls::{AlertDescription, ProtocolVersion, pki_types::ServerName};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::{
    error::VerifyError,
    handshake::{Shown, Witness},
};

/// How long a server may take for a connection and a handshake.
const PATIENCE: Duration = Duration::from_secs(15);
const HTTPS: &str = "https://";
const HTTPS_PORT: u16 = 443;
/// Our own protocol, and those that nearly every server has.
const PROTOCOLS: [&[u8]; 3] = [ALPN, b"h2", b"http/1.1"];

/// A server, by its address as HOST:PORT.
#[derive(Debug)]
pub(super) struct Endpoint {
    address: String,
}

/// What a server has shown.
#[derive(Debug)]
pub(super) struct Server {
    /// In DER. The handshake is signed with its key.
    pub(super) certificate: Vec<u8>,
    version: Option<ProtocolVersion>,
    protocol: Option<Vec<u8>>,
}

/// An attested session with a server.
pub(super) struct AttestedServer {
    pub(super) claims: Claims,
    announcement: bytes::Bytes,
}

impl Endpoint {
    /// The server that a text names, if it does not name a file.
    pub(super) fn named(text: &str) -> Option<anyhow::Result<Self>> {
        let Some(rest) = text.strip_prefix(HTTPS) else {
            if let Some((scheme, _)) = text.split_once("://") {
                return Some(Err(input_error!(
                    "{scheme}:// has no TLS, and without it a server proves nothing; give https://HOST or HOST:PORT"
                )));
            }
            return parse_address(text).ok().map(|address| Ok(Self { address }));
        };
        let authority = rest.split('/').next().unwrap_or_default();
        let address = match parse_address(authority) {
            Ok(address) => address,
            Err(_) => format!("{authority}:{HTTPS_PORT}"),
        };
        Some(
            parse_address(&address)
                .map(|address| Self { address })
                .map_err(|error| input_error!("{text}: {error}")),
        )
    }

    /// Asks for its certificate. It is believed only as far as the handshake is signed with
    /// its key.
    pub(super) async fn ask(&self) -> anyhow::Result<Server> {
        match self.handshake(&PROTOCOLS).await {
            // A server may have none of these protocols, and not answer without one of its own.
            Err(Fault::NoProtocol) => {
                Ok(self.handshake(&[]).await.map_err(|fault| fault.of(&self.address))?)
            }
            other => Ok(other.map_err(|fault| fault.of(&self.address))?),
        }
    }

    async fn handshake(&self, protocols: &[&[u8]]) -> Result<Server, Fault> {
        let unreachable = |reason: String| Fault::Unreachable(reason);
        let late = |_| unreachable(format!("no answer within {} s", PATIENCE.as_secs()));
        let stream = timeout(PATIENCE, TcpStream::connect(&self.address)).await.map_err(late)?;
        let stream = stream.map_err(|error| unreachable(error.to_string()))?;
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|error| unreachable(error.to_string()))?;
        let (witness, configuration) =
            Witness::new(protocols).map_err(|error| Fault::NoTls(error.to_string()))?;
        let connected =
            timeout(PATIENCE, TlsConnector::from(Arc::new(configuration)).connect(name, stream)).await;
        let shown = witness.shown();
        match (connected.map_err(late)?, shown) {
            (Ok(stream), Shown { certificate: Some(certificate), signed: true }) => {
                let (_, connection) = stream.get_ref();
                Ok(Server {
                    certificate,
                    version: connection.protocol_version(),
                    protocol: connection.alpn_protocol().map(<[u8]>::to_vec),
                })
            }
            // A server that wants a certificate of ours refuses us after it has shown its own.
            (Err(_), Shown { certificate: Some(certificate), signed: true }) => {
                Ok(Server { certificate, version: None, protocol: None })
            }
            (Err(error), Shown { certificate: Some(_), signed: false }) => {
                Err(Fault::Unsigned(error.to_string()))
            }
            (Err(error), _) if is_no_protocol(&error) => Err(Fault::NoProtocol),
            (Err(error), _) => Err(Fault::NoTls(error.to_string())),
            (Ok(_), _) => Err(Fault::Unsigned("it has shown no certificate".to_owned())),
        }
    }

    /// Opens an attested session. Whatever code it is: that is the question.
    pub(super) async fn session(&self, verifier: Verifier) -> anyhow::Result<AttestedServer> {
        let connector = AttestedConnector::new(ConnectorConfiguration {
            verifier: Arc::new(verifier),
            judge: Arc::new(AnyEvidence),
            local: None,
            limits: Limits::default(),
        });
        let stream = connector.connect(&self.address).await?;
        let Peer::Attested { claims, announcement } = stream.info().peer.clone() else {
            bail_refused!("{} gave no evidence; check the address", self.address);
        };
        Ok(AttestedServer { claims: *claims, announcement }.announcing())
    }
}

/// Why a server has shown no certificate that counts.
enum Fault {
    Unreachable(String),
    NoTls(String),
    NoProtocol,
    Unsigned(String),
}

impl Fault {
    fn of(self, address: &str) -> VerifyError {
        let address = address.to_owned();
        match self {
            Self::Unreachable(reason) => VerifyError::Unreachable { address, reason },
            Self::NoTls(reason) => VerifyError::NoTls { address, reason },
            Self::NoProtocol => {
                VerifyError::NoTls { address, reason: "it wants a protocol of its own (ALPN)".to_owned() }
            }
            Self::Unsigned(reason) => VerifyError::HandshakeUnsigned { address, reason },
        }
    }
}

/// Has the server ended the handshake because it has none of our protocols?
fn is_no_protocol(error: &std::io::Error) -> bool {
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)))
}

impl Server {
    /// Does it answer attested sessions at this port?
    pub(super) fn is_attested(&self) -> bool {
        self.protocol.as_deref() == Some(ALPN)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = match self.version {
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS, and wants a certificate of its clients",
        };
        match self.is_attested() {
            true => write!(f, "a server of attested sessions ({version})"),
            false => write!(f, "a server that speaks {version}"),
        }
    }
}

impl AttestedServer {
    fn announcing(self) -> Self {
        let serving = ServingAnnouncement::decode(&self.announcement).ok().map(|serving| serving.identity);
        let workload = || WorkloadAnnouncement::decode(&self.announcement).ok().flatten();
        let identity = serving.or_else(|| Some(workload()?.identity));
        Self { claims: self.claims.announcing(identity), announcement: self.announcement }
    }

    /// What it announces. The evidence covers it, and it is worth what the code is worth.
    pub(super) fn announced(&self) -> Vec<(&'static str, String)> {
        if let Ok(broker) = BrokerAnnouncement::decode(&self.announcement) {
            return vec![("announces", format!("a broker of the genesis {}", broker.genesis))];
        }
        if let Ok(serving) = ServingAnnouncement::decode(&self.announcement) {
            let models: Vec<String> =
                serving.models.iter().map(|model| format!("{} {}", model.model, model.version)).collect();
            return vec![
                ("announces", format!("the workload {}", serving.identity)),
                ("models", models.join(", ")),
            ];
        }
        match WorkloadAnnouncement::decode(&self.announcement) {
            Ok(Some(workload)) => vec![("announces", format!("the workload {}", workload.identity))],
            Ok(None) => vec![("announces", "nothing".to_owned())],
            Err(_) => vec![("announces", format!("{} bytes of another release", self.announcement.len()))],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<String> {
        Endpoint::named(text).map(|endpoint| endpoint.unwrap().address)
    }

    #[test]
    fn a_server_is_named_by_host_and_port_or_by_https() {
        assert_eq!(address("localhost:8500").as_deref(), Some("localhost:8500"));
        assert_eq!(address("https://example.com").as_deref(), Some("example.com:443"));
        assert_eq!(address("https://example.com:8443/a/b?c").as_deref(), Some("example.com:8443"));
        assert_eq!(address("quote.bin"), None);
        assert_eq!(address("./quote"), None);
        let error = Endpoint::named("http://example.com").unwrap().unwrap_err().to_string();
        assert!(error.contains("https://HOST"), "{error}");
        assert!(Endpoint::named("https://").unwrap().is_err());
    }
}
