//! `threatflow cluster verify`: whether all nodes hold the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::admin::Admin;
use crate::node::Failure;

/// A file changes while it is read: it is compared again until it stood still at the same entry everywhere.
const WITHIN: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(200);

/// By file, then by node: the entry it stands at, and its digest.
type Digests = BTreeMap<String, BTreeMap<u64, (u64, String)>>;

/// Compares every file on every node; answers a line that says they are equal.
pub(super) async fn verify(admin: &Admin) -> Result<String, Failure> {
    let status = admin.cluster().await?;
    let members = status.get("members").and_then(Value::as_array).cloned().unwrap_or_default();
    let read = |member: &Value| {
        let node = member.get("node").and_then(Value::as_u64)?;
        Some((node, member.get("api_url").and_then(Value::as_str)?.to_owned()))
    };
    let nodes: Vec<(u64, String)> = members.iter().filter_map(read).collect();
    let until = Instant::now() + WITHIN;
    let mut equal: BTreeSet<String> = BTreeSet::new();
    loop {
        let found = collect(admin, &nodes).await?;
        for (file, digests) in &found {
            if let Some(why) = differs(file, digests, nodes.len()) {
                return Err(Failure::new(
                    why,
                    "see `threatflow cluster status` for its alarm: it is repaired by itself where a majority holds the same",
                ));
            }
            if settled(digests, nodes.len()) {
                equal.insert(file.clone());
            }
        }
        let open: Vec<&String> = found.keys().filter(|file| !equal.contains(*file)).collect();
        if open.is_empty() {
            return Ok(format!("{} files are equal on {} nodes", equal.len(), nodes.len()));
        }
        if Instant::now() > until {
            let first = open.first().map_or("", |file| file.as_str());
            let what =
                format!("{} files, {first} first, never stood at the same entry on all nodes", open.len());
            return Err(Failure::new(what, "see `threatflow cluster status` for a node that lags"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn collect(admin: &Admin, nodes: &[(u64, String)]) -> Result<Digests, Failure> {
    let mut found = Digests::new();
    for (node, url) in nodes {
        let answer = admin.digests(url).await?;
        for (file, digest) in answer.get("files").and_then(Value::as_object).into_iter().flatten() {
            let mark = digest.get("mark").and_then(Value::as_u64).unwrap_or(0);
            let sum = digest.get("sha256").and_then(Value::as_str).unwrap_or_default().to_owned();
            found.entry(file.clone()).or_default().insert(*node, (mark, sum));
        }
    }
    Ok(found)
}

/// On all nodes, at the same entry.
fn settled(digests: &BTreeMap<u64, (u64, String)>, nodes: usize) -> bool {
    let marks: BTreeSet<u64> = digests.values().map(|(mark, _)| *mark).collect();
    digests.len() == nodes && marks.len() == 1
}

fn differs(file: &str, digests: &BTreeMap<u64, (u64, String)>, nodes: usize) -> Option<String> {
    let sums: BTreeSet<&String> = digests.values().map(|(_, sum)| sum).collect();
    let differs = settled(digests, nodes) && sums.len() > 1;
    differs.then(|| {
        let shown = digests.iter().map(|(node, (_, sum))| {
            let short: String = sum.chars().take(12).collect();
            format!("node {node} {short}")
        });
        let mark = digests.values().next().map_or(0, |(mark, _)| *mark);
        format!("file {file} differs at entry {mark}: {}", shown.collect::<Vec<_>>().join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(of: &[(u64, u64, &str)]) -> BTreeMap<u64, (u64, String)> {
        of.iter().map(|(node, mark, sum)| (*node, (*mark, (*sum).to_owned()))).collect()
    }

    #[test]
    fn digests_are_compared_only_at_the_same_entry_on_all_nodes() {
        let moving = digests(&[(1, 7, "a"), (2, 8, "b"), (3, 8, "b")]);
        assert!(!settled(&moving, 3) && differs("f", &moving, 3).is_none());
        let missing = digests(&[(1, 8, "a"), (2, 8, "b")]);
        assert!(!settled(&missing, 3) && differs("f", &missing, 3).is_none());
        let equal = digests(&[(1, 8, "a"), (2, 8, "a"), (3, 8, "a")]);
        assert!(settled(&equal, 3) && differs("f", &equal, 3).is_none());
        let diverged = digests(&[(1, 8, "a"), (2, 8, "a"), (3, 8, "b")]);
        assert_eq!(
            differs("f", &diverged, 3).as_deref(),
            Some("file f differs at entry 8: node 1 a, node 2 a, node 3 b")
        );
    }
}
