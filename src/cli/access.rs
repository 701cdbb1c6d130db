//! What the commands of an administrator share: which node, as whom, and how an answer is printed.

use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use serde_json::Value;

use super::{
    admin::Admin,
    client::{CallError, Client},
};
use crate::node::Failure;

const LOCAL_WITHIN: Duration = Duration::from_secs(10);

/// Where, and as whom.
#[derive(Args)]
pub(super) struct Access {
    /// Any node of the cluster
    #[arg(long, value_name = "URL", env = "THREATFLOW_SERVER", default_value = "http://127.0.0.1:8080")]
    server: String,
    /// E-mail address of a platform administrator [default: admin@localhost]
    #[arg(long, value_name = "ADDRESS", env = "THREATFLOW_EMAIL")]
    email: Option<String>,
    /// Holds that administrator's password
    #[arg(
        long,
        value_name = "FILE",
        env = "THREATFLOW_PASSWORD_FILE",
        default_value = "./data/initial-admin-password"
    )]
    password_file: PathBuf,
}

impl Access {
    /// Logs in.
    pub(super) async fn admin(&self) -> Result<Admin, Failure> {
        Admin::log_in(&self.server, self.email.as_deref(), &self.password_file).await
    }

    /// What the node knows by itself. It tells without a login, on a listener that is its operators'.
    pub(super) async fn local(&self) -> Result<Value, Failure> {
        let advice = "ask the node's loopback listen or its management_listen";
        let client = Client::new(&self.server).map_err(|why| Failure::usage(why, advice))?;
        match client.get("/readyz?verbose", LOCAL_WITHIN).await {
            // Not ready is an answer too.
            Ok(answer) | Err(CallError::Refused(answer)) if answer.body.get("members").is_some() => {
                Ok(answer.body)
            }
            Err(CallError::Unreachable(why)) => Err(Failure::new(why, advice)),
            _ => Err(Failure::new(format!("{} does not tell its state to anybody", self.server), advice)),
        }
    }
}

/// A field of an answer, as a cell of a table.
pub(super) fn show(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Prints it.
pub(super) fn say(text: &str) -> Result<(), Failure> {
    writeln!(io::stdout().lock(), "{text}")
        .map_err(|error| Failure::new(format!("stdout cannot be written: {error}"), "check where it leads"))
}
