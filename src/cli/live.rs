//! Bringing one organization of a running cluster back: asks the cluster, and shows how far it is.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    access::{Access, say, show},
    admin::Admin,
    restore::{Bar, Moment},
};
use crate::{app::Far, features::backup::restore::Until, node::Failure};

/// Between two looks how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const RESTORE_WITHIN: Duration = Duration::from_hours(6);

/// What both ways need.
#[derive(Args)]
struct From {
    /// The organization's id
    #[arg(value_name = "ID")]
    organization: String,
    #[command(flatten)]
    moment: Moment,
    /// The target to restore from [default: the first by name]
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    #[command(flatten)]
    access: Access,
}

#[derive(Args)]
pub(super) struct InPlaceArgs {
    #[command(flatten)]
    from: From,
}

#[derive(Args)]
pub(super) struct BesideArgs {
    #[command(flatten)]
    from: From,
    /// The new organization's slug
    #[arg(long, value_name = "SLUG")]
    slug: String,
    /// The new organization's domain
    #[arg(long, value_name = "DOMAIN")]
    domain: String,
    /// Its name [default: that of the first one, restored]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

pub(super) async fn in_place(args: InPlaceArgs) -> Result<(), Failure> {
    let body = body(&args.from, None)?;
    let admin = args.from.access.admin().await?;
    bring_back(&admin, &body).await
}

pub(super) async fn beside(args: BesideArgs) -> Result<(), Failure> {
    // Before anything is made.
    body(&args.from, None)?;
    let admin = args.from.access.admin().await?;
    let present = admin.organization(&args.from.organization).await?;
    let name = args.name.unwrap_or_else(|| format!("{} (restored)", show(present.get("name"))));
    let made = json!({
        "slug": args.slug,
        "domain": args.domain,
        "name": name,
        "plan": present.get("plan"),
        "billing_email": present.get("billing_email"),
    });
    let made = admin.create_organization(&made).await?;
    let into = show(made.get("id"));
    say(&format!("organization {into} ({}) is made, and empty yet", args.slug))?;
    bring_back(&admin, &body(&args.from, Some(&into))?).await.inspect_err(|_| {
        let left = format!(
            "organization {into} is still there and empty: restore into it (POST /api/v2/cluster/backup/restores with \
             `into`), or erase it"
        );
        let _ = say(&left);
    })
}

fn body(from: &From, into: Option<&str>) -> Result<Value, Failure> {
    let (index, timestamp) = match from.moment.until()? {
        Until::Newest => (None, None),
        Until::Index(index) => (Some(index), None),
        Until::At(at) => (None, Some(at.to_string())),
    };
    let asked = [
        ("organization", Some(json!(from.organization))),
        ("into", into.map(|into| json!(into))),
        ("target", from.target.as_ref().map(|target| json!(target))),
        ("index", index.map(|index| json!(index))),
        ("timestamp", timestamp.map(|timestamp| json!(timestamp))),
    ];
    Ok(asked.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

async fn bring_back(admin: &Admin, body: &Value) -> Result<(), Failure> {
    let asked = admin.bring_back(body).await?;
    let what = format!("backup/restores/{}", show(asked.get("id")));
    let (bar, until) = (Bar::default(), Instant::now() + RESTORE_WITHIN);
    let over = loop {
        sleep(LOOK_EVERY).await;
        // It goes on while a node is away or another leads.
        let Ok(now) = admin.look(&what).await else {
            if Instant::now() > until {
                return Err(Failure::new("nobody says how far the restore is", "check the cluster's status"));
            }
            continue;
        };
        if now.get("state") != Some(&json!("wanted")) {
            break now;
        }
        if let Some(far) = far(&now) {
            bar.show(far);
        }
        if Instant::now() > until {
            let fix = format!("it goes on: GET /api/v2/cluster/{what} says how far it is");
            return Err(Failure::new("the restore is not over", fix));
        }
    };
    bar.end();
    if over.get("state") == Some(&json!("done")) {
        return say(&format!(
            "organization {} holds what {} held at entry {} ({}): whoever was logged in logs in again, with the password, \
             role and factors of that moment",
            show(over.get("into")),
            show(over.get("organization")),
            show(over.pointer("/restored/index")),
            show(over.pointer("/restored/moment")),
        ));
    }
    Err(Failure::new(
        format!("nothing was changed: {}", show(over.get("failed"))),
        "`threatflow backup status` shows the targets; an earlier moment or another target may be whole",
    ))
}

/// What the leader said, as the line of a restore shows it.
fn far(restore: &Value) -> Option<Far> {
    let said = restore.get("progress")?;
    // Nothing is known of its size before the catalogue is read.
    said.pointer("/files/1").and_then(Value::as_u64).filter(|files| *files > 0)?;
    let number = |pointer: &str| said.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    let count = |pointer: &str| usize::try_from(number(pointer)).unwrap_or_default();
    Some(Far {
        files: (count("/files/0"), count("/files/1")),
        bytes: (number("/bytes/0"), number("/bytes/1")),
        index: (number("/index/0"), number("/index/1")),
    })
}
