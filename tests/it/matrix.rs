//! Isolation by subtraction: every route, called by every kind of caller with another organization's ids.

mod outcomes;

use std::collections::BTreeMap;

use serde_json::json;
use threatflow::web::{Needs, Route, Version};

use crate::harness::{Caller, World};

/// What fills a path's parameters besides `{org}`: ids that exist nowhere.
const NOWHERE: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// Routes without `{org}` that a stranger may still not use on another organization: they answer for the
/// caller's own. Everything else must be in the matrix.
const OWN: &[&str] = &[
    "logIn",
    "whoAmI",
    "updateMe",
    "changePassword",
    "acceptInvitation",
    "choosePassword",
    "createOrganization",
    "listOrganizations",
    "listAuditLogs",
    "getAuditLog",
    "refresh",
    "logOut",
    "verifyToken",
    "listOwnSessions",
    "endOtherSessions",
    "endOwnSession",
    "revokeToken",
    "introspectToken",
    "logInWithCode",
    "beginPasskeyLogin",
    "logInWithPasskey",
    "listFactors",
    "renameFactor",
    "removeFactor",
    "renewRecoveryCodes",
    "beginTotp",
    "confirmTotp",
    "beginPasskey",
    "finishPasskey",
    "stepUp",
    "beginStepUp",
    "evaluate",
    "evaluateMany",
    "searchSubjects",
    "searchResources",
    "searchActions",
    "forwardAuth",
    "forwardGet",
    "forwardPost",
    "forwardPut",
    "forwardPatch",
    "forwardDelete",
    "forwardRootGet",
    "forwardRootPost",
    "forwardRootPut",
    "forwardRootPatch",
    "forwardRootDelete",
];
/// Routes of the installation: they know no organization.
const INSTALLATION: &[&str] = &[
    "getAccessMatrix",
    "createJoinToken",
    "getCluster",
    "getDigests",
    "describeApi",
    "promoteNode",
    "demoteNode",
    "transferLeadership",
    "removeNode",
    "makeSnapshot",
    "getClusterKeys",
    "getBackup",
    "requestRestore",
    "listRestores",
    "getRestore",
    "setBackupTarget",
    "removeBackupTarget",
    "setBackupPolicy",
    "requestBackupDrill",
    "listBackupDrills",
    "rotateClusterKey",
    "rotateAuthority",
    "rotateCertificates",
    "getLevel",
    "raiseLevel",
    "getSigningKeys",
    "rotateSigningKey",
    "getSigningKeySet",
    "getServerMetadata",
    "getAuthzenConfiguration",
    "recover",
];

fn body_for(operation: &str) -> &'static str {
    match operation {
        "reportUsage" => r#"{"resource":"max_feeds","amount":1}"#,
        "createRole" | "updateRole" | "createGroup" | "updateGroup" => r#"{"name":"x"}"#,
        "giveRole" => r#"{"subject":"everyone"}"#,
        "createPolicy" | "updatePolicy" => r#"{"name":"x","text":"forbid (principal, action, resource);"}"#,
        "createGrant" | "updateGrant" => r#"{"effect":"allow","subject":"everyone","permissions":["*:*"]}"#,
        "checkAccess" => r#"{"permission":"read:case"}"#,
        "evaluate" | "evaluateIn" | "evaluateMany" | "evaluateManyIn" | "searchActions"
        | "searchActionsIn" | "searchSubjects" | "searchSubjectsIn" | "searchResources"
        | "searchResourcesIn" => {
            r#"{"subject":{"type":"user","id":"x@y.test"},"action":{"name":"read"},"resource":{"type":"case","id":"1"}}"#
        }
        "simulateAccess" => r#"{"grant":{"effect":"deny","subject":"everyone","permissions":["*:*"]}}"#,
        "eraseOrganization" => r#"{"slug":"victim"}"#,
        "setBackupTarget" => r#"{"settings":{"kind":"folder","path":"/nowhere/at/all"}}"#,
        "changePlan" => r#"{"plan":"enterprise"}"#,
        "setSessionPolicy" => r#"{"idle_minutes":30,"absolute_hours":12,"concurrent_max":5}"#,
        "setMfaPolicy" => r#"{"level":"off"}"#,
        "createUser" => r#"{"email":"x@y.test","role":"admin"}"#,
        "inviteUser" => r#"{"email":"x@y.test"}"#,
        "claimDomain" => r#"{"domain":"nowhere.test"}"#,
        "nameBreakGlass" => r#"{"users":[]}"#,
        "createInvestigation" | "createCase" => r#"{"title":"x"}"#,
        "createActivity" => r#"{"name":"x"}"#,
        "createNote" => r#"{"body":"x"}"#,
        "setCollaborator" => r#"{"level":"owner"}"#,
        "importBundle" => {
            r#"{"type":"bundle","id":"bundle--00000000-0000-4000-8000-000000000000","objects":[]}"#
        }
        _ => "{}",
    }
}

