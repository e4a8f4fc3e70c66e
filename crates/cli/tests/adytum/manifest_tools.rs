//! The real binary: manifests drafted, compared and explained, without a broker.

use std::fs;

use adytum_testkit::{directory::Directory, manifest::enclave_policy};

use crate::fixture::{adytum, succeeds};

/// A simulated platform, an owner, a genesis, and a workload.
struct Fixture {
    directory: Directory,
    digest: String,
}

/// What a run that failed with this exit code printed, on both streams.
#[track_caller]
fn fails(code: i32, arguments: &[&str]) -> (String, String) {
    let outcome = adytum(arguments);
    (outcome.stdout(), outcome.failed_with(code))
}

impl Fixture {
    fn new() -> Self {
        let directory = Directory::new();
        let mut fixture = Self { directory, digest: String::new() };
        succeeds(["simulation", "new", &fixture.path("platform")]);
        succeeds(["owner", "new", "--out", &fixture.path("owner.pem")]);
        let (owner, genesis) = (fixture.path("owner.pem"), fixture.path("genesis.toml"));
        fixture.digest = succeeds(["genesis", "new", "--owner", &owner, "--out", &genesis]).trim().to_owned();
        fixture.write("program", "a program");
        fixture.write("other", "another program");
        let configuration = format!(
            "format = \"adytum workload v1\"\n[broker]\ngenesis = \"{}\"\n[broker.policy]\n{}[[secret]]\nname = \"ssl_config\"\n[[secret]]\nname = \"image_key\"\n\
             [[bundle]]\nname = \"web\"\nfile = \"/srv/web\"\npath = \"/run/web\"\n",
            fixture.digest,
            enclave_policy(0x1f)
        );
        fixture.write("workload.toml", &configuration);
        fixture
    }

