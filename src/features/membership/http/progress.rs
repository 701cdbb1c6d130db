//! How far the rotation of the authority is, from what every member says about itself.

use serde_json::{Value, json};

use super::super::model::{Rotation, Shown};
use crate::{
    cluster::{About, Cluster, Question},
    kernel::Millis,
};

/// Every member with what it shows, or why that is not known.
pub(in super::super) async fn members(cluster: &Cluster) -> Vec<(u64, Result<Shown, String>)> {
    let asked = cluster.ask_all::<About>(&Question::About).await;
    asked.into_iter().map(|(node, about)| (node, about.map(|about| shown(&about)))).collect()
}

pub(super) fn shown(about: &About) -> Shown {
    Shown { authority: about.authority.clone(), trusted: about.trusted.clone() }
}

/// The members that keep the rotation where it is, and why.
pub(super) fn waiting(rotation: Option<&Rotation>, members: &[(u64, Result<Shown, String>)]) -> Vec<Value> {
    let Some(rotation) = rotation else { return Vec::new() };
    let waits = |(node, shown): &(u64, Result<Shown, String>)| {
        rotation.waits_for(shown).map(|why| json!({ "node": node, "why": why }))
    };
    members.iter().filter_map(waits).collect()
}

/// The authority as the status shows it.
pub(super) fn view(
    cluster: &Cluster,
    rotation: Option<&Rotation>,
    members: &[(u64, Result<Shown, String>)],
) -> Value {
    let certificates = cluster.replica().certificates();
    let waiting = waiting(rotation, members);
    // The last step ends by itself: it is over when nobody keeps it.
    let under_way = rotation.filter(|rotation| rotation.step.next().is_some() || !waiting.is_empty());
    let ends = Millis(i64::try_from(certificates.authority_expires_ms).unwrap_or(i64::MAX));
    json!({
        "fingerprint": rotation.map_or(&certificates.authority, |rotation| &rotation.to),
        "expires_at": ends.to_string(),
        "step": under_way.map_or(json!("settled"), |rotation| json!(rotation.step)),
        "waiting_for": waiting,
    })
}
