//! An unmodified TLS server: nginx, from a bundle, with a certificate of the
//! broker's authority, which it changes while it runs.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process,
    sync::Arc,
    time::Duration,
};

use adytum_api::broker::{RotateSecret, command::Command};
use adytum_evidence::measurement::Sha256Digest;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{
    bundles::BundleFixture,
    fixture::{PATIENCE, Workload, ended, eventually, init_binary},
};

const NGINX: &str = "/usr/sbin/nginx";

/// What the loader takes for a program, the loader too.
fn libraries(program: &str) -> BTreeSet<PathBuf> {
    let output = process::Command::new("ldd").arg(program).output().unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

/// The server's configuration. It listens on a socket in the file system, so that
/// no port is taken from anybody.
fn configuration(place: &Path, memory: &Path) -> String {
    let (place, memory) = (place.display(), memory.display());
    format!(
        "daemon off;\nworker_processes 1;\npid {memory}/nginx.pid;\nerror_log stderr;\nevents {{}}\n\
         http {{\n  access_log off;\n  client_body_temp_path {memory}/body;\n  proxy_temp_path {memory}/proxy;\n  \
         fastcgi_temp_path {memory}/fastcgi;\n  uwsgi_temp_path {memory}/uwsgi;\n  scgi_temp_path {memory}/scgi;\n  \
         server {{\n    listen unix:{memory}/https.sock ssl;\n    server_name localhost;\n    \
         ssl_protocols TLSv1.3;\n    ssl_certificate {memory}/tls.crt;\n    ssl_certificate_key {memory}/tls.key;\n    \
         root {place}/html;\n  }}\n}}\n"
    )
}

/// A client that trusts the broker's authority.
fn client(authority: &[u8]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for certificate in pem::parse_many(authority).unwrap() {
        roots.add(CertificateDer::from(certificate.into_contents())).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(client))
}

/// Fetches the page on a connection of its own; with it comes the certificate.
async fn get(socket: &Path, client: &TlsConnector) -> (String, Vec<u8>) {
    let fetching = async {
        let stream = UnixStream::connect(socket).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = client.connect(name, stream).await.unwrap();
        let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        stream.write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        // nginx says goodbye or not; the answer has come.
        let _ = stream.read_to_end(&mut answer).await;
        (String::from_utf8(answer).unwrap(), certificate)
    };
    timeout(PATIENCE, fetching).await.expect("it answers")
}

/// The measured configuration for nginx instead of the shell.
fn pinned(fixture: &BundleFixture, workload: &Workload) -> PathBuf {
    let configuration = fixture.fixture.configuration("workload", workload);
    let program = Sha256Digest::of_file(Path::new(NGINX)).unwrap();
    let arguments = format!("[[\"-e\", \"stderr\"], [\"-c\", \"{}/nginx.conf\"]]", fixture.place().display());
    let text = fs::read_to_string(&configuration).unwrap();
    let text = text
        .replacen("path = \"/bin/sh\"", &format!("path = \"{NGINX}\""), 1)
        .replacen(&fixture.fixture.shell.sha256.to_string(), &program.to_string(), 1)
        .replacen("[[\"-c\", \"*\"]]", &arguments, 1);
    fs::write(&configuration, text).unwrap();
    configuration
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_serves_a_bundle_with_a_certificate_from_the_broker_and_takes_a_new_one() {
    if !Path::new(NGINX).exists() {
        println!("SKIPPED: nginx is not installed");
        return;
    }
    let Some(mut fixture) = BundleFixture::new() else { return };
    let memory = fixture.memory.path().to_owned();
    fs::create_dir(fixture.tree().join("html")).unwrap();
    fs::write(fixture.tree().join("html/index.html"), "from the bundle\n").unwrap();
    fs::write(fixture.tree().join("nginx.conf"), configuration(&fixture.place(), &memory)).unwrap();
    fixture.seal();
    let mut workload = fixture.workload();
    workload.secrets.push_str(&format!(
        "[[secret]]\nname = \"tls\"\npath = \"{0}/tls.crt\"\nkey_path = \"{0}/tls.key\"\nreload_signal = \"HUP\"\n",
        memory.display()
    ));
    for path in libraries(NGINX) {
        if !fixture.fixture.shell.libraries.contains(&path) {
            fixture.fixture.shell.libraries.push(path);
        }
    }
    let configuration = pinned(&fixture, &workload);
    let identity = adytum_init::configuration::measure(&configuration, init_binary(), Path::new(NGINX))
        .unwrap()
        .identity;
    let broker = fixture.fixture.broker_for(identity).await;
    let conf = fixture.place().join("nginx.conf");
    let words = [NGINX, "-e", "stderr", "-c", conf.to_str().unwrap()];
    let log = fixture.fixture.directory.path().join("log");
    let mut init = fixture.fixture.init(&configuration, broker.address, "").program(&words);
    init.command.stderr(fs::File::create(&log).unwrap());
    let mut child = init.start();
    let socket = memory.join("https.sock");
    eventually("nginx listens, or has ended", || {
        socket.exists() || fs::read_to_string(&log).is_ok_and(|text| text.contains("the program has ended"))
    })
    .await;
    assert!(child.try_wait().unwrap().is_none(), "{}", fs::read_to_string(&log).unwrap());
    let client = client(&fixture.fixture.authority(&broker));
    let expected = |page: &str| page.starts_with("HTTP/1.1 200 OK") && page.ends_with("from the bundle\n");
    let (page, first) = get(&socket, &client).await;
    assert!(expected(&page), "{page}");

    // A new certificate, for a new key, reaches it at the next renewal, and no
    // request fails meanwhile.
    fixture.fixture.order(&broker, Command::RotateSecret(RotateSecret { name: "tls".to_owned() })).await;
    let renewed = async {
        loop {
            let (page, certificate) = get(&socket, &client).await;
            assert!(expected(&page), "{page}");
            if certificate != first {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, renewed).await.expect("nginx takes the new certificate");

    let init = nix::unistd::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    nix::sys::signal::kill(init, nix::sys::signal::Signal::SIGTERM).unwrap();
    let ended = ended(child).await;
    let log = fs::read_to_string(&log).unwrap();
    assert_eq!(ended.code(), 0, "{ended:?} {log}");
    assert!(!log.contains("PRIVATE KEY") && !log.contains("AGE-SECRET"), "{log}");
    for gone in ["web", "tls.key", "tls.crt"] {
        assert!(!memory.join(gone).exists(), "{gone} is left");
    }
}
