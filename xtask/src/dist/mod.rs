//! `cargo xtask dist`: what a release publishes. Equal sources and programs give equal files.

mod archive;
mod chart;
mod debian;
mod elf;
mod measurements;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::Command,
};

use adytum_evidence::measurement::Sha256Digest;
use adytum_tests::build::workspace_root;
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use self::{
    archive::Tree,
    elf::{Architecture, Program},
};
use crate::image::sbom;

/// The programs of a release.
const PROGRAMS: [&str; 4] = ["adytum", "adytum-broker", "adytum-init", "adytum-serving"];

/// The list of digests.
const SUMS: &str = "SHA256SUMS";

/// Shells, and where their completions are found below share/.
const SHELLS: [(&str, &str); 3] = [
    ("bash", "bash-completion/completions/adytum"),
    ("zsh", "zsh/site-functions/_adytum"),
    ("fish", "fish/vendor_completions.d/adytum.fish"),
];

/// Write what a release publishes: a tarball and a Debian package of static programs, the Helm
/// chart, lists of components, measurements.toml and SHA256SUMS.
///
/// It is for the processor of this machine, or for the one that --target names. All dates are that of
/// the commit, or SOURCE_DATE_EPOCH.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Where the files go: a directory that is empty or not there.
    #[arg(long, value_name = "DIRECTORY")]
    out: PathBuf,
    /// The processor that the programs are for; by default that of this machine. For another one it
    /// takes rustup's standard library of that target, Debian's cross compiler (gcc-aarch64-linux-gnu),
    /// and qemu-user-static to ask the programs for their manual pages.
    #[arg(long, value_name = "PROCESSOR", conflicts_with_all = ["binaries", "images"])]
    target: Option<Architecture>,
    /// Pack these programs instead of building them.
    #[arg(long, value_name = "DIRECTORY")]
    binaries: Option<PathBuf>,
    /// Pack programs that load libraries, too: for tries of this command.
    #[arg(long, requires = "binaries")]
    allow_dynamic: bool,
    /// Build the container images of this owner's directory too, and write them as archives. It
    /// takes long.
    #[arg(long, value_name = "DIRECTORY")]
    images: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let root = workspace_root()?;
    let out = &arguments.out;
    fs::create_dir_all(out).with_context(|| format!("{} can't be made", out.display()))?;
    ensure!(
        fs::read_dir(out)?.next().is_none(),
        "{} is not empty; give another directory, so that nothing of an earlier release is among the files",
        out.display()
    );
    let epoch = epoch(&root)?;
    let binaries = match &arguments.binaries {
        Some(binaries) => binaries.clone(),
        None => build(&root, epoch, arguments.target)?,
    };
    let programs = programs(&binaries, arguments.allow_dynamic)?;
    let release = Release { root: &root, epoch, architecture: architecture(&programs)?, programs: &programs };
    let files = release.files(&binaries)?;
    let mut digests = digests(&files);
    if let Some(owner) = &arguments.images {
        images(&root, owner, out)?;
        digests.extend(digests_below(out, "images")?);
    }
    for (name, bytes) in &files {
        write(&out.join(name), bytes)?;
    }
    let sums = sums(&digests);
    write(&out.join(SUMS), sums.as_bytes())?;
    print!("{sums}");
    Ok(())
}

/// The contents of all files.
struct Release<'a> {
    root: &'a Path,
    /// The date of everything, in seconds since 1970.
    epoch: u64,
    architecture: Architecture,
    programs: &'a BTreeMap<String, Vec<u8>>,
}

impl Release<'_> {
    /// The files, by name.
    fn files(&self, binaries: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
        let version = env!("CARGO_PKG_VERSION");
        let work = tempfile::tempdir()?;
        let mut share = Tree::default();
        let adytum = binaries.join("adytum");
        let runner = self.architecture.runner();
        let ask = || {
            let Some(runner) = &runner else { return Command::new(&adytum) };
            let mut command = Command::new(runner);
            command.arg(&adytum);
            command
        };
        documentation(&mut share, &ask, work.path())?;
        share.add("share/doc/adytum/LICENSE", 0o644, fs::read(self.root.join("LICENSE"))?);
        let measurements = measurements::of(version, self.architecture, self.programs)?;
        share.add("share/doc/adytum/measurements.toml", 0o644, measurements.clone().into_bytes());

        let mut files = BTreeMap::new();
        for (name, bytes) in self.components(work.path())? {
            share.add(&format!("share/doc/adytum/{name}"), 0o644, bytes.clone());
            files.insert(name, bytes);
        }
        let mut programs = Tree::default();
        for (name, bytes) in self.programs {
            programs.add(&format!("bin/{name}"), 0o755, bytes.clone());
        }
        let mut all = programs;
        all.extend(&share, "");
        let base = format!("adytum-{version}-{}-linux", self.architecture.name());
        let tarball = all.below(&base).to_tar_gz(self.epoch)?;
        files.insert(format!("{base}.tar.gz"), tarball);
        files.insert(
            format!("adytum_{version}_{}.deb", self.architecture.debian()),
            debian::package(version, self.architecture, self.epoch, &all)?,
        );
        let chart = chart::pack(&self.root.join("deploy/helm/adytum"), self.epoch)?;
        files.insert(format!("adytum-chart-{}.tgz", chart.version), chart.archive.clone());
        files.insert(format!("adytum-chart-{}.oci.tar", chart.version), chart.to_oci(self.epoch)?);
        files.insert("measurements.toml".to_owned(), measurements.into_bytes());
        Ok(files)
    }

    /// What each program is made of (CycloneDX).
    fn components(&self, work: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
        let target = self.architecture.triple();
        let linked = linked()?;
        let mut documents = BTreeMap::new();
        for program in self.programs.keys() {
            let out = work.join("sbom.json");
            let features = if program == "adytum" { vec!["object-stores".to_owned()] } else { Vec::new() };
            sbom::run(sbom::Arguments::new(program, features, &target, &linked, &out)?)?;
            documents.insert(format!("{program}.cdx.json"), fs::read(&out)?);
        }
        Ok(documents)
    }
}