    fn path(&self, name: &str) -> String {
        self.directory.path(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        self.directory.write(name, text)
    }

    /// Evidence of this program.
    fn evidence(&self, program: &str) -> String {
        let out = self.path(&format!("{program}.quote"));
        let tee = format!("simulation={}", self.path("platform"));
        let (configuration, program) = (self.path("workload.toml"), self.path(program));
        let mut arguments = vec!["evidence", "collect", "--tee", &tee, "--out", &out];
        arguments.extend(["--configuration", &configuration, "--program", &program]);
        succeeds(&arguments);
        out
    }

    /// A draft from one source.
    fn draft(&self, source: &[&str], out: &str) -> Vec<String> {
        let (genesis, root) = (self.path("genesis.toml"), self.path("platform/root.pem"));
        let mut arguments = vec!["manifest", "new", "--genesis", &genesis, "--workload", "web"];
        let (configuration, owner, out) =
            (self.path("workload.toml"), self.path("owner.pem"), self.path(out));
        arguments.extend([
            "--configuration",
            &configuration,
            "--signer",
            &owner,
            "--trust-simulation",
            &root,
        ]);
        arguments.extend(["--out", &out]);
        arguments.extend(source);
        arguments.iter().map(ToString::to_string).collect()
    }

    fn explain(&self, manifest: &str, evidence: &str, more: &[&str]) -> Vec<String> {
        let collateral = self.path("platform/collateral");
        let arguments =
            ["manifest", "explain", manifest, "--evidence", evidence, "--collateral", &collateral];
        arguments.iter().chain(more).map(ToString::to_string).collect()
    }
}

fn words(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

#[test]
fn a_draft_grants_what_its_evidence_needs() {
    let fixture = Fixture::new();
    let evidence = fixture.evidence("program");
    let said = succeeds(words(&fixture.draft(&["--from-evidence", &evidence], "drafted.toml")));
    assert!(said.contains("drafted.toml: a draft"), "{said}");
    let drafted = fixture.path("drafted.toml");
    let checked = succeeds(["manifest", "check", &drafted]);
    assert!(
        checked.contains("image_key (age-identity)") && checked.contains("ssl_config (opaque)"),
        "{checked}"
    );
    let text = fs::read_to_string(&drafted).unwrap();
    assert!(
        text.contains("mr_enclave = [") && text.contains("# The kind of secret ssl_config is a guess"),
        "{text}"
    );

    let said = succeeds(words(&fixture.explain(&drafted, &evidence, &[])));
    for expected in ["is        workload web", "granted   image_key", "granted   ssl_config", "may load  web"]
    {
        assert!(said.contains(expected), "no {expected} in {said}");
    }
    // Nobody yet who could recover it; then somebody.
    assert!(text.contains("# There is no [recovery] yet"), "{text}");
    let recipient = succeeds(["recovery-key", "new", "--out", &fixture.path("recovery.txt")]);
    let mut recoverable = fixture.draft(&["--from-evidence", &evidence], "recoverable.toml");
    recoverable.extend(["--recovery-recipient".to_owned(), recipient.trim().to_owned()]);
    succeeds(words(&recoverable));
    let text = fs::read_to_string(fixture.path("recoverable.toml")).unwrap();
    assert!(text.contains("[recovery]\nthreshold = 1") && !text.contains("There is no [recovery]"), "{text}");
    // The same workload from its files.
    let program = fixture.path("program");
    succeeds(words(&fixture.draft(&["--program", &program], "measured.toml")));
    let measured = fixture.path("measured.toml");
    succeeds(words(&fixture.explain(&measured, &evidence, &["--secret", "ssl_config"])));
    // Never overwritten; and on standard output without --out.
    let (_, stderr) = fails(78, &words(&fixture.draft(&["--from-evidence", &evidence], "drafted.toml")));
    assert!(stderr.contains("never overwritten"), "{stderr}");
}

#[test]
fn a_refusal_is_explained_secret_by_secret() {
    let fixture = Fixture::new();
    let (evidence, other) = (fixture.evidence("program"), fixture.evidence("other"));
    succeeds(words(&fixture.draft(&["--from-evidence", &evidence], "m.toml")));
    let text = fs::read_to_string(fixture.path("m.toml")).unwrap();
    let two = format!(
        "{text}\n[[workload]]\nname = \"mail\"\n[workload.policy]\nvendors = [\"simulation\"]\ntee = [\"sgx\"]\n\
         mr_enclave = [\"{}\"]\n[[secret]]\nname = \"mail_key\"\nkind = \"opaque\"\nworkloads = [\"mail\"]\n",
        "3d".repeat(32)
    );
    let manifest = fixture.write("two.toml", &two);

    // Another program: nothing.
    let (said, stderr) = fails(77, &words(&fixture.explain(&manifest, &other, &[])));
    assert!(said.contains("is not    workload web: mr_enclave (wanted"), "{said}");
    assert!(
        said.contains("refused   ssl_config: is not workload web") && !said.contains("granted"),
        "{said}"
    );
    assert!(stderr.contains("refused"), "{stderr}");

    // The right program: its own, and not another's.
    let said = succeeds(words(&fixture.explain(&manifest, &evidence, &[])));
    assert!(said.contains("refused   mail_key: is not workload mail: mr_enclave (wanted"), "{said}");
    let (said, _) =
        fails(77, &words(&fixture.explain(&manifest, &evidence, &["--secret", "mail_key", "--json"])));
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["granted"], false);
    assert_eq!(report["workloads"][0], "workload web");
    assert_eq!(report["secrets"][0]["code"], "secret-refused");
    assert_eq!(report["secrets"][0]["mismatches"][0]["failures"][0]["rule"], "mr_enclave");
    let (said, _) = fails(77, &words(&fixture.explain(&manifest, &evidence, &["--secret", "nobodys"])));
    assert!(said.contains("refused   nobodys: the manifest has no secret of this name"), "{said}");

    // Evidence that is none, or of a platform that the manifest does not trust.
    let mut bytes = fs::read(&evidence).unwrap();
    bytes[120] ^= 1;
    let altered = fixture.path("altered");
    fs::write(&altered, bytes).unwrap();
    let (said, _) = fails(77, &words(&fixture.explain(&manifest, &altered, &["--json"])));
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["evidence"]["accepted"], false, "{said}");
    assert_eq!(report["secrets"][0]["code"], "evidence-refused");
    let intel = two.replace("vendors = [\"simulation\"]", "vendors = [\"intel\"]");
    let start = intel.find("simulation_roots").unwrap();
    let end = start + intel[start..].find("\n\n").unwrap();
    let intel = fixture.write("intel.toml", &format!("{}{}", &intel[..start], &intel[end..]));
    let (said, _) = fails(77, &words(&fixture.explain(&intel, &evidence, &[])));
    assert!(said.contains("evidence  refused (") && said.contains("untrusted root"), "{said}");
    // A root named by hand gives collateral, and no trust that the manifest does not have.
    let root = fixture.path("platform/root.pem");
    let explained = |manifest: &str| {
        let arguments =
            ["manifest", "explain", manifest, "--evidence", &evidence, "--trust-simulation", &root];
        arguments.map(ToOwned::to_owned)
    };
    succeeds(words(&explained(&manifest)));
    let (said, _) = fails(77, &words(&explained(&intel)));
    assert!(said.contains("evidence  refused (") && said.contains("untrusted root"), "{said}");
    // No collateral is no answer about the peer.
    let nowhere = fixture.path("nowhere");
    let mut arguments = fixture.explain(&manifest, &evidence, &[]);
    arguments[6] = nowhere;
    let (said, stderr) = fails(78, &words(&arguments));
    assert!(said.is_empty() && stderr.contains("collateral"), "{stderr}");
}

