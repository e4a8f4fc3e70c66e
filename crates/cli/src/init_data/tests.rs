//! Which documents a manifest tells apart, and what their policy names.

mod policy;

use adytum_evidence::{
    claims::{Claims, TeeKind},
    measurement::{SnpMeasurement, TdxMeasurement},
    policy::Policy,
    trust::Vendor,
};
use adytum_testkit::claims::{self as claims_of, RUNTIME_REGISTERS, SNP_TCB};

use super::*;

pub(super) fn container() -> Container {
    Container {
        image: format!("demo/tf_demo@sha256:{}", "1f".repeat(32)),
        words: ["/usr/bin/adytum-serving", "--model_name=resnet"].map(str::to_owned).into(),
        variables: BTreeSet::from(["PATH=/usr/bin".to_owned()]),
        free_variables: BTreeSet::from(["PCCS_URL".to_owned()]),
        mounts: BTreeSet::new(),
        user: User { user: 65532, group: 65532 },
        groups: BTreeSet::new(),
        capabilities: BTreeSet::new(),
        directory: "/".to_owned(),
        readonly_root: true,
    }
}

fn identity_of(container: &Container) -> WorkloadIdentity {
    identity(container.document().unwrap().as_bytes())
}

const GUEST: [u8; 48] = [0xa1; 48];

/// What verified evidence of a genuine guest with this document would say.
fn claims(tee: TeeKind, guest: [u8; 48], document: WorkloadIdentity) -> Claims {
    let measured = match tee {
        TeeKind::Tdx => claims_of::tdx_guest(guest, document),
        _ => claims_of::snp_guest(guest, document),
    };
    Claims { vendor: Vendor::Intel, ..claims_of::of(measured) }
}

/// The manifest's policy for the genuine container in the genuine guest.
fn policy(tee: TeeKind) -> Policy {
    let mut policy = Policy::for_identity(Vendor::Intel, tee, identity_of(&container()));
    policy.mr_td.insert(TdxMeasurement(GUEST));
    policy.rtmr = Some(RUNTIME_REGISTERS.map(|register| BTreeSet::from([register])));
    policy.snp_measurement.insert(SnpMeasurement(GUEST));
    policy.minimum_snp_tcb = Some(SNP_TCB);
    policy.validated().unwrap()
}

#[test]
fn another_image_command_or_environment_in_a_genuine_guest_is_refused() {
    let changes: [fn(&mut Container); 6] = [
        |container| container.image = format!("demo/tf_demo@sha256:{}", "2f".repeat(32)),
        |container| container.words.push("--allow_plain_models".to_owned()),
        |container| container.words[0] = "/bin/sh".to_owned(),
        |container| container.variables = BTreeSet::from(["LD_PRELOAD=/evil.so".to_owned()]),
        |container| container.free_variables.insert("LD_PRELOAD".to_owned()).then_some(()).unwrap(),
        |container| container.mounts.insert("/usr/bin".to_owned()).then_some(()).unwrap(),
    ];
    for tee in [TeeKind::Tdx, TeeKind::Snp] {
        let policy = policy(tee);
        assert_eq!(policy.judge(&claims(tee, GUEST, identity_of(&container()))), Ok(()));
        for change in changes {
            let mut other = container();
            change(&mut other);
            let refusal = policy.judge(&claims(tee, GUEST, identity_of(&other))).unwrap_err();
            assert_eq!(refusal.failures.len(), 1, "{refusal}");
            assert_eq!(refusal.failures[0].rule, "identity");
        }
        // The right document in a guest whose agent may ignore it.
        let refusal = policy.judge(&claims(tee, [0xee; 48], identity_of(&container()))).unwrap_err();
        assert!(refusal.failures.iter().any(|failure| failure.rule != "identity"), "{refusal}");
    }
}

#[test]
fn the_document_is_toml_that_holds_the_policy() {
    let document: toml::Table = container().document().unwrap().parse().unwrap();
    assert_eq!(document["algorithm"].as_str(), Some("sha256"));
    let policy = document["data"]["policy.rego"].as_str().unwrap();
    assert!(policy.starts_with("package agent_policy\n"), "{policy}");
    for value in ["\"--model_name=resnet\"", "\"PATH=/usr/bin\"", "\"/etc/resolv.conf\""] {
        assert!(policy.contains(value), "{value} is missing");
    }
    let mut hostile = container();
    hostile.words.push("'''\n\"aa.toml\" = '''".to_owned());
    assert!(hostile.document().is_err());
}

