//! Starting the cluster: the members there are, then whoever has to join.

use std::{path::PathBuf, time::Duration};

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::node::Node;
use crate::{cli::admin::Admin, node::Failure};

/// Seconds that a token of ours lives.
const TTL_SECONDS: u32 = 300;
const VOTERS_WITHIN: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Starts every node; answers where the first administrator's password lies.
pub(super) async fn all(nodes: &mut [Node]) -> Result<PathBuf, Failure> {
    for node in nodes.iter() {
        node.check_ports()?;
    }
    // Node 1 begins the cluster. Members start together: alone they may be no quorum.
    let present: Vec<bool> = nodes.iter().map(|node| node.id == 1 || node.is_member()).collect();
    for (node, _) in nodes.iter_mut().zip(&present).filter(|(_, present)| **present) {
        node.spawn(None)?;
    }
    for (node, _) in nodes.iter_mut().zip(&present).filter(|(_, present)| **present) {
        node.ready().await?;
    }
    let Some((server, password_file)) = nodes.first().map(|node| (node.url(), password_file(node))) else {
        return Err(Failure::usage("no node was asked for", "give --nodes a number"));
    };
    if present.contains(&false) {
        let admin = Admin::log_in(&server, None, &password_file).await?;
        for (node, _) in nodes.iter_mut().zip(&present).filter(|(_, present)| !**present) {
            node.spawn(Some(&admin.join_token(TTL_SECONDS).await?))?;
            node.ready().await?;
        }
        voters(&admin, nodes.len()).await?;
    }
    Ok(password_file)
}

/// The operator's own file, or the one that node 1 wrote.
fn password_file(first: &Node) -> PathBuf {
    let written = first.password_file();
    match std::env::var_os("THREATFLOW_ADMIN_PASSWORD_FILE") {
        Some(given) if !written.exists() => PathBuf::from(given),
        _ => written,
    }
}

/// Waits until every node votes: only then can one be killed.
async fn voters(admin: &Admin, wanted: usize) -> Result<(), Failure> {
    let until = Instant::now() + VOTERS_WITHIN;
    loop {
        let status = admin.cluster().await?;
        let members = status.get("members").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let voting = members.iter().filter(|member| member.get("voter") == Some(&Value::Bool(true))).count();
        if voting >= wanted {
            return Ok(());
        }
        if Instant::now() > until {
            let what = format!("only {voting} of {wanted} nodes vote");
            return Err(Failure::new(what, "see node-N.log in the data folder"));
        }
        sleep(LOOK_EVERY).await;
    }
}
