//! Organizations with something in them, for figures about files that are not empty.

use std::{fs, path::Path, time::Duration};

use super::startup::create;
use crate::{http, product::Product};

const ANSWER: Duration = Duration::from_secs(60);
/// Organizations filled side by side.
const HANDS: usize = 4;
/// Organizations made with one token of the platform's administrator, which lives for ten minutes.
const TOKEN_FOR: u32 = 100;

/// Organizations with about `kib` imported into each; their ids.
pub async fn make(product: &Product, slug: &str, count: u32, kib: usize) -> Vec<String> {
    if kib == 0 {
        return create(product, slug, count).await;
    }
    let bundle = bundle(1, kib);
    let mut ids = Vec::new();
    for from in (0..count).step_by(TOKEN_FOR as usize) {
        let (platform, to) = (product.platform().await, count.min(from + TOKEN_FOR));
        let hand = async |hand: u32| {
            let mut ids = Vec::new();
            for number in (from + hand..to).step_by(HANDS) {
                // Only a member may import, so each has an administrator.
                let made = product.organization_by(&platform, &format!("{slug}-{number}")).await;
                let request = made.request("POST", "/intel/bundles", &[], bundle.as_bytes());
                let answer = http::once(product.addresses[0], &request, ANSWER).await.expect("an answer");
                assert_eq!(answer.status, 201, "import: {}", answer.text());
                ids.push(made.id);
            }
            ids
        };
        ids.extend(futures_util::future::join_all((0..HANDS as u32).map(hand)).await.concat());
    }
    ids
}

/// Indicators of about one KiB each, numbered from `first`.
pub fn bundle(first: usize, kib: usize) -> String {
    let filler = "what an analyst has to say about it. ".repeat(17);
    let indicator = |number: usize| {
        format!(
            r#"{{"type":"indicator","spec_version":"2.1","id":"indicator--00000000-0000-4000-8000-{number:012x}",
            "created":"2026-01-01T00:00:00.000Z","modified":"2026-01-01T00:00:00.000Z","name":"figure {number}",
            "description":"{number} {filler}","pattern":"[ipv4-addr:value = '192.0.2.{}']","pattern_type":"stix",
            "valid_from":"2026-01-01T00:00:00Z"}}"#,
            number % 250
        )
    };
    let objects: Vec<String> = (first..first + kib).map(indicator).collect();
    let id = "bundle--00000000-0000-4000-8000-000000000003";
    format!(r#"{{"type":"bundle","id":"{id}","objects":[{}]}}"#, objects.join(","))
}

/// Bytes of the files of some organizations at a node whose folder this is; of all when none is named.
pub fn bytes(data: &Path, ids: Option<&[String]>) -> u64 {
    let Some(ids) = ids else {
        let files = fs::read_dir(data.join("store/tenants")).unwrap().flatten();
        return files.filter_map(|file| file.metadata().ok()).map(|about| about.len()).sum();
    };
    ids.iter().map(|id| fs::metadata(data.join(format!("store/tenants/{id}.db"))).unwrap().len()).sum()
}