#[test]
fn the_annotation_unpacks_to_the_document() {
    use std::io::Read as _;

    let document = container().document().unwrap();
    let packed = STANDARD.decode(annotation(&document).unwrap()).unwrap();
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_string(&mut unpacked).unwrap();
    assert_eq!(unpacked, document);
}

/// The values at the policy's end.
fn allowed(container: &Container) -> serde_json::Value {
    let policy = container.policy().unwrap();
    let (_, allowed) = policy.split_once("\nallowed := ").unwrap();
    serde_json::from_str(allowed).unwrap()
}

/// All definitions of a rule.
fn rules(name: &str) -> Vec<&'static str> {
    let start = format!("{name} ");
    let rules: Vec<_> = POLICY
        .split("\n\n")
        .filter(|block| {
            block.lines().find(|line| !line.starts_with('#')).is_some_and(|line| line.starts_with(&start))
        })
        .collect();
    assert!(!rules.is_empty(), "{name} is not defined");
    rules
}

#[test]
fn variables_that_the_runtime_adds_may_have_any_value_and_others_not() {
    let allowed = allowed(&container());
    let names: BTreeSet<&str> =
        allowed["free_variables"].as_array().unwrap().iter().filter_map(serde_json::Value::as_str).collect();
    let expected: BTreeSet<&str> = RUNTIME_VARIABLES.into_iter().chain(["PCCS_URL"]).collect();
    assert_eq!(names, expected);
    assert!(names.contains("KUBERNETES_SERVICE_HOST") && names.contains("HOSTNAME"));
    assert_eq!(allowed["variables"], json!(["PATH=/usr/bin"]));
}

#[test]
fn volumes_are_only_where_the_owner_says() {
    assert_eq!(allowed(&container())["volumes"], json!([]));
    let mut with_volume = container();
    with_volume.mounts.insert("/var/lib/adytum".to_owned());
    let allowed = allowed(&with_volume);
    assert_eq!(allowed["volumes"], json!(["/var/lib/adytum"]));
    assert_eq!(allowed["files"], json!(RUNTIME_FILES));
    assert!(allowed["kernel_mounts"].as_array().unwrap().contains(&json!({
        "destination": "/proc",
        "type": "proc",
    })));
}

#[test]
fn every_container_has_one_image_as_its_root_and_nothing_of_the_hosts() {
    let rules_of_containers = rules("CreateContainerRequest");
    assert_eq!(rules_of_containers.len(), 2);
    for rule in rules_of_containers {
        for part in [
            "\n    is_confined\n",
            "is_root_image(",
            "count(input.storages)",
            "input.OCI.Process.Args == ",
            "every variable in input.OCI.Process.Env {",
            "every mount in input.OCI.Mounts {",
        ] {
            assert!(rule.contains(part), "{part} is missing in {rule}");
        }
        // Of an empty list, everything is true of every element.
        assert!(!rule.contains("every storage in"), "{rule}");
    }
    let confined = rules("is_confined");
    assert_eq!(confined.len(), 1, "{confined:?}");
    for part in [
        "input.OCI.Root.Path == root\n",
        "is_without_hooks\n",
        "(input, \"devices\", null)",
        "(input, \"shared_mounts\", null)",
        "(input.OCI.Linux, \"Devices\", null)",
        "(input.OCI.Linux, \"Sysctl\", null)",
    ] {
        assert!(confined[0].contains(part), "{part} is missing in {}", confined[0]);
    }
    assert!(!POLICY.contains("not input.OCI"), "what is absent is null, of which `not` is false");
}

#[test]
fn the_host_copies_only_files_with_the_names_of_mounts() {
    let rules_of_copies = rules("CopyFileRequest");
    assert_eq!(rules_of_copies.len(), 2);
    for rule in rules_of_copies {
        for part in ["/run/kata-containers/shared/containers/", "is_copy(parts[5], ", "is_file_type("] {
            assert!(rule.contains(part), "{part} is missing in {rule}");
        }
    }
}

#[test]
fn what_the_policy_refers_to_is_defined_in_it() {
    let built_in = ["is_array", "is_null", "is_object", "is_string"];
    let words = POLICY.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    let helpers: BTreeSet<&str> = words.filter(|word| word.starts_with("is_")).collect();
    assert!(helpers.len() > 10);
    for helper in helpers {
        let defined = POLICY.lines().any(|line| {
            line.strip_prefix(helper).is_some_and(|rest| rest.starts_with('(') || rest.starts_with(" if "))
        });
        assert!(defined || built_in.contains(&helper), "{helper} is not defined");
    }
    for (open, close) in [('{', '}'), ('(', ')'), ('[', ']')] {
        assert_eq!(POLICY.matches(open).count(), POLICY.matches(close).count(), "{open}{close}");
    }
}
