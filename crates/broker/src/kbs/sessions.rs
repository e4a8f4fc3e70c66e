//! Sessions of KBS clients. A challenge costs no memory: its cookie says when it was made and for
//! what, under a key of this process, and the nonce follows from the cookie. Only a client
//! whose evidence was accepted has a place, and of those there is a stated number.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use adytum_crowd::{
    address::Address,
    places::{Place, Places},
};
use adytum_evidence::{
    claims::{Claims, TeeKind},
    clock::UnixSeconds,
};
use aws_lc_rs::{constant_time::verify_slices_are_equal, error::Unspecified, hmac, rand};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde::{Deserialize, Serialize};

use super::{
    error::KbsError,
    key::TeePublicKey,
    message::{AuthRequest, HashAlgorithm},
};

/// How long a session lasts from its challenge on, as with the reference server.
pub(super) const LIFETIME: Duration = Duration::from_secs(300);
/// How long a session is idle before it is displaced by one of an address with as many.
const IDLE_GRACE: Duration = Duration::from_secs(10);
/// How often sessions that have ended are removed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

const ID: usize = 16;
const TAG: usize = 16;
/// Id, milliseconds since the start, TEE, hash algorithm.
const CHALLENGE: usize = ID + 8 + 2;

/// A challenge that this broker made, and that is not too old.
pub(super) struct Challenge {
    id: [u8; ID],
    issued: Duration,
    pub(super) tee: TeeKind,
    pub(super) algorithm: HashAlgorithm,
    pub(super) nonce: String,
}

/// A client whose evidence was accepted.
pub(super) struct Attested {
    pub(super) claims: Claims,
    pub(super) key: TeePublicKey,
    pub(super) token: String,
    until: Duration,
    place: Place,
}

/// A request of a session in progress.
pub(super) struct InRequest(Arc<Attested>);

impl Drop for InRequest {
    fn drop(&mut self) {
        self.0.place.end_work(Instant::now());
    }
}

impl std::ops::Deref for InRequest {
    type Target = Attested;

    fn deref(&self) -> &Attested {
        &self.0
    }
}

/// What a value under the key is for: it is good for nothing else.
#[derive(Clone, Copy)]
enum Purpose {
    Cookie = 1,
    Nonce,
    Token,
}

#[derive(Default)]
struct Table {
    attested: HashMap<[u8; ID], Arc<Attested>>,
    swept: Duration,
}

/// All sessions of one listener.
pub(super) struct Sessions {
    key: hmac::Key,
    started: Instant,
    places: Arc<Places>,
    table: Mutex<Table>,
}

/// The claims of a token. It is good for this broker only, which looks its session up; nobody
/// decides anything by its signature or its `alg`.
#[derive(Serialize, Deserialize)]
struct TokenClaims {
    iss: String,
    iat: u64,
    exp: u64,
    jti: String,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sessions({} attested)", self.places.taken())
    }
}

