//! Targets, the policy, drills, restores and the status, for platform administrators.

mod restores;
mod status;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    RECOVERY_CONTEXT,
    bucket::{Bucket, Credentials, Pace, Settings},
    commands::{RemoveTarget, RequestDrill, SetBackupPolicy, SetTarget},
    credentials_context,
    formats::RecoveryKey,
    model::Policy,
    queries,
};
use crate::{
    cluster::View,
    kernel::{OrgId, Permission, Secret, to_hex},
    web::{Cx, Fields, Method, Needs, Problem, Reply, Route, value},
};

/// The routes of the slice.
pub fn routes() -> Vec<Route> {
    let route = |method, path, operation, summary, handler: fn(Cx) -> Answer| {
        Route::v2(method, path, operation, summary, Needs::Caller, handler)
    };
    vec![
        route(
            Method::Get,
            "/cluster/backup",
            "getBackup",
            "Show how far each target is, what fails, what it costs, and when a restore was tried last",
            |cx| Box::pin(status::show(cx)),
        ),
        route(
            Method::Put,
            "/cluster/backup/targets/{target}",
            "setBackupTarget",
            "Back up to a bucket or folder, which is tried first; the first answer holds the recovery key",
            |cx| Box::pin(set(cx)),
        )
        .takes(|fields| (read_settings(fields), read_credentials(fields))),
        route(
            Method::Delete,
            "/cluster/backup/targets/{target}",
            "removeBackupTarget",
            "Back up to a target no more; what is in it stays",
            |cx| Box::pin(remove(cx)),
        )
        .answers(204),
        route(
            Method::Patch,
            "/cluster/backup/policy",
            "setBackupPolicy",
            "Change how backups are made, how long they are kept, and how often a restore is tried",
            |cx| Box::pin(set_policy(cx)),
        )
        .takes(|fields| read_policy(fields, Policy::default())),
        route(
            Method::Post,
            "/cluster/backup/drills",
            "requestBackupDrill",
            "Have the leader restore a sample of organizations into scratch, soon",
            |cx| Box::pin(request_drill(cx)),
        )
        .answers(202),
        route(
            Method::Get,
            "/cluster/backup/drills",
            "listBackupDrills",
            "List what drills found, the newest first",
            |cx| Box::pin(status::list_drills(cx)),
        ),
    ]
    .into_iter()
    .chain(restores::routes())
    .collect()
}

type Answer = raft::Later<'static, Result<Reply, Problem>>;

const NAME_CHARACTERS_MAX: usize = 32;

fn read_settings(fields: &mut Fields) -> Option<Settings> {
    fields.required("settings", object(describe_settings))
}

/// Kept as text: it is sealed as it stands.
fn read_credentials(fields: &mut Fields) -> Option<Value> {
    fields.optional("credentials", object(describe_credentials))
}

fn object<T: DeserializeOwned>(
    describe: fn() -> Value,
) -> value::Rule<impl value::Reads<T>, impl value::Describes> {
    let read = |value: &Value| {
        if !value.is_object() {
            return Err("must be an object".to_owned());
        }
        // What serde says of a wrong value names fields and types, never values that are text.
        T::deserialize(value).map_err(|error| error.to_string())
    };
    value::rule(describe, read)
}

/// As `bucket::Settings` reads and judges them.
fn describe_settings() -> Value {
    json!({
        "type": "object",
        "description": "where it is, how the server encrypts, how fast and patient to be; what is left out is the default, \
                        not what was set before",
        "oneOf": [describe_bucket(), describe_folder()],
    })
}

fn describe_bucket() -> Value {
    json!({
        "type": "object",
        "description": "a bucket of a server that speaks S3; its keys are `credentials`",
        "properties": {
            "kind": { "const": "s3" },
            "endpoint": { "type": "string", "description": "https://host or https://host:port; absent for AWS itself" },
            "bucket": { "type": "string", "pattern": "^[a-z0-9.-]{3,63}$" },
            "prefix": {
                "type": "string", "maxLength": 700, "default": "",
                "description": "what every key begins with: parts with / between them, none before or behind",
            },
            "region": { "type": "string", "pattern": "^[A-Za-z0-9_-]+$", "default": "us-east-1" },
            "path_style": {
                "type": "boolean", "default": false,
                "description": "https://host/bucket/key rather than https://bucket.host/key",
            },
            "sse": describe_sse(),
            "ca_file": {
                "type": "string",
                "description": "absolute path, on every node, of PEM certificates to trust in place of the system's",
            },
            "allow_http": {
                "type": "boolean", "default": false, "description": "whether the endpoint may be http://",
            },
            "pace": describe_pace(),
        },
        "required": ["kind", "bucket"],
        "additionalProperties": false,
    })
}

