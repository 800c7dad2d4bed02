//! Orders: what was asked for when a call was placed, sealed into the URL of the webhook that the call will come to.
//!
//! The call may be answered by another replica than the one that placed it, so that nothing of it can be kept in memory.
//! Whoever sees the URL can read an order; nobody without the key can write one. That the webhook came from the carrier,
//! and for which call, is proved by its own signature, which covers the URL with the order in it.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

use super::token::{MAC_BYTES, mac};
use crate::secret::Secret;

/// Name of the query parameter that carries an order.
pub const QUERY: &str = "order";
/// How long an order is good for, in seconds: a call may wait in the carrier's queue, and ring for ten minutes.
pub const LIFETIME_S: u64 = 3_600;
/// Most bytes of parameters, names included: with base64 the URL stays below two kilobytes.
pub const BYTES_MAX: usize = 1_024;

const VERSION: u8 = 1;
/// The purpose goes into the seal, so that neither a token nor anything else under the same key passes for an order.
const PURPOSE: &[u8] = b"trunkline order\0";

/// Why there is no order, or none that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Too many parameters, or too long ones.
    #[error("the parameters have more than {BYTES_MAX} bytes together")]
    Long,
    /// Not written by a holder of the key.
    #[error("the order is forged or was made with another key")]
    Forged,
    /// Older than [`LIFETIME_S`].
    #[error("the order has expired")]
    Expired,
}

/// Seals and opens orders with one key. `Debug` shows no key.
pub struct Orders {
    key: Secret,
}

impl fmt::Debug for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Orders").finish_non_exhaustive()
    }
}

impl Orders {
    /// `key` is shared by all replicas that may receive each other's calls.
    pub fn new(key: &Secret) -> Self {
        Orders { key: key.clone() }
    }

    /// An order for a call with `parameters`, good for [`LIFETIME_S`] from `now_unix` (seconds): base64url without padding.
    ///
    /// # Errors
    /// [`OrderError::Long`].
    pub fn seal(&self, parameters: &BTreeMap<String, String>, now_unix: u64) -> Result<String, OrderError> {
        let bytes: usize = parameters.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > BYTES_MAX {
            return Err(OrderError::Long);
        }
        let mut order = vec![VERSION];
        order.extend_from_slice(&now_unix.saturating_add(LIFETIME_S).to_be_bytes());
        order.extend_from_slice(&serde_json::to_vec(parameters).unwrap_or_default());
        let seal = mac(&self.key, PURPOSE, &order);
        order.extend_from_slice(&seal);
        Ok(URL_SAFE_NO_PAD.encode(order))
    }

    /// The parameters of an order, at `now_unix` (seconds).
    ///
    /// # Errors
    /// [`OrderError`].
    pub fn open(&self, order: &str, now_unix: u64) -> Result<BTreeMap<String, String>, OrderError> {
        let (expiry, parameters) = self.genuine(order).ok_or(OrderError::Forged)?;
        if expiry <= now_unix { Err(OrderError::Expired) } else { Ok(parameters) }
    }

    fn genuine(&self, order: &str) -> Option<(u64, BTreeMap<String, String>)> {
        let bytes = URL_SAFE_NO_PAD.decode(order).ok()?;
        let (sealed, seal) = bytes.split_at_checked(bytes.len().checked_sub(MAC_BYTES)?)?;
        if !bool::from(mac(&self.key, PURPOSE, sealed).ct_eq(seal)) {
            return None;
        }
        let (version, rest) = sealed.split_first()?;
        let (expiry, parameters) = rest.split_first_chunk::<8>()?;
        let parameters = (*version == VERSION).then(|| serde_json::from_slice(parameters).ok())??;
        Some((u64::from_be_bytes(*expiry), parameters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn parameters() -> BTreeMap<String, String> {
        BTreeMap::from([("tenant".to_owned(), "a & \"b\" é".to_owned()), ("empty".to_owned(), String::new())])
    }

    #[test]
    fn an_order_comes_back_whole_on_every_replica_until_it_expires() {
        let order = Orders::new(&Secret::new("key")).seal(&parameters(), NOW).unwrap();
        assert!(order.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
        let replica = Orders::new(&Secret::new("key"));
        assert_eq!(replica.open(&order, NOW + LIFETIME_S - 1), Ok(parameters()));
        assert_eq!(replica.open(&order, NOW + LIFETIME_S), Err(OrderError::Expired));
        assert_eq!(Orders::new(&Secret::new("yek")).open(&order, NOW), Err(OrderError::Forged));
    }

    #[test]
    fn every_changed_byte_is_a_forgery() {
        let orders = Orders::new(&Secret::new("key"));
        let bytes = URL_SAFE_NO_PAD.decode(orders.seal(&parameters(), NOW).unwrap()).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(orders.open(&URL_SAFE_NO_PAD.encode(&changed), NOW), Err(OrderError::Forged), "byte {at}");
            assert_eq!(orders.open(&URL_SAFE_NO_PAD.encode(&bytes[..at]), NOW), Err(OrderError::Forged));
        }
        // A stream token under the same key is none.
        let call = crate::ids::CallSid::parse("CA1").unwrap();
        let token = super::super::token::Minter::new(&Secret::new("key")).mint(&call, NOW, [7; 16]);
        assert_eq!(orders.open(&token, NOW), Err(OrderError::Forged));
    }

    #[test]
    fn parameters_that_no_url_should_hold_are_refused() {
        let of = |bytes: usize| BTreeMap::from([("n".to_owned(), "v".repeat(bytes - 1))]);
        let orders = Orders::new(&Secret::new("key"));
        assert_eq!(orders.seal(&of(BYTES_MAX + 1), NOW), Err(OrderError::Long));
        assert!(orders.seal(&of(BYTES_MAX), NOW).unwrap().len() < 1_500);
    }
}
