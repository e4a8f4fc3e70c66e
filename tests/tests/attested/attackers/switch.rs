//! A port that leads to another one, which can be exchanged, and a record at the socket of what
//! clients sent through it.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// What a client sent on one connection.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// Where it led.
    pub(crate) port: u16,
    pub(crate) bytes: Vec<u8>,
}

/// A port that leads to another one. When that is exchanged, all connections are cut.
pub(crate) struct Switch {
    port: u16,
    behind: watch::Sender<u16>,
    sent: Arc<Mutex<Vec<Sent>>>,
}

type Record = Arc<Mutex<Vec<Sent>>>;

impl Switch {
    pub(crate) async fn to(behind: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (sender, receiver) = watch::channel(behind);
        let switch = Self { port, behind: sender, sent: Record::default() };
        let sent = Arc::clone(&switch.sent);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (mut behind, sent) = (receiver.clone(), Arc::clone(&sent));
                tokio::spawn(async move {
                    let port = *behind.borrow_and_update();
                    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    let (from_client, mut to_client) = client.into_split();
                    let (mut from_server, to_server) = server.into_split();
                    tokio::select! {
                        _ = async {
                            tokio::join!(
                                recorded(from_client, to_server, port, &sent),
                                tokio::io::copy(&mut from_server, &mut to_client),
                            )
                        } => {}
                        _ = behind.changed() => {}
                    }
                });
            }
        });
        Ok(switch)
    }

    pub(crate) fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    pub(crate) fn turn(&self, behind: u16) {
        self.behind.send_replace(behind);
    }

    /// What clients sent to this port, by connections.
    pub(crate) fn sent_to(&self, port: u16) -> Vec<Sent> {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.iter().filter(|sent| sent.port == port).cloned().collect()
    }
}

/// Hands on what a client sends, and keeps it before the server has it.
async fn recorded(mut client: OwnedReadHalf, mut server: OwnedWriteHalf, port: u16, record: &Record) {
    let lock = || record.lock().unwrap_or_else(PoisonError::into_inner);
    let index = {
        let mut sent = lock();
        sent.push(Sent { port, bytes: Vec::new() });
        sent.len() - 1
    };
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = client.read(&mut buffer).await {
        lock()[index].bytes.extend_from_slice(&buffer[..read]);
        if server.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
}

/// TLS's record of encrypted content (RFC 8446, section 5.1).
const APPLICATION_DATA: u8 = 23;
/// A ClientHello of an attested session, with its length, its type inside and the tag.
const HELLO: usize = 4 + 34 + 1 + 16;
/// Finished, hello, refusal, and the alert with which the client closes the connection.
const RECORDS: usize = 4;
/// More than these four have, and less than any request of the tests.
const BYTES: usize = 2048;

impl Sent {
    /// The lengths of the encrypted records.
    fn encrypted(&self) -> Vec<usize> {
        let (mut rest, mut lengths) = (self.bytes.as_slice(), Vec::new());
        while let [kind, _, _, a, b, more @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*a, *b]));
            if *kind == APPLICATION_DATA {
                lengths.push(length);
            }
            rest = more.get(length..).unwrap_or_default();
        }
        lengths
    }

    /// Was there more than a handshake that ended with a refusal?
    pub(crate) fn is_request(&self) -> bool {
        let lengths = self.encrypted();
        lengths.len() > RECORDS || lengths.iter().sum::<usize>() > BYTES
    }

    /// It is a client's part of a handshake that ended with a refusal, and nothing more.
    pub(crate) fn require_only_a_handshake(&self) -> Result<()> {
        let lengths = self.encrypted();
        ensure!(!self.is_request(), "encrypted records of {lengths:?} bytes are more than a handshake");
        ensure!(lengths.get(1).is_none_or(|length| *length == HELLO), "no hello: {lengths:?}");
        Ok(())
    }
}
