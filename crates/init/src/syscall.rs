//! The calls that Rust can't check, each behind a safe function.

#![allow(unsafe_code)]

use std::{
    io,
    os::{
        fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::Command,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, fcntl},
    libc,
    sys::{
        prctl,
        signal::{SigSet, Signal},
    },
    unistd::{Pid, getppid},
};

/// A copy of a descriptor at the lowest free number that is not below `lowest`.
/// It closes on exec.
pub(crate) fn duplicate_from(descriptor: BorrowedFd<'_>, lowest: RawFd) -> Result<OwnedFd, Errno> {
    let copy = fcntl(descriptor, FcntlArg::F_DUPFD_CLOEXEC(lowest))?;
    // SAFETY: the call has just made this descriptor, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Reaps a child that has ended, if there is one: its process id and its status
/// as the kernel says it (waitpid(2)).
///
/// Not nix' `waitpid`: it fails for a signal that it has no name for, as the
/// real-time signals, when the child is gone already.
pub(crate) fn reap_child() -> Result<Option<(Pid, libc::c_int)>, Errno> {
    let mut status: libc::c_int = 0;
    // SAFETY: the kernel writes nothing but `status`, which is this function's
    // own and outlives the call.
    let pid = Errno::result(unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) })?;
    Ok((pid != 0).then_some((Pid::from_raw(pid), status)))
}

/// Has the child, between fork and exec: ask the kernel for SIGKILL when its
/// parent ends, unblock all signals, and keep these descriptors over exec.
///
/// The descriptors are open in this process until the child is spawned.
pub(crate) fn prepare_child(command: &mut Command, parent: Pid, inherited: Vec<RawFd>) {
    let prepare = move || -> io::Result<()> {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // It may have ended in between; then no signal comes any more.
        if getppid() != parent {
            return Err(Errno::ESRCH.into());
        }
        SigSet::empty().thread_set_mask()?;
        for descriptor in &inherited {
            // SAFETY: the caller keeps it open until after the fork, so it is
            // open here, in the copy that the fork made.
            let descriptor = unsafe { BorrowedFd::borrow_raw(*descriptor) };
            fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok(())
    };
    // SAFETY: the closure runs in the forked child, where only what is
    // async-signal-safe (signal-safety(7)) may be called: prctl, getppid,
    // pthread_sigmask and fcntl are, and it neither allocates nor locks: the
    // error values hold a number.
    unsafe { command.pre_exec(prepare) };
}