#[test]
fn drafts_that_would_mislead_are_not_made() {
    let fixture = Fixture::new();
    let evidence = fixture.evidence("program");
    let untrusted = |code, source: &[&str]| {
        let mut arguments = fixture.draft(source, "m.toml");
        let position = arguments.iter().position(|argument| argument == "--trust-simulation").unwrap();
        arguments.drain(position..position + 2);
        arguments.extend(["--collateral".to_owned(), fixture.path("platform/collateral")]);
        fails(code, &words(&arguments)).1
    };
    assert!(untrusted(77, &["--from-evidence", &evidence]).contains("untrusted root"));
    let program = fixture.path("program");
    let stderr = untrusted(78, &["--program", &program]);
    assert!(stderr.contains("--from-evidence"), "{stderr}");
    let garbage = fixture.write("garbage", "hello");
    let (_, stderr) = fails(77, &words(&fixture.draft(&["--from-evidence", &garbage], "m.toml")));
    assert!(stderr.contains("malformed evidence"), "{stderr}");
    assert!(!std::path::Path::new(&fixture.path("m.toml")).exists());
}

#[test]
fn evidence_is_shown_and_never_overwritten() {
    let fixture = Fixture::new();
    let evidence = fixture.evidence("program");
    let root = fixture.path("platform/root.pem");
    let said = succeeds(["evidence", "show", &evidence, "--trust-simulation", &root]);
    assert!(said.contains("mr_enclave") && said.contains("platform     simulation"), "{said}");
    assert!(said.contains("WARNING      the platform is simulated and protects nothing"), "{said}");
    let json = succeeds(["evidence", "show", &evidence, "--trust-simulation", &root, "--json"]);
    let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
    let (configuration, program) = (fixture.path("workload.toml"), fixture.path("program"));
    let measured = succeeds(["measure", "--configuration", &configuration, "--program", &program]);
    assert_eq!(parsed["claims"]["measured"]["mr_enclave"], measured.trim());
    let tee = format!("simulation={}", fixture.path("platform"));
    let (_, stderr) = fails(78, &["evidence", "collect", "--tee", &tee, "--out", &fixture.path("x")]);
    assert!(stderr.contains("give --configuration and --program"), "{stderr}");
}

