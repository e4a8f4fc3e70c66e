//! A proxy that ends TLS before a server of plain HTTP.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    rsa,
    tls_server::{self, Authority},
};

/// A running proxy; it ends when this is dropped.
pub struct TlsProxy {
    address: SocketAddr,
    root: String,
    target: Arc<Mutex<Option<SocketAddr>>>,
    task: JoinHandle<()>,
}

impl Drop for TlsProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TlsProxy {
    /// A proxy on a free port, with a certificate for this host. It turns everybody away until it
    /// has a target.
    pub async fn start(host: &str) -> Self {
        let (key, authority) = (rsa::generate(), Authority::new());
        let tls = TlsAcceptor::from(tls_server::configuration(authority.chain(&key, host, 2050), &key));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
        let current = Arc::clone(&target);
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (tls, target) = (tls.clone(), *current.lock().unwrap());
                tokio::spawn(async move {
                    let Some(target) = target else { return };
                    let Ok(mut stream) = tls.accept(stream).await else { return };
                    let Ok(mut server) = TcpStream::connect(target).await else { return };
                    let _ = copy_bidirectional(&mut stream, &mut server).await;
                });
            }
        });
        Self { address, root: authority.root(), target, task }
    }

    /// Sends new connections there.
    pub fn forward_to(&self, target: SocketAddr) {
        *self.target.lock().unwrap() = Some(target);
    }

    /// Host and port.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The root above its certificate, in PEM.
    pub fn root(&self) -> &str {
        &self.root
    }
}
