//! Stream tokens: they tie a media stream to the webhook that was signed for its call.
//!
//! Nothing signs the messages of a media stream, and the signature of its upgrade covers no time, so that a recorded
//! one could be used again. The webhook therefore hands out a token as a `<Parameter>`, and the stream's `start` must
//! bring it back for the same call, in time, and once.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::ids::CallSid;
use crate::secret::Secret;

/// Name of the stream parameter that carries the token; no configured parameter may have it.
pub const PARAMETER: &str = "trunkline_token";
/// How long a token is good for, in seconds. Twilio opens the stream within moments of the webhook's answer.
pub const LIFETIME_S: u64 = 60;
/// Bytes of the random part.
pub const NONCE_BYTES: usize = 16;
/// Tokens remembered as used at one time: a thousand calls a second for the whole lifetime.
const USED_MAX: usize = 60_000;

const VERSION: u8 = 1;
/// Bytes of a [`mac`].
pub(super) const MAC_BYTES: usize = 32;
/// The purpose goes in first: should the same key sign something else, neither can pass for the other.
const PURPOSE: &[u8] = b"trunkline stream token\0";
const HEAD_BYTES: usize = 1 + 8 + NONCE_BYTES;

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not written by a holder of the key: altered, invented, or signed with another key.
    #[error("the stream token is forged or was made with another key")]
    Forged,
    /// Genuine, but made for another call.
    #[error("the stream token belongs to another call")]
    OtherCall,
    /// Genuine, but older than [`LIFETIME_S`].
    #[error("the stream token has expired")]
    Expired,
    /// Genuine, but another stream of this node has used it.
    #[error("the stream token has already been used")]
    Used,
    /// More tokens are in use than can be remembered; to forget one early would let it be used again.
    #[error("too many stream tokens are in use")]
    Full,
}

/// Makes and checks tokens with one key, and remembers which of them have been used here. `Debug` shows no key.
pub struct Minter {
    key: Secret,
    used: Mutex<Used>,
}

impl fmt::Debug for Minter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minter").finish_non_exhaustive()
    }
}

impl Minter {
    /// `key` is shared by all replicas that may receive each other's streams.
    pub fn new(key: &Secret) -> Self {
        Self::with_capacity(key, USED_MAX)
    }

    fn with_capacity(key: &Secret, used_max: usize) -> Self {
        Self { key: key.clone(), used: Mutex::new(Used { entries: BTreeSet::new(), forgotten_until: 0, used_max }) }
    }

    /// A token for `call_sid`, good for [`LIFETIME_S`] from `now_unix` (seconds). `nonce` must be fresh random bytes.
    ///
    /// The text is base64url without padding: at most 420 characters, 122 for an id of Twilio's length.
    pub fn mint(&self, call_sid: &CallSid, now_unix: u64, nonce: [u8; NONCE_BYTES]) -> String {
        let mut token = vec![VERSION];
        token.extend_from_slice(&now_unix.saturating_add(LIFETIME_S).to_be_bytes());
        token.extend_from_slice(&nonce);
        token.extend_from_slice(call_sid.as_str().as_bytes());
        let mac = mac(&self.key, PURPOSE, &token);
        token.extend_from_slice(&mac);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// Accepts `token` for `call_sid` at `now_unix` (seconds), once.
    ///
    /// # Errors
    /// [`TokenError`]; every fault but [`TokenError::Forged`] is told only to the holder of a genuine token.
    pub fn check(&self, token: &str, call_sid: &CallSid, now_unix: u64) -> Result<(), TokenError> {
        let claim = self.open(token).ok_or(TokenError::Forged)?;
        if claim.call_sid != call_sid.as_str().as_bytes() {
            return Err(TokenError::OtherCall);
        }
        if claim.expiry <= now_unix {
            return Err(TokenError::Expired);
        }
        // A panic elsewhere while the lock was held leaves the set whole: each change of it is one call.
        self.used.lock().unwrap_or_else(PoisonError::into_inner).take(claim.expiry, claim.nonce, now_unix)
    }

    fn open(&self, token: &str) -> Option<Claim> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (signed, mac) = bytes.split_at_checked(bytes.len().checked_sub(MAC_BYTES)?)?;
        if !bool::from(self::mac(&self.key, PURPOSE, signed).ct_eq(mac)) {
            return None;
        }
        let (head, call_sid) = signed.split_at_checked(HEAD_BYTES)?;
        let (version, head) = head.split_first()?;
        let (expiry, nonce) = head.split_first_chunk::<8>()?;
        let nonce = nonce.first_chunk::<NONCE_BYTES>()?;
        (*version == VERSION).then(|| Claim {
            expiry: u64::from_be_bytes(*expiry),
            nonce: *nonce,
            call_sid: call_sid.to_vec(),
        })
    }
}

/// HMAC-SHA256 of `text` for one purpose.
pub(super) fn mac(key: &Secret, purpose: &[u8], text: &[u8]) -> [u8; MAC_BYTES] {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes()).expect("a key of any length");
    mac.update(purpose);
    mac.update(text);
    mac.finalize().into_bytes().into()
}

struct Claim {
    expiry: u64,
    nonce: [u8; NONCE_BYTES],
    call_sid: Vec<u8>,
}

/// Tokens that have been used and have not expired, soonest expiry first.
struct Used {
    entries: BTreeSet<(u64, [u8; NONCE_BYTES])>,
    /// The latest expiry among the entries forgotten so far.
    forgotten_until: u64,
    used_max: usize,
}

