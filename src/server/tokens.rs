//! The tokens of the HTTP API: who holds one, and what they may do with it.
//!
//! A token is 256 random bits, so that its plain SHA-256 is as good as a slow hash with salt: those make guessing dear where
//! people choose what is to be guessed. Of a token there is no more than that digest here, which opens nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use super::twilio::token::{RandomError, random_bytes};
use crate::secret::Secret;

/// What the texts of our tokens begin with, so that those who look for secrets in repositories and logs know one.
const PREFIX: &str = "tlk_";
/// In front of a digest, in the configuration.
const DIGEST_PREFIX: &str = "sha256:";
const DIGEST_BYTES: usize = 32;

/// Something that a token may be good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// See what is going on: list and show calls, follow their events, see the voices.
    Read,
    /// Say and play something on a call, and be silent again.
    Speak,
    /// Place, transfer, redirect and end calls, and press keys at the carrier.
    Calls,
    /// Read the metrics.
    Metrics,
    /// Change how this node runs.
    Admin,
}

impl Scope {
    /// Every scope there is.
    pub const ALL: [Scope; 5] = [Scope::Read, Scope::Speak, Scope::Calls, Scope::Metrics, Scope::Admin];

    /// Its name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Speak => "speak",
            Scope::Calls => "calls",
            Scope::Metrics => "metrics",
            Scope::Admin => "admin",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Scope::Read => 1,
            Scope::Speak => 2,
            Scope::Calls => 4,
            Scope::Metrics => 8,
            Scope::Admin => 16,
        }
    }
}

impl FromStr for Scope {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        Scope::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or(GrantError::Scope)
    }
}

/// Why a text in the configuration is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// No digest in front.
    #[error("begins with no sha256: and 64 hexadecimal digits")]
    Digest,
    /// The digest of nothing: a token that everybody can send.
    #[error("holds the digest of the empty text")]
    Empty,
    /// A word that is no scope.
    #[error("names something that is no scope")]
    Scope,
    /// No scope at all.
    #[error("names no scope")]
    NoScope,
}

/// The digest of a token and what it is good for, written `sha256:HEX SCOPE SCOPE...`. `Debug` shows no digest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    digest: [u8; DIGEST_BYTES],
    scopes: u8,
}

impl Grant {
    /// What a token is good for from now on.
    pub fn new(token: &Secret, scopes: &[Scope]) -> Self {
        let scopes = scopes.iter().fold(0, |bits, scope| bits | scope.bit());
        Grant { digest: digest(token.expose()), scopes }
    }

    /// Reads `sha256:HEX SCOPE SCOPE...`.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn parse(text: &str) -> Result<Self, GrantError> {
        let mut words = text.split_ascii_whitespace();
        let hex = words.next().and_then(|word| word.strip_prefix(DIGEST_PREFIX)).ok_or(GrantError::Digest)?;
        let digest = bytes_of(hex).ok_or(GrantError::Digest)?;
        if digest == self::digest("") {
            return Err(GrantError::Empty);
        }
        let scopes = words.try_fold(0, |bits, word| word.parse().map(|scope: Scope| bits | scope.bit()))?;
        if scopes == 0 { Err(GrantError::NoScope) } else { Ok(Grant { digest, scopes }) }
    }

    /// Whether both are of one token.
    pub fn is_of_same_token(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    fn allows(&self, scope: Scope) -> bool {
        self.scopes & scope.bit() != 0
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(DIGEST_PREFIX)?;
        self.digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        Scope::ALL.iter().filter(|scope| self.allows(**scope)).try_for_each(|scope| write!(f, " {}", scope.as_str()))
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").field("scopes", &self.scopes).finish_non_exhaustive()
    }
}

/// A fresh token, from the system's randomness.
///
/// # Errors
/// [`RandomError`] if there is none.
pub fn fresh() -> Result<Secret, RandomError> {
    let mut bytes: [u8; 32] = random_bytes()?;
    let mut text = String::with_capacity(64);
    text.push_str(PREFIX);
    URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
    bytes.fill(0);
    Ok(Secret::new(text))
}

/// Why somebody may not do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// The token is none of ours.
    Unknown,
    /// It is, but not for this.
    Scope,
}

/// All tokens of a node.
#[derive(Clone, Debug)]
pub struct Tokens(Vec<Grant>);

impl Tokens {
    /// `api_token` is good for everything, each of `named` for what it says.
    pub fn new(api_token: Option<&Secret>, named: &BTreeMap<String, Grant>) -> Self {
        let all = api_token.map(|token| Grant::new(token, &Scope::ALL));
        Tokens(all.into_iter().chain(named.values().copied()).collect())
    }

