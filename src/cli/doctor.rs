//! `threatflow doctor`: whether a node is set up as it should be. `threatflow seal`: changes what opens its keyring.

use std::path::PathBuf;

use clap::Args;

use super::serve;
use crate::node::{Failure, Seal, Weight, examine, reseal};

/// Look at a node's configuration and data folder, whether it runs or not.
#[derive(Args)]
#[command(after_help = "Example: threatflow doctor --config /etc/threatflow/threatflow.toml")]
pub(super) struct DoctorArgs {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "THREATFLOW_CONFIG")]
    config: Option<PathBuf>,
    /// Where all data lies [default: as configured]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<String>,
}

/// Change what opens a stopped node's keyring.
///
/// The present seal is the configured one; afterwards set `seal` in the configuration to the new one.
#[derive(Args)]
#[command(
    after_help = "Example: threatflow seal --config /etc/threatflow/threatflow.toml --to file:/etc/threatflow/seal.key"
)]
pub(super) struct SealArgs {
    #[command(flatten)]
    node: DoctorArgs,
    /// data_dir, file:PATH, credential:NAME, passphrase:PATH or passphrase
    #[arg(long, value_name = "SEAL")]
    to: String,
}

/// Prints one line a finding; fails when something is wrong.
pub(super) fn examined(args: DoctorArgs) -> Result<(), Failure> {
    let mut wrong = 0;
    for finding in examine(&serve::configured(args.config, [("data_dir", args.data_dir)])?) {
        let mark = match finding.weight {
            Weight::Good => "good    ",
            Weight::Warning => "WARNING ",
            Weight::Wrong => "WRONG   ",
        };
        wrong += i32::from(finding.weight == Weight::Wrong);
        eprintln!("{mark}{}", finding.text);
    }
    if wrong == 0 { Ok(()) } else { Err(Failure::new(format!("{wrong} found wrong"), "see the lines above")) }
}

/// Does it.
pub(super) fn sealed(args: SealArgs) -> Result<(), Failure> {
    let config = serve::configured(args.node.config, [("data_dir", args.node.data_dir)])?;
    let to: Seal = args.to.parse().map_err(|()| {
        Failure::usage(
            format!("{:?} is no seal", args.to),
            "see `threatflow seal --help` for the forms there are",
        )
    })?;
    reseal(&config, &to)?;
    eprintln!("threatflow: sealed by a {}; set seal = \"{to}\" in the configuration of this node", to.name());
    Ok(())
}
