//! An open session with a broker that has been verified.

use std::sync::Arc;

use adytum_api::broker::{
    CommandResult, GetStatusRequest, GetStatusResponse, RecoveryStatus, SupplyShareRequest,
    broker_administration_client::BrokerAdministrationClient, broker_recovery_client::BrokerRecoveryClient,
    command,
};
use adytum_evidence::{claims::Claims, measurement::Sha256Digest};
use adytum_governance::{
    announcement::BrokerAnnouncement,
    command::sign,
    confirmation::Challenge,
    genesis::Genesis,
    head::{StateHead, follows},
    heads::HeadMemory,
};
use adytum_ratls::{connector::AttestedSession, session::Peer};
use adytum_signing::OwnerSigningKey;
use anyhow::Context;
use tonic::{Request, transport::Channel};

use super::refusal::BrokerRefusal;

/// The longest answer, in bytes: the list of as many secrets as a manifest can have.
const MAXIMUM_ANSWER: usize = 16 * 1024 * 1024;

/// An open session with the expected broker.
pub(crate) struct Session {
    client: BrokerAdministrationClient<Channel>,
    recovery: BrokerRecoveryClient<Channel>,
    request_binding: Arc<zeroize::Zeroizing<[u8; 32]>>,
    genesis: Genesis,
    memory: Option<HeadMemory>,
    /// The highest head seen before.
    pub(super) seen: Option<StateHead>,
    /// The highest head seen before this session.
    remembered: Option<StateHead>,
    /// Was it opened whatever is remembered?
    pub(super) any_state: bool,
    /// What its evidence says.
    pub(crate) claims: Claims,
    /// What it says itself.
    pub(crate) broker: BrokerAnnouncement,
}

impl Session {
    pub(super) fn new(
        session: AttestedSession,
        genesis: Genesis,
        memory: Option<HeadMemory>,
        seen: Option<StateHead>,
    ) -> anyhow::Result<Self> {
        let Peer::Attested { claims, announcement } = session.info.peer else {
            bail_refused!("the broker gave no evidence; check that the address is a broker's");
        };
        let recovery = BrokerRecoveryClient::new(session.channel.clone());
        // The pin has read them already.
        let broker = BrokerAnnouncement::decode(&announcement).context("the broker's announcement")?;
        Ok(Self {
            client: BrokerAdministrationClient::new(session.channel)
                .max_decoding_message_size(MAXIMUM_ANSWER),
            recovery,
            request_binding: session.info.request_binding,
            genesis,
            memory,
            remembered: seen.clone(),
            seen,
            any_state: true,
            claims: *claims,
            broker,
        })
    }

    /// Which broker this is.
    pub(crate) fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// The highest head of this broker that was seen before this session.
    pub(crate) fn remembered(&self) -> Option<&StateHead> {
        self.remembered.as_ref()
    }

    /// Was the session opened whatever is remembered of the broker's state?
    pub(crate) fn accepts_rollback(&self) -> bool {
        self.any_state
    }

    pub(super) fn remember(&mut self, head: &StateHead) -> anyhow::Result<()> {
        if let Some(memory) = &self.memory {
            memory.remember(self.genesis.digest(), head)?;
        }
        self.seen = Some(head.clone());
        Ok(())
    }

    /// Refuses a broker that has no state to show.
    pub(crate) fn require_state(&self) -> anyhow::Result<()> {
        if self.broker.head.is_none() {
            bail_later!("the broker awaits recovery: its root key is not there; see `adytum broker status`");
        }
        Ok(())
    }

    /// The broker's public facts. It refuses if its state does not continue the one
    /// that was seen.
    pub(crate) async fn status(&mut self) -> anyhow::Result<GetStatusResponse> {
        let seen = self.seen.as_ref().map(Into::into);
        let answer = self.client.get_status(Request::new(GetStatusRequest { seen, recovery: false })).await;
        Ok(answer.map_err(|status| BrokerRefusal::from(&status))?.into_inner())
    }

