//! stub
use serde::{Serialize, Deserialize};
use crate::{cluster::{Apply, Command, Kind}, kernel::Permission, store::Stop};
macro_rules! stub { ($n:ident, $k:literal) => {
/// s
#[derive(Serialize, Deserialize)] pub struct $n {}
impl Command for $n { const KIND: Kind = Kind::new($k, 1); const NEEDS: Permission = Permission::SystemOnly; type Reply = (); fn apply(self, _: &mut Apply<'_>) -> Result<(), Stop> { Ok(()) } }
}}
stub!(Bootstrap, "membership.bootstrap"); stub!(MintToken, "membership.mint"); stub!(SpendToken, "membership.spend");
/// h
pub mod http { /// r
pub fn routes() -> Vec<crate::web::Route> { vec![] } }
