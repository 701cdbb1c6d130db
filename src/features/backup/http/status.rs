//! How far backups are, as the leader knows it; another node asks it, and says so when it does not answer.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::super::{
    formats::Drill,
    jobs::REPORT,
    queries::{self, State, Target},
};
use crate::{
    cluster::View,
    kernel::{Millis, OrgId, Permission},
    store::Arrived,
    web::{Cx, Problem, Reply},
};

/// How long the status waits for a quorum.
const CURRENT_WITHIN: Duration = Duration::from_secs(1);
/// Drills among which the last one of each target is.
const DRILLS_SEEN: u32 = 20;
const DRILLS_SHOWN: u32 = 100;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// What an uploader has put is extrapolated when it was measured for this long.
const MEASURED_MS: i64 = 60_000;

/// What is stored: the state, the targets, when a drill passed and was made last, and what the last one found.
type Stored = (Option<State>, Vec<Target>, (Option<Millis>, Option<Millis>), Vec<(Millis, Drill)>);

pub(super) async fn show(mut cx: Cx) -> Result<Reply, Problem> {
    // It is for when there is no quorum, too; while there is one, what was set just now is shown.
    let _ = timeout(CURRENT_WITHIN, cx.cluster.await_view(&View::Strong)).await;
    cx.view = View::Local;
    cx.place_of(&OrgId::SYSTEM.to_string(), Permission::ClusterManage).await?;
    cx.query().finish()?;
    let look = |tx: &rusqlite::Connection| {
        Ok((
            queries::state(tx)?,
            queries::targets(tx)?,
            queries::last_drills(tx)?,
            queries::drills(tx, DRILLS_SEEN)?,
        ))
    };
    let stored = cx.cluster.read(&View::Local, OrgId::SYSTEM, look).await?.ok_or_else(Problem::not_found)?;
    let live = cx.cluster.said_by_leader(REPORT).await;
    let mut shown = view(stored, &live, cx.now);
    if let (Some(Arrived { here, of, .. }), Some(alarms)) =
        (cx.cluster.store().arrived(), shown.get_mut("alarms").and_then(Value::as_array_mut))
    {
        let told = format!(
            "nothing is backed up before the restore is complete: {here} of {of} organizations are here"
        );
        alarms.push(told.into());
    }
    Ok(Reply::ok(shown))
}

fn view(
    (state, targets, (passed, last), drills): Stored,
    live: &Result<Value, String>,
    now: Millis,
) -> Value {
    let Some(state) = state else {
        return json!({ "targets": [], "alarms": ["nothing is backed up: there is no target"] });
    };
    let mut alarms = Vec::new();
    if let Err(why) = live {
        alarms.push(why.clone());
    }
    let shown: Vec<Value> = targets
        .iter()
        .map(|target| {
            let said = live.as_ref().ok().and_then(|live| live.get(&target.name));
            show_target(target, said, &state, now, &mut alarms)
        })
        .collect();
    if targets.is_empty() {
        alarms.push("nothing is backed up: there is no target".to_owned());
    }
    // Of each target that is there: that another one is whole does not mend it.
    for target in &targets {
        let last = drills.iter().find(|(_, drill)| drill.target == target.name);
        if let Some((at, wrong)) = last.and_then(|(at, drill)| Some((at, drill.wrong()?))) {
            alarms.push(format!("the last drill of target {} FAILED at {at}: {wrong}", target.name));
        }
    }
    let late = i64::from(state.policy.drill_hours) * HOUR_MS * 2;
    if late > 0 && !targets.is_empty() && passed.is_none_or(|at| now.0 - at.0 > late) {
        let since = passed.map_or("never".to_owned(), |at| format!("not since {at}"));
        alarms.push(format!("a restore was proven {since}: see the drills"));
    }
    let files = || drills.first().into_iter().flat_map(|(_, drill)| drill.files.values());
    let events: i64 = files().filter_map(|tested| Some(tested.trail.as_ref()?.events)).sum();
    json!({
        "lineage": state.lineage,
        "policy": state.policy,
        "targets": shown,
        "drills": { "passed_at": told(passed), "last_at": told(last), "files": files().count(), "audit_events": events },
        "alarms": alarms,
    })
}

