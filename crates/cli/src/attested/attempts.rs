//! Sessions that are begun again because the broker broke them off.

use std::time::Duration;

use adytum_ratls::error::SessionError;
use tokio::time::sleep;

/// How often a session is begun that the broker breaks off, and the pause before each but the first.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(200);

/// Opens a session. A broker breaks off handshakes at the moment when it changes from waiting for
/// its root key to serving: nothing was asked for then, so that is begun again.
pub(super) async fn patiently<Session>(
    mut open: impl AsyncFnMut() -> Result<Session, SessionError>,
) -> Result<Session, SessionError> {
    for _ in 1..ATTEMPTS {
        match open().await {
            Err(error) if error.broke_off() => sleep(PAUSE).await,
            done => return done,
        }
    }
    open().await
}

#[cfg(test)]
mod tests {
    use std::io;

    use adytum_ratls::error::Refusal;
    use tokio::time::Instant;

    use super::*;

    fn broken() -> SessionError {
        SessionError::Io { peer: "broker:5000".into(), source: io::ErrorKind::ConnectionReset.into() }
    }

    /// The result of sessions that end like this one after the other, with their number and the time
    /// that it took.
    async fn opened(
        results: impl IntoIterator<Item = Result<(), SessionError>>,
    ) -> (Result<(), String>, u32, Duration) {
        let (began, mut results, mut attempts) = (Instant::now(), results.into_iter(), 0);
        let result = patiently(async || {
            attempts += 1;
            results.next().unwrap()
        });
        let result = result.await.map_err(|error| error.code().to_owned());
        (result, attempts, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_is_broken_off_is_begun_again() {
        assert_eq!(opened([Ok(())]).await, (Ok(()), 1, Duration::ZERO));
        assert_eq!(opened([Err(broken()), Ok(())]).await, (Ok(()), 2, PAUSE));
        let late = [Err(broken()), Err(broken()), Err(broken()), Ok(())];
        assert_eq!(opened(late).await, (Ok(()), 4, 3 * PAUSE));
    }

    #[tokio::test(start_paused = true)]
    async fn it_gives_up_in_the_end() {
        let all = std::iter::repeat_with(|| Err(broken()));
        assert_eq!(opened(all).await, (Err("connection-failed".into()), ATTEMPTS, 3 * PAUSE));
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_attempt_does_not_change_is_asked_once() {
        let peer = || "broker:5000".to_owned();
        for (error, code) in [
            (
                SessionError::Refused {
                    peer: peer(),
                    refusal: Refusal::verdict("policy-refused", "another"),
                },
                "policy-refused",
            ),
            (
                SessionError::Io { peer: peer(), source: io::ErrorKind::ConnectionRefused.into() },
                "connection-failed",
            ),
        ] {
            assert_eq!(opened([Err(error)]).await, (Err(code.into()), 1, Duration::ZERO));
        }
        let refused =
            SessionError::Refused { peer: peer(), refusal: Refusal::verdict("policy-refused", "it") };
        assert_eq!(opened([Err(broken()), Err(refused)]).await, (Err("policy-refused".into()), 2, PAUSE));
    }
}
