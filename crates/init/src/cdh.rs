//! Secrets for other programs in the same guest, as the Confidential Data Hub (CDH) of Confidential
//! Containers gives them: `GET http://127.0.0.1:8006/cdh/resource/REPOSITORY/TYPE/TAG`. So a
//! program that fetches `kbs:///…` there needs no guest of Confidential Containers.
//!
//! Every program that reaches the port gets the secrets, so there is one only where loopback lies
//! inside the TEE: in a confidential virtual machine. Under a LibOS, loopback is the host's. The resources are
//! those that the measured configuration names.
//!
//! Their server has evidence and tokens of the attestation agent at the same port, for every program that
//! asks. A program with evidence over data of its own could open a session as this workload, and get
//! all its secrets. So these are refused.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, PoisonError, RwLock},
};

use adytum_api::resource::ResourcePath;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, ORIGIN},
};
use tokio::{net::TcpListener, task::JoinHandle};
use zeroize::Zeroizing;

use crate::{
    configuration::MeasuredConfiguration, exit_code, http_port, platform::Platform, secret::Released,
};

/// Where the CDH of Confidential Containers listens.
pub const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8006);
const PREFIX: &str = "/cdh/resource/";
/// The attestation agent of Confidential Containers gives evidence, tokens and entries of its log
/// below this.
const AGENT: &str = "/aa/";
/// What their server says of itself.
const INFORMATION: &str = "/info";

/// Why no resources are served to the guest.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CdhError {
    /// The measured configuration names resources for other programs in the guest (`[[cdh]]`), and
    /// loopback does not lie inside the TEE here, so the host could fetch them.
    ///
    /// Do: remove `[[cdh]]` from the measured configuration, or run the workload in a confidential virtual
    /// machine (TDX, SEV-SNP).
    #[error(
        "the measured configuration has [[cdh]], and loopback is not inside the TEE here ({}); remove [[cdh]], or run in a \
         confidential virtual machine", place(*.platform)
    )]
    OutsideTee { platform: Platform },
    /// The measured configuration names resources for other programs in the guest (`[[cdh]]`), and this
    /// program has init in itself, which serves none.
    ///
    /// Do: remove `[[cdh]]` from the measured configuration, or start `adytum-init` in the guest for
    /// them.
    #[error(
        "the measured configuration has [[cdh]], which only adytum-init serves, and this program has init in itself"
    )]
    NotServed,
    /// The port for the guest can't be opened.
    ///
    /// Do: end the program that has the port, such as another CDH in this guest.
    #[error("{ADDRESS}, where programs of the guest look for the CDH: {0}")]
    Port(#[source] io::Error),
}

fn place(platform: Platform) -> &'static str {
    match platform {
        Platform::Occlum => "Occlum: it is the host's",
        Platform::Gramine => "Gramine: it is the host's",
        Platform::Simulation => "simulation: nothing is protected",
        Platform::ConfidentialVm => "a confidential virtual machine",
    }
}

impl CdhError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::OutsideTee { .. } => "cdh-outside-tee",
            Self::NotServed => "cdh-not-served",
            Self::Port(_) => "cdh-port",
        }
    }

    /// What a process that fails with this ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::OutsideTee { .. } | Self::NotServed => exit_code::CONFIGURATION,
            Self::Port(_) => exit_code::SYSTEM,
        }
    }
}

/// Refuses a configuration with resources where loopback does not lie inside the TEE.
pub fn check(configuration: &MeasuredConfiguration, platform: Platform) -> Result<(), CdhError> {
    match (configuration.cdh().is_empty(), platform) {
        (true, _) | (_, Platform::ConfidentialVm) => Ok(()),
        (false, Platform::Occlum | Platform::Gramine | Platform::Simulation) => {
            Err(CdhError::OutsideTee { platform })
        }
    }
}

/// The resources with their values.
#[derive(Clone, Default)]
pub struct CdhResources(Arc<RwLock<BTreeMap<ResourcePath, Zeroizing<Vec<u8>>>>>);

impl std::fmt::Debug for CdhResources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CdhResources({})", self.0.read().unwrap_or_else(PoisonError::into_inner).len())
    }
}

impl CdhResources {
    /// Takes the values of what was released, now or at a renewal.
    pub fn take(&self, configuration: &MeasuredConfiguration, released: &Released) {
        let mut resources = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (path, name) in configuration.cdh() {
            if let Some(secret) = released.secrets.get(name) {
                resources.insert(path.clone(), Zeroizing::new(secret.as_bytes().to_vec()));
            }
        }
    }

