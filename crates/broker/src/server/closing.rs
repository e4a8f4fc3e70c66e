//! Closes connections that are turned away so that their peers see an end and not a
//! reset: a socket that is closed over bytes that nobody read resets the connection.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};

/// Connections that are being closed; beyond their number one is reset.
const CLOSING: usize = 128;
/// How long a peer may take to see the end...
const TIME: Duration = Duration::from_secs(1);
/// ... and how much of what it still sends is read.
const DRAIN: usize = 16 * 1024;

/// Closes connections.
#[derive(Debug)]
pub(super) struct Closing(Arc<Semaphore>);

impl Default for Closing {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(CLOSING)))
    }
}

impl Closing {
    /// Says that there is no more, and waits a little until the peer has seen it.
    pub(super) fn close(&self, mut stream: TcpStream) {
        let Ok(permit) = Arc::clone(&self.0).try_acquire_owned() else { return };
        tokio::spawn(async move {
            let _permit = permit;
            let closed = async {
                stream.shutdown().await?;
                let (mut buffer, mut left) = ([0; 4096], DRAIN);
                loop {
                    let read = stream.read(&mut buffer).await?;
                    if read == 0 || read > left {
                        return Ok::<_, std::io::Error>(());
                    }
                    left -= read;
                }
            };
            // A peer that holds on is reset after all.
            let _ = timeout(TIME, closed).await;
        });
    }
}
