//! A man in the middle without keys: he records what passes, and may change one byte of what goes to
//! the client.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A running relay; it ends when this is dropped.
pub struct Relay {
    address: String,
    recorded: Arc<Mutex<Vec<u8>>>,
    changed: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// A relay on a free port to this host and port. In each connection it changes the byte that
    /// comes to the client after so many others, if that is given.
    pub async fn start(target: &str, change: Option<usize>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (recorded, changed): (Arc<Mutex<Vec<u8>>>, Arc<AtomicBool>) = Default::default();
        let (target, recording, changing) = (target.to_owned(), Arc::clone(&recorded), Arc::clone(&changed));
        let task = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { return };
                let Ok(server) = TcpStream::connect(&target).await else { continue };
                let (recording, changing) = (Arc::clone(&recording), Arc::clone(&changing));
                tokio::spawn(async move {
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    let forth = async {
                        let mut bytes = [0; 4096];
                        while let Ok(length @ 1..) = from_client.read(&mut bytes).await {
                            recording.lock().unwrap().extend_from_slice(&bytes[..length]);
                            if to_server.write_all(&bytes[..length]).await.is_err() {
                                return;
                            }
                        }
                        let _ = to_server.shutdown().await;
                    };
                    let back = async {
                        let (mut bytes, mut passed) = ([0; 4096], 0);
                        while let Ok(length @ 1..) = from_server.read(&mut bytes).await {
                            recording.lock().unwrap().extend_from_slice(&bytes[..length]);
                            if let Some(at) = change.filter(|at| (passed..passed + length).contains(at)) {
                                bytes[at - passed] ^= 1;
                                changing.store(true, Ordering::SeqCst);
                            }
                            passed += length;
                            if to_client.write_all(&bytes[..length]).await.is_err() {
                                return;
                            }
                        }
                        let _ = to_client.shutdown().await;
                    };
                    tokio::join!(forth, back);
                });
            }
        });
        Self { address, recorded, changed, task }
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Did these bytes pass, as they are or in hexadecimal or base64?
    pub fn saw(&self, secret: &[u8]) -> bool {
        let recorded = self.recorded.lock().unwrap();
        let forms = [
            secret.to_vec(),
            hex::encode(secret).into_bytes(),
            STANDARD_NO_PAD.encode(secret).into_bytes(),
            URL_SAFE_NO_PAD.encode(secret).into_bytes(),
        ];
        forms.iter().any(|form| recorded.windows(form.len()).any(|window| window == form))
    }

    /// Was a byte changed?
    pub fn has_changed(&self) -> bool {
        self.changed.load(Ordering::SeqCst)
    }
}