    fn get(&self, path: &ResourcePath) -> Option<Zeroizing<Vec<u8>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }
}

/// The open port; it closes when this is dropped.
#[derive(Debug)]
pub struct CdhPort {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl CdhPort {
    /// Opens the port at [`ADDRESS`] if the configuration names resources, and the platform is one
    /// that [`check`] passes.
    pub async fn open(
        configuration: &MeasuredConfiguration,
        platform: Platform,
        resources: CdhResources,
    ) -> Result<Option<Self>, CdhError> {
        check(configuration, platform)?;
        if configuration.cdh().is_empty() {
            return Ok(None);
        }
        let listener = TcpListener::bind(ADDRESS).await.map_err(CdhError::Port)?;
        let port = Self::on(listener, resources).map_err(CdhError::Port)?;
        tracing::info!(address = %port.address, resources = configuration.cdh().len(), "serving the guest");
        Ok(Some(port))
    }

    pub(crate) fn on(listener: TcpListener, resources: CdhResources) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let answer = move |request: &Request<Incoming>| answer(request, &resources);
        Ok(Self { address, task: tokio::spawn(http_port::serve(listener, "cdh", answer)) })
    }
}

impl Drop for CdhPort {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The fields that its description requires, and nothing about the machine.
const INFORMATION_ANSWER: &str = concat!(
    "{\"version\":\"adytum-init ",
    env!("CARGO_PKG_VERSION"),
    "\",\"tee\":null,\"additional_tees\":[],\"feature\":\"resource\"}"
);

fn answer<B>(request: &Request<B>, resources: &CdhResources) -> Response<Full<Bytes>> {
    let refused = |status, text: &'static str| (status, Full::from(text), "text/plain; charset=utf-8");
    let path = request.uri().path().strip_prefix(PREFIX).map(str::parse::<ResourcePath>);
    let (status, body, kind) = if request.headers().contains_key(ORIGIN) {
        // A web page in the guest is no program of the guest.
        refused(StatusCode::FORBIDDEN, "not for web pages\n")
    } else if request.method() != Method::GET {
        refused(StatusCode::METHOD_NOT_ALLOWED, "only GET\n")
    } else if request.uri().path().starts_with(AGENT) {
        refused(
            StatusCode::FORBIDDEN,
            "evidence and tokens are not given to other programs: with them, a program gets every secret of this \
             workload; there is /cdh/resource/REPOSITORY/TYPE/TAG\n",
        )
    } else if request.uri().path() == INFORMATION {
        (StatusCode::OK, Full::from(INFORMATION_ANSWER), "application/json")
    } else {
        match path.map(|path| path.ok().and_then(|path| resources.get(&path))) {
            // Wiped when it was sent.
            Some(Some(value)) => {
                (StatusCode::OK, Full::from(Bytes::from_owner(value)), "application/octet-stream")
            }
            Some(None) => refused(
                StatusCode::NOT_FOUND,
                "the measured configuration names no such resource: there is [[cdh]] for each\n",
            ),
            None => refused(StatusCode::NOT_FOUND, "there is /cdh/resource/REPOSITORY/TYPE/TAG\n"),
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET"));
    }
    response
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;
    use crate::{
        delivery::Places,
        fixture::minimal,
        secret::{SecretKind, SecretValue},
    };

    fn configuration() -> MeasuredConfiguration {
        MeasuredConfiguration::parse(&format!(
            "{}[[secret]]\nname = \"key\"\n[[secret]]\nname = \"other\"\n\
             [[cdh]]\nresource = \"default/key/model\"\nsecret = \"key\"\n",
            minimal()
        ))
        .unwrap()
    }

    fn released(secrets: &[(&str, &[u8])]) -> Released {
        let secret = |(name, value): &(&str, &[u8])| {
            (name.parse().unwrap(), SecretValue::new(value.to_vec(), SecretKind::Opaque, 1))
        };
        let secrets = secrets.iter().map(secret).collect();
        Released { secrets, models: Vec::new(), manifest: None, lease: None }
    }

    async fn open(values: &[(&str, &[u8])]) -> (CdhPort, CdhResources) {
        let resources = CdhResources::default();
        resources.take(&configuration(), &released(values));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        (CdhPort::on(listener, resources.clone()).unwrap(), resources)
    }

    async fn exchange(port: &CdhPort, head: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        stream.write_all(format!("{head}\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    #[tokio::test]
    async fn the_guest_gets_what_the_configuration_names_and_nothing_else() {
        let (port, resources) = open(&[("key", b"sesame"), ("other", b"hidden")]).await;
        let get = async |path: &str| exchange(&port, &format!("GET {path} HTTP/1.1")).await;
        assert_eq!(get("/cdh/resource/default/key/model").await, (200, "sesame".to_owned()));
        for path in [
            "/cdh/resource/default/key/other",
            "/cdh/resource/default/other/key",
            "/cdh/resource/key/model",
            "/cdh/resource/default/key/model/",
            "/cdh/resource/default/key/../key/model",
            "/cdh/resource/other",
            "/cdh/resource",
            "/",
        ] {
            let (status, body) = get(path).await;
            assert!(status == 404 && !body.contains("hidden"), "{path}: {body}");
        }
        // Evidence over a program's own data would open a session as this workload.
        for path in ["/aa/evidence?runtime_data=eHh4", "/aa/token?token_type=kbs", "/aa/aael"] {
            let (status, body) = get(path).await;
            assert!(status == 403 && body.contains("every secret of this workload"), "{path}: {body}");
        }
        let (status, information) = get("/info").await;
        let information: serde_json::Value = serde_json::from_str(&information).unwrap();
        assert_eq!((status, &information["feature"]), (200, &"resource".into()));
        let (status, _) = exchange(&port, "POST /cdh/resource/default/key/model HTTP/1.1").await;
        assert_eq!(status, 405);
        let page = "GET /cdh/resource/default/key/model HTTP/1.1\r\norigin: http://evil";
        assert_eq!(exchange(&port, page).await, (403, "not for web pages\n".to_owned()));

        // A renewal brings another value; one that changes nothing leaves it.
        resources.take(&configuration(), &released(&[("key", b"new")]));
        resources.take(&configuration(), &released(&[]));
        assert_eq!(get("/cdh/resource/default/key/model").await, (200, "new".to_owned()));
        assert_eq!(format!("{resources:?}"), "CdhResources(1)");
    }

    #[tokio::test]
    async fn where_loopback_is_the_hosts_nothing_is_opened() {
        for platform in [Platform::Occlum, Platform::Gramine, Platform::Simulation] {
            let error = CdhPort::open(&configuration(), platform, CdhResources::default()).await.unwrap_err();
            assert_eq!((error.code(), error.exit_code()), ("cdh-outside-tee", exit_code::CONFIGURATION));
        }
        check(&configuration(), Platform::ConfidentialVm).unwrap();
        let without = MeasuredConfiguration::parse(&minimal()).unwrap();
        let none = CdhPort::open(&without, Platform::Occlum, CdhResources::default()).await.unwrap();
        assert!(none.is_none());
    }

    #[test]
    fn a_resource_needs_no_path_for_the_program() {
        let text = format!(
            "{}[[secret]]\nname = \"key\"\n[[cdh]]\nresource = \"a/b/c\"\nsecret = \"key\"\n",
            minimal()
        );
        let configuration = MeasuredConfiguration::parse(&text).unwrap();
        Places::prepare(&configuration, Platform::Simulation).unwrap();
        let error = Places::prepare(&self::configuration(), Platform::Simulation).unwrap_err();
        assert_eq!(error.code(), "secret-without-place", "{error}");
    }

    #[test]
    fn resources_are_measured_and_name_secrets_that_there_are() {
        let with = |cdh: &str| {
            let text = format!("{}[[secret]]\nname = \"key\"\n{cdh}", minimal());
            MeasuredConfiguration::parse(&text).map_err(|error| error.to_string())
        };
        let entry = |resource: &str, secret: &str| {
            format!("[[cdh]]\nresource = \"{resource}\"\nsecret = \"{secret}\"\n")
        };
        let (none, one) = (with("").unwrap(), with(&entry("a/b/c", "key")).unwrap());
        assert_ne!(none.digest(), one.digest());
        assert_ne!(one.digest(), with(&entry("a/b/d", "key")).unwrap().digest());
        assert!(!String::from_utf8(none.canonical()).unwrap().contains("cdh"));
        for (cdh, says) in [
            (entry("a/b/c", "other"), "no [[secret]] is named other"),
            (entry("a/b/c", "key").repeat(2), "cdh a/b/c: it is listed twice"),
            (entry("b/c", "key"), "repository/type/tag"),
            ((0..33).map(|n| entry(&format!("a/b/{n}"), "key")).collect(), "at most 32"),
        ] {
            let error = with(&cdh).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