fn describe_folder() -> Value {
    json!({
        "type": "object",
        "description": "a folder that is the same on every node; it needs no credentials",
        "properties": {
            "kind": { "const": "folder" },
            "path": { "type": "string", "pattern": "^/", "description": "absolute; it is there already" },
            "pace": describe_pace(),
        },
        "required": ["kind", "path"],
        "additionalProperties": false,
    })
}

fn describe_sse() -> Value {
    let plain = |kind: &str, what: &str| {
        json!({
            "type": "object", "description": what,
            "properties": { "kind": { "const": kind } },
            "required": ["kind"], "additionalProperties": false,
        })
    };
    json!({
        "type": "object",
        "description": "encryption by the server, beside ours",
        "default": { "kind": "none" },
        "oneOf": [
            plain("none", "none is asked for; the bucket may have a default"),
            plain("s3", "by keys of the server (AES256)"),
            {
                "type": "object", "description": "by a key of its key management",
                "properties": {
                    "kind": { "const": "kms" },
                    "key": { "type": "string", "minLength": 1, "description": "the id or the ARN of the key" },
                },
                "required": ["kind", "key"], "additionalProperties": false,
            },
            plain("customer_key", "by `customer_key` of the credentials, which is sent with each request"),
        ],
    })
}

fn describe_pace() -> Value {
    let Pace { connect_seconds, request_seconds, give_up_seconds, .. } = Pace::default();
    json!({
        "type": "object",
        "description": "limits of speed and patience",
        "properties": {
            "bytes_per_second": {
                "type": "integer", "minimum": 262_144,
                "description": "bytes moved a second, both ways together; absent for no limit",
            },
            "connect_seconds": describe_seconds(connect_seconds, "for a connection to come about"),
            "request_seconds": describe_seconds(
                request_seconds,
                "for an answer, or for further bytes of one; one more for each 128 KiB that a request carries",
            ),
            "give_up_seconds": describe_seconds(give_up_seconds, "for one step with all its retries"),
        },
        "additionalProperties": false,
    })
}

fn describe_seconds(default: u64, what: &str) -> Value {
    json!({
        "type": "integer", "minimum": 1, "maximum": 3600, "default": default,
        "description": format!("seconds {what}"),
    })
}

/// As `bucket::Credentials` reads them.
fn describe_credentials() -> Value {
    json!({
        "type": "object",
        "description": "the keys of a bucket; when they are absent, those that the target has stay",
        "properties": {
            "access_key": { "type": "string", "minLength": 1 },
            "secret_key": { "type": "string", "minLength": 1 },
            "session_token": { "type": "string", "minLength": 1, "description": "of temporary credentials" },
            "customer_key": {
                "type": "string", "contentEncoding": "base64", "minLength": 44, "maxLength": 44,
                "description": "32 bytes in base64, for `sse` customer_key and nothing else",
            },
        },
        "required": ["access_key", "secret_key"],
        "additionalProperties": false,
    })
}

async fn set(cx: Cx) -> Result<Reply, Problem> {
    let system = cx.place_of(&OrgId::SYSTEM.to_string(), Permission::ClusterManage).await?;
    let name = name(&cx)?;
    let mut fields = cx.fields()?;
    let (settings, credentials) = (read_settings(&mut fields), read_credentials(&mut fields));
    fields.finish()?;
    let settings = settings.ok_or_else(|| Problem::field("/settings", "is required"))?;
    let text = credentials.map(|credentials| Secret::new(credentials.to_string()));
    try_out(&cx, &settings, text.as_ref()).await?;
    let keyring = cx.cluster.store().keyring();
    let recovery = RecoveryKey::draw()?;
    let seal =
        |text: &Secret<String>| keyring.seal_for_life(&credentials_context(&name), text.reveal().as_bytes());
    let command = SetTarget {
        name: name.clone(),
        settings: serde_json::to_value(&settings).map_err(|error| Problem::malformed(error.to_string()))?,
        credentials: text.as_ref().map(seal).transpose()?.map(|sealed| to_hex(&sealed)),
        lineage: Uuid::now_v7(),
        recovery: to_hex(&keyring.seal_for_life(RECOVERY_CONTEXT, recovery.raw())?),
    };
    let answer = cx.cluster.propose(&cx.ticket, system, &command).await?;
    let mut view = json!({ "name": name, "settings": command.settings });
    // A repeated request answers what was decided then, but has drawn another key: the stored one tells which it is.
    let taken = answer.reply.recovery_taken && is_stored(&cx, &recovery, answer.index).await?;
    if taken && let Some(view) = view.as_object_mut() {
        view.insert("recovery_key".to_owned(), json!(recovery.text().as_str()));
    }
    let status = if answer.reply.created { 201 } else { 200 };
    Ok(Reply::ok(view).status(status).after(&answer))
}

async fn is_stored(cx: &Cx, recovery: &RecoveryKey, index: u64) -> Result<bool, Problem> {
    let state = cx.cluster.read(&View::Session(Some(index)), OrgId::SYSTEM, queries::state).await?.flatten();
    let Some(state) = state else { return Ok(false) };
    let stored = super::recovery_key(cx.cluster.store().keyring(), &state.recovery)?;
    Ok(stored.raw() == recovery.raw())
}

