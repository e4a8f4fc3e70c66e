//! Examples, at the end of each command's help page. Tests parse all of them and run those that
//! need no server.

/// What a page begins its examples with.
const HEADINGS: [&str; 2] = ["Example:", "Examples:"];

/// Examples by command.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("owner new", &["adytum owner new --out alice.pem"]),
    ("owner show", &["adytum owner show alice.pem"]),
    (
        "genesis new",
        &[
            "adytum genesis new --owner alice.pem --out genesis.toml",
            "adytum genesis new --owner alice.pem --owner bob.pem --threshold 2 --out both.toml",
        ],
    ),
    ("genesis show", &["adytum genesis show genesis.toml", "adytum genesis show genesis.toml --digest"]),
    (
        "measure",
        &[
            "adytum measure --broker target/release/adytum-broker",
            "adytum measure --configuration workload.toml --program adytum-serving --json",
        ],
    ),
    (
        "init-data new",
        &[
            "adytum init-data new --image registry.example.com/serving@sha256:DIGEST \\\n      --word adytum-serving --out init-data.toml",
        ],
    ),
    ("init-data digest", &["adytum init-data digest init-data.toml"]),
    (
        "evidence collect",
        &[
            "adytum evidence collect --out quote.evidence",
            "adytum evidence collect --tee simulation=platform --configuration workload.toml \\\n      --program adytum-serving --out simulated.evidence",
        ],
    ),
    (
        "evidence show",
        &[
            "adytum evidence show simulated.evidence --trust-simulation platform/root.pem",
            "adytum evidence show --replica 10.0.0.7:7000 --collateral https://pccs.example.com:8081 --json",
        ],
    ),
    (
        "verify",
        &[
            "adytum verify simulated.evidence --trust-simulation platform/root.pem",
            "adytum verify models.example.com:8443 --policy policy.toml --json",
            "adytum verify token.jwt --token-keys certs.json --issuer https://sharedweu.weu.attest.azure.net",
        ],
    ),
    (
        "manifest new",
        &[
            "adytum manifest new --genesis genesis.toml --workload digits --model digits \\\n      --signer alice.pem --from-evidence simulated.evidence \\\n      --trust-simulation platform/root.pem --out manifest.toml",
        ],
    ),
    ("manifest check", &["adytum manifest check manifest.toml"]),
    (
        "manifest azure-policy",
        &[
            "adytum manifest azure-policy manifest.toml --workload digits \\\n      --authority https://sharedneu.neu.attest.azure.net",
        ],
    ),
    (
        "manifest diff",
        &[
            "adytum manifest diff manifest-1.toml manifest-2.toml",
            "adytum manifest diff manifest-2.toml --broker kms.example.com:50051 --owner alice.pem \\\n      --genesis genesis.toml --broker-policy policy.toml",
        ],
    ),
    (
        "manifest explain",
        &[
            "adytum manifest explain manifest.toml --evidence simulated.evidence \\\n      --trust-simulation platform/root.pem",
        ],
    ),
    ("manifest history", &["adytum manifest history --context prod --count 5"]),
    ("manifest sign", &["adytum manifest sign manifest.toml --owner alice.pem"]),
    (
        "manifest apply",
        &[
            "adytum manifest apply manifest.toml --context prod",
            "adytum manifest apply manifest.toml --broker kms.example.com:50051 --owner alice.pem \\\n      --genesis genesis.toml --broker-policy policy.toml",
        ],
    ),
    ("manifest get", &["adytum manifest get --context prod --out in-force.toml"]),
    (
        "broker verify",
        &[
            "adytum broker verify --context prod",
            "adytum broker verify kms.example.com:50051 --genesis genesis.toml --broker-policy policy.toml",
        ],
    ),
    ("broker status", &["adytum broker status --context prod --json"]),
    ("broker ca", &["adytum broker ca --context prod --out ca.pem"]),
    ("broker rotate-ca", &["adytum broker rotate-ca --context prod"]),
    ("broker confirm", &["adytum broker confirm --context prod"]),
    ("broker forecast", &["adytum broker forecast --context prod --json"]),
    ("broker recover", &["adytum broker recover --context prod --recovery-key alice.recovery"]),
    (
        "broker authorise-upgrade",
        &[
            "adytum broker authorise-upgrade --context prod --next-policy next.toml \\\n      --out authorisation.toml",
        ],
    ),
    (
        "secret put",
        &[
            "adytum secret put ssl_config --from-file ssl.cfg --context prod",
            "adytum secret put model_key --from-file - --context prod",
        ],
    ),
    ("secret list", &["adytum secret list --context prod --json"]),
    ("secret rotate", &["adytum secret rotate token --context prod"]),
    ("secret rm", &["adytum secret rm token --context prod"]),
    ("audit tail", &["adytum audit tail --context prod --count 5"]),
    ("audit export", &["adytum audit export --context prod --out audit.jsonl"]),
    (
        "audit verify",
        &["adytum audit verify audit.jsonl --genesis genesis.toml", "adytum audit verify audit.jsonl --json"],
    ),
    (
        "provision",
        &[
            "adytum provision --owner-directory deploy/owner --broker kms.example.com:50051",
            "adytum provision --context prod --confirm",
        ],
    ),
    ("model check", &["adytum model check digits.onnx", "adytum model check digits.onnx --plan --json"]),
    ("model import", &["adytum model import exported --out model.onnx"]),
    (
        "model pull",
        &[
            "adytum model pull file:///srv/models/digits models/digits",
            "adytum model pull s3://models/digits models/digits --versions all --watch --delete",
        ],
    ),
    ("model list", &["adytum model list --owner-directory deploy/owner --json"]),
    ("model retire", &["adytum model retire --model digits --below 2 --owner-directory deploy/owner"]),
    (
        "model show",
        &[
            "adytum model show --server localhost:8500 --crt server.crt --model digits",
            "adytum model show --server localhost:8500 --rest-port 8501 --model digits --language curl",
        ],
    ),
    ("model-key new", &["adytum model-key new --out model.key"]),
    ("model-key show", &["adytum model-key show model.key"]),
    ("recovery-key new", &["adytum recovery-key new --out alice.recovery"]),
    ("recovery-key show", &["adytum recovery-key show alice.recovery"]),
    (
        "seal",
        &[
            "adytum seal digits.onnx --model digits --version 1 --owner alice.pem \\\n      --recipient $(adytum model-key show model.key) --out sealed/digits",
        ],
    ),
    ("unseal", &["adytum unseal sealed/digits/1 --identity model.key --signer alice.pem --out opened.onnx"]),
    ("ssl-config new", &["adytum ssl-config new --host localhost --host models.example.com"]),
    (
        "predict",
        &[
            "adytum predict --server localhost:8500 --crt server.crt --image cat.jpg",
            "adytum predict --server models.example.com:8500 --attest service.toml --image cat.jpg --top 3",
        ],
    ),
    (
        "bench",
        &[
            "adytum bench --server localhost:8500 --crt server.crt --image cat.jpg --duration 10s",
            "adytum bench --server localhost:8500 --image cat.jpg --cnum 4 --loop 50 --json",
        ],
    ),
    ("service export", &["adytum service export manifest.toml --genesis genesis.toml --owner alice.pem"]),
    ("service sign", &["adytum service sign service.toml --owner alice.pem"]),
    ("service show", &["adytum service show service.toml --genesis genesis.toml"]),
    ("context list", &["adytum context list"]),
    ("context show", &["adytum context show --json"]),
    ("context remove", &["adytum context remove prod"]),
    (
        "proxy",
        &["adytum proxy --listen 127.0.0.1:8500 --server models.example.com:8500 --attest service.toml"],
    ),
    ("explain", &["adytum explain policy-refused", "adytum explain --list --json"]),
    ("simulation new", &["adytum simulation new platform"]),
    ("simulation root", &["adytum simulation root platform"]),
    ("completion", &["adytum completion bash > ~/.local/share/bash-completion/completions/adytum"]),
    ("man", &["adytum man ~/.local/share/man/man1"]),
];

