//! `adytum ssl-config new`: the server's certificate and TensorFlow Serving's
//! SSLConfig with its key, as Occlum's script makes them.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    net::IpAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::{Args as ClapArgs, Subcommand};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use x509_parser::extensions::GeneralName;
use zeroize::Zeroizing;

use crate::{key_file, output};

/// More than any certificate has, in bytes.
const MAXIMUM_LENGTH: u64 = 64 * 1024;

/// Make what a TLS server needs.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Make a key, a self-signed certificate for clients (server.crt) and the
    /// SSLConfig that is given to the broker as the secret ssl_config.
    New(NewArgs),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct NewArgs {
    /// A name or address that clients use; may be given several times.
    #[arg(long = "host", default_value = "localhost", value_name = "NAME")]
    hosts: Vec<String>,
    /// Where the certificate goes: clients trust exactly this file.
    #[arg(long, default_value = "server.crt", value_name = "FILE")]
    crt: PathBuf,
    /// Where the SSLConfig with the private key goes (mode 0600).
    #[arg(long, default_value = "ssl.cfg", value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn run(action: Action) -> Result<()> {
    let Action::New(args) = action;
    make(&args.hosts, &args.crt, &args.out)?;
    let (crt, out) = (args.crt.display(), args.out.display());
    output::result(
        &serde_json::json!({ "certificate": args.crt, "ssl_config": args.out, "hosts": args.hosts }),
        format_args!(
            "{crt}: certificate for {}\n{out}: SSLConfig with its key; give it to the broker, then delete it",
            args.hosts.join(", ")
        ),
    )
}

/// Makes the certificate for these names (`crt`) and the SSLConfig with its key (`out`), two
/// files that must not exist yet.
pub(crate) fn make(hosts: &[String], crt: &Path, out: &Path) -> Result<()> {
    for path in [out, crt] {
        // A link that leads nowhere is something, too.
        if fs::symlink_metadata(path).is_ok() {
            bail_input!(
                "{} exists already and is never overwritten; name another file, or move that one away",
                path.display()
            );
        }
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("make a key")?;
    let certificate = parameters(hosts)?.self_signed(&key).context("sign the certificate")?.pem();
    let private = Zeroizing::new(key.serialize_pem());
    let text = Zeroizing::new(format!(
        "server_key: \"{}\"\nserver_cert: \"{}\"\nclient_verify: false\n",
        *Zeroizing::new(private.replace('\n', "\\n")),
        certificate.replace('\n', "\\n"),
    ));
    write_new(out, text.as_bytes(), 0o600)?;
    write_new(crt, certificate.as_bytes(), 0o644).inspect_err(|_| {
        // A key without its certificate would be taken for the whole pair.
        let _ = fs::remove_file(out);
    })
}

/// The names and addresses that a certificate is for.
pub(crate) fn names(crt: &Path) -> Result<Vec<String>> {
    let text = key_file::read_text(crt, MAXIMUM_LENGTH)?;
    let pem = pem::parse(text.as_bytes()).with_context(|| format!("{} is no certificate", crt.display()))?;
    let (_, certificate) = x509_parser::parse_x509_certificate(pem.contents())
        .with_context(|| format!("{} is no certificate", crt.display()))?;
    let extension = certificate.subject_alternative_name();
    let extension = extension.with_context(|| format!("{} is no certificate", crt.display()))?;
    let names = extension.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => Some(IpAddr::from(<[u8; 4]>::try_from(*bytes).ok()?).to_string()),
            _ => Some(IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?).to_string()),
        },
        _ => None,
    };
    Ok(names.iter().filter_map(name).collect())
}

fn parameters(hosts: &[String]) -> Result<CertificateParams> {
    let [first, ..] = hosts else { bail_input!("give a --host") };
    if hosts.iter().any(|host| host.trim().is_empty()) {
        bail_input!("a --host is empty; give a name or an address");
    }
    let mut parameters =
        CertificateParams::new(hosts.to_vec()).map_err(|error| input_error!("--host: {error}"))?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, first.clone());
    parameters.distinguished_name = name;
    // Not a CA: a holder of its key can be this server and nothing else.
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(parameters)
}

/// Creates a file that must not exist yet, whole or not at all.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(|| format!("create {}", path.display()))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written.with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_says_what_it_is_for() {
        let directory = tempfile::tempdir().unwrap();
        let (crt, key) = (directory.path().join("server.crt"), directory.path().join("ssl.cfg"));
        let hosts = ["localhost", "127.0.0.1", "::1", "a.example"].map(str::to_owned);
        make(&hosts, &crt, &key).unwrap();
        assert_eq!(names(&crt).unwrap(), hosts);
        assert!(names(&key).unwrap_err().to_string().contains("no certificate"));
    }
}