fn show_target(
    target: &Target,
    said: Option<&Value>,
    state: &State,
    now: Millis,
    alarms: &mut Vec<String>,
) -> Value {
    let name = &target.name;
    let field = |field: &str| said.and_then(|said| said.pointer(field));
    let index = |pointer: &str, stored: u64| field(pointer).and_then(Value::as_u64).unwrap_or(stored);
    let moment =
        |pointer: &str, stored: Option<Millis>| field(pointer).and_then(Value::as_i64).map(Millis).or(stored);
    let archived_at = moment("/progress/archived_at", target.progress.archived_at);
    let cut_at = moment("/progress/cut_at", target.progress.cut_at);
    let failing = match said {
        Some(said) => said.pointer("/progress/failing").and_then(Value::as_str).map(str::to_owned),
        None => target.progress.failing.clone(),
    };
    let lag_ms = archived_at.map(|at| (now.0 - at.0).max(0));
    if let Some(why) = &failing {
        alarms.push(format!("target {name} fails: {why}"));
    }
    let lost = field("/lost").and_then(Value::as_u64).unwrap_or_default();
    if lost > 0 {
        let upto = field("/lost_to").and_then(Value::as_u64).unwrap_or_default();
        alarms.push(format!(
            "target {name} lacks {lost} entries, the last of them {upto}, which were given up: moments between cannot be \
             restored from it"
        ));
    }
    let emptied = field("/emptied_at").and_then(Value::as_i64).map(Millis);
    if let Some(at) = emptied.filter(|at| now.0 - at.0 < DAY_MS) {
        alarms.push(format!(
            "target {name} was emptied by somebody else, and is filled anew since {at}: earlier moments cannot be restored \
             from it"
        ));
    }
    if field("/spool_full") == Some(&Value::Bool(true)) {
        alarms.push(format!(
            "the log kept for target {name} is longer than spool_mib ({}): entries are given up before they are archived",
            state.policy.spool_mib
        ));
    }
    let behind = lag_ms.is_none_or(|lag| lag > i64::from(state.policy.lag_seconds_max) * 1_000);
    if behind {
        let since = archived_at.map_or("nothing was put into it yet".to_owned(), |at| {
            format!("the newest moment in it is {at}")
        });
        alarms.push(format!("target {name} is behind: {since}"));
    }
    json!({
        "name": name,
        "settings": target.settings,
        "credentials": target.credentials.is_some(),
        "archived_index": index("/progress/archived", target.progress.archived),
        "archived_at": told(archived_at),
        "lag_ms": lag_ms,
        "images_index": index("/progress/cut", target.progress.cut),
        "images_at": told(cut_at),
        "behind": behind,
        "failing": failing,
        "lost_entries": lost,
        "a_day": field("/load").and_then(|load| a_day(load, now)),
    })
}

/// Requests and bytes a day, from what was put since the uploader was started.
fn a_day(load: &Value, now: Millis) -> Option<Value> {
    let number = |name: &str| load.get(name).and_then(Value::as_i64);
    let took = now.0 - number("since")?;
    if took < MEASURED_MS {
        return None;
    }
    let extrapolated = |count: i64| i128::from(count) * i128::from(DAY_MS) / i128::from(took);
    let whole = |name| number(name).map(extrapolated).and_then(|count| i64::try_from(count).ok());
    Some(json!({ "requests": whole("requests"), "bytes": whole("bytes"), "measured_seconds": took / 1_000 }))
}

fn told(at: Option<Millis>) -> Option<String> {
    at.map(|at| at.to_string())
}

