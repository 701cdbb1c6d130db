//! A platform administrator who asks a node: what `cluster` and `demo` need.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};

use super::client::{CallError, Client};
use crate::node::{ADMIN_EMAIL, Failure};

const WITHIN: Duration = Duration::from_secs(15);

/// A platform administrator, logged in.
pub(super) struct Admin {
    client: Client,
}

impl Admin {
    /// Logs in with the password in a file.
    pub(super) async fn log_in(
        server: &str,
        email: Option<&str>,
        password_file: &Path,
    ) -> Result<Self, Failure> {
        let shown = password_file.display();
        let password = std::fs::read_to_string(password_file).map_err(|error| {
            let fix = "name the file with the platform administrator's password with --password-file";
            Failure::new(format!("{shown} cannot be read: {error}"), fix)
        })?;
        let mut client =
            Client::new(server).map_err(|why| Failure::usage(why, "TLS is for the proxy before it"))?;
        let password = password.trim_end_matches(['\r', '\n']);
        let body =
            json!({ "email": email.unwrap_or(ADMIN_EMAIL), "password": password, "organization": "system" });
        let answer = post(&client, "/api/v2/auth/login", &body).await?;
        let token = answer.pointer("/tokens/access_token").and_then(Value::as_str).map(str::to_owned);
        let no_token = || Failure::new(format!("{server} answered no token"), "check the server's version");
        client.authenticate(token.ok_or_else(no_token)?);
        Ok(Self { client })
    }

    /// A token that admits one node for `ttl_seconds`.
    pub(super) async fn join_token(&self, ttl_seconds: u32) -> Result<String, Failure> {
        let answer =
            post(&self.client, "/api/v2/cluster/join-tokens", &json!({ "ttl_seconds": ttl_seconds })).await?;
        let token = answer.get("token").and_then(Value::as_str).map(str::to_owned);
        token.ok_or_else(|| Failure::new("the node answered no join token", "check the server's version"))
    }

    /// Has a change made to a node: `promote`, `demote`, `transfer` or `remove`.
    pub(super) async fn change(&self, change: &str, node: u64, force: bool) -> Result<Value, Failure> {
        let path = format!("/api/v2/cluster/nodes/{node}");
        let answer = if change == "remove" {
            self.client.delete(&format!("{path}?force={force}"), WITHIN * 2).await
        } else {
            self.client.post(&format!("{path}/{change}?force={force}"), &[], Bytes::new(), WITHIN * 2).await
        };
        answer.map(|answer| answer.body).map_err(|error| failure(&error))
    }

    /// Has the cluster do what stands at `/cluster/{what}`.
    pub(super) async fn act(&self, what: &str) -> Result<Value, Failure> {
        let answer =
            self.client.post(&format!("/api/v2/cluster/{what}"), &[], Bytes::new(), WITHIN * 2).await;
        answer.map(|answer| answer.body).map_err(|error| failure(&error))
    }

    /// Publishes a new signing key, or uses it at once and revokes the others. Answers its name.
    pub(super) async fn rotate_signing_key(&self, revoke_others: bool) -> Result<String, Failure> {
        let body = json!({ "revoke_others": revoke_others });
        let answer = post(&self.client, "/api/v2/cluster/signing-keys/rotate", &body).await?;
        Ok(answer.get("kid").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// Has the asked node make everything it applied durable.
    pub(super) async fn snapshot(&self) -> Result<Value, Failure> {
        let answer = self.client.post("/api/v2/cluster/snapshot", &[], Bytes::new(), WITHIN * 5).await;
        answer.map(|answer| answer.body).map_err(|error| failure(&error))
    }

    /// The digests of the files of the node whose API is at `url`.
    pub(super) async fn digests(&self, url: &str) -> Result<Value, Failure> {
        let client = self.client.at(url).map_err(|why| Failure::new(why, "check the node's api_url"))?;
        let answer = client.get("/api/v2/cluster/digests", WITHIN * 5).await;
        answer.map(|answer| answer.body).map_err(|error| failure(&error))
    }

    /// The level in force, and what every node can.
    pub(super) async fn level(&self) -> Result<Value, Failure> {
        let answer = self.client.get("/api/v2/cluster/level", WITHIN).await;
        answer.map(|answer| answer.body).map_err(|error| failure(&error))
    }

    /// Raises the level.
    pub(super) async fn raise_level(&self, level: u32) -> Result<Value, Failure> {
        post(&self.client, "/api/v2/cluster/level", &json!({ "level": level })).await
    }

    /// Has the cluster back up to a target.
    pub(super) async fn set_backup(&self, name: &str, body: &Value) -> Result<Value, Failure> {
        let path = format!("/api/v2/cluster/backup/targets/{name}");
        let answer = self.client.put(&path, Bytes::from(body.to_string()), WITHIN * 20).await;
        answer.map(|answer| answer.body).map_err(|error| failure(&error))
    }

    /// Has the cluster back up to a target no more.
    pub(super) async fn remove_backup(&self, name: &str) -> Result<(), Failure> {
        let answer = self.client.delete(&format!("/api/v2/cluster/backup/targets/{name}"), WITHIN).await;
        answer.map(drop).map_err(|error| failure(&error))
    }

    /// Has one organization brought back; answers the restore.
    pub(super) async fn bring_back(&self, body: &Value) -> Result<Value, Failure> {
        post(&self.client, "/api/v2/cluster/backup/restores", body).await
    }

    /// An organization as it is now.
    pub(super) async fn organization(&self, id: &str) -> Result<Value, Failure> {
        let answer = self.client.get(&format!("/api/v2/organizations/{id}"), WITHIN).await;
        answer.map(|answer| answer.body).map_err(|error| failure(&error))
    }

    /// Makes an organization.
    pub(super) async fn create_organization(&self, body: &Value) -> Result<Value, Failure> {
        post(&self.client, "/api/v2/organizations", body).await
    }

    /// What stands at `/cluster/{what}`.
    pub(super) async fn look(&self, what: &str) -> Result<Value, Failure> {
        let answer = self.client.get(&format!("/api/v2/cluster/{what}"), WITHIN).await;
        answer.map(|answer| answer.body).map_err(|error| failure(&error))
    }

    /// How far the newest cluster key is.
    pub(super) async fn keys(&self) -> Result<Value, Failure> {
        let answer = self.client.get("/api/v2/cluster/keys", WITHIN).await;
        answer.map(|answer| answer.body).map_err(|error| failure(&error))
    }

    /// The asked node's view of the cluster.
    pub(super) async fn cluster(&self) -> Result<Value, Failure> {
        let answer = self.client.get("/api/v2/cluster", WITHIN).await;
        answer.map(|answer| answer.body).map_err(|error| failure(&error))
    }
}

async fn post(client: &Client, path: &str, body: &Value) -> Result<Value, Failure> {
    let answer = client.post(path, &[], Bytes::from(body.to_string()), WITHIN).await;
    answer.map(|answer| answer.body).map_err(|error| failure(&error))
}

fn failure(error: &CallError) -> Failure {
    let fix = match error {
        CallError::Unreachable(_) => "check --server, and that the node runs",
        CallError::Refused(answer) if answer.status == 401 => "check --email and --password-file",
        CallError::Refused(_) => "see the node's log",
    };
    Failure::new(error.to_string(), fix)
}