/// The command with examples on the pages of all commands below it that have none yet.
pub(super) fn added(command: clap::Command, path: &str) -> clap::Command {
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let mut command = command;
    for name in &names {
        let path = if path.is_empty() { name.clone() } else { format!("{path} {name}") };
        command = command.mut_subcommand(name, |sub| added(sub, &path));
    }
    if command.get_after_help().is_some() || (!names.is_empty() && path.is_empty()) {
        return command;
    }
    if !names.is_empty() {
        // A group has the first example of its first two commands.
        let firsts: Vec<String> = command.get_subcommands().filter_map(first).take(2).collect();
        return command.after_help(format!(
            "{}\n{}",
            HEADINGS[usize::from(firsts.len() > 1)],
            firsts.join("\n")
        ));
    }
    match EXAMPLES.iter().find(|(known, _)| *known == path) {
        Some((_, lines)) => {
            let heading = HEADINGS[usize::from(lines.len() > 1)];
            command.after_help(format!("{heading}\n  {}", lines.join("\n  ")))
        }
        None => command,
    }
}

/// The first example of a page, with the lines that continue it.
fn first(command: &clap::Command) -> Option<String> {
    let text = command.get_after_help()?.to_string();
    let mut lines = text.lines().skip_while(|line| !HEADINGS.contains(line)).skip(1);
    let mut example = lines.next()?.to_owned();
    while example.ends_with('\\') {
        example.push('\n');
        example.push_str(lines.next()?);
    }
    Some(example)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::context;

    /// The examples of a page, each as one line.
    fn examples(command: &clap::Command) -> Vec<String> {
        let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let mut lines = text.lines();
        if !lines.next().is_some_and(|line| HEADINGS.contains(&line)) {
            return Vec::new();
        }
        let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
        joined.lines().map(|line| line.trim().to_owned()).collect()
    }

    #[test]
    fn a_group_has_examples_of_its_commands() {
        let command = crate::command_line();
        let model = command.find_subcommand("model").unwrap();
        assert!(
            examples(model).len() == 2 && examples(model)[0].starts_with("adytum model check "),
            "{model:?}"
        );
        let recovery = command.find_subcommand("evidence").unwrap();
        assert!(examples(recovery)[1].ends_with("--trust-simulation platform/root.pem"));
    }

    fn leaves(command: &clap::Command, path: &str, found: &mut Vec<(String, Vec<String>)>) {
        let path = format!("{path} {}", command.get_name());
        if command.get_subcommands().next().is_none() {
            found.push((path.clone(), examples(command)));
        }
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
            leaves(sub, &path, found);
        }
    }

    /// The words of an example, as a shell has them; a command in it is one word.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote, mut depth) = (Vec::new(), String::new(), None, 0);
        for character in line.chars() {
            match (character, quote) {
                (found, Some(open)) if found == open => quote = None,
                ('\'' | '"', None) => quote = Some(character),
                (' ', None) if depth == 0 => words.push(std::mem::take(&mut word)),
                ('(' | ')', None) => depth += if character == '(' { 1 } else { -1 },
                _ => word.push(character),
            }
        }
        words.push(word);
        words.retain(|word| !word.is_empty());
        words.into_iter().take_while(|word| ![">", ">>", "|"].contains(&word.as_str())).collect()
    }

    #[test]
    fn every_page_has_examples_that_the_command_takes() {
        let context = context::Context {
            broker: Some("kms.example.com:50051".to_owned()),
            genesis: Some(PathBuf::from("genesis.toml")),
            broker_policy: Some(PathBuf::from("policy.toml")),
            owners: vec![PathBuf::from("alice.pem")],
            owner_directory: Some(PathBuf::from("deploy/owner")),
            ..context::Context::default()
        };
        let mut all = Vec::new();
        leaves(&crate::command_line(), "", &mut all);
        let mut faults = Vec::new();
        for (path, lines) in &all {
            if lines.is_empty() || lines.len() > 3 {
                faults.push(format!("{path}: {} examples, expected one to three", lines.len()));
            }
            for line in lines {
                let words = words(line);
                if !format!(" {} ", words.join(" ")).starts_with(&format!("{path} ")) {
                    faults.push(format!("{path}: is of another command: {line}"));
                }
                let mut command = crate::command_line();
                if words.iter().any(|word| word == "--context") {
                    command = context::apply(command, &context);
                }
                if let Err(error) = command.try_get_matches_from(words) {
                    faults.push(format!("{path}: {line}: {error}"));
                }
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        assert!(all.len() > 50, "{}", all.len());
    }

    #[test]
    fn no_example_is_for_a_command_that_is_not_there() {
        let command = crate::command_line();
        for (path, _) in EXAMPLES {
            let mut found = Some(&command);
            for name in path.split(' ') {
                found = found.and_then(|command| command.find_subcommand(name));
            }
            let is_left_out = cfg!(not(all(feature = "simulation", feature = "object-stores")));
            assert!(found.is_some() || is_left_out, "{path}");
        }
    }
}
