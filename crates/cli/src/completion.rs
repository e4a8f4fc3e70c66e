//! `adytum completion`: what a shell completes this command line by.

use clap::ValueEnum;
use clap_complete::aot;

use crate::output;

/// Print what a shell completes this command line by.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub(crate) fn run(args: &Args, mut command: clap::Command) -> anyhow::Result<()> {
    let shell = match args.shell {
        Shell::Bash => aot::Shell::Bash,
        Shell::Zsh => aot::Shell::Zsh,
        Shell::Fish => aot::Shell::Fish,
    };
    let mut script = Vec::new();
    aot::generate(shell, &mut command, "adytum", &mut script);
    output::document(&String::from_utf8(script)?)
}