/// Libraries that cargo does not know, as `deploy/images/binaries.sh` has them.
fn linked() -> Result<Vec<String>> {
    let word = |program: &str, argument: &str| -> Result<String> {
        let output =
            Command::new(program).arg(argument).output().with_context(|| format!("run {program}"))?;
        let text = String::from_utf8(output.stdout)?;
        Ok(text
            .split_whitespace()
            .nth(1)
            .with_context(|| format!("{program} {argument}: {text:?}"))?
            .to_owned())
    };
    Ok(vec![
        format!("rust-std={}=MIT OR Apache-2.0", word("rustc", "-V")?),
        format!("glibc={}=LGPL-2.1-or-later", word("getconf", "GNU_LIBC_VERSION")?),
    ])
}

/// The date of everything: SOURCE_DATE_EPOCH, or that of the commit.
fn epoch(root: &Path) -> Result<u64> {
    if let Some(given) = std::env::var_os("SOURCE_DATE_EPOCH") {
        let given = given.to_string_lossy();
        return given
            .parse()
            .with_context(|| format!("SOURCE_DATE_EPOCH is {given:?}; expected seconds since 1970"));
    }
    let mut command = Command::new("git");
    let output = command.arg("-C").arg(root).args(["log", "-1", "--format=%ct"]).output();
    let output = output.context("run git; or set SOURCE_DATE_EPOCH")?;
    let text = String::from_utf8(output.stdout)?;
    text.trim().parse().context("git has no date of a commit; set SOURCE_DATE_EPOCH")
}

/// Builds static programs as the images have them. Where they are.
fn build(root: &Path, epoch: u64, architecture: Option<Architecture>) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let triple = architecture.map(Architecture::triple);
    let out = target.join("dist").join(triple.as_deref().unwrap_or("bin"));
    let script = "set -euo pipefail; source \"$1/deploy/images/binaries.sh\"; epoch=$4 build_triple=$5; build_binaries \
                  \"$1\" \"$2\" \"$3\"";
    let mut command = Command::new("bash");
    command.args(["-c", script, "dist"]).arg(root).arg(&target).arg(&out).arg(epoch.to_string());
    command.arg(triple.unwrap_or_default());
    run_command(&mut command)?;
    Ok(out)
}

fn run_command(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("run {program}"))?;
    ensure!(status.success(), "{program} ended with {status}");
    Ok(())
}

/// The programs, which must need no library.
fn programs(directory: &Path, allow_dynamic: bool) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut programs = BTreeMap::new();
    for name in PROGRAMS {
        let path = directory.join(name);
        let bytes = fs::read(&path).with_context(|| format!("{} can't be read", path.display()))?;
        let program = Program::parse(&bytes).with_context(|| path.display().to_string())?;
        ensure!(
            allow_dynamic || !program.is_dynamic,
            "{} loads libraries; give static programs, or leave --binaries out",
            path.display()
        );
        programs.insert(name.to_owned(), bytes);
    }
    Ok(programs)
}

fn architecture(programs: &BTreeMap<String, Vec<u8>>) -> Result<Architecture> {
    let mut all = programs.values().map(|bytes| Program::parse(bytes).map(|program| program.architecture));
    let first = all.next().context("there is no program")??;
    for other in all {
        ensure!(other? == first, "the programs are for different processors; build all of them for one");
    }
    Ok(first)
}

/// What shells complete the command by, and its manual pages, from the command itself.
fn documentation(share: &mut Tree, adytum: &dyn Fn() -> Command, work: &Path) -> Result<()> {
    for (shell, path) in SHELLS {
        let script = asked(adytum().args(["completion", shell]))?;
        share.add(&format!("share/{path}"), 0o644, script);
    }
    let pages = work.join("man");
    asked(adytum().arg("man").arg(&pages))?;
    for entry in fs::read_dir(&pages)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        share.add(&format!("share/man/man1/{name}"), 0o644, fs::read(entry.path())?);
    }
    Ok(())
}

