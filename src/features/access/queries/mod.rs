//! Reading roles, groups, grants and policies, and compiling what one actor may do.

mod compile;
mod filter;
mod places;
mod policies;
mod rows;

pub use compile::{compiled, role_of};
pub(super) use compile::{compiled_for, is_plainly_allowed, reach};
pub use filter::{Collaborators, Columns, Filter, Seek, filter};
pub use places::organization_named;
pub use rows::group_names_of;
pub(super) use rows::{
    Stored, all_policies, any_expired, concerns_group, count, grant, grants_of, group, groups_of, holding,
    holdings_of, is_name_taken, list_grants, list_groups, list_holdings, list_members, list_policies,
    list_roles, list_users, mentions, policies_name, policy, role, user_exists, user_with_email,
};