    /// Whether the holder of `token` may do what asks for `scope`. Compares with every token and never stops early, so that
    /// time tells nothing about which of them was near.
    pub(super) fn check(&self, token: &str, scope: Scope) -> Result<(), Denied> {
        let given = digest(token);
        let (mut known, mut allowed) = (Choice::from(0), Choice::from(0));
        for grant in &self.0 {
            let is_it = grant.digest.ct_eq(&given);
            known |= is_it;
            allowed |= is_it & Choice::from(u8::from(grant.allows(scope)));
        }
        match (bool::from(known), bool::from(allowed)) {
            (true, true) => Ok(()),
            (true, false) => Err(Denied::Scope),
            (false, _) => Err(Denied::Unknown),
        }
    }
}

fn digest(text: &str) -> [u8; DIGEST_BYTES] {
    Sha256::digest(text.as_bytes()).into()
}

fn bytes_of(hex: &str) -> Option<[u8; DIGEST_BYTES]> {
    let mut bytes = [0; DIGEST_BYTES];
    if hex.len() != 2 * DIGEST_BYTES {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
        let digit = |at: usize| digits.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digest of `abc`, from FIPS 180-4.
    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_grant_is_read_as_it_is_written() {
        let grant = Grant::parse(&format!("{ABC} read  metrics")).unwrap();
        assert_eq!(grant, Grant::new(&Secret::new("abc"), &[Scope::Metrics, Scope::Read]));
        assert_eq!(grant.to_string(), format!("{ABC} read metrics"));
        assert_eq!(
            Grant::parse(&format!("{} read", ABC.to_uppercase().replace("SHA", "sha"))).map(|g| g.digest),
            Ok(grant.digest)
        );
        assert!(!format!("{grant:?}").contains("ba78"));
        let all = Grant::new(&Secret::new("abc"), &Scope::ALL);
        assert_eq!(all.to_string(), format!("{ABC} read speak calls metrics admin"));
        assert_eq!(Grant::parse(&all.to_string()), Ok(all));
        assert!(all.is_of_same_token(&grant) && all != grant);
    }

    #[test]
    fn what_is_no_grant_is_refused_by_its_fault() {
        let of_nothing = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 read";
        for (text, error) in [
            ("", GrantError::Digest),
            ("read", GrantError::Digest),
            ("sha256: read", GrantError::Digest),
            (&ABC[..ABC.len() - 1], GrantError::Digest),
            (&format!("{ABC}0 read"), GrantError::Digest),
            (&format!("{}g read", &ABC[..ABC.len() - 1]), GrantError::Digest),
            (&format!("{}é read", &ABC[..ABC.len() - 2]), GrantError::Digest),
            (of_nothing, GrantError::Empty),
            (ABC, GrantError::NoScope),
            (&format!("{ABC} write"), GrantError::Scope),
            (&format!("{ABC} Read"), GrantError::Scope),
            (&format!("{ABC} read,speak"), GrantError::Scope),
        ] {
            assert_eq!(Grant::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_token_does_what_it_is_for_and_nothing_else() {
        let named = BTreeMap::from([
            ("one".to_owned(), Grant::new(&Secret::new("one"), &[Scope::Read])),
            ("two".to_owned(), Grant::new(&Secret::new("two"), &[Scope::Speak, Scope::Calls])),
        ]);
        let tokens = Tokens::new(Some(&Secret::new("all")), &named);
        for scope in Scope::ALL {
            let of = |allowed: bool| if allowed { Ok(()) } else { Err(Denied::Scope) };
            assert_eq!(tokens.check("all", scope), Ok(()));
            assert_eq!(tokens.check("one", scope), of(scope == Scope::Read));
            assert_eq!(tokens.check("two", scope), of(matches!(scope, Scope::Speak | Scope::Calls)));
            for other in ["", "al", "alll", "All", "one ", "three"] {
                assert_eq!(tokens.check(other, scope), Err(Denied::Unknown), "{other:?}");
            }
        }
        assert_eq!(Tokens::new(None, &BTreeMap::new()).check("", Scope::Read), Err(Denied::Unknown));
    }

    #[test]
    fn fresh_tokens_differ_and_can_stand_in_a_header() {
        let (one, two) = (fresh().unwrap(), fresh().unwrap());
        assert_ne!(one, two);
        assert!(one.expose().starts_with(PREFIX) && one.expose().len() == PREFIX.len() + 43);
        assert!(one.expose().chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)));
    }
}
