//! Ctrl-C in the middle of work on files: the work ends with an error, so that
//! what is half written is removed.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Reads until somebody interrupts this process.
pub(crate) struct Interruptible<R> {
    inner: R,
    interrupted: Arc<AtomicBool>,
}

impl<R> Interruptible<R> {
    /// From here on SIGINT and SIGTERM make reading fail; a second one ends the
    /// process at once.
    pub(crate) fn new(inner: R) -> io::Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::spawn(watch(interrupt, terminate, Arc::clone(&interrupted)));
        Ok(Self { inner, interrupted })
    }
}

async fn watch(mut interrupt: Signal, mut terminate: Signal, interrupted: Arc<AtomicBool>) {
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if interrupted.swap(true, Ordering::Relaxed) {
            // As a shell tells it of a process that a signal ended.
            std::process::exit(130);
        }
    }
}

impl<R: Read> Read for Interruptible<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Asked after reading: that is what takes time.
        let count = self.inner.read(buffer)?;
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(io::Error::other("interrupted; nothing was left behind"));
        }
        Ok(count)
    }
}
