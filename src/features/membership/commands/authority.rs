//! Rotating the cluster's authority, step by step, and asking for fresh certificates.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::{
    model::{Rotation, SECRETS, Step, secret_of},
    queries,
};
use crate::{
    cluster::{Apply, Command, Kind},
    kernel::{Permission, Refusal},
    store::Stop,
};

/// A new authority begins to follow the present one. Refused while another does.
#[derive(Debug, Serialize, Deserialize)]
pub struct RotateAuthority {
    /// Fingerprint of the present authority.
    pub from: String,
    /// Fingerprint of the new one.
    pub to: String,
    /// Certificate of the present one (DER, hexadecimal).
    pub old: String,
    /// The new one with its key, sealed (hexadecimal).
    pub sealed: String,
}

impl Command for RotateAuthority {
    const KIND: Kind = Kind::new("membership.rotate_authority", 1);
    const NEEDS: Permission = Permission::ClusterManage;
    /// The new authority's fingerprint: of a repeated request the one made at first.
    type Reply = String;

    fn apply(self, cx: &mut Apply<'_>) -> Result<String, Stop> {
        let last = queries::rotation(cx.tx)?;

        if let Some(last) = last
            && (last.step != Step::Forget || last.to != self.from)
        {
            return Err(Refusal::WrongState { state: "rotating".to_owned() }.into());
        }
        let Self { from, to, old, sealed } = self;
        let rotation = Rotation { step: Step::Trust, from, to, old };
        let sealed = super::bytes(&sealed)?;

        cx.tx.prepare_cached(FORGET)?.execute([format!("{SECRETS}*")])?;
        cx.tx.prepare_cached(UPSERT)?.execute((secret_of(&rotation.to), sealed))?;
        save(cx, &rotation)?;

        cx.note("authority", &rotation.to, json!({ "step": rotation.step, "from": rotation.from }));
        Ok(rotation.to)
    }
}

/// The rotation goes to its next step: every member was seen to be at the present one.
#[derive(Debug, Serialize, Deserialize)]
pub struct TurnAuthority {
    /// Fingerprint of the new authority: which rotation is meant.
    pub to: String,
    /// The step that begins.
    pub step: Step,
}

impl Command for TurnAuthority {
    const KIND: Kind = Kind::new("membership.turn_authority", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let rotation = queries::rotation(cx.tx)?;

        let due = |rotation: &Rotation| rotation.to == self.to && rotation.step.next() == Some(self.step);
        let Some(rotation) = rotation.filter(due) else {
            return Err(Refusal::WrongState { state: "turned".to_owned() }.into());
        };

        save(cx, &Rotation { step: self.step, ..rotation })?;

        cx.note("authority", &self.to, json!({ "step": self.step }));
        Ok(())
    }
}

/// An operator asks every node to issue itself a fresh certificate: on the trail before it is done.
#[derive(Debug, Serialize, Deserialize)]
pub struct RequestCertificates {
    /// The nodes that are asked.
    pub nodes: Vec<u64>,
}

impl Command for RequestCertificates {
    const KIND: Kind = Kind::new("membership.request_certificates", 1);
    const NEEDS: Permission = Permission::ClusterManage;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        cx.note("certificates", "nodes", json!({ "nodes": self.nodes }));
        Ok(())
    }
}

/// A cluster that was made anew from a backup has a new authority and none of the nodes that were: rotations of the old
/// authority, tokens that admitted to it and numbers that its nodes used mean nothing here.
pub fn begin_anew(cx: &mut Apply<'_>) -> Result<(), Stop> {
    cx.tx.prepare_cached(FORGET)?.execute([format!("{SECRETS}*")])?;
    cx.tx.prepare_cached(FORGET)?.execute([queries::ROTATION])?;
    cx.tx.prepare_cached("DELETE FROM membership_tokens")?.execute([])?;
    cx.tx.prepare_cached("DELETE FROM membership_retired")?.execute([])?;
    Ok(())
}

fn save(cx: &mut Apply<'_>, rotation: &Rotation) -> Result<(), Stop> {
    let text = serde_json::to_vec(rotation)?;
    cx.tx.prepare_cached(UPSERT)?.execute((queries::ROTATION, text))?;
    Ok(())
}

const FORGET: &str = "DELETE FROM membership_secrets WHERE name GLOB ?1";
const UPSERT: &str = "INSERT INTO membership_secrets (name, sealed) VALUES (?1, ?2)
    ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed";