#[test]
fn a_difference_is_one_of_meaning() {
    let fixture = Fixture::new();
    let evidence = fixture.evidence("program");
    succeeds(words(&fixture.draft(&["--from-evidence", &evidence], "old.toml")));
    let old = fixture.path("old.toml");
    let text = fs::read_to_string(&old).unwrap();

    // Comments, white space and the version mean nothing else.
    let same = fixture.write(
        "same.toml",
        &format!("# another text\n{}", text.replacen("version = 1", "version   =  2", 1)),
    );
    let said = succeeds(["manifest", "diff", &old, &same]);
    assert_eq!(said, "version  1 -> 2\nnothing else differs in meaning\n");

    let new = text
        .replacen("version = 1", "version = 2", 1)
        .replacen(
            "name = \"ssl_config\"\nkind = \"opaque\"\nworkloads = [\"web\"]",
            "name = \"ssl_config\"\nkind = \"opaque\"\nworkloads = [\"mail\", \"web\"]",
            1,
        )
        .replacen("[[secret]]\nname = \"image_key\"\nkind = \"age-identity\"\nworkloads = [\"web\"]", "", 1)
        + &format!(
            "\n[[workload]]\nname = \"mail\"\n[workload.policy]\nvendors = [\"simulation\"]\ntee = [\"sgx\"]\n\
             mr_enclave = [\"{}\"]\nallow_debug = true\n",
            "3d".repeat(32)
        );
    assert!(new.contains("\"mail\", \"web\"") && !new.contains("image_key\""), "{new}");
    let new = fixture.write("new.toml", &new);
    let said = succeeds(["manifest", "diff", &old, &new]);
    for expected in [
        "+ workload mail\n",
        "- secret image_key\n",
        "~ secret ssl_config\n    workloads: + mail\n",
        "gains    workload mail: ssl_config\n",
        "loses    workload web: image_key\n",
        "WEAKER   workload mail: programs that a debugger can read are accepted\n",
    ] {
        assert!(said.contains(expected), "no {expected:?} in {said}");
    }
    // And back.
    let said = succeeds(["manifest", "diff", &new, &old, "--json"]);
    let parsed: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(parsed["gains"]["web"][0], "image_key");
    assert_eq!(parsed["loses"]["mail"][0], "ssl_config");
    assert_eq!(parsed["removed"][0], "workload mail");
    assert!(parsed["weaker"].as_array().unwrap().is_empty());
    // Who the owners were before, a manifest that names none does not say.
    let owner = succeeds(["owner", "show", &fixture.path("owner.pem")]);
    let owners = format!("{text}\n[owners]\nthreshold = 1\nkeys = [\"{}\"]\n", owner.trim());
    let owners = fixture.write("owners.toml", &owners.replacen("version = 1", "version = 2", 1));
    let said = succeeds(["manifest", "diff", &old, &owners]);
    let warning = "the number of owners who must agree becomes 1, and what it was is unknown";
    assert!(said.contains(&format!("WEAKER   {warning}")), "{said}");
    let said = succeeds(["manifest", "diff", &old, &owners, "--json"]);
    let parsed: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(parsed["weaker"][0].as_str().unwrap().starts_with(warning), "{said}");
    // Before the first manifest they are the first owners.
    let genesis = fixture.path("genesis.toml");
    let said = succeeds(["manifest", "diff", &old, &owners, "--genesis", &genesis]);
    assert!(said.contains("+ owners\n") && !said.contains("WEAKER"), "{said}");
    let elsewhere = Fixture::new();
    let (_, stderr) =
        fails(78, &["manifest", "diff", &old, &owners, "--genesis", &elsewhere.path("genesis.toml")]);
    assert!(stderr.contains("is for the broker of genesis"), "{stderr}");

    let (_, stderr) = fails(78, &["manifest", "diff", &old]);
    assert!(stderr.contains("--broker"), "{stderr}");
    let broken = fixture.write("broken.toml", "version = 1");
    assert!(fails(78, &["manifest", "diff", &old, &broken]).1.contains("broken.toml"));
}
