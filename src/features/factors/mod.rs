//! Factors: what people show beside a password, and what is asked of them.
//!
//! Authenticator apps (RFC 6238), passkeys (WebAuthn), recovery codes; the policy that asks for them; the fresh proof
//! that dangerous commands ask for ([`require_recent`], `Command::STEP_UP`). Owns the tables `factors_*`, in every
//! file: platform administrators have factors too.
//!
//! What always holds: what can be used once is spent in apply, in the transaction of what it was shown for, so no
//! second node takes it; secrets are sealed at the edge and lie sealed in the log and in rows
//! (`docs/decisions/0021-...`); recovery codes are digests; a change of factors asks for a fresh proof, ends the
//! user's other sessions and is an event; who lacks a factor past its grace may enrol one and do nothing else.
//!
//! Must not know: how sessions are named in tokens, plans. `codes`, `passkeys`, `showing` and `handles` verify at the
//! edge; `commands/prove.rs` decides. Start at `model/proof.rs`.

mod codes;
mod commands;
mod handles;
pub mod http;
pub mod model;
mod passkeys;
mod queries;
mod showing;

pub use codes::{CODE_EXPECTED, Code, verify_code};
pub use commands::{
    AddPasskey, AdmitToEnrolment, Attempt, BeginTotp, ConfirmTotp, Passed, RefuseProof, RemoveFactor,
    RenameFactor, RenewRecoveryCodes, ResetFactors, SetMfaPolicy, StepUp, keep_spent, move_secrets, pass,
    require_recent,
};
pub use handles::{HANDLE_CHARS_MAX, Handle, Holder, Purpose, ask, ask_to_enrol};
pub use model::{Demand, Method, Proof, Shown};
pub use passkeys::{Passkeys, read_user_handle as named_by};
pub use queries::{demand, recovery_codes_left};
pub use showing::{begin, holder, verify, with_handle};
