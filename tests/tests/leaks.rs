//! The search for secrets finds them: else a clean result would mean nothing.

use std::{fs, io::Write, path::Path};

use adytum_tests::leaks::{Secrets, search_archive};
use anyhow::Result;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, write::GzEncoder};

const KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
";
const IDENTITY: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";

/// The findings in these bytes, as `secret (form)`.
fn found(bytes: &[u8]) -> Result<Vec<String>> {
    let mut secrets = Secrets::default();
    secrets.add("owner.pem", KEY.as_bytes());
    secrets.add("model.key", format!("# a key\n{IDENTITY}\n").as_bytes());
    secrets.add("ssl.cfg", format!("server_key: \"{}\"\n", KEY.replace('\n', "\\n")).as_bytes());
    let findings = secrets.searcher()?.search("here", bytes);
    Ok(findings.into_iter().map(|finding| format!("{} ({})", finding.secret, finding.form)).collect())
}

fn number() -> Result<Vec<u8>> {
    let block = pem::parse(KEY)?;
    Ok(block.contents()[16..].to_vec())
}

#[test]
fn every_form_of_a_key_is_found() -> Result<()> {
    let number = number()?;
    let surrounded = |text: &str| format!("nothing {text} nothing").into_bytes();
    for (form, bytes) in [
        ("raw", [b"..".as_slice(), &number, b".."].concat()),
        ("hexadecimal", surrounded(&hex::encode(&number))),
        ("hexadecimal", surrounded(&hex::encode_upper(&number))),
        ("base64", surrounded(KEY)),
        ("base64", surrounded(&KEY.replace('\n', "\\n"))),
        // As in the manifest of a Kubernetes Secret.
        ("base64", surrounded(&STANDARD.encode(KEY))),
        ("base64", surrounded(&STANDARD.encode([b"x".as_slice(), &number].concat()))),
        ("base64", surrounded(&STANDARD.encode([b"xy".as_slice(), &number, b"z"].concat()))),
    ] {
        let findings = found(&bytes)?;
        for secret in ["owner.pem", "ssl.cfg"] {
            assert!(findings.contains(&format!("{secret} ({form})")), "{form}: {findings:?}");
        }
    }
    assert_eq!(found(IDENTITY.as_bytes())?, ["model.key (raw)"]);
    assert!(found(STANDARD.encode(IDENTITY).as_bytes())?.contains(&"model.key (base64)".to_owned()));
    Ok(())
}

#[test]
fn what_is_public_is_not_found() -> Result<()> {
    for text in ["", "server_key", "-----BEGIN PRIVATE KEY-----", "MC4CAQAwBQYDK2VwBCIEI", "AGE-SECRET-KEY-"]
    {
        assert_eq!(found(text.as_bytes())?, Vec::<String>::new(), "{text}");
    }
    Ok(())
}

/// A tar archive with one file.
fn tar(name: &str, content: &[u8]) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, content)?;
    Ok(archive.into_inner()?)
}

fn leaks_of(archive: &Path, secrets: &Secrets) -> Result<Vec<String>> {
    let searched = search_archive(archive, &secrets.searcher()?)?;
    Ok(searched.findings.iter().map(|finding| finding.place.clone()).collect())
}

#[test]
fn a_secret_in_a_compressed_layer_of_an_image_is_found() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut secrets = Secrets::default();
    secrets.add("owner.pem", KEY.as_bytes());
    let model = directory.path().join("model.onnx");
    let weights: Vec<u8> =
        (0..100_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(&model, &weights)?;
    secrets.add_model(&model)?;

    let image = directory.path().join("image.tar");
    for (content, leaks) in [
        (number()?, true),
        (KEY.as_bytes().to_vec(), true),
        (weights[1000..90_000].to_vec(), true),
        (b"nothing".to_vec(), false),
    ] {
        let mut layer = GzEncoder::new(Vec::new(), Compression::default());
        layer.write_all(&tar("etc/key", &content)?)?;
        fs::write(&image, tar("blobs/layer", &layer.finish()?)?)?;
        let places = leaks_of(&image, &secrets)?;
        assert_eq!(
            places.iter().any(|place| place.ends_with("image.tar!blobs/layer!etc/key")),
            leaks,
            "{places:?}"
        );
    }
    Ok(())
}
