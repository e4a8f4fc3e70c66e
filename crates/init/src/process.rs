//! The parent process: starts the program, passes signals on, reaps, and ends as
//! the program ends.
//!
//! It may be process 1 of a container, for which the kernel has no defaults: a
//! signal that nobody handles is lost, and every orphan is its child. Elsewhere
//! it asks to be a subreaper, so that it is the same there.
//!
//! The program has a process group of its own, so that a terminal's signals
//! reach it once, through init. If init is killed, the kernel kills the program.
//! When the program has ended, what it left running is killed: it may hold
//! secrets, and nobody watches it any more.

use std::{
    cell::Cell,
    collections::BTreeMap,
    ffi::OsString,
    fs,
    future::pending,
    io,
    os::{fd::AsRawFd, unix::process::CommandExt},
    process::Command,
    task::Poll,
    time::Duration,
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        prctl,
        signal::{Signal, kill, killpg},
    },
    unistd::{Pid, getpid},
};
use tokio::{
    signal::unix::{self, SignalKind},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    delivery::Places,
    error::InitError,
    health::{DrainReason, Health},
    program::VerifiedProgram,
    syscall,
};

/// Signals that are passed on.
const FORWARDED: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGWINCH,
];
/// Of those, the ones that ask a process to end.
const ENDING: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

/// The signals of this process. From the moment that this is made, none of them
/// has its default effect.
#[derive(Debug)]
pub struct Signals {
    streams: Vec<(Signal, unix::Signal)>,
}

impl Signals {
    /// Handles all forwarded signals and SIGCHLD.
    pub fn handle() -> Result<Self, InitError> {
        let open = |signal: Signal| {
            let kind = SignalKind::from_raw(signal as i32);
            unix::signal(kind).map(|stream| (signal, stream))
        };
        let streams: io::Result<_> = FORWARDED.into_iter().chain([Signal::SIGCHLD]).map(open).collect();
        let streams =
            streams.map_err(|source| InitError::System { operation: "handling signals", source })?;
        Ok(Self { streams })
    }

    /// The next signal.
    pub async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            for (signal, stream) in &mut self.streams {
                if let Poll::Ready(Some(())) = stream.poll_recv(context) {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// The next signal that asks a process to end; others are dropped. For the
    /// time before there is a program.
    pub async fn next_ending(&mut self) -> Signal {
        loop {
            let signal = self.next().await;
            if ENDING.contains(&signal) {
                return signal;
            }
        }
    }
}

/// A program that runs.
#[derive(Debug)]
pub struct SupervisedProgram {
    program: Pid,
    /// Its exit code, once it was reaped: then the process id is no longer its.
    ended: Cell<Option<u8>>,
}

/// The outcome of the wish that the program end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Termination {
    NotAsked,
    /// It is passed on then.
    At(Instant),
    PassedOn,
}

impl Termination {
    /// Waits until it is to be passed on; for ever if it isn't.
    async fn due(self) {
        match self {
            Self::At(moment) => sleep_until(moment).await,
            Self::NotAsked | Self::PassedOn => pending().await,
        }
    }
}

/// How a program ended, as an exit code: its own, or 128 and the signal's number,
/// whether that signal has a name or not. `None` if it only stopped.
fn exit_code(status: libc::c_int) -> Option<u8> {
    let code = if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status)
    } else if libc::WIFSIGNALED(status) {
        128 + libc::WTERMSIG(status)
    } else {
        return None;
    };
    Some(u8::try_from(code).unwrap_or(u8::MAX))
}

/// 128 and the signal's number.
pub fn signal_exit_code(signal: Signal) -> u8 {
    u8::try_from(128 + signal as i32).unwrap_or(u8::MAX)
}

impl SupervisedProgram {
    /// Starts the program, with these arguments and exactly this environment.
    ///
    /// Call it from the thread that lives as long as this process does: the
    /// kernel takes the end of the starting thread for that of the parent.
    pub fn start(
        program: &VerifiedProgram,
        arguments: &[OsString],
        environment: &BTreeMap<OsString, OsString>,
        places: &Places,
    ) -> Result<Self, InitError> {
        prctl::set_child_subreaper(true).or_else(|errno| match errno {
            // Not Linux' own kernel: then there are no orphans to adopt either.
            Errno::EINVAL | Errno::ENOSYS => Ok(()),
            errno => {
                Err(InitError::System { operation: "prctl(PR_SET_CHILD_SUBREAPER)", source: errno.into() })
            }
        })?;
        let mut command = Command::new(program.executable());
        command.arg0(program.path()).args(arguments).env_clear().envs(environment).process_group(0);
        let inherited = places.descriptors().map(|descriptor| descriptor.as_raw_fd()).collect();
        syscall::prepare_child(&mut command, getpid(), inherited);
        let child = command
            .spawn()
            .map_err(|source| InitError::System { operation: "starting the program", source })?;
        let program = i32::try_from(child.id()).map(Pid::from_raw).map_err(|_| InitError::System {
            operation: "starting the program",
            source: io::ErrorKind::InvalidData.into(),
        })?;
        // `child` is dropped without being waited for: this process reaps all its
        // children in one place.
        Ok(Self { program, ended: Cell::new(None) })
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.program
    }

