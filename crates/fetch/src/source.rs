//! Where versions come from: an address, and the store that it leads to.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use adytum_sealed::directory::parse_version;
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, RetryConfig, aws::AmazonS3Builder,
    azure::MicrosoftAzureBuilder, gcp::GoogleCloudStorageBuilder, http::HttpBuilder, local::LocalFileSystem,
    path::Path,
};
use url::Url;

use crate::{
    error::{PullError, printable},
    roots,
};

/// How often a request is sent again. An interrupted transfer goes on where it was.
const RETRIES: usize = 5;

/// The longest time after which a request is still sent again.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a server may be silent within an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Variables of the environment: settings and credentials of stores.
#[derive(Clone, Default)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// Those of this process.
    pub fn of_process() -> Self {
        let text = |word: std::ffi::OsString| word.into_string().ok();
        Self(std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect())
    }

    /// These.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(variables.into_iter().collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The settings of a store: variables with this prefix whose names it knows.
    fn settings<'a, K: std::str::FromStr>(&'a self, prefix: &'a str) -> impl Iterator<Item = (K, &'a str)> {
        let known = move |(name, value): &'a (String, String)| {
            let name = name.starts_with(prefix).then(|| name.to_ascii_lowercase())?;
            Some((name.parse().ok()?, value.as_str()))
        };
        self.0.iter().filter_map(known)
    }
}

/// How a source shows what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// It lists its objects: a bucket, or a WebDAV collection.
    Listed,
    /// A directory of this machine.
    Directory(PathBuf),
    /// One version at a web server that lists nothing: files are asked for by their names.
    OneVersion { version: u64, name: String },
}

/// A place with the versions of one model.
pub struct Source {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) base: Path,
    pub(crate) shape: Shape,
    address: String,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.address).finish()
    }
}