pub(super) async fn list_drills(cx: Cx) -> Result<Reply, Problem> {
    cx.place_of(&OrgId::SYSTEM.to_string(), Permission::ClusterManage).await?;
    cx.query().finish()?;
    let drills = cx.cluster.read(&cx.view, OrgId::SYSTEM, |tx| queries::drills(tx, DRILLS_SHOWN)).await?;
    let shown: Vec<Value> = drills
        .unwrap_or_default()
        .into_iter()
        .map(|(at, drill)| json!({ "at": at.to_string(), "passed": drill.passed(), "drill": drill }))
        .collect();
    Ok(Reply::ok(json!({ "drills": shown })))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::features::backup::{commands::Progress, model::Policy};

    const NOW: Millis = Millis(100 * DAY_MS);

    fn state(policy: Policy) -> State {
        State { lineage: Uuid::nil(), restored: None, recovery: Vec::new(), policy, drill_wanted: None }
    }

    fn target(archived_at: Option<i64>) -> Target {
        let archived_at = archived_at.map(|ago| NOW.plus(-ago));
        let progress = Progress { archived: 9, archived_at, ..Progress::default() };
        let settings = json!({ "kind": "folder", "path": "/x" });
        Target { name: "one".to_owned(), settings, credentials: None, progress, said: None }
    }

    /// The alarms of one target that was put into so many milliseconds ago, and of drills that long ago.
    fn alarms(policy: Policy, put: Option<i64>, passed: Option<i64>, last: Option<i64>) -> Vec<String> {
        let at = |ago: Option<i64>| ago.map(|ago| NOW.plus(-ago));
        let stored = (Some(state(policy)), vec![target(put)], (at(passed), at(last)), Vec::new());
        let shown = view(stored, &Ok(json!({ "one": {} })), NOW);
        serde_json::from_value(shown.get("alarms").unwrap().clone()).unwrap()
    }

    #[test]
    fn a_drill_is_overdue_when_none_has_passed_for_twice_the_time_between_two() {
        let policy = Policy { drill_hours: 24, ..Policy::default() };
        let of = |passed, last| alarms(policy, Some(0), passed, last);
        assert!(of(Some(48 * HOUR_MS), Some(0)).is_empty());
        assert_eq!(
            of(Some(48 * HOUR_MS + 1), Some(0)),
            ["a restore was proven not since 1970-04-08T23:59:59.999Z: see the drills"]
        );
        // One that was made and failed proves nothing.
        assert_eq!(of(None, Some(0)), ["a restore was proven never: see the drills"]);
        let none = Policy { drill_hours: 0, ..policy };
        assert!(alarms(none, Some(0), None, None).is_empty());
    }

    #[test]
    fn a_target_is_behind_when_its_newest_moment_is_older_than_it_may_be() {
        let policy = Policy { lag_seconds_max: 60, ..Policy::default() };
        let of = |put| alarms(policy, put, Some(0), Some(0));
        assert!(of(Some(60_000)).is_empty());
        assert_eq!(
            of(Some(60_001)),
            ["target one is behind: the newest moment in it is 1970-04-10T23:58:59.999Z"]
        );
        assert_eq!(of(None), ["target one is behind: nothing was put into it yet"]);
        // A clock that was set back is no lag.
        assert!(of(Some(-5_000)).is_empty());
    }

    #[test]
    fn a_drill_that_failed_and_a_bucket_that_was_emptied_are_told_at_once() {
        let drill = |failed: Option<&str>| Drill {
            id: Uuid::nil(),
            target: "one".to_owned(),
            lineage: Uuid::nil(),
            index: 9,
            rpo_ms: 1,
            rto_ms: 1,
            bytes: 1,
            files: std::collections::BTreeMap::new(),
            failed: failed.map(str::to_owned),
        };
        let of = |failed: Option<&str>, emptied: i64| {
            let drills = vec![(NOW, drill(failed))];
            let stored =
                (Some(state(Policy::default())), vec![target(Some(0))], (Some(NOW), Some(NOW)), drills);
            let shown = view(stored, &Ok(json!({ "one": { "emptied_at": emptied } })), NOW);
            serde_json::from_value::<Vec<String>>(shown.get("alarms").unwrap().clone()).unwrap()
        };
        assert!(of(None, NOW.0 - DAY_MS).is_empty());
        let told = of(Some("it is torn"), NOW.0 - DAY_MS + 1);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told.iter().any(|alarm| alarm.contains("was emptied by somebody else")), "{told:?}");
        assert!(
            told.iter().any(|alarm| alarm.ends_with("FAILED at 1970-04-11T00:00:00.000Z: it is torn")),
            "{told:?}"
        );
    }

    #[test]
    fn a_day_is_what_was_put_since_the_uploader_began_and_nothing_before_a_minute_is_over() {
        let load = |ago: i64| json!({ "since": NOW.0 - ago, "requests": 6, "bytes": 600 });
        assert_eq!(a_day(&load(59_999), NOW), None);
        let of = |ago| a_day(&load(ago), NOW).unwrap();
        assert_eq!(of(60_000), json!({ "requests": 8_640, "bytes": 864_000, "measured_seconds": 60 }));
        assert_eq!(of(DAY_MS * 2), json!({ "requests": 3, "bytes": 300, "measured_seconds": 172_800 }));
    }

    #[test]
    fn what_was_given_up_is_told_and_so_is_a_leader_that_does_not_answer() {
        let of = |live: &Result<Value, String>| {
            let stored =
                (Some(state(Policy::default())), vec![target(Some(0))], (Some(NOW), Some(NOW)), Vec::new());
            let shown = view(stored, live, NOW);
            serde_json::from_value::<Vec<String>>(shown.get("alarms").unwrap().clone()).unwrap()
        };
        let said = json!({ "one": { "lost": 3, "lost_to": 8, "spool_full": true, "progress": { "failing": "it is full" } } });
        let told = of(&Ok(said));
        assert_eq!(told.len(), 3, "{told:?}");
        for (alarm, part) in
            told.iter().zip(["fails: it is full", "lacks 3 entries, the last of them 8", "spool_mib (4096)"])
        {
            assert!(alarm.contains(part), "{alarm}");
        }
        assert_eq!(of(&Err("node 2 does not answer".to_owned())), ["node 2 does not answer"]);
    }
}