fn paths(route: &Route, org: &str) -> Vec<String> {
    let fill = |(version, path): &(Version, &str)| {
        let path = path.replace("{org}", org).replace("{id}", NOWHERE).replace("{user}", NOWHERE);
        let path = path.replace("{note}", NOWHERE);
        let path = path
            .replace("{domain}", "nowhere.test")
            .replace("{target}", "nowhere")
            .replace("{restore}", NOWHERE);
        let path = path.replace("{subject}", &format!("user:{NOWHERE}"));
        format!("{}{path}", version.prefix())
    };
    route.paths.iter().map(fill).collect()
}

#[test]
fn nobody_learns_of_another_organization_and_nothing_is_written() {
    let world = World::one_node();
    let victim = world.organization("victim", "enterprise");
    let parent = world.organization("parent-co", "enterprise");
    let stranger = world.child_of(&parent, "stranger", "enterprise");
    let sibling = world.child_of(&parent, "sibling", "enterprise");
    let child = world.child_of(&stranger, "grandchild", "enterprise");
    let analyst = stranger.member("ana", "analyst");
    let before = trail_length(&victim.admin, &victim.path(""));

    let callers: BTreeMap<&str, (&Caller, u16)> = BTreeMap::from([
        ("anonymous", (&Caller::new(&world.url), 401)),
        ("another admin", (&stranger.admin, 404)),
        ("another analyst", (&analyst, 404)),
    ])
    .into_iter()
    .map(|(name, (caller, status))| (name, (leak(caller), status)))
    .collect();
    let listed = threatflow::app::routes::listed();
    let scoped: Vec<&Route> = listed.iter().filter(|route| route.paths[0].1.contains("{org}")).collect();
    assert!(scoped.len() >= 17, "{} routes name an organization", scoped.len());
    for route in scoped {
        assert_eq!(route.needs, Needs::Caller, "{} is open to anybody", route.operation);
        for (name, (caller, status)) in &callers {
            for org in [victim.id.as_str(), "victim"] {
                for path in paths(route, org) {
                    let answer = caller.send(route.method.name(), &path, body(route), &[]).unwrap();
                    assert_eq!(
                        answer.status,
                        *status,
                        "{name} {} {path}: {}",
                        route.method.name(),
                        answer.body
                    );
                    let known = answer.body.contains(&victim.id) || answer.body.contains("victim.test");
                    assert!(!known, "{name} learns of the victim from {path}: {}", answer.body);
                }
            }
        }
        // Up and sideways in the tree: as foreign as any other.
        for (name, caller, org) in
            [("child", &child.admin, &stranger.id), ("sibling", &sibling.admin, &stranger.id)]
        {
            for path in paths(route, org) {
                let answer = caller.send(route.method.name(), &path, body(route), &[]).unwrap();
                assert_eq!(answer.status, 404, "{name} {} {path}: {}", route.method.name(), answer.body);
            }
        }
    }
    assert_eq!(trail_length(&victim.admin, &victim.path("")), before, "something was written at the victim");
}

#[test]
fn unknown_and_foreign_organizations_get_the_same_answer() {
    let world = World::one_node();
    let victim = world.organization("victim", "enterprise");
    let other = world.organization("other-co", "enterprise");
    for path in ["", "/quotas", "/intel/objects", "/audit-events"] {
        let blank = |org: &str| {
            let answer = other.admin.get(&format!("/api/v2/organizations/{org}{path}"));
            let mut json = answer.json.clone();
            json["instance"] = json!(null);
            (answer.status, json)
        };
        assert_eq!(blank(&victim.id), blank(NOWHERE));
        assert_eq!(blank("victim"), blank("no-such-slug"));
    }
}

#[test]
fn a_platform_administrator_operates_organizations_and_reads_none_of_their_content() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let platform = world.platform();
    for (path, status) in [
        ("", 200),
        ("/quotas", 200),
        ("/stats", 200),
        ("/audit-events", 403),
        ("/intel/objects", 403),
        ("/intel/export", 403),
        ("/intel/imports", 403),
        ("/users", 403),
    ] {
        assert_eq!(platform.get(&org.path(path)).status, status, "{path}");
    }
    assert_eq!(org.admin.get("/api/v2/cluster").status, 404);
    assert_eq!(org.admin.post("/api/v2/cluster/join-tokens", &json!({})).status, 404);
}

#[test]
fn every_route_is_in_the_matrix_or_named_as_an_exception() {
    let listed = threatflow::app::routes::listed();
    let left: Vec<&str> = listed
        .iter()
        .filter(|route| !route.paths[0].1.contains("{org}"))
        .map(|route| route.operation)
        .filter(|operation| !OWN.contains(operation) && !INSTALLATION.contains(operation))
        .collect();
    assert!(left.is_empty(), "routes outside the isolation matrix: {left:?}");
    let mut names: Vec<&str> = listed.iter().map(|route| route.operation).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), listed.len(), "two routes share an operation");
}

fn body(route: &Route) -> Option<&'static [u8]> {
    (route.method.name() != "GET").then(|| body_for(route.operation).as_bytes())
}

fn trail_length(admin: &Caller, path: &str) -> i64 {
    let events = admin.get(&format!("{path}/audit-events?limit=1"));
    events.json["data"][0]["event"]["seq"].as_i64().unwrap()
}

/// Callers live as long as the test's process.
fn leak(caller: &Caller) -> &'static Caller {
    Box::leak(Box::new(caller.clone()))
}
