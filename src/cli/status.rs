//! `threatflow cluster status` as a table for people.

use serde_json::Value;

const HEADS: [&str; 14] = [
    "node",
    "role",
    "votes",
    "lag",
    "behind",
    "applied",
    "version",
    "up",
    "log",
    "saved",
    "disk free",
    "cert until",
    "zone",
    "api",
];

/// The asked node's view of the cluster: a line for each node, then what concerns all, then warnings.
pub(super) fn table(status: &Value) -> String {
    let members = status.get("members").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut rows = vec![HEADS.map(str::to_owned)];
    rows.extend(members.iter().map(|member| row(member, status.get("leader"))));
    let mut lines = aligned(&rows);
    lines.push(summary(status));
    lines.extend(authority(status));
    lines.extend(members.iter().flat_map(remarks));
    lines.join("\n")
}

fn row(member: &Value, leader: Option<&Value>) -> [String; 14] {
    let is = |name: &str| member.get(name) == Some(&Value::Bool(true));
    let role = if member.get("node") == leader { "leader" } else { "follower" };
    let votes = if is("voter") { "voter" } else { "learner" };
    let about = |name: &str| member.pointer(&format!("/about/{name}"));
    let segments = about("log_segments").map_or_else(String::new, |count| format!("/{count}"));
    [
        show(member.get("node")),
        role.to_owned(),
        if is("standby") { "standby" } else { votes }.to_owned(),
        show(member.get("lag")),
        time(member.get("lag_ms")),
        show(about("applied_index")),
        show(about("version")),
        time(about("uptime_ms")),
        format!("{}{segments}", size(about("log_bytes"))),
        time(about("checkpoint_age_ms")),
        share(about("disk_free_bytes"), about("disk_total_bytes")),
        show(about("certificate_expires_at")).chars().take(10).collect(),
        show(member.get("zone")),
        show(member.get("api_url")),
    ]
}

fn summary(status: &Value) -> String {
    let of = |name: &str| show(status.get(name));
    let asked = format!("asked node {}", of("node"));
    let (term, applied) = (of("term"), of("applied_index"));
    // Only where the node spoke for itself.
    if let Some(behind) = status.get("staleness_ms") {
        let (leader, behind) = (of("leader"), time(Some(behind)));
        return format!(
            "{asked}: term {term}, applied {applied}; last leader {leader}, heard of {behind} ago"
        );
    }
    match status.get("failure_tolerance").and_then(Value::as_u64) {
        Some(spare) => {
            format!("{asked}, the leader: term {term}, applied {applied}; {spare} voters may be lost")
        }
        None => format!("{asked}: term {term}, applied {applied}; only the leader knows lag and tolerance"),
    }
}

fn authority(status: &Value) -> Option<String> {
    let authority = status.get("authority")?;
    let of = |name: &str| show(authority.get(name));
    let fingerprint: String = of("fingerprint").chars().take(16).collect();
    let step = of("step");
    let under_way = if step == "settled" { String::new() } else { format!("; being replaced: step {step}") };
    Some(format!("authority {fingerprint} until {}{under_way}", of("expires_at")))
}

/// What differs between nodes or needs somebody.
fn remarks(member: &Value) -> Vec<String> {
    let node = show(member.get("node"));
    let unknown = member.pointer("/about/unknown").and_then(Value::as_str);
    let warnings = member.pointer("/about/warnings").and_then(Value::as_array).cloned().unwrap_or_default();
    let warned = warnings.iter().filter_map(Value::as_str).map(|warning| format!("node {node}: {warning}"));
    let alarms = member.pointer("/about/alarms").and_then(Value::as_object).into_iter().flatten();
    let alarmed = alarms.map(|(file, alarm)| {
        let (found, detail) = (show(alarm.get("found")), show(alarm.get("detail")));
        format!("ALARM node {node} file {file} {found}: {detail}")
    });
    let silent = unknown.map(|why| format!("node {node} did not answer: {why}"));
    alarmed.chain(warned).chain(silent).collect()
}

/// As wide as the widest cell of each column; the last one as it is.
fn aligned<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let wide = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(wide).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn show(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Milliseconds as a person says them.
fn time(value: Option<&Value>) -> String {
    let Some(ms) = value.and_then(Value::as_u64) else { return "-".to_owned() };
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} d", ms / 86_400_000),
    }
}

fn size(value: Option<&Value>) -> String {
    let Some(bytes) = value.and_then(Value::as_u64) else { return "-".to_owned() };
    if bytes >> 30 >= 10 { format!("{} GiB", bytes >> 30) } else { format!("{} MiB", bytes >> 20) }
}

fn share(free: Option<&Value>, total: Option<&Value>) -> String {
    let percent = free.and_then(Value::as_u64).zip(total.and_then(Value::as_u64).filter(|total| *total > 0));
    let percent = percent.map(|(free, total)| format!(" ({} %)", free.saturating_mul(100) / total));
    format!("{}{}", size(free), percent.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::table;

    #[test]
    fn every_node_has_a_line_and_what_is_wrong_is_said_below() {
        let about = json!({
            "version": "1.2.3", "applied_index": 41, "uptime_ms": 90_000, "log_bytes": 128 << 20, "log_segments": 2,
            "checkpoint_age_ms": 812, "disk_free_bytes": 5_u64 << 30, "disk_total_bytes": 100_u64 << 30,
            "certificate_expires_at": "2027-11-25T00:00:00.000Z", "warnings": ["the disk has 5120 MiB left"],
        });
        let status = json!({
            "node": 1, "leader": 1, "term": 7, "applied_index": 41, "failure_tolerance": 0,
            "authority": { "fingerprint": "abcdef0123456789ff", "expires_at": "2036", "step": "issue" },
            "members": [
                { "node": 1, "voter": true, "lag": 0, "lag_ms": 0, "zone": "a", "api_url": "u1", "about": about },
                { "node": 2, "voter": true, "lag": 900, "lag_ms": 65_000, "about": { "unknown": "no connection" } },
            ],
        });
        let shown = table(&status);
        let lines: Vec<Vec<&str>> =
            shown.lines().map(|line| line.split("  ").map(str::trim).collect()).collect();
        let cells = |at: usize| -> Vec<&str> {
            lines
                .get(at)
                .map(|line| line.iter().copied().filter(|cell| !cell.is_empty()).collect())
                .unwrap_or_default()
        };
        let first = [
            "1",
            "leader",
            "voter",
            "0",
            "0 ms",
            "41",
            "1.2.3",
            "90 s",
            "128 MiB/2",
            "812 ms",
            "5120 MiB (5 %)",
            "2027-11-25",
            "a",
            "u1",
        ];
        assert_eq!(cells(1), first);
        assert_eq!(cells(2).get(3..6), Some(["900", "65 s", "-"].as_slice()));
        for part in [
            "asked node 1, the leader: term 7, applied 41; 0 voters may be lost",
            "authority abcdef0123456789 until 2036; being replaced: step issue",
            "node 1: the disk has 5120 MiB left",
            "node 2 did not answer: no connection",
        ] {
            assert!(shown.contains(part), "{part} is not in\n{shown}");
        }
    }
}
