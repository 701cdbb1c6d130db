//! How far backups are, as the leader knows it; another node asks it, and says so when it does not answer.

use raft::Leadership;
use serde_json::{Value, json};

use super::super::{
    jobs::REPORT,
    queries::{self, State, Target},
};
use crate::{
    cluster::{Cluster, Question, View},
    kernel::{Millis, OrgId, Permission},
    store::Arrived,
    web::{Cx, Problem, Reply},
};

const DRILLS_SHOWN: u32 = 100;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// What an uploader has put is extrapolated when it was measured for this long.
const MEASURED_MS: i64 = 60_000;

/// What is stored: the state, the targets, and when a drill passed and was made last.
type Stored = (Option<State>, Vec<Target>, (Option<Millis>, Option<Millis>));

pub(super) async fn show(mut cx: Cx) -> Result<Reply, Problem> {
    // It is for when there is no quorum, too.
    cx.view = View::Local;
    cx.place_of(&OrgId::SYSTEM.to_string(), Permission::ClusterManage).await?;
    cx.query().finish()?;
    let look = |tx: &rusqlite::Connection| {
        Ok((queries::state(tx)?, queries::targets(tx)?, queries::last_drills(tx)?))
    };
    let stored = cx.cluster.read(&View::Local, OrgId::SYSTEM, look).await?.ok_or_else(Problem::not_found)?;
    let live = ask_leader(&cx.cluster).await;
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

async fn ask_leader(cluster: &Cluster) -> Result<Value, String> {
    let leader = match *cluster.leadership().borrow() {
        Leadership::Leader { .. } => return Ok(cluster.reported(REPORT)),
        Leadership::Follower { leader } => leader,
        Leadership::NoLeader => {
            return Err("there is no leader, and without one nothing is backed up".to_owned());
        }
    };
    cluster.ask(leader, &Question::Report { name: REPORT.to_owned() }).await
}

fn view((state, targets, (passed, last)): Stored, live: &Result<Value, String>, now: Millis) -> Value {
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
    let late = i64::from(state.policy.drill_hours) * HOUR_MS * 2;
    if late > 0 && !targets.is_empty() && passed.is_none_or(|at| now.0 - at.0 > late) {
        let since = passed.map_or("never".to_owned(), |at| format!("not since {at}"));
        alarms.push(format!("a restore was proven {since}: see the drills"));
    }
    json!({
        "lineage": state.lineage,
        "policy": state.policy,
        "targets": shown,
        "drills": { "passed_at": told(passed), "last_at": told(last) },
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
