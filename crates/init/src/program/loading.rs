//! Would the loader take pinned files only?
//!
//! Twice: by what the files say (the loader, and the names they need, over all
//! pinned libraries), which needs nothing to run; and by what the loader itself
//! answers (`--list`, which glibc's and musl's have), since only it knows where
//! it looks. The loader that is asked is pinned, and checked before.

use std::{
    collections::{BTreeSet, VecDeque},
    fs::{self, File},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{VerifiedProgram, elf::Loading};
use crate::{
    configuration::{AbsolutePath, MeasuredConfiguration},
    error::ProgramError,
};

/// What the kernel puts into every process; no file.
const KERNELS_OWN: [&str; 2] = ["linux-vdso.so.1", "linux-gate.so.1"];

/// Refuses a program that would load what is not pinned.
pub(super) fn check(
    configuration: &MeasuredConfiguration,
    program: &VerifiedProgram,
) -> Result<(), ProgramError> {
    let path = program.path.as_path();
    let file = match &program.image {
        Some(image) => image.try_clone().map(File::from),
        None => File::open(path),
    };
    let file = file.map_err(|source| ProgramError::Unreadable { path: path.to_owned(), source })?;
    let loading = read(path, &file)?;
    let Some(interpreter) = &loading.interpreter else {
        return match loading.needed.first() {
            None => Ok(()),
            Some(library) => Err(not_pinned(path, library)),
        };
    };
    let from_memory = program.image.is_some();
    if from_memory
        && loading
            .search_paths
            .iter()
            .any(|search| search.contains("$ORIGIN") || search.contains("${ORIGIN}"))
    {
        return Err(ProgramError::Format {
            path: path.to_owned(),
            reason: "it looks for libraries in its own directory ($ORIGIN), and it is executed from memory, where nothing \
                     is beside it; link it statically, or set an absolute RUNPATH"
                .to_owned(),
        });
    }
    let loader = configuration
        .libraries()
        .keys()
        .find(|pinned| pinned.as_str() == interpreter)
        .ok_or_else(|| not_pinned(path, interpreter))?;
    check_names(configuration, path, loading.clone())?;
    match &program.image {
        Some(image) => check_answer(configuration, path, loader, image),
        // Gramine: its manifest decides which files exist at all.
        None => Ok(()),
    }
}

pub(super) fn not_pinned(path: &Path, library: &str) -> ProgramError {
    ProgramError::Library { path: path.to_owned(), library: library.to_owned() }
}

pub(super) fn read(path: &Path, file: &File) -> Result<Loading, ProgramError> {
    let format = |reason: String| ProgramError::Format { path: path.to_owned(), reason };
    let loading = Loading::read(file).map_err(format)?;
    if loading.audit {
        return Err(format("it names auditing libraries (DT_AUDIT), which would run before it".to_owned()));
    }
    if loading.filter {
        let reason = "it names libraries that answer in its place (DT_FILTER, DT_AUXILIARY)";
        return Err(format(reason.to_owned()));
    }
    Ok(loading)
}

/// Every name needed, by the program or by a library that is needed, must be the
/// file name of a pinned library.
fn check_names(
    configuration: &MeasuredConfiguration,
    path: &Path,
    loading: Loading,
) -> Result<(), ProgramError> {
    let mut seen: BTreeSet<&AbsolutePath> = BTreeSet::new();
    let mut waiting = VecDeque::from([(path.to_owned(), loading)]);
    while let Some((path, loading)) = waiting.pop_front() {
        for name in &loading.needed {
            let mut found = false;
            for pinned in configuration.libraries().keys().filter(|pinned| is_named(pinned, name)) {
                found = true;
                if seen.insert(pinned) {
                    let library: PathBuf = pinned.clone().into();
                    let file = File::open(&library)
                        .map_err(|source| ProgramError::Unreadable { path: library.clone(), source })?;
                    let loading = read(&library, &file)?;
                    waiting.push_back((library, loading));
                }
            }
            if !found {
                return Err(not_pinned(&path, name));
            }
        }
    }
    Ok(())
}

pub(super) fn is_named(pinned: &AbsolutePath, name: &str) -> bool {
    if name.contains('/') {
        pinned.as_str() == name
    } else {
        pinned.as_path().file_name().is_some_and(|file| file == name)
    }
}

/// Asks the loader which files it would take for this program.
fn check_answer(
    configuration: &MeasuredConfiguration,
    path: &Path,
    loader: &AbsolutePath,
    image: &OwnedFd,
) -> Result<(), ProgramError> {
    let unreadable = |source| ProgramError::Unreadable { path: loader.clone().into(), source };
    let image = image.try_clone().map_err(unreadable)?;
    let answer = Command::new(loader.as_path())
        .args(["--list", "/proc/self/fd/0"])
        .env_clear()
        .stdin(Stdio::from(image))
        .output()
        .map_err(unreadable)?;
    let refused = |reason: String| ProgramError::Format { path: path.to_owned(), reason };
    if !answer.status.success() {
        return Err(refused(format!(
            "its loader {loader} can't load it: {}",
            String::from_utf8_lossy(&answer.stderr).trim()
        )));
    }
    let pinned = canonical_libraries(configuration);
    for taken in listed(&String::from_utf8_lossy(&answer.stdout)) {
        let taken = taken.map_err(|name| not_pinned(path, &name))?;
        let is_pinned = fs::canonicalize(&taken).is_ok_and(|file| pinned.contains(&file));
        if !is_pinned {
            return Err(not_pinned(path, &taken));
        }
    }
    Ok(())
}

/// The pinned files by the paths that links lead to.
fn canonical_libraries(configuration: &MeasuredConfiguration) -> BTreeSet<PathBuf> {
    configuration.libraries().keys().filter_map(|path| fs::canonicalize(path.as_path()).ok()).collect()
}

/// The first file mapped for execution into this process that is neither its
/// binary nor a pinned library, as an error.
pub(super) fn first_unpinned_mapping(
    configuration: &MeasuredConfiguration,
) -> Result<Option<ProgramError>, ProgramError> {
    let read = |path: &str| {
        fs::read_to_string(path).map_err(|source| ProgramError::Unreadable { path: path.into(), source })
    };
    let link = |path: &str| {
        fs::read_link(path).map_err(|source| ProgramError::Unreadable { path: path.into(), source })
    };
    let binary = link("/proc/self/exe")?;
    let maps = read("/proc/self/maps")?;
    let pinned = canonical_libraries(configuration);
    let unpinned = executable_mappings(&maps).find(|file| **file != *binary && !pinned.contains(*file));
    Ok(unpinned.map(|file| not_pinned(&binary, &file.display().to_string())))
}

/// The files mapped for execution (proc_pid_maps(5)).
fn executable_mappings(maps: &str) -> impl Iterator<Item = &Path> {
    maps.lines().filter_map(|line| {
        let mut fields = line.splitn(6, ' ');
        let permissions = fields.nth(1)?;
        let name = fields.nth(3)?.trim_start();
        // Other names are the kernel's: [vdso], [stack], or nothing.
        (permissions.contains('x') && name.starts_with('/')).then(|| Path::new(name))
    })
}

/// The files in the answer of `--list`: `name => path (address)`, or
/// `path (address)`; or the name of a library that was not found.
fn listed(answer: &str) -> Vec<Result<String, String>> {
    let mut files = Vec::new();
    for line in answer.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let line = line.rsplit_once(" (").map_or(line, |(before, _)| before);
        let (name, file) = match line.split_once(" => ") {
            Some((name, file)) => (name.trim(), file.trim()),
            None => (line, line),
        };
        if KERNELS_OWN.contains(&name) {
            continue;
        }
        files.push(if file.starts_with('/') { Ok(file.to_owned()) } else { Err(name.to_owned()) });
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_read() {
        let maps = "\
55d0-55d1 r-xp 00001000 fd:00 131    /usr/bin/a program
7f00-7f01 r--p 00000000 fd:00 132    /usr/lib/data
7f02-7f03 r-xp 00000000 fd:00 133    /usr/lib/libc.so.6
7f04-7f05 r-xp 00000000 00:00 0      [vdso]
7f06-7f07 rwxp 00000000 00:00 0
";
        let files: Vec<&Path> = executable_mappings(maps).collect();
        assert_eq!(files, [Path::new("/usr/bin/a program"), Path::new("/usr/lib/libc.so.6")]);
    }

    #[test]
    fn answers_of_both_loaders_are_read() {
        let glibc = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibz.so.1 => not found\n\
                     \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f2a)\n\
                     \t/lib64/ld-linux-x86-64.so.2 (0x00007f2b)\n";
        assert_eq!(
            listed(glibc),
            [
                Err("libz.so.1".to_owned()),
                Ok("/lib/x86_64-linux-gnu/libc.so.6".to_owned()),
                Ok("/lib64/ld-linux-x86-64.so.2".to_owned()),
            ]
        );
        let musl =
            "\t/lib/ld-musl-x86_64.so.1 (0x7f)\n\tlibc.musl-x86_64.so.1 => /lib/ld-musl-x86_64.so.1 (0x7f)\n";
        assert_eq!(listed(musl).len(), 2);
        assert_eq!(listed("\tstatically linked\n"), [Err("statically linked".to_owned())]);
    }
}
