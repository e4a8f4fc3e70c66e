//! Owners, leases and what the broker makes, as a manifest writes them.

use adytum_signing::OwnerSigningKey;

use super::super::{document::Document, *};

/// `[trust]` is line 5, the secret "made" begins on line 13.
fn manifest(kind: &str, secret: &str, tail: &str) -> String {
    format!(
        "format = \"adytum manifest v1\"\ngenesis = \"{}\"\nversion = 1\n\n[trust]\nvendors = [\"intel\"]\n\n\
         [[workload]]\nname = \"serving\"\n\
         policy = {{ vendors = [\"intel\"], tee = [\"sgx\"], mr_enclave = [\"{}\"] }}\n\n\n\
         [[secret]]\nname = \"made\"\nkind = \"{kind}\"\nworkloads = [\"serving\"]\n{secret}\n{tail}",
        "ab".repeat(32),
        "01".repeat(32),
    )
}

fn certificate(fields: &str) -> String {
    format!("lease = \"5m\"\n[secret.certificate]\n{fields}")
}

const GOOD: &str = "dns_names = [\"localhost\", \"*.demo.svc\"]\nip_addresses = [\"127.0.0.1\", \"::1\"]\n\
                    usages = [\"server\", \"client\"]\nlifetime = \"24h\"\n";

fn parse(text: &str) -> Manifest {
    Manifest::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn rule(text: &str) -> SecretRule {
    parse(text).secrets["made"].clone()
}

fn custom_ca() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::default().self_signed(&key).unwrap().pem()
}

#[test]
fn leases_are_the_secrets_own_or_the_manifests_or_an_hour() {
    let lease = |text: &str| {
        let Lease { duration, grace } = rule(text).lease;
        (duration.seconds(), grace.seconds())
    };
    assert_eq!(lease(&manifest("opaque", "", "")), (3600, 0));
    let leases = "[leases]\nduration = \"10m\"\ngrace = \"1h\"\n";
    assert_eq!(lease(&manifest("opaque", "", leases)), (600, 3600));
    assert_eq!(lease(&manifest("opaque", "lease = \"90s\"", leases)), (90, 3600));
    assert_eq!(lease(&manifest("opaque", "grace = \"0s\"", leases)), (600, 0));
    assert_eq!(parse(&manifest("opaque", "lease = \"90s\"", leases)).lease.duration.seconds(), 600);
}

#[test]
fn what_the_broker_makes_is_read() {
    assert_eq!(rule(&manifest("random", "", "")).contents, Contents::Random { length: 32 });
    assert_eq!(rule(&manifest("random", "length = 16", "")).contents, Contents::Random { length: 16 });

    let tls = rule(&manifest("tls-certificate", &certificate(GOOD), ""));
    let Contents::TlsCertificate(certificate_rule) = &tls.contents else { panic!("{tls:?}") };
    assert_eq!(certificate_rule.dns_names[0].as_str(), "localhost");
    assert_eq!(
        certificate_rule.ip_addresses,
        ["127.0.0.1", "::1"].map(|ip| ip.parse::<std::net::IpAddr>().unwrap())
    );
    assert_eq!(certificate_rule.lifetime.seconds(), 86_400);
    assert_eq!(tls.kind(), SecretKind::TlsCertificate);

    let ca = custom_ca();
    let ssl = format!("{GOOD}client_verify = true\ncustom_ca = \"\"\"\n{ca}\"\"\"\n");
    let ssl = rule(&manifest("ssl-config", &certificate(&ssl), ""));
    let Contents::SslConfig(_, ssl) = ssl.contents else { panic!("{ssl:?}") };
    assert!(ssl.client_verify);
    assert_eq!(ssl.custom_ca.unwrap().trim(), ca.trim());
    let Contents::SslConfig(_, ssl) = rule(&manifest("ssl-config", &certificate(GOOD), "")).contents else {
        panic!()
    };
    assert_eq!(ssl, SslConfigRule::default());
}

#[test]
fn owners_and_auditors_are_read() {
    let key = || OwnerSigningKey::generate().unwrap().public_key();
    let [a, b, auditor] = [key(), key(), key()];
    let with = |owners: &str| parse(&manifest("opaque", "", owners)).roles;
    assert_eq!(with(""), None);
    let roles =
        with(&format!("[owners]\nthreshold = 2\nkeys = [\"{a}\", \"{b}\"]\nauditors = [\"{auditor}\"]\n"));
    let roles = roles.unwrap();
    let owners = roles.owners.unwrap();
    assert_eq!((owners.threshold(), owners.keys().len()), (2, 2));
    assert_eq!(roles.auditors, BTreeSet::from([auditor]));
    let only = with(&format!("[owners]\nauditors = [\"{auditor}\"]\n")).unwrap();
    assert_eq!(only, RolesRule { owners: None, auditors: BTreeSet::from([auditor]) });
}