impl Used {
    fn take(&mut self, expiry: u64, nonce: [u8; NONCE_BYTES], now: u64) -> Result<(), TokenError> {
        while let Some(&(oldest, _)) = self.entries.first()
            && oldest <= now
        {
            self.entries.pop_first();
            self.forgotten_until = self.forgotten_until.max(oldest);
        }
        // The wall clock may have been set back: what was forgotten as expired stays expired.
        if expiry <= self.forgotten_until {
            return Err(TokenError::Expired);
        }
        if self.entries.contains(&(expiry, nonce)) {
            return Err(TokenError::Used);
        }
        if self.entries.len() >= self.used_max {
            return Err(TokenError::Full);
        }
        self.entries.insert((expiry, nonce));
        Ok(())
    }
}

/// The operating system has no randomness to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct RandomError;

/// Random bytes from the operating system: a nonce, or a key where none is configured.
///
/// # Errors
/// [`RandomError`] if there are none, which no caller should try to work around.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| RandomError)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn call(text: &str) -> CallSid {
        CallSid::parse(text).unwrap()
    }

    #[test]
    fn a_token_is_accepted_once_for_its_call_and_in_time() {
        let minter = Minter::new(&Secret::new("key"));
        let sid = call("CA00000000000000000000000000000002");
        let token = minter.mint(&sid, NOW, [7; NONCE_BYTES]);
        assert_eq!(minter.check(&token, &call("CA1"), NOW), Err(TokenError::OtherCall));
        assert_eq!(minter.check(&token, &sid, NOW + LIFETIME_S), Err(TokenError::Expired));
        assert_eq!(minter.check(&token, &sid, NOW + LIFETIME_S - 1), Ok(()));
        assert_eq!(minter.check(&token, &sid, NOW + 1), Err(TokenError::Used));
        // Only what is genuine and in time is remembered, and each nonce by itself.
        assert_eq!(minter.check(&minter.mint(&sid, NOW, [8; NONCE_BYTES]), &sid, NOW), Ok(()));
    }

    #[test]
    fn replicas_share_tokens_through_the_key() {
        let sid = call("v3:abc/é");
        let token = Minter::new(&Secret::new("key")).mint(&sid, NOW, [1; NONCE_BYTES]);
        assert_eq!(Minter::new(&Secret::new("key")).check(&token, &sid, NOW), Ok(()));
        assert_eq!(Minter::new(&Secret::new("yek")).check(&token, &sid, NOW), Err(TokenError::Forged));
    }

    #[test]
    fn every_changed_byte_is_a_forgery() {
        let minter = Minter::new(&Secret::new("key"));
        let sid = call("CA1");
        let bytes = URL_SAFE_NO_PAD.decode(minter.mint(&sid, NOW, [3; NONCE_BYTES])).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x80;
            assert_eq!(minter.check(&URL_SAFE_NO_PAD.encode(changed), &sid, NOW), Err(TokenError::Forged), "byte {at}");
            assert_eq!(minter.check(&URL_SAFE_NO_PAD.encode(&bytes[..at]), &sid, NOW), Err(TokenError::Forged));
        }
        for text in ["", "*", "AAAA", "a b", "\u{1f4de}"] {
            assert_eq!(minter.check(text, &sid, NOW), Err(TokenError::Forged), "{text:?}");
        }
    }

    #[test]
    fn the_text_is_safe_in_urls_and_fits_a_parameter() {
        let longest = call(&"x".repeat(crate::ids::SID_BYTES_MAX));
        let token = Minter::new(&Secret::new("key")).mint(&longest, NOW, [0xFF; NONCE_BYTES]);
        assert!(token.len() <= 420, "{}", token.len());
        assert!(token.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
        let usual = call("CA00000000000000000000000000000002");
        assert_eq!(Minter::new(&Secret::new("key")).mint(&usual, NOW, [0; NONCE_BYTES]).len(), 122);
    }

    #[test]
    fn a_full_memory_refuses_until_something_expires_and_forgets_nothing_early() {
        let minter = Minter::with_capacity(&Secret::new("key"), 2);
        let sid = call("CA1");
        let token = |n: u8, at| minter.mint(&sid, at, [n; NONCE_BYTES]);
        assert_eq!(minter.check(&token(1, NOW), &sid, NOW), Ok(()));
        assert_eq!(minter.check(&token(2, NOW + 10), &sid, NOW + 10), Ok(()));
        assert_eq!(minter.check(&token(3, NOW + 10), &sid, NOW + 10), Err(TokenError::Full));
        assert_eq!(minter.check(&token(1, NOW), &sid, NOW + 10), Err(TokenError::Used));
        assert_eq!(minter.check(&token(3, NOW + 10), &sid, NOW + 60), Ok(()));
        assert_eq!(minter.check(&token(2, NOW + 10), &sid, NOW + 60), Err(TokenError::Used));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_revive_a_used_token() {
        let minter = Minter::new(&Secret::new("key"));
        let sid = call("CA1");
        let old = minter.mint(&sid, NOW, [1; NONCE_BYTES]);
        assert_eq!(minter.check(&old, &sid, NOW), Ok(()));
        assert_eq!(minter.check(&minter.mint(&sid, NOW + 90, [2; NONCE_BYTES]), &sid, NOW + 90), Ok(()));
        assert_eq!(minter.check(&old, &sid, NOW + 1), Err(TokenError::Expired));
        assert_eq!(minter.check(&minter.mint(&sid, NOW + 2, [3; NONCE_BYTES]), &sid, NOW + 2), Ok(()));
    }

    #[test]
    fn random_bytes_differ() {
        assert_ne!(random_bytes::<16>().unwrap(), random_bytes::<16>().unwrap());
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", Minter::new(&Secret::new("secret"))), "Minter { .. }");
    }
}