    /// Waits until the program has ended, passing on every signal and reaping
    /// every child; then ends what it left running. Gives its exit code.
    ///
    /// The first SIGTERM is passed on after `delay` only, while `health` says at
    /// once that no more requests should come; a second one doesn't wait.
    pub async fn wait(&self, signals: &mut Signals, health: &Health, delay: Duration) -> u8 {
        let mut termination = Termination::NotAsked;
        loop {
            if let Some(code) = self.reap() {
                end_descendants(self.program).await;
                return code;
            }
            let signal = tokio::select! {
                signal = signals.next() => signal,
                () = termination.due() => Signal::SIGTERM,
            };
            if matches!(signal, Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT) {
                health.drain(DrainReason::Stopped);
            }
            match signal {
                Signal::SIGCHLD => {}
                Signal::SIGTERM if termination == Termination::NotAsked && !delay.is_zero() => {
                    tracing::info!(?delay, "SIGTERM: passed on after the delay");
                    termination = Termination::At(Instant::now() + delay);
                }
                Signal::SIGTERM => {
                    termination = Termination::PassedOn;
                    self.send(signal);
                }
                signal => self.send(signal),
            }
        }
    }

    /// Ends the program: SIGTERM, and SIGKILL if it is still there after `limit`.
    /// Gives its exit code.
    pub async fn end(&self, signals: &mut Signals, health: &Health, limit: Duration) -> u8 {
        self.send(Signal::SIGTERM);
        if let Ok(code) = timeout(limit, self.wait(signals, health, Duration::ZERO)).await {
            return code;
        }
        tracing::warn!(?limit, "the program did not end in time; killing it");
        self.send(Signal::SIGKILL);
        self.wait(signals, health, Duration::ZERO).await
    }

    /// Sends a signal to the program, unless it has ended. If it has and was not
    /// reaped yet, nothing happens.
    pub fn send(&self, signal: Signal) {
        if self.ended.get().is_none() {
            let _ = kill(self.program, signal);
        }
    }

    /// Reaps every child that has ended; the program's exit code if it was one,
    /// now or before.
    fn reap(&self) -> Option<u8> {
        while let Some((pid, ended)) = reap_one() {
            if pid == self.program {
                self.ended.set(Some(ended));
            } else {
                tracing::debug!(%pid, code = ended, "reaped an orphan");
            }
        }
        self.ended.get()
    }
}

/// Reaps one child that has ended.
fn reap_one() -> Option<(Pid, u8)> {
    loop {
        match syscall::reap_child() {
            Ok(None) | Err(Errno::ECHILD) => return None,
            Ok(Some((pid, status))) => {
                if let Some(ended) = exit_code(status) {
                    return Some((pid, ended));
                }
            }
            Err(Errno::EINTR) => {}
            // No child is gone by this: the kernel gives either an error or a child.
            Err(errno) => {
                tracing::error!("waitpid: {errno}");
                return None;
            }
        }
    }
}

/// Kills what the program left running, until nothing is left.
async fn end_descendants(program: Pid) {
    const ROUNDS: u32 = 200;
    const PAUSE: Duration = Duration::from_millis(10);
    let _ = killpg(program, Signal::SIGKILL);
    for _ in 0..ROUNDS {
        while reap_one().is_some() {}
        let children = children();
        if children.is_empty() {
            return;
        }
        // Those whose parent ends by this become children of this process, and
        // are found in the next round.
        for child in children {
            tracing::warn!(pid = %child, "the program left a process running; killing it");
            let _ = kill(child, Signal::SIGKILL);
        }
        tokio::time::sleep(PAUSE).await;
    }
    tracing::error!("processes that the program left running could not be ended");
}

/// The children of this process (proc_pid_task(5), `children`); none on a kernel
/// that does not say.
fn children() -> Vec<Pid> {
    let mut children = Vec::new();
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children.extend(text.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw));
    }
    children
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_a_code() {
        for code in [0, 3, 255] {
            assert_eq!(exit_code(code << 8), u8::try_from(code).ok());
        }
        // Real-time signals too, which have no name, and with or without a core dump.
        for signal in 1..=libc::SIGRTMAX() {
            let code = u8::try_from(128 + signal).ok();
            assert_eq!((exit_code(signal), exit_code(signal | 0x80)), (code, code), "{signal}");
        }
        let stopped = (libc::SIGSTOP << 8) | 0x7f;
        assert_eq!(exit_code(stopped), None);
    }
}