    /// The broker's public facts, whatever was seen of its state.
    pub(crate) async fn status_of_any_state(&mut self) -> anyhow::Result<GetStatusResponse> {
        let request = GetStatusRequest { seen: None, recovery: false };
        let answer = self.client.get_status(Request::new(request)).await;
        Ok(answer.map_err(|status| BrokerRefusal::from(&status))?.into_inner())
    }

    /// What owners sign when they confirm the state of this start.
    pub(crate) async fn challenge(&mut self) -> anyhow::Result<Challenge> {
        let challenge = self.status_of_any_state().await?.confirmation_challenge;
        Ok(Challenge(Sha256Digest::try_from(challenge.as_slice()).context("the broker's challenge")?))
    }

    /// Remembers the broker's present head, and forgets a newer one.
    pub(crate) fn forget_newer(&mut self) -> anyhow::Result<()> {
        if let Some(memory) = &self.memory {
            memory.replace(self.genesis.digest(), &self.broker.head)?;
        }
        self.seen = Some(self.broker.head.clone());
        Ok(())
    }

    /// How the broker's root key comes back. Nothing is compared with what was seen
    /// of its state: a broker that awaits recovery has none to show.
    pub(crate) async fn recovery(&mut self) -> anyhow::Result<RecoveryStatus> {
        let request = GetStatusRequest { seen: None, recovery: true };
        let answer = self.client.get_status(Request::new(request)).await;
        Ok(answer.map_err(|status| BrokerRefusal::from(&status))?.into_inner().recovery.unwrap_or_default())
    }

    /// Gives the broker a share.
    pub(crate) async fn supply_share(
        &mut self,
        request: SupplyShareRequest,
    ) -> anyhow::Result<RecoveryStatus> {
        let answer = self.recovery.supply_share(Request::new(request)).await;
        Ok(answer.map_err(|status| BrokerRefusal::from(&status))?.into_inner().status.unwrap_or_default())
    }

    /// Has these owners sign a command for this session and sends it. Whether they are
    /// owners, the broker says: a manifest may have replaced those of the genesis.
    pub(crate) async fn execute(
        &mut self,
        command: command::Command,
        owners: &[OwnerSigningKey],
    ) -> anyhow::Result<CommandResult> {
        let (answer, head) = self.send(command, owners).await?;
        if let Some(head) = head {
            self.remember(&head)?;
        }
        Ok(answer)
    }

    /// As [`Session::execute`], with the broker's state taken for the newest, whatever
    /// was seen before. That is forgotten only after the command succeeded: else a
    /// refused command would have any older state accepted later.
    pub(crate) async fn execute_after_rollback(
        &mut self,
        command: command::Command,
        owners: &[OwnerSigningKey],
    ) -> anyhow::Result<CommandResult> {
        self.require_state()?;
        let shown = self.broker.head.clone();
        self.seen = Some(shown.clone());
        let (answer, head) = self.send(command, owners).await?;
        let head = head.unwrap_or_else(|| shown.clone());
        follows(&shown, &head)?;
        if let Some(memory) = &self.memory {
            memory.replace(self.genesis.digest(), &head)?;
        }
        self.seen = Some(head);
        Ok(answer)
    }

    /// Sends a command; the head in its answer is not remembered yet.
    async fn send(
        &mut self,
        command: command::Command,
        owners: &[OwnerSigningKey],
    ) -> anyhow::Result<(CommandResult, Option<StateHead>)> {
        let version = self.status().await?.manifest_version;
        let keys: Vec<&OwnerSigningKey> = owners.iter().collect();
        let signed = sign(&self.request_binding, self.genesis.digest(), version, command, &keys);
        let answer = self.client.execute(Request::new(signed)).await;
        let answer = answer.map_err(|status| BrokerRefusal::from(&status))?.into_inner();
        let head = answer.head.clone().map(StateHead::try_from).transpose();
        Ok((answer, head.context("the head in the broker's answer")?))
    }
}
