//! `cargo xtask model`: writes example models that are too large to commit.

mod graph;
mod messages;
mod resnet;
mod weights;

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use sha2::{Digest, Sha256};

use self::{graph::Graph, resnet::Architecture};

/// Writes an example model.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    model: Model,
}

/// The models there are.
#[derive(clap::Subcommand, Debug)]
enum Model {
    /// ResNet-50 v1 with seeded random weights: right shapes and speed, meaningless answers.
    Resnet50 {
        /// The file to write (about 102 MB); its directory is created.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The weights follow from it: equal seeds give equal files.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
}

/// Runs the subcommand.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.model {
        Model::Resnet50 { out, seed } => write(&out, seed),
    }
}

/// Writes the ResNet-50 that the benchmarks serve.
pub(crate) fn write_resnet50(out: &Path) -> anyhow::Result<()> {
    write(out, 0)
}

fn write(out: &Path, seed: u64) -> anyhow::Result<()> {
    let written = write_file(&resnet::graph(&Architecture::RESNET_50, seed), out)?;
    println!("{}: {} bytes, sha256 {}", out.display(), written.bytes, written.digest);
    Ok(())
}

/// A file as it was written.
struct Written {
    bytes: u64,
    digest: String,
}

/// Writes to a neighbour first, so that `path` never holds half a model.
fn write_file(graph: &Graph, path: &Path) -> anyhow::Result<Written> {
    let name = path.file_name().with_context(|| format!("{} names no file", path.display()))?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(directory).with_context(|| format!("can't create {}", directory.display()))?;
    let mut partial_name = name.to_owned();
    partial_name.push(format!(".{}.partial", std::process::id()));
    let partial = directory.join(partial_name);

    let result = write_and_digest(graph, &partial)
        .and_then(|written| fs::rename(&partial, path).map(|()| written))
        .with_context(|| format!("can't write {}", path.display()));
    if result.is_err() {
        // A partial file is of no use; the first error is the one to report.
        let _ = fs::remove_file(&partial);
    }
    result
}

fn write_and_digest(graph: &Graph, path: &Path) -> io::Result<Written> {
    let mut sink = BufWriter::with_capacity(1 << 20, Digesting::new(File::create(path)?));
    graph.write(&mut sink)?;
    let sink = sink.into_inner().map_err(io::IntoInnerError::into_error)?;
    sink.inner.sync_all()?;
    Ok(Written { bytes: sink.bytes, digest: hex::encode(sink.hash.finalize()) })
}

/// Counts and digests what passes through.
struct Digesting<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W> Digesting<W> {
    fn new(inner: W) -> Self {
        Self { inner, hash: Sha256::new(), bytes: 0 }
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.hash.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_whole_and_follows_from_the_seed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("models/resnet/1/model.onnx");
        let first = write_file(&resnet::graph(&Architecture::REDUCED, 1), &path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), first.bytes);
        assert_eq!(hex::encode(Sha256::digest(fs::read(&path).unwrap())), first.digest);

        let again = write_file(&resnet::graph(&Architecture::REDUCED, 1), &path).unwrap();
        assert_eq!(again.digest, first.digest);
        let other = write_file(&resnet::graph(&Architecture::REDUCED, 2), &path).unwrap();
        assert_ne!(other.digest, first.digest);
        assert_eq!(other.bytes, first.bytes);

        // Another meaning of a seed would change all digests that users have.
        assert_eq!(first.digest, "b8943d98ef26c472e00e3e9807b36d43bdf82c9573f415f081d2e733e2a73321");

        let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "no partial file is left");
    }

    #[test]
    fn a_path_that_cannot_be_written_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, b"").unwrap();
        let below = file.join("model.onnx");
        let error = write_file(&resnet::graph(&Architecture::REDUCED, 1), &below).err().unwrap();
        assert!(format!("{error:#}").contains("can't create"), "{error:#}");
        let error = write_file(&resnet::graph(&Architecture::REDUCED, 1), directory.path()).err().unwrap();
        assert!(format!("{error:#}").contains("can't write"), "{error:#}");
    }
}