impl Sessions {
    /// None yet, and at most this number of clients with accepted evidence.
    pub(super) fn new(limit: usize, now: Instant) -> Result<Self, Unspecified> {
        let mut key = zeroize::Zeroizing::new([0; 32]);
        rand::fill(key.as_mut_slice())?;
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key.as_slice()),
            started: now,
            places: Places::new(limit, IDLE_GRACE),
            table: Mutex::default(),
        })
    }

    /// Makes a challenge: its cookie, and its nonce in base64.
    pub(super) fn challenge(
        &self,
        request: AuthRequest,
        now: Instant,
    ) -> Result<(String, String), Unspecified> {
        let mut challenge = [0; CHALLENGE];
        let (id, rest) = challenge.split_at_mut(ID);
        rand::fill(id)?;
        let milliseconds = u64::try_from(self.since_start(now).as_millis()).unwrap_or(u64::MAX);
        rest[..8].copy_from_slice(&milliseconds.to_be_bytes());
        rest[8] = match request.tee {
            TeeKind::Sgx => 1,
            TeeKind::Tdx => 2,
            TeeKind::Snp => 3,
            _ => return Err(Unspecified),
        };
        rest[9] = match request.algorithm() {
            HashAlgorithm::Sha256 => 1,
            HashAlgorithm::Sha384 => 2,
            HashAlgorithm::Sha512 => 3,
        };
        let tag = self.mac(Purpose::Cookie, &challenge);
        let tag = tag.as_ref().get(..TAG).ok_or(Unspecified)?;
        Ok((hex::encode([&challenge, tag].concat()), self.nonce(&challenge)))
    }

    /// Reads a cookie: `None` if this process did not make it or it is too old.
    pub(super) fn read(&self, cookie: &str, now: Instant) -> Option<Challenge> {
        let mut bytes = [0; CHALLENGE + TAG];
        hex::decode_to_slice(cookie, &mut bytes).ok()?;
        let (challenge, tag) = bytes.split_at(CHALLENGE);
        let wanted = self.mac(Purpose::Cookie, challenge);
        verify_slices_are_equal(wanted.as_ref().get(..TAG)?, tag).ok()?;
        let (id, rest) = challenge.split_at_checked(ID)?;
        let (milliseconds, kinds) = rest.split_at_checked(8)?;
        let issued = Duration::from_millis(u64::from_be_bytes(milliseconds.try_into().ok()?));
        if self.since_start(now) >= issued.saturating_add(LIFETIME) {
            return None;
        }
        let tee = match kinds.first()? {
            1 => TeeKind::Sgx,
            2 => TeeKind::Tdx,
            3 => TeeKind::Snp,
            _ => return None,
        };
        let algorithm = match kinds.get(1)? {
            1 => HashAlgorithm::Sha256,
            2 => HashAlgorithm::Sha384,
            3 => HashAlgorithm::Sha512,
            _ => return None,
        };
        Some(Challenge { id: id.try_into().ok()?, issued, tee, algorithm, nonce: self.nonce(challenge) })
    }

    /// Gives a client with accepted evidence a place, for as long as its challenge lasts. A session
    /// that has one keeps it as it is: the first evidence counts. Gives the token.
    pub(super) fn attest(
        &self,
        challenge: &Challenge,
        claims: Claims,
        key: TeePublicKey,
        address: Address,
        (now, time): (Instant, UnixSeconds),
    ) -> Result<String, KbsError> {
        if let Some(there) = self.attested(challenge, now) {
            return Ok(there.token.clone());
        }
        let place = self.places.take(address, now).map_err(|_| KbsError::Overloaded)?;
        let until = challenge.issued.saturating_add(LIFETIME);
        let left = until.saturating_sub(self.since_start(now)).as_secs();
        let token = self.token(&challenge.id, time, left);
        let attested = Arc::new(Attested { claims, key, token: token.clone(), until, place });
        let since_start = self.since_start(now);
        let mut table = self.lock();
        if since_start >= table.swept.saturating_add(SWEEP_INTERVAL) {
            table.swept = since_start;
            table.attested.retain(|_, one| one.lasts(since_start));
        }
        table.attested.insert(challenge.id, attested);
        Ok(token)
    }

    /// The session of this challenge, if its evidence was accepted.
    pub(super) fn attested(&self, challenge: &Challenge, now: Instant) -> Option<InRequest> {
        self.find(&challenge.id, now)
    }

    /// The session of this token.
    pub(super) fn of_token(&self, token: &str, now: Instant) -> Option<InRequest> {
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        let TokenClaims { jti, .. } = serde_json::from_slice(&claims).ok()?;
        let mut id = [0; ID];
        hex::decode_to_slice(jti, &mut id).ok()?;
        let session = self.find(&id, now)?;
        verify_slices_are_equal(session.token.as_bytes(), token.as_bytes()).ok()?;
        Some(session)
    }

    fn find(&self, id: &[u8; ID], now: Instant) -> Option<InRequest> {
        let found = Arc::clone(self.lock().attested.get(id)?);
        if !found.lasts(self.since_start(now)) {
            return None;
        }
        found.place.begin_work(now);
        Some(InRequest(found))
    }

    /// A JWT, for clients look into it for its end.
    fn token(&self, id: &[u8; ID], time: UnixSeconds, seconds: u64) -> String {
        let claims = TokenClaims {
            iss: "adytum-broker".to_owned(),
            iat: time.0,
            exp: time.0.saturating_add(seconds),
            jti: hex::encode(id),
        };
        // Numbers and texts always have a JSON form.
        let claims = serde_json::to_vec(&claims).unwrap_or_default();
        let header = URL_SAFE_NO_PAD.encode(br#"{"alg":"HS256","typ":"JWT"}"#);
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.mac(Purpose::Token, signed.as_bytes()).as_ref());
        format!("{signed}.{signature}")
    }

    fn nonce(&self, challenge: &[u8]) -> String {
        STANDARD.encode(self.mac(Purpose::Nonce, challenge).as_ref())
    }

    fn mac(&self, purpose: Purpose, bytes: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&[purpose as u8]);
        context.update(bytes);
        context.sign()
    }

    fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // The table is whole between any two statements that can panic.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attested {
    fn lasts(&self, since_start: Duration) -> bool {
        since_start < self.until && !self.place.is_displaced()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use adytum_testkit::claims;

    use super::*;

    const REQUEST: AuthRequest = AuthRequest { tee: TeeKind::Tdx, chosen: Some(HashAlgorithm::Sha512) };
    const TIME: UnixSeconds = UnixSeconds(1_800_000_000);

    fn address(last: u8) -> Address {
        IpAddr::from([10, 0, 0, last]).into()
    }

    fn key() -> TeePublicKey {
        TeePublicKey::Rsa { modulus: vec![1], exponent: vec![3] }
    }

    fn open(sessions: &Sessions, last: u8, now: Instant) -> Result<(Challenge, String), KbsError> {
        let (cookie, _) = sessions.challenge(REQUEST, now).unwrap();
        let challenge = sessions.read(&cookie, now).unwrap();
        let token = sessions.attest(&challenge, claims::sgx([1; 32]), key(), address(last), (now, TIME))?;
        Ok((challenge, token))
    }

    #[test]
    fn a_cookie_says_what_was_agreed_until_it_is_too_old() {
        let now = Instant::now();
        let sessions = Sessions::new(4, now).unwrap();
        let (cookie, nonce) = sessions.challenge(REQUEST, now).unwrap();
        let challenge = sessions.read(&cookie, now).unwrap();
        assert_eq!((challenge.tee, challenge.algorithm), (TeeKind::Tdx, HashAlgorithm::Sha512));
        assert_eq!((challenge.nonce, STANDARD.decode(&nonce).unwrap().len()), (nonce, 32));
        assert!(sessions.read(&cookie, now + LIFETIME - Duration::from_millis(1)).is_some());
        assert!(sessions.read(&cookie, now + LIFETIME).is_none());
        let other = sessions.challenge(REQUEST, now).unwrap();
        assert_ne!(other, sessions.challenge(REQUEST, now).unwrap());
    }

    #[test]
    fn a_cookie_that_is_changed_or_anothers_is_none() {
        let now = Instant::now();
        let (sessions, others) = (Sessions::new(4, now).unwrap(), Sessions::new(4, now).unwrap());
        let (cookie, _) = sessions.challenge(REQUEST, now).unwrap();
        assert!(others.read(&cookie, now).is_none());
        for at in 0..cookie.len() {
            let mut changed = cookie.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            assert!(sessions.read(std::str::from_utf8(&changed).unwrap(), now).is_none(), "{at}");
        }
        for text in ["", "00", &cookie[1..], &format!("{cookie}00"), &"ä".repeat(42)] {
            assert!(sessions.read(text, now).is_none());
        }
    }

    #[test]
    fn a_session_is_found_by_cookie_and_token_while_it_lasts() {
        let now = Instant::now();
        let sessions = Sessions::new(4, now).unwrap();
        let (challenge, token) = open(&sessions, 1, now).unwrap();
        assert!(sessions.attested(&challenge, now).is_some() && sessions.of_token(&token, now).is_some());
        let later = now + LIFETIME;
        assert!(sessions.attested(&challenge, later).is_none() && sessions.of_token(&token, later).is_none());
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let claims: TokenClaims = serde_json::from_slice(&claims).unwrap();
        assert_eq!((claims.iat, claims.exp), (TIME.0, TIME.0 + LIFETIME.as_secs()));
    }

    /// Whatever a header says of the algorithm, the token is this broker's to the letter or none.
    #[test]
    fn a_token_that_is_changed_is_none() {
        let now = Instant::now();
        let sessions = Sessions::new(4, now).unwrap();
        let (_, token) = open(&sessions, 1, now).unwrap();
        let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!() };
        let unsigned = URL_SAFE_NO_PAD.encode(br#"{"alg":"none","typ":"JWT"}"#);
        for changed in [
            format!("{unsigned}.{claims}."),
            format!("{unsigned}.{claims}.{signature}"),
            format!("{header}.{claims}."),
            format!("{header}.{claims}"),
            format!("{header}.{claims}.{signature}="),
            format!("{header}.{claims}.{signature}.{signature}"),
            claims.to_owned(),
            String::new(),
        ] {
            assert!(sessions.of_token(&changed, now).is_none(), "{changed}");
        }
    }

    #[test]
    fn what_was_attested_first_counts() {
        let now = Instant::now();
        let sessions = Sessions::new(4, now).unwrap();
        let (challenge, token) = open(&sessions, 1, now).unwrap();
        let other = TeePublicKey::Rsa { modulus: vec![9], exponent: vec![3] };
        let again =
            sessions.attest(&challenge, claims::sgx([2; 32]), other, address(1), (now, TIME)).unwrap();
        assert_eq!(again, token);
        assert_eq!(sessions.attested(&challenge, now).unwrap().key, key());
    }

    #[test]
    fn there_are_as_many_as_stated_and_one_address_keeps_no_other_out() {
        let now = Instant::now();
        let sessions = Sessions::new(3, now).unwrap();
        let crowd: Vec<_> = (0..3).map(|_| open(&sessions, 1, now).unwrap().0).collect();
        assert!(open(&sessions, 1, now).is_err(), "its own are at work or new");
        let (newcomer, _) = open(&sessions, 2, now).unwrap();
        assert!(sessions.attested(&newcomer, now).is_some());
        let left = crowd.iter().filter(|one| sessions.attested(one, now).is_some()).count();
        assert_eq!((left, sessions.places.taken()), (2, 3));
        // Those that have ended leave nothing.
        let later = now + LIFETIME;
        open(&sessions, 3, later).unwrap();
        assert_eq!((sessions.places.taken(), sessions.lock().attested.len()), (1, 1));
    }
}