#[test]
fn a_secret_has_one_name_in_each_protocol_of_others() {
    let other = |name: &str, fields: &str| {
        format!("[[secret]]\nname = \"{name}\"\nkind = \"opaque\"\nworkloads = [\"serving\"]\n{fields}\n")
    };
    let plain = parse(&manifest("opaque", "", ""));
    assert_eq!(plain.secrets["made"].protocols, OtherProtocols::default());
    assert_eq!(plain.other_names.of_occlum("made"), None);

    let fields = "occlum = true\nkbs_resource = \"default/key/made\"";
    let both = parse(&manifest("random", fields, &other("Other", "occlum = true\nkbs_resource = \"a/b/c\"")));
    assert!(both.secrets["made"].protocols.occlum);
    let name = |name: &str| Some(name.parse::<SecretName>().unwrap());
    for (asked, found) in
        [("made", name("made")), ("MADE", name("made")), ("oTher", name("Other")), ("x", None)]
    {
        assert_eq!(both.other_names.of_occlum(asked).cloned(), found);
    }
    assert_eq!(both.other_names.of_occlum(&"m".repeat(1 << 20)), None);
    for (path, found) in [("default/key/made", name("made")), ("a/b/c", name("Other")), ("a/b/C", None)] {
        assert_eq!(both.other_names.of_kbs(&path.parse().unwrap()).cloned(), found);
    }

    for (text, code, says) in [
        (
            manifest("opaque", "occlum = true", &other("MADE", "occlum = true")),
            "manifest-duplicate",
            "secret \"MADE\", field `occlum`: \"made\" is there twice",
        ),
        (
            manifest("opaque", "kbs_resource = \"a/b/c\"", &other("x", "kbs_resource = \"a/b/c\"")),
            "manifest-duplicate",
            "field `kbs_resource`: \"a/b/c\" is there twice",
        ),
        (manifest("opaque", "kbs_resource = \"b/c\"", ""), "manifest-syntax", "repository/type/tag"),
        (manifest("opaque", "kbs_resource = \"a/../c\"", ""), "manifest-syntax", "the first no dot"),
        (
            manifest("tls-certificate", &format!("occlum = true\n{}", certificate(GOOD)), ""),
            "manifest-without-effect",
            "field `occlum`",
        ),
        (
            manifest("ssl-config", &format!("kbs_resource = \"a/b/c\"\n{}", certificate(GOOD)), ""),
            "manifest-without-effect",
            "field `kbs_resource`",
        ),
    ] {
        let error = Manifest::parse(&text).expect_err(&text);
        assert_eq!(error.code(), code, "{error}\n{text}");
        assert!(error.to_string().contains(says), "{error}\nexpected: {says}\n{text}");
    }
}

#[test]
fn a_document_with_all_of_it_is_written_and_read_again() {
    let key = OwnerSigningKey::generate().unwrap().public_key();
    let tail =
        format!("[owners]\nthreshold = 1\nkeys = [\"{key}\"]\n[leases]\nduration = \"5m\"\ngrace = \"1d\"\n");
    for secret in [
        manifest("random", "length = 99\ngrace = \"3h\"", &tail),
        manifest("opaque", "occlum = true\nkbs_resource = \"default/key/made\"", &tail),
        manifest("tls-certificate", &certificate(GOOD), &tail),
        manifest("ssl-config", &certificate(&format!("{GOOD}client_verify = true\n")), &tail),
    ] {
        let document: Document = toml::from_str(&secret).unwrap();
        let written = document.to_toml().unwrap();
        assert_eq!(toml::from_str::<Document>(&written).unwrap(), document, "{written}");
        parse(&written);
    }
}

