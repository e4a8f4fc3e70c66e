//! The ports for the protocols of others.

use std::sync::Arc;

use adytum_broker::{Broker, ServerLimits, kbs, occlum::OcclumListener};
use anyhow::Context as _;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{arguments::Arguments, listening::ReservedPort, say};

/// The ports that flags ask for. They are taken before the store counts a start, and answered at
/// once the broker has its state.
pub(crate) struct OtherPorts {
    kbs: Option<ReservedPort>,
    occlum: Option<ReservedPort>,
}

impl OtherPorts {
    pub(crate) async fn take(arguments: &Arguments) -> anyhow::Result<Self> {
        let take = async |address: &Option<String>, argument| match address {
            Some(address) => ReservedPort::take(address, argument).await.map(Some),
            None => Ok(None),
        };
        Ok(Self {
            kbs: take(&arguments.kbs_listen, "--kbs-listen").await?,
            occlum: take(&arguments.occlum_listen, "--occlum-listen").await?,
        })
    }

    /// Serves until `ended` is true.
    pub(crate) async fn serve(
        self,
        broker: &Arc<Broker>,
        limits: ServerLimits,
        ended: &watch::Receiver<bool>,
    ) -> anyhow::Result<JoinSet<()>> {
        let mut serving = JoinSet::new();
        if let Some(port) = self.occlum {
            let others = OcclumListener::new(Arc::clone(broker), limits).await?;
            let listener = listen(port, "Occlum listening on", "--occlum-listen")?;
            serving.spawn(others.serve(listener, is_true(ended.clone())));
        }
        if let Some(port) = self.kbs {
            let listener = listen(port, "KBS listening on", "--kbs-listen")?;
            serving.spawn(kbs::serve(listener, Arc::clone(broker), limits, is_true(ended.clone())));
        }
        Ok(serving)
    }
}

fn listen(port: ReservedPort, what: &str, argument: &'static str) -> anyhow::Result<TcpListener> {
    let listener = port.listen().context(argument)?;
    say(what, listener.local_addr()?);
    Ok(listener)
}

async fn is_true(mut ended: watch::Receiver<bool>) {
    // An error means that the sender is gone, and so is the broker.
    let _ = ended.wait_for(|ended| *ended).await;
}
