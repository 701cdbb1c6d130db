//! `threatflow cluster rotate-ca`, `rotate-certificates` and `rotate-key`: asks, waits, and says what is waited for.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::admin::Admin;
use crate::node::Failure;

/// Between two looks at how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Replaces the cluster's authority; answers what to print. Asked again, it goes on with what is under way.
pub(super) async fn authority(admin: &Admin, within: Duration) -> Result<String, Failure> {
    let begun = admin.act("authority/rotate").await?;
    let wanted = text(&begun, "/authority/fingerprint");
    let until = Instant::now() + within;
    let mut said = String::new();
    loop {
        // A node that cannot answer now may answer soon: what goes on does not depend on who asks.
        let now = match admin.cluster().await {
            Ok(now) => now,
            Err(failure) if Instant::now() > until => return Err(failure),
            Err(_) => Value::Null,
        };
        let step = text(&now, "/authority/step");
        if step == "settled" && text(&now, "/authority/fingerprint") == wanted {
            return Ok(format!(
                "the new authority {} is in force and the old one is forgotten; it ends at {}; join tokens made \
                 before no longer admit",
                short(&wanted),
                text(&now, "/authority/expires_at")
            ));
        }
        let waits = waits(&now);
        let line = if waits.is_empty() { format!("step {step}") } else { format!("step {step}: {waits}") };
        if !step.is_empty() && line != said {
            eprintln!("threatflow: {line}");
            said = line;
        }
        if Instant::now() > until {
            return Err(unfinished(&said));
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Replaces the cluster key; answers what to print. When a rotation is under way already, that one is waited for.
pub(super) async fn key(admin: &Admin, within: Duration) -> Result<String, Failure> {
    let begun = admin.act("keys/rotate").await;
    let until = Instant::now() + within;
    let mut said = String::new();
    loop {
        let now = admin.keys().await?;
        let step = text(&now, "/step");
        if step == "settled" {
            let generation = text(&now, "/generation");
            // Refused, and none was under way: why it was is what matters.
            return begun
                .or_else(|failure| if said.is_empty() { Err(failure) } else { Ok(Value::Null) })
                .map(|_| {
                    format!(
                        "cluster key {generation} is in use on every node, and older ones are being forgotten"
                    )
                });
        }
        let waits = now.get("waiting_for").and_then(Value::as_array).cloned().unwrap_or_default();
        let waits: Vec<&str> = waits.iter().filter_map(Value::as_str).collect();
        let line = format!(
            "step {step}: {}",
            if waits.is_empty() { "goes on".to_owned() } else { waits.join(", ") }
        );
        if line != said {
            eprintln!("threatflow: {line}");
            said = line;
        }
        if Instant::now() > until {
            return Err(unfinished(&said));
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Has every node issue itself a fresh certificate; answers what to print.
pub(super) async fn certificates(admin: &Admin) -> Result<String, Failure> {
    let answer = admin.act("certificates/rotate").await?;
    let nodes = answer.get("nodes").and_then(Value::as_array).cloned().unwrap_or_default();
    let silent: Vec<String> = nodes.iter().filter_map(silence).collect();
    if !silent.is_empty() {
        let fix = "run it again when they answer; a node also issues itself one whenever it starts";
        return Err(Failure::new(
            format!("not every node has a fresh certificate: {}", silent.join(", ")),
            fix,
        ));
    }
    let line = |node: &Value| {
        format!("node {}: until {}", text(node, "/node"), text(node, "/certificate_expires_at"))
    };
    Ok(nodes.iter().map(line).collect::<Vec<_>>().join("\n"))
}

fn unfinished(said: &str) -> Failure {
    let fix = "start the nodes that are named, or remove those that are dead (`threatflow cluster remove`), and run the \
               same command again: it goes on where it is";
    Failure::new(format!("the rotation is not over ({said})"), fix)
}

fn silence(node: &Value) -> Option<String> {
    let why = node.get("unknown").and_then(Value::as_str)?;
    Some(format!("node {} ({why})", text(node, "/node")))
}

fn waits(status: &Value) -> String {
    let list =
        status.pointer("/authority/waiting_for").and_then(Value::as_array).cloned().unwrap_or_default();
    let named = |wait: &Value| format!("node {} {}", text(wait, "/node"), text(wait, "/why"));
    list.iter().map(named).collect::<Vec<_>>().join(", ")
}

fn short(fingerprint: &str) -> &str {
    fingerprint.get(..16).unwrap_or(fingerprint)
}

fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}
