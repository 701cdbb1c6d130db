//! Proving that one holds the keyring, for `threatflow recover`.

use uuid::Uuid;

use super::{Failure, NodeConfig, vault::Vault};
use crate::{
    features::login::{RECOVERY_CONTEXT, Statement},
    kernel::{Fault, to_hex},
    store::Keyring,
    web::now,
};

/// A statement that only a holder of this node's keyring can make: that an administrator of `organization` is to be
/// recovered. It holds for minutes, once. The node may run meanwhile.
pub fn recovery_statement(
    config: &NodeConfig,
    organization: String,
    email: Option<String>,
) -> Result<String, Failure> {
    let path = config.data_dir.join("cluster.key");
    let missing = || {
        let what = format!("there is no keyring at {}", path.display());
        Failure::new(what, "run this on a node, with the --config or --data-dir that the node has")
    };
    let (_, bundle) = Vault::open(&path, &config.seal)?.ok_or_else(missing)?;
    let keyring = Keyring::from_bundle(&bundle)?;
    let statement = Statement { organization, email, at: now(), id: Uuid::now_v7() };
    let plain = serde_json::to_vec(&statement).map_err(|error| Fault::new("write a statement", error))?;
    Ok(to_hex(&keyring.seal(RECOVERY_CONTEXT, &plain)?))
}
