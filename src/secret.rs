//! Text that must not be printed, and not be left behind in memory.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

/// A key, a token or a password. `Debug` and `Display` print `[redacted]`, and there is no `Serialize`: reading it takes an
/// [`expose`](Self::expose) that a reviewer can search for.
///
/// Clones share one text, which is overwritten with zeros when the last of them is dropped. Equality takes the same time
/// wherever two texts of one length differ. The default is the empty text, for a key that is absent.
#[derive(Clone, Default)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes `text` over, without a copy of it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(text.into())))
    }

    /// The text itself: for the header or the signature that needs it, never for a log or an error.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text behind `prefix`, such as `Bearer `: what a header says.
    pub fn after(&self, prefix: &str) -> Self {
        // As long as it will be from the start: a string that grows leaves its old text behind.
        let mut text = String::with_capacity(prefix.len() + self.0.len());
        text.push_str(prefix);
        text.push_str(&self.0);
        Self::new(text)
    }

    /// `bytes` in hexadecimal. What is given is overwritten.
    pub fn of_bytes(mut bytes: impl AsMut<[u8]>) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let bytes = bytes.as_mut();
        let mut text = String::with_capacity(bytes.len() * 2);
        for digit in bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xF]) {
            text.extend(DIGITS.get(usize::from(digit)).map(|digit| char::from(*digit)));
        }
        bytes.zeroize();
        Self::new(text)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_only_on_purpose() {
        let secret = Secret::new("0012e5");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "[redacted] [redacted] Some([redacted])");
        assert_eq!(secret.expose(), "0012e5");
        assert_eq!(secret.after("Bearer ").expose(), "Bearer 0012e5");
        assert!(Secret::default().is_empty() && !secret.is_empty());
    }

    #[test]
    fn secrets_are_equal_by_their_text() {
        assert_eq!(Secret::new("a"), Secret::new("a").clone());
        for other in ["", "b", "A", "aa"] {
            assert_ne!(Secret::new("a"), Secret::new(other));
        }
    }

    #[test]
    fn clones_share_one_text_so_that_there_is_one_to_overwrite() {
        let secret = Secret::new("hunter2");
        assert_eq!(secret.expose().as_ptr(), secret.clone().expose().as_ptr());
    }

    #[test]
    fn bytes_become_hexadecimal_digits_and_are_overwritten() {
        let mut bytes = [0x00, 0x9F, 0xF0];
        assert_eq!(Secret::of_bytes(&mut bytes).expose(), "009ff0");
        assert_eq!(bytes, [0; 3]);
    }
}
