//! Secrets: values that cannot be printed or serialized, and are wiped when dropped.

use std::fmt;

use zeroize::Zeroize;

/// A plaintext secret on its way to a hash or a seal. It has no `Serialize`, so it cannot enter the log.
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes the value out of plain sight.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The plaintext, for the one call that needs it.
    pub fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(…)")
    }
}

/// Secrets arrive in request bodies; they never leave in answers.
impl<'de, T: Zeroize + serde::Deserialize<'de>> serde::Deserialize<'de> for Secret<T> {
    fn deserialize<D: serde::Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        T::deserialize(source).map(Self)
    }
}
