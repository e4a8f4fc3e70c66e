//! Which open sessions have shown an owner's signature. The server gives such sessions
//! places that strangers can't take.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use adytum_ratls::session::SessionId;

type Shown = Arc<dyn Fn() + Send + Sync>;

/// The open sessions, and what to do when one shows an owner's signature.
#[derive(Default)]
pub(crate) struct OwnerSessions(Mutex<HashMap<SessionId, Shown>>);

impl fmt::Debug for OwnerSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnerSessions").field(&self.lock().len()).finish()
    }
}

impl OwnerSessions {
    /// A session is open until what is given back is dropped.
    pub(crate) fn open(
        self: &Arc<Self>,
        session: SessionId,
        shown: impl Fn() + Send + Sync + 'static,
    ) -> OpenSession {
        self.lock().insert(session, Arc::new(shown));
        OpenSession { sessions: Arc::clone(self), session }
    }

    /// An owner in force has signed a command of this session.
    pub(crate) fn shown(&self, session: SessionId) {
        let shown = self.lock().get(&session).cloned();
        if let Some(shown) = shown {
            shown();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Shown>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session that is open.
pub(crate) struct OpenSession {
    sessions: Arc<OwnerSessions>,
    session: SessionId,
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.session);
    }
}
