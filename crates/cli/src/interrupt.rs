//! Ctrl-C in the middle of work on files: the work ends with an error, so that
//! what is half written is removed.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The number of the signal that interrupted this process; 0 for none.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// What this process ends with if a signal interrupted its work: 128 and the signal's
/// number, as a shell reports a process that a signal ended.
pub(crate) fn exit_code() -> Option<u8> {
    match SIGNAL.load(Ordering::Relaxed) {
        0 => None,
        signal => u8::try_from(128 + signal).ok(),
    }
}

/// Takes note that this signal interrupted the work of this process.
pub(crate) fn came(signal: SignalKind) {
    SIGNAL.store(signal.as_raw_value(), Ordering::Relaxed);
}

/// Waits for the first SIGINT or SIGTERM, for work that ends when it is dropped.
#[cfg(feature = "object-stores")]
pub(crate) async fn arrives() -> io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let signal = first(&mut interrupt, &mut terminate).await;
    came(signal);
    Ok(())
}

async fn first(interrupt: &mut Signal, terminate: &mut Signal) -> SignalKind {
    tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
    }
}

/// Knows whether somebody has interrupted this process.
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From here on SIGINT and SIGTERM are taken note of; a second one ends the
    /// process at once.
    pub(crate) fn watch() -> io::Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::spawn(watch(interrupt, terminate, Arc::clone(&interrupted)));
        Ok(Self(interrupted))
    }

    /// An error if this process was interrupted.
    pub(crate) fn check(&self) -> io::Result<()> {
        match self.0.load(Ordering::Relaxed) {
            true => Err(io::Error::other("interrupted; nothing was left behind")),
            false => Ok(()),
        }
    }
}

/// Reads until somebody interrupts this process.
pub(crate) struct Interruptible<R> {
    inner: R,
    interrupt: Interrupt,
}

impl<R> Interruptible<R> {
    /// See [`Interrupt::watch`]; from here on a signal makes reading fail.
    pub(crate) fn new(inner: R) -> io::Result<Self> {
        Ok(Self { inner, interrupt: Interrupt::watch()? })
    }
}

async fn watch(mut interrupt: Signal, mut terminate: Signal, interrupted: Arc<AtomicBool>) {
    loop {
        let signal = first(&mut interrupt, &mut terminate).await;
        came(signal);
        if interrupted.swap(true, Ordering::Relaxed) {
            std::process::exit(128 + signal.as_raw_value());
        }
    }
}

impl<R: Read> Read for Interruptible<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Asked after reading: that is what takes time.
        let count = self.inner.read(buffer)?;
        self.interrupt.check()?;
        Ok(count)
    }
}
