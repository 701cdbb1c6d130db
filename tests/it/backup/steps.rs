//! The uploader's process dies before and after each kind of request that it writes with; the one after it goes on, and
//! nothing is missing, twice or damaged.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{
    STATUS, await_archived, await_images, count,
    faults::{assert_whole, verify},
    kept::await_swept,
    now_ms, restore, revive, said, used, walk,
};
use crate::harness::{Caller, Organization, Plant, World};

/// Chains are compacted after a few files.
const SOON: &str = "compact soon";

/// A running node, its first target, and an organization that is counted in.
struct Scene {
    place: tempfile::TempDir,
    plant: Plant,
    world: World,
    platform: Caller,
    org: Organization,
    key: String,
}

impl Scene {
    fn set() -> Self {
        let place = tempfile::tempdir().unwrap();
        let plant = Plant::new();
        plant.set(&[SOON]);
        let world = World::one_node_in(plant.environment(), &[]);
        let (platform, org) = (world.platform(), world.organization("acme", "enterprise"));
        std::fs::create_dir(place.path().join("one")).unwrap();
        let key = super::begin(&platform, "one", &place.path().join("one")).unwrap();
        let scene = Self { place, plant, world, platform, org, key };
        scene.await_whole("one");
        scene
    }

    fn bucket(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Everything that was acknowledged is in the target.
    fn await_whole(&self, name: &str) {
        await_images(&self.platform, name, 1);
        let index = count(&self.org);
        await_images(&self.platform, name, index);
        await_archived(&self.platform, name, index);
    }

    /// The process dies at `step` by what `nudge` does, and another goes on.
    fn die(&mut self, step: &str, nudge: impl FnMut()) {
        self.plant.set(&[SOON, step]);
        self.dead(step, nudge);
    }

    fn dead(&mut self, step: &str, nudge: impl FnMut()) {
        let ended = self.world.ended_by(nudge);
        assert_eq!(ended.code(), None, "{step}: it died, and did not stop");
        self.plant.set(&[SOON]);
        self.world.restart();
    }

    /// It dies after its start.
    fn die_anew(&mut self, step: &str) {
        self.world.crash();
        self.plant.set(&[SOON, step]);
        self.world.start_again();
        self.dead(step, || {});
    }

    /// Somebody writes, while it lasts.
    fn write(&self) -> impl FnMut() + use<> {
        let org = self.org.clone();
        let body = json!({ "resource": "max_workflows", "amount": 1 }).to_string();
        move || drop(org.admin.send("POST", &org.path("/usage"), Some(body.as_bytes()), &[]))
    }
}

/// Whole, and restored the same as what is live.
fn prove(scene: &Scene, bucket: &Path) {
    assert_whole(bucket, &scene.key);
    // The newest event and the head of the chain after it, which no other events have.
    let live = &scene.org.admin.get(&scene.org.path("/audit-events?limit=1")).json["data"][0];
    let to = scene.place.path().join("acme.db");
    let _ = std::fs::remove_file(&to);
    let written =
        restore(&["organization", &scene.org.id], bucket, &scene.key, &["--to", to.to_str().unwrap()]);
    assert!(written.status.success(), "{}", said(&written));
    let file = rusqlite::Connection::open(&to).unwrap();
    let sql = "SELECT seq, lower(hex(chain)) FROM audit_events ORDER BY seq DESC LIMIT 1";
    let restored: (i64, String) = file.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(json!(restored), json!([live["event"]["seq"], live["chain"]]));
    let world = revive(bucket, &scene.key, &[]);
    let revived = used(&world.anonymous().with_token(scene.org.admin.token()), &scene.org);
    assert_eq!(revived, used(&scene.org.admin, &scene.org));
}

#[test]
fn an_uploader_that_dies_at_any_request_leaves_what_the_next_one_goes_on_with() {
    let mut scene = Scene::set();
    for side in ["before", "after"] {
        for part in ["/log/", "/ltx/0/", "/ltx/1/", "/catalog/"] {
            let write = scene.write();
            scene.die(&format!("die {side} {part}"), write);
        }
        for part in ["/epochs/", "/ltx/9/", "/log/", "/catalog/"] {
            // The first of a new uploader: it takes over what the one before left.
            scene.die_anew(&format!("die {side} {part}"));
        }
        // A file that is new has keys that are new.
        let (platform, mut made) = (scene.platform.clone(), false);
        let slug = format!("more-{side}");
        let body = json!({
            "name": slug, "slug": slug, "domain": format!("{slug}.test"), "plan": "enterprise",
            "billing_email": "bills@more.test", "contact_info": { "primary_contact": "Ann", "email": "ann@more.test" },
            "admin": { "email": format!("ann@{slug}.test"), "password": "correct horse battery staple" },
        });
        scene.die(&format!("die {side} vault.json"), || {
            if !std::mem::replace(&mut made, true) {
                platform.send("POST", "/api/v2/organizations", Some(body.to_string().as_bytes()), &[]);
            }
        });
    }
    scene.await_whole("one");
    prove(&scene, &scene.bucket("one"));
}

#[test]
fn an_uploader_that_dies_while_it_begins_a_place_leaves_one_that_the_next_one_begins() {
    let mut scene = Scene::set();
    for (place, part) in ["lineage.json", "vault.json", "HEAD"].into_iter().enumerate() {
        for side in ["before", "after"] {
            let name = format!("{side}-{place}");
            let bucket = scene.bucket(&name);
            std::fs::create_dir(&bucket).unwrap();
            let (platform, target) = (scene.platform.clone(), format!("{STATUS}/targets/{name}"));
            let body = json!({ "settings": { "kind": "folder", "path": bucket } }).to_string();
            let mut set = false;
            scene.die(&format!("die {side} {part}"), || {
                if !std::mem::replace(&mut set, true) {
                    platform.send("PUT", &target, Some(body.as_bytes()), &[]);
                }
            });
            scene.await_whole(&name);
            assert_whole(&bucket, &scene.key);
            if part == "HEAD" {
                prove(&scene, &bucket);
            }
            let removed = scene.platform.send("DELETE", &target, None, &[]).unwrap();
            assert_eq!(removed.status, 204, "{}", removed.body);
        }
    }
}

#[test]
fn a_sweep_that_dies_is_taken_up_again_and_removes_nothing_that_is_needed() {
    let mut scene = Scene::set();
    for step in ["die before removing /", "die amid removing /", "die after removing /"] {
        for _ in 0..3 {
            scene.await_whole("one");
        }
        let held = walk(&scene.bucket("one"));
        let gone = || held.iter().filter(|path| !path.exists()).count();
        let sweep = format!("sweep what is older than {}", now_ms());
        scene.plant.set(&[SOON, step, &sweep]);
        scene.dead(step, || {});
        let first = gone();
        assert_eq!(first > 0, !step.contains("before"), "{step}: {first}");
        let verified = verify(&scene.bucket("one"), &scene.key);
        assert!(verified.status.success(), "{step}: {}", said(&verified));
        scene.plant.set(&[SOON, &sweep]);
        await_swept(&scene.world, 1);
        assert!(gone() > first || step.contains("after"), "{step}: {first}, then {}", gone());
        scene.plant.set(&[SOON]);
    }
    scene.await_whole("one");
    prove(&scene, &scene.bucket("one"));
}