/// A target that cannot be used is refused now, not found out later.
async fn try_out(cx: &Cx, settings: &Settings, given: Option<&Secret<String>>) -> Result<(), Problem> {
    let name = name(cx)?;
    let stored = if given.is_some() { None } else { stored_credentials(cx, &name).await? };
    let text = given.or(stored.as_ref());
    let read = |text: &Secret<String>| serde_json::from_str::<Credentials>(text.reveal());
    let credentials = text.map(read).transpose().map_err(|_| {
        Problem::field(
            "/credentials",
            "takes access_key, secret_key, session_token and customer_key, all text",
        )
    })?;
    if let Err(errors) = settings.validate(credentials.as_ref()) {
        return Err(Problem::invalid(&errors));
    }
    let bucket = Bucket::open(&settings.hurried(), credentials.as_ref());
    let tried = match bucket {
        Ok(bucket) => bucket.probe().await,
        Err(failed) => Err(failed),
    };
    tried.map_err(|failed| {
        Problem::new(422, "target_unusable", "The target cannot be used", failed.to_string())
    })
}

/// What a target was given before: it need not be given again.
async fn stored_credentials(cx: &Cx, name: &str) -> Result<Option<Secret<String>>, Problem> {
    let targets = cx.cluster.read(&View::Strong, OrgId::SYSTEM, queries::targets).await?;
    let target = targets.into_iter().flatten().find(|target| target.name == name);
    let Some(sealed) = target.and_then(|target| target.credentials) else { return Ok(None) };
    let plain = cx.cluster.store().keyring().unseal_for_life(&credentials_context(name), &sealed)?;
    Ok(Some(Secret::new(String::from_utf8_lossy(&plain).into_owned())))
}

fn name(cx: &Cx) -> Result<String, Problem> {
    let name = cx.param("target");
    let sign = |sign: char| sign.is_ascii_lowercase() || sign.is_ascii_digit() || sign == '-';
    if (1..=NAME_CHARACTERS_MAX).contains(&name.len()) && name.chars().all(sign) {
        return Ok(name.to_owned());
    }
    Err(Problem::malformed("a target's name is 1 to 32 of a-z, 0-9 and -"))
}

async fn remove(cx: Cx) -> Result<Reply, Problem> {
    let system = cx.place_of(&OrgId::SYSTEM.to_string(), Permission::ClusterManage).await?;
    let command = RemoveTarget { name: name(&cx)? };
    let answer = cx.cluster.propose(&cx.ticket, system, &command).await?;
    Ok(Reply::none().after(&answer))
}

fn read_policy(fields: &mut Fields, before: Policy) -> Policy {
    let mut number = |name, low, high, before: u32| {
        let given = fields.optional(name, value::integer(low, high));
        given.and_then(|given| u32::try_from(given).ok()).unwrap_or(before)
    };
    Policy {
        image_seconds: number("image_seconds", 1, 3600, before.image_seconds),
        retention_days: number("retention_days", 1, 3650, before.retention_days),
        drill_hours: number("drill_hours", 0, 8760, before.drill_hours),
        drill_sample: number("drill_sample", 1, 100, before.drill_sample),
        lag_seconds_max: number("lag_seconds_max", 5, 86_400, before.lag_seconds_max),
        spool_mib: number("spool_mib", 256, 1 << 20, before.spool_mib),
        legal_hold: fields.optional("legal_hold", value::flag()).unwrap_or(before.legal_hold),
    }
}

async fn set_policy(cx: Cx) -> Result<Reply, Problem> {
    let system = cx.place_of(&OrgId::SYSTEM.to_string(), Permission::ClusterManage).await?;
    let mut fields = cx.fields()?;
    read_policy(&mut fields, Policy::default());
    fields.finish()?;
    let state = cx.cluster.read(&View::Strong, system, queries::state).await?.flatten();
    let before = state.ok_or_else(|| {
        let detail = "make a target first: PUT /cluster/backup/targets/NAME";
        Problem::new(409, "wrong_state", "There is no backup", detail)
    })?;
    // Once more, over what is in force: what the request does not name stays.
    let policy = read_policy(&mut cx.fields()?, before.policy);
    let answer = cx.cluster.propose(&cx.ticket, system, &SetBackupPolicy { policy }).await?;
    Ok(Reply::ok(json!(policy)).after(&answer))
}

async fn request_drill(cx: Cx) -> Result<Reply, Problem> {
    let system = cx.place_of(&OrgId::SYSTEM.to_string(), Permission::ClusterManage).await?;
    let answer = cx.cluster.propose(&cx.ticket, system, &RequestDrill {}).await?;
    Ok(Reply::ok(json!({ "requested": true })).status(202).after(&answer))
}
