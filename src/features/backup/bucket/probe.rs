//! Whether a target is fit for backups, found out with one small object.

use bytes::Bytes;

use super::{Bucket, Cause, Created, Failed, Replaced, Version, fault::Trouble, folder};
use crate::web::now;

impl Bucket {
    /// Creates an object, which must be refused a second time; rewrites it under its version, which must be refused with
    /// an old one; reads it back and deletes it. The error says what is wrong and what to do.
    pub async fn probe(&self) -> Result<(), Failed> {
        if let super::Store::Folder(folder) = &self.store {
            let folder = folder.clone();
            let swept = folder::blocking(move || folder.sweep(now())).await;
            swept
                .and_then(|swept| swept.map_err(|error| Trouble::of_file(&error)))
                .map_err(|trouble| self.unfit(trouble))?;
        }
        let key = format!("probe-{}", uuid::Uuid::new_v4());
        let probed = self.probe_with(&key).await;
        // A server that was not reached is not waited for again; and what went wrong first says more.
        let deleted = match &probed {
            Err(failed) if failed.retry => Ok(()),
            _ => self.delete(std::slice::from_ref(&key)).await,
        };
        probed.and(deleted).map_err(|failed| self.unfit(failed.into_trouble()))
    }

    async fn probe_with(&self, key: &str) -> Result<(), Failed> {
        let [first, second, third] = [&b"one"[..], b"two", b"three"].map(Bytes::from_static);
        let unconditional = |what| Err(self.odd(Cause::Unconditional, what));
        // First, because some servers say of a write to no bucket only that they failed.
        self.list(key, None).all().await?;
        self.create(key, first.clone(), None).await?;
        let version = self.expect(key, &first).await?;
        if !self.list(key, None).all().await?.iter().any(|entry| entry.key == key) {
            return Err(self.odd(Cause::Damaged, "what had just been written was not in its listing"));
        }
        if self.create(key, second.clone(), None).await? == Created::Created {
            return unconditional(
                "it overwrote an object that was to be created only if there is none (If-None-Match)",
            );
        }
        self.expect(key, &first).await?;
        if self.replace(key, second.clone(), &version).await? == Replaced::Stale {
            return unconditional(
                "it refused to rewrite an object of the version that it had just told (If-Match)",
            );
        }
        self.expect(key, &second).await?;
        if self.replace(key, third, &version).await? != Replaced::Stale {
            return unconditional("it rewrote an object although another version was expected (If-Match)");
        }
        self.expect(key, &second).await?;
        Ok(())
    }

    async fn expect(&self, key: &str, bytes: &Bytes) -> Result<Version, Failed> {
        match self.get(key).await? {
            Some(found) if found.bytes == *bytes => Ok(found.version),
            Some(_) => Err(self.odd(Cause::Damaged, "it gave back other bytes than were written")),
            None => Err(self.odd(Cause::Damaged, "what had just been written was not there")),
        }
    }

    fn odd(&self, cause: Cause, what: &str) -> Failed {
        Failed::new("probe", self.place.clone(), Trouble::new(cause, what))
    }

    /// The failure of a probe, with its cure.
    fn unfit(&self, trouble: Trouble) -> Failed {
        let cure = trouble.cause.cure();
        self.odd(trouble.cause, &format!("{}; {cure}", trouble.text))
    }
}
