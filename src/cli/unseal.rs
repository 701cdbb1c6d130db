//! `threatflow backup open`: what another program took out of a backup, in the clear.

use std::path::PathBuf;

use clap::Args;

use super::{access::say, place::Place};
use crate::{
    kernel::OrgId,
    node::{Failure, open_sealed},
};

/// What to open, with which keys.
#[derive(Args)]
pub(super) struct OpenArgs {
    /// The file, still sealed
    #[arg(value_name = "FILE")]
    sealed: PathBuf,
    /// The id of the organization whose file it is
    #[arg(long, value_name = "ID")]
    organization: String,
    #[command(flatten)]
    place: Place,
    /// The file to write, which must not be there
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

/// Runs it.
pub(super) async fn run(args: OpenArgs) -> Result<(), Failure> {
    let OpenArgs { sealed, organization, place, to } = args;
    let file: OrgId = organization.parse().map_err(|_| {
        let what = format!("{organization:?} is no organization's id");
        Failure::usage(what, "give the id that stands in the path of its images")
    })?;
    if to.exists() {
        let what = format!("{} is there already", to.display());
        return Err(Failure::new(what, "nothing is ever written over: name another file with --to"));
    }
    let bucket = place.bucket()?;
    let lineage = open_sealed(&bucket, place.lineage, &place.recovery()?, file, &sealed, &to).await?;
    say(&format!("wrote {} with a key of history {lineage}: it is not encrypted", to.display()))
}