/// The command's standard output.
fn asked(command: &mut Command) -> Result<Vec<u8>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{program} can't be run"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} ended with {}: {}", output.status, error.trim());
    Ok(output.stdout)
}

/// Builds the images of an owner's directory into `out/images`.
fn images(root: &Path, owner: &Path, out: &Path) -> Result<()> {
    let at = out.join("images");
    let mut command = Command::new(root.join("deploy/build.sh"));
    command.args(["-r", "adytum", "-g", env!("CARGO_PKG_VERSION"), "-d"]).arg(owner).arg("-o").arg(&at);
    run_command(&mut command)
}

/// The digests of files, by name.
type Digests = BTreeMap<String, Sha256Digest>;

fn digests(files: &BTreeMap<String, Vec<u8>>) -> Digests {
    files.iter().map(|(name, bytes)| (name.clone(), Sha256Digest::of_bytes(bytes))).collect()
}

/// The digests of the files in `out/directory`. They are as large as images, so none is read whole.
fn digests_below(out: &Path, directory: &str) -> Result<Digests> {
    let at = out.join(directory);
    let mut digests = Digests::new();
    for entry in fs::read_dir(&at).with_context(|| format!("{} can't be read", at.display()))? {
        let entry = entry?;
        let path = entry.path();
        let digest = File::open(&path).and_then(digest_of);
        let name = format!("{directory}/{}", entry.file_name().to_string_lossy());
        digests.insert(name, digest.with_context(|| format!("{} can't be read", path.display()))?);
    }
    Ok(digests)
}

fn digest_of(file: File) -> io::Result<Sha256Digest> {
    let mut file = BufReader::with_capacity(1 << 20, file);
    let mut hash = Sha256::new();
    loop {
        let bytes = file.fill_buf()?;
        if bytes.is_empty() {
            return Ok(Sha256Digest(hash.finalize().into()));
        }
        hash.update(bytes);
        let length = bytes.len();
        file.consume(length);
    }
}

/// The lines that `sha256sum --check` reads.
fn sums(digests: &Digests) -> String {
    digests.iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect()
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("{} can't be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_packings_of_the_same_programs_are_the_same() {
        let root = workspace_root().unwrap();
        let script = b"#!/bin/sh\ncase $1 in man) mkdir \"$2\"; echo page >\"$2/adytum.1\" ;; *) echo \"$@\" ;; esac\n";
        let packed = |date: &str| {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("adytum");
            fs::write(&path, script).unwrap();
            let mut touch = Command::new("sh");
            touch.args(["-c", "chmod 755 \"$0\" && touch -d \"$1\" \"$0\""]).arg(&path).arg(date);
            assert!(touch.status().unwrap().success());
            let programs: BTreeMap<String, Vec<u8>> =
                PROGRAMS.into_iter().map(|name| (name.to_owned(), name.as_bytes().to_vec())).collect();
            let release = Release {
                root: &root,
                epoch: 1_700_000_000,
                architecture: Architecture::X86_64,
                programs: &programs,
            };
            release.files(directory.path()).unwrap()
        };
        let (one, other) = (packed("2001-01-01"), packed("2020-02-02"));
        assert_eq!(sums(&digests(&one)), sums(&digests(&other)));
        let names: Vec<&str> = one.keys().map(String::as_str).collect();
        let version = env!("CARGO_PKG_VERSION");
        for name in [
            "adytum-broker.cdx.json".to_owned(),
            format!("adytum-{version}-x86_64-linux.tar.gz"),
            format!("adytum_{version}_amd64.deb"),
            "measurements.toml".to_owned(),
        ] {
            assert!(names.contains(&name.as_str()), "{name}: {names:?}");
        }
    }

    #[test]
    fn files_on_the_disk_have_the_digests_of_their_bytes() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("images")).unwrap();
        let bytes = vec![7; 300_000];
        fs::write(directory.path().join("images/a.tar"), &bytes).unwrap();
        let digests = digests_below(directory.path(), "images").unwrap();
        fs::write(directory.path().join(SUMS), sums(&digests)).unwrap();
        assert_eq!(digests.keys().collect::<Vec<_>>(), ["images/a.tar"]);
        let mut check = Command::new("sha256sum");
        check.args(["--check", "--strict", SUMS]).current_dir(directory.path());
        assert!(check.output().unwrap().status.success());
    }

    #[test]
    fn a_command_without_completions_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("adytum");
        fs::write(&path, "#!/bin/sh\necho \"error: unrecognized subcommand '$1'\" >&2\nexit 2\n").unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let failed =
            documentation(&mut Tree::default(), &|| Command::new(&path), directory.path()).unwrap_err();
        assert!(failed.to_string().contains("unrecognized subcommand"), "{failed:#}");
    }
}
