//! What a restore leaves to fetch while the restored node serves: from where, which images, and up to which entry.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    super::{
        bucket::{Bucket, Credentials, Settings},
        objects,
    },
    Plan, Source,
};
use crate::{
    kernel::{Fault, FileId, Secret, from_hex, to_hex},
    store::Keyring,
};

const CONTEXT: &str = "backup-restore-place";

/// What is left, as it is noted on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Remains {
    /// The history.
    pub lineage: Uuid,
    /// The images, and the entry up to which what was put aside is applied to them.
    pub plan: Plan,
    /// The lines of the keys of each file.
    pub keys: BTreeMap<FileId, String>,
    /// The bucket's settings and its credentials, sealed (hexadecimal).
    place: String,
}

#[derive(Deserialize)]
struct Place {
    settings: Settings,
    credentials: Option<Credentials>,
}

impl Remains {
    /// Of the files that `keys` has, in a bucket.
    pub fn new(
        lineage: Uuid,
        plan: &Plan,
        keys: BTreeMap<FileId, String>,
        (settings, credentials): (&Settings, Option<&Credentials>),
        keyring: &Keyring,
    ) -> Result<Self, Fault> {
        let mut plan = Plan { segments: Vec::new(), ..plan.clone() };
        plan.catalogue.files.retain(|file, _| keys.contains_key(file));
        let settings = serde_json::to_string(settings)
            .map_err(|error| Fault::new("write the settings of a bucket", error))?;
        let credentials = credentials.map_or(Secret::new("null".to_owned()), Credentials::text);
        let credentials = credentials.reveal();
        let place = Secret::new(format!(r#"{{"settings":{settings},"credentials":{credentials}}}"#));
        let place = to_hex(&keyring.seal_for_life(CONTEXT, place.reveal().as_bytes())?);
        Ok(Self { lineage, plan, keys, place })
    }

    /// The bucket. It does not try for long: whoever fetches tries again.
    pub fn bucket(&self, keyring: &Keyring) -> Result<Bucket, String> {
        let sealed = from_hex(&self.place).unwrap_or_default();
        let plain = keyring.unseal_for_life(CONTEXT, &sealed).map_err(|fault| fault.to_string())?;
        let Place { settings, credentials } = serde_json::from_slice(&plain)
            .map_err(|_| "where the backup is was noted by another version".to_owned())?;
        Bucket::open(&settings.hurried(), credentials.as_ref()).map_err(objects::told)
    }
}

impl Source<'_> {
    /// Whether the history can be read at all; or why it cannot.
    pub async fn answers(&self) -> Result<(), String> {
        objects::require(self.bucket, &self.names.lineage()).await.map(drop)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{features::backup::formats::Catalogue, kernel::Millis};

    #[test]
    fn nobody_but_the_cluster_reads_of_what_is_noted_where_the_backup_is_and_what_opens_it() {
        let keyring = Keyring::from_raw(vec![1; 32]).unwrap();
        let settings: Settings = serde_json::from_value(
            json!({ "kind": "s3", "bucket": "backups", "endpoint": "https://s3.example" }),
        )
        .unwrap();
        let given = json!({ "access_key": "MARKER-ONE", "secret_key": "MARKER-TWO" });
        let credentials: Credentials = serde_json::from_value(given).unwrap();
        let lineage = Uuid::from_u128(1);
        let catalogue =
            Catalogue { lineage, epoch: 1, cut: 5, high: 5, newest: Millis(1), files: BTreeMap::new() };
        let plan = Plan { catalogue, segments: vec![(6, 7)], index: 7, moment: Millis(1) };
        let place = (&settings, Some(&credentials));
        let remains = Remains::new(lineage, &plan, BTreeMap::new(), place, &keyring).unwrap();
        let text = serde_json::to_string(&remains).unwrap();
        assert!(!text.contains("MARKER") && !text.contains("s3.example"), "{text}");
        let again: Remains = serde_json::from_str(&text).unwrap();
        assert!(again.bucket(&keyring).is_ok());
        assert!(again.bucket(&Keyring::from_raw(vec![2; 32]).unwrap()).is_err());
    }
}
