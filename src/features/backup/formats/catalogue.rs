//! A catalogue: for one index, which image of each file to take.
//!
//! On the way it is `{"catalogue":{…},"mac":"…"}`: the code covers the bytes of the catalogue as they stand there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use crate::{
    kernel::{Fault, FileId, Millis, to_hex},
    store::{Keyring, Sum},
};

const PURPOSE: &str = "backup-catalogue";

/// Which images are one cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Of which history.
    pub lineage: Uuid,
    /// Who wrote it.
    pub epoch: u32,
    /// Every image holds all entries up to this one.
    pub cut: u64,
    /// No image holds an entry after this one.
    pub high: u64,
    /// The stamp of the newest entry in any image.
    pub newest: Millis,
    /// Every file that existed.
    pub files: BTreeMap<FileId, Image>,
}

/// An image of a file: the end of a chain of LTX files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The chain's epoch.
    pub epoch: u32,
    /// Index of the last entry in it, and the last transaction number of its chain.
    pub mark: u64,
    /// That entry's stamp.
    pub at: Millis,
    /// The sum of the rows.
    pub sum: Sum,
    /// Number of the data key that the pages are under.
    pub key: u32,
    /// How many pages.
    pub pages: u32,
    /// Bytes of a page.
    pub page_bytes: u32,
}

impl Image {
    /// Bytes of the whole file.
    pub fn bytes(&self) -> u64 {
        u64::from(self.pages) * u64::from(self.page_bytes)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    catalogue: Box<RawValue>,
    mac: String,
}

impl Catalogue {
    /// As it is put.
    pub fn encode(&self, keyring: &Keyring) -> Result<Vec<u8>, Fault> {
        let failed = |error| Fault::new("write a catalogue", error);
        let catalogue = to_raw_value(self).map_err(failed)?;
        let mac = to_hex(&keyring.mac(PURPOSE, &[catalogue.get().as_bytes()]));
        serde_json::to_vec(&Signed { catalogue, mac }).map_err(failed)
    }

    /// Reads the catalogue of a lineage at a cut; says what is wrong with another.
    pub fn decode(keyring: &Keyring, lineage: Uuid, cut: u64, bytes: &[u8]) -> Result<Self, &'static str> {
        let signed: Signed = serde_json::from_slice(bytes).map_err(|_| "it is damaged")?;
        if to_hex(&keyring.mac(PURPOSE, &[signed.catalogue.get().as_bytes()])) != signed.mac {
            return Err("it is damaged, or another cluster wrote it");
        }
        let read: Self = serde_json::from_str(signed.catalogue.get())
            .map_err(|_| "it is of a form that this binary does not know; upgrade it")?;
        if read.lineage != lineage || read.cut != cut {
            return Err("it is not what its name says");
        }
        Ok(read)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::kernel::OrgId;

    #[test]
    fn a_catalogue_reads_back_and_a_changed_or_a_strange_one_is_refused() {
        let ring = |byte| Keyring::from_raw(vec![byte; 32]).unwrap();
        let image = Image {
            epoch: 2,
            mark: 70,
            at: Millis(5),
            sum: Sum::default(),
            key: 1,
            pages: 3,
            page_bytes: 4096,
        };
        let lineage = Uuid::from_u128(9);
        let files = BTreeMap::from([(OrgId::SYSTEM, image)]);
        let catalogue = Catalogue { lineage, epoch: 3, cut: 66, high: 70, newest: Millis(5), files };
        let bytes = catalogue.encode(&ring(1)).unwrap();
        assert_eq!(Catalogue::decode(&ring(1), lineage, 66, &bytes).unwrap(), catalogue);
        assert!(Catalogue::decode(&ring(2), lineage, 66, &bytes).unwrap_err().contains("another cluster"));
        assert!(Catalogue::decode(&ring(1), lineage, 67, &bytes).is_err());
        assert!(Catalogue::decode(&ring(1), Uuid::from_u128(8), 66, &bytes).is_err());
        let text = String::from_utf8(bytes).unwrap().replace("\"mark\":70", "\"mark\":71");
        assert!(Catalogue::decode(&ring(1), lineage, 66, text.as_bytes()).unwrap_err().contains("damaged"));
    }
}