impl Source {
    /// Reads an address, and takes the settings of its store from the environment. Nothing
    /// is asked yet.
    pub fn open(address: &str, environment: &Environment) -> Result<Self, PullError> {
        let refuse =
            |reason: &str| PullError::Address { address: printable(address), reason: reason.to_owned() };
        let url = Url::parse(address).map_err(|error| refuse(&error.to_string()))?;
        if !url.username().is_empty() && !matches!(url.scheme(), "abfs" | "abfss") || url.password().is_some()
        {
            return Err(refuse("credentials don't belong into an address"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("an address has no query and no fragment"));
        }
        if address.split('/').any(|part| part == ".." || part == ".") {
            return Err(refuse("a part of it is `.` or `..`"));
        }
        let base = Path::from_url_path(url.path()).map_err(|error| refuse(&printable(error)))?;
        let settings = |error: object_store::Error| PullError::Settings { reason: printable(error) };
        let shape = match url.scheme() {
            "http" | "https" => web_shape(&url).ok_or_else(|| {
                refuse("a web server's address ends with a version's number, or with / if it lists (WebDAV)")
            })?,
            "file" => Shape::Directory(url.to_file_path().map_err(|()| refuse("expected file:///PATH"))?),
            _ => Shape::Listed,
        };
        let store: Arc<dyn ObjectStore> = match url.scheme() {
            "s3" => Arc::new(
                environment
                    .settings("AWS_")
                    .fold(
                        AmazonS3Builder::new().with_client_options(client_options()?).with_retry(retries()),
                        |builder, (key, value)| builder.with_config(key, value),
                    )
                    .with_url(address)
                    .build()
                    .map_err(settings)?,
            ),
            "az" | "abfs" | "abfss" => {
                let mut builder = environment.settings("AZURE_").fold(
                    MicrosoftAzureBuilder::new().with_client_options(client_options()?).with_retry(retries()),
                    |builder, (key, value)| builder.with_config(key, value),
                );
                if let Some(endpoint) = environment.get("IDENTITY_ENDPOINT") {
                    builder = builder.with_msi_endpoint(endpoint);
                }
                Arc::new(builder.with_url(address).build().map_err(settings)?)
            }
            "gs" => Arc::new(
                environment
                    .settings("GOOGLE_")
                    .fold(
                        GoogleCloudStorageBuilder::new()
                            .with_client_options(client_options()?)
                            .with_retry(retries()),
                        |builder, (key, value)| builder.with_config(key, value),
                    )
                    .with_url(address)
                    .build()
                    .map_err(settings)?,
            ),
            "http" | "https" => Arc::new(
                HttpBuilder::new()
                    .with_url(&url[..url::Position::BeforePath])
                    .with_client_options(client_options()?.with_allow_http(url.scheme() == "http"))
                    .with_retry(retries())
                    .build()
                    .map_err(settings)?,
            ),
            "file" => Arc::new(LocalFileSystem::new()),
            other => return Err(refuse(&format!("the scheme {other} is not known"))),
        };
        let address = address.trim_end_matches('/').to_owned();
        Ok(Self { store, base, shape, address })
    }

    /// Of a store that was opened otherwise.
    #[cfg(test)]
    pub(crate) fn of_store(store: Arc<dyn ObjectStore>, base: &str) -> Self {
        Self { store, base: base.into(), shape: Shape::Listed, address: format!("test://{base}") }
    }

    /// Whether the store has buckets or containers, in which a listing and an object fail alike.
    pub(crate) fn address_is_of_a_bucket(&self) -> bool {
        self.shape == Shape::Listed && !self.address.starts_with("http")
    }

    /// Whether somebody on the way can change what is fetched.
    pub fn is_authenticated(&self) -> bool {
        !self.address.starts_with("http://")
    }
}

/// A web server's address names one version, or a collection if it ends with a slash.
fn web_shape(url: &Url) -> Option<Shape> {
    if url.path().ends_with('/') {
        return Some(Shape::Listed);
    }
    let name = url.path_segments()?.next_back()?;
    let version = parse_version(name)?;
    Some(Shape::OneVersion { version, name: name.to_owned() })
}

fn client_options() -> Result<ClientOptions, PullError> {
    // No limit for a whole answer: models are large.
    roots::add_to(ClientOptions::new().with_timeout_disabled().with_read_timeout(READ_TIMEOUT))
}

fn retries() -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        let variables = [
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "eu-central-1"),
            ("AZURE_STORAGE_ACCOUNT_NAME", "account"),
            ("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0"),
            ("GOOGLE_SKIP_SIGNATURE", "true"),
        ];
        Environment::new(variables.map(|(name, value)| (name.to_owned(), value.to_owned())))
    }

    #[test]
    fn addresses_lead_to_their_stores() {
        for (address, base, shape) in [
            ("s3://bucket/models/digits", "models/digits", Shape::Listed),
            ("s3://bucket", "", Shape::Listed),
            ("az://container/digits/", "digits", Shape::Listed),
            ("gs://bucket/digits", "digits", Shape::Listed),
            ("https://host/digits/", "digits", Shape::Listed),
            (
                "http://host:8080/digits/007",
                "digits/007",
                Shape::OneVersion { version: 7, name: "007".to_owned() },
            ),
            ("file:///srv/digits", "srv/digits", Shape::Directory("/srv/digits".into())),
        ] {
            let source = Source::open(address, &environment()).unwrap();
            assert_eq!((source.base.as_ref(), source.shape), (base, shape), "{address}");
        }
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        for address in [
            "",
            "digits",
            "/srv/digits",
            "ftp://host/digits",
            "https://host/digits",
            "https://user:password@host/digits/1",
            "https://user@host/digits/1",
            "https://host/digits/1?signature=x",
            "s3://bucket/a/../b",
            "s3://bucket/a//b",
            "file://host/srv",
        ] {
            let error = Source::open(address, &environment()).unwrap_err();
            assert_eq!(error.code(), "pull-address", "{address}: {error}");
        }
    }

    #[test]
    fn a_source_does_not_print_credentials() {
        let source = Source::open("s3://bucket/digits", &environment()).unwrap();
        assert_eq!(format!("{source} {source:?}"), "s3://bucket/digits Source(\"s3://bucket/digits\")");
    }
}