#[test]
fn what_is_missing_out_of_bounds_or_without_effect_is_located() {
    let key = OwnerSigningKey::generate().unwrap().public_key();
    let other = OwnerSigningKey::generate().unwrap().public_key();
    let made = |kind: &str, secret: &str| manifest(kind, secret, "");
    let tls = |from: &str, to: &str| made("tls-certificate", &certificate(&GOOD.replace(from, to)));
    let ssl = |more: &str| made("ssl-config", &certificate(&format!("{GOOD}{more}")));
    let tail = |tail: &str| manifest("opaque", "", tail);
    let names: Vec<String> = (0..65).map(|n| format!("\"n{n}\"")).collect();
    let pem = |block: &str| format!("client_verify = true\ncustom_ca = \"\"\"\n{block}\"\"\"");
    for (text, code, says) in [
        (
            made("opaque", "lease = \"9s\""),
            "manifest-value",
            "line 13: secret \"made\", field `lease`: expected 10s to 30d, found 9s",
        ),
        (made("opaque", "lease = \"31d\""), "manifest-value", "found 31d"),
        (made("opaque", "grace = \"31d\""), "manifest-value", "field `grace`"),
        (made("opaque", "lease = \"ten minutes\""), "manifest-syntax", "line 17"),
        (tail("[leases]\nduration = \"1s\""), "manifest-value", "line 18: [leases], field `duration`"),
        (tail("[leases]\ngrace = \"90d\""), "manifest-value", "field `grace`"),
        (tail("[leases]\nspan = \"9d\""), "manifest-syntax", "span"),
        (made("random", "length = 15"), "manifest-value", "field `length`: expected 16 to 4096, found 15"),
        (made("random", "length = 4097"), "manifest-value", "found 4097"),
        (made("opaque", "length = 32"), "manifest-without-effect", "field `length`"),
        (made("random", &certificate(GOOD)), "manifest-without-effect", "field `certificate`"),
        (made("tls-certificate", ""), "manifest-value", "line 13: secret \"made\", field `certificate`"),
        (made("ssl-config", ""), "manifest-value", "Give [secret.certificate]"),
        (tls("client", "clients"), "manifest-syntax", "line"),
        (tls("\"server\", \"client\"", ""), "manifest-value", "field `certificate.usages`"),
        (tls("\"client\"", "\"server\""), "manifest-duplicate", "field `certificate.usages`"),
        (tls("\"*.demo.svc\"", "\"localhost\""), "manifest-duplicate", "field `certificate.dns_names`"),
        (tls("\"::1\"", "\"127.0.0.1\""), "manifest-duplicate", "field `certificate.ip_addresses`"),
        (tls("\"localhost\"", "\"local host\""), "manifest-syntax", "no host name"),
        (tls("\"::1\"", "\"0.0.0.0\""), "manifest-value", "0.0.0.0"),
        (tls("\"::1\"", "\"127.0.0.1.5\""), "manifest-syntax", "line"),
        (tls("\"localhost\"", &names.join(", ")), "manifest-value", "found 68"),
        (
            made("tls-certificate", &certificate("usages = [\"server\"]\nlifetime = \"1h\"")),
            "manifest-value",
            "expected 1 to 64 names",
        ),
        (tls("24h", "9m"), "manifest-value", "expected 10m to 90d, found 9m"),
        (tls("24h", "91d"), "manifest-value", "found 91d"),
        // A replica with the lease of an hour would not come back in time.
        (
            tls("24h", "10m").replace("lease = \"5m\"", ""),
            "manifest-value",
            "field `certificate.lifetime`: the lease is 1h",
        ),
        (tls("usages", "client_verify = true\nusages"), "manifest-without-effect", "ssl-config"),
        (ssl("custom_ca = \"x\""), "manifest-value", "PEM"),
        (ssl(&pem("")), "manifest-value", "found none"),
        (
            ssl(&pem("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")),
            "manifest-value",
            "none",
        ),
        (ssl(&pem(&custom_ca().replace("CERTIFICATE", "PRIVATE KEY"))), "manifest-value", "PRIVATE KEY"),
        (ssl(&pem(&custom_ca().repeat(200))), "manifest-value", "at most 32768"),
        (
            ssl(&pem(&custom_ca()).replace("client_verify = true", "")),
            "manifest-without-effect",
            "client_verify",
        ),
        (
            tail(&format!("[owners]\nkeys = [\"{key}\"]")),
            "manifest-value",
            "line 18: [owners], field `threshold`",
        ),
        (tail("[owners]\nthreshold = 1"), "manifest-owners", "no owner"),
        (
            tail(&format!("[owners]\nthreshold = 2\nkeys = [\"{key}\"]")),
            "manifest-owners",
            "line 18: [owners]",
        ),
        (tail(&format!("[owners]\nthreshold = 0\nkeys = [\"{key}\"]")), "manifest-owners", "threshold is 0"),
        (
            tail(&format!("[owners]\nthreshold = 1\nkeys = [\"{key}\", \"{key}\"]")),
            "manifest-owners",
            "twice",
        ),
        (tail(&format!("[owners]\nauditors = [\"{key}\", \"{key}\"]")), "manifest-duplicate", "auditors"),
        (
            tail(&format!(
                "[owners]\nthreshold = 1\nkeys = [\"{key}\", \"{other}\"]\nauditors = [\"{other}\"]"
            )),
            "manifest-without-effect",
            "an owner, who may read anyway",
        ),
        (tail("[owners]\nthreshold = 1\nkeys = [\"ed25519:00\"]"), "manifest-syntax", "line 20"),
    ] {
        let error = Manifest::parse(&text).expect_err(&text);
        assert_eq!(error.code(), code, "{error}\n{text}");
        assert!(error.to_string().contains(says), "{error}\nexpected: {says}\n{text}");
    }
}

#[test]
fn there_are_only_so_many_tables() {
    let secret =
        |n: usize| format!("[[secret]]\nname = \"s{n}\"\nkind = \"opaque\"\nworkloads = [\"serving\"]\n");
    let many: String = (0..MAXIMUM_SECRETS).map(secret).collect();
    let error = Manifest::parse(&manifest("opaque", "", &many)).unwrap_err();
    assert_eq!(error.code(), "manifest-too-many", "{error}");
}
