//! A program that ends when the one that started it ends, however that ends: the kernel
//! sends SIGTERM to it then (`prctl(PR_SET_PDEATHSIG)`), and keeps doing so over `exec`.

use std::{ffi::OsString, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, bail};
use nix::{
    sys::{prctl, signal::Signal},
    unistd::{Pid, getppid},
};

/// Become a program that ends with the process that started it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The process that started this one.
    #[arg(long)]
    parent: i32,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    prctl::set_pdeathsig(Signal::SIGTERM).context("the end of the parent can't be noticed")?;
    // It may have ended before the kernel knew.
    if getppid() != Pid::from_raw(args.parent) {
        bail!("the process that started this one has ended; start it again");
    }
    let Some((program, arguments)) = args.command.split_first() else {
        bail_input!("no program is named; give one after --")
    };
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("{} can't be started", program.display()))
}
