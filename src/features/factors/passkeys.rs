//! Passkeys at the edge: WebAuthn ceremonies, by a library. What it remembers between two requests travels in a handle.

use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;
use webauthn_rs::{
    Webauthn, WebauthnBuilder,
    prelude::{
        Credential, DiscoverableAuthentication, Passkey, PasskeyRegistration, PublicKeyCredential,
        RegisterPublicKeyCredential, Url,
    },
};
use webauthn_rs_proto::{AllowCredentials, ResidentKeyRequirement};

use crate::{
    kernel::{Fault, OrgId, Refusal, UserId, from_hex, to_hex},
    web::Problem,
};

/// The site that passkeys belong to: one for the whole cluster.
#[derive(Clone)]
pub struct Passkeys {
    site: Option<Arc<Webauthn>>,
}

/// What authenticators show people.
const SITE_NAME: &str = "ThreatFlow";

/// A passkey as it is to be stored.
pub(super) struct Made {
    pub(super) credential_id: String,
    pub(super) credential: String,
    pub(super) counter: u32,
    pub(super) backed_up: bool,
}

/// A signature that was verified; whether its count went back is for apply to say.
pub(super) struct Signed {
    pub(super) counter: u32,
    pub(super) backed_up: bool,
}

impl Passkeys {
    /// Passkeys of the site that people reach at `public_url`. There are none where it has an address for a host:
    /// WebAuthn binds them to a name.
    pub fn new(public_url: &str) -> Self {
        let site = Url::parse(public_url).ok().and_then(|origin| {
            let host = origin.domain()?.to_owned();
            WebauthnBuilder::new(&host, &origin).ok()?.rp_name(SITE_NAME).build().ok()
        });
        Self { site: site.map(Arc::new) }
    }

    fn site(&self) -> Result<&Webauthn, Problem> {
        self.site.as_deref().ok_or_else(|| {
            let detail = "passkeys belong to a host name: the operator sets `public_url` to one, such as https://intel.example.org";
            Problem::new(409, "passkeys_unavailable", "This installation has no passkeys", detail)
        })
    }

    /// Begins to make a passkey: what the browser is asked, and what is kept.
    pub(super) fn begin_registration(
        &self,
        (organization, user): (OrgId, UserId),
        account: &str,
        present: &[String],
    ) -> Result<(Value, String), Problem> {
        let exclude = present.iter().filter_map(|id| from_hex(id)).collect();
        let begun = self.site()?.start_passkey_registration(user.0, account, account, Some(exclude));
        let (mut options, state) = begun.map_err(|error| fault(&error))?;
        // Whoever logs in without a name is found by it.
        options.public_key.user.id = user_handle(organization, user);
        if let Some(selection) = &mut options.public_key.authenticator_selection {
            selection.resident_key = Some(ResidentKeyRequirement::Preferred);
        }
        Ok((json(&options)?, json(&state)?.to_string()))
    }

    /// Ends it.
    pub(super) fn finish_registration(
        &self,
        credential: &RegisterPublicKeyCredential,
        state: &str,
    ) -> Result<Made, Problem> {
        let state: PasskeyRegistration = serde_json::from_str(state).map_err(|error| broken(&error))?;
        let made = self.site()?.finish_passkey_registration(credential, &state);
        let passkey = made.map_err(|error| refused(&error))?;
        let credential = Credential::from(passkey.clone());
        Ok(Made {
            credential_id: to_hex(passkey.cred_id().as_slice()),
            credential: json(&passkey)?.to_string(),
            counter: credential.counter,
            backed_up: credential.backup_state,
        })
    }

    /// Begins to have a passkey shown: one of `allowed`, or any that the authenticator finds.
    pub(super) fn begin_authentication(&self, allowed: &[String]) -> Result<(Value, String), Problem> {
        let begun = self.site()?.start_discoverable_authentication();
        let (mut options, state) = begun.map_err(|error| fault(&error))?;
        // Whether it is offered in a form or in a dialog is for the page to say.
        options.mediation = None;
        let allow = |id: &String| {
            let id = from_hex(id)?;
            Some(AllowCredentials { type_: "public-key".to_owned(), id, transports: None })
        };
        options.public_key.allow_credentials = allowed.iter().filter_map(allow).collect();
        Ok((json(&options)?, json(&state)?.to_string()))
    }

    /// Ends it; nothing when the signature does not hold.
    pub(super) fn finish_authentication(
        &self,
        credential: &PublicKeyCredential,
        state: &str,
        stored: &str,
    ) -> Result<Option<Signed>, Problem> {
        let state: DiscoverableAuthentication =
            serde_json::from_str(state).map_err(|error| broken(&error))?;
        let passkey: Passkey = serde_json::from_str(stored).map_err(|error| broken(&error))?;
        // The library would compare with a count that may be old here; apply compares with the newest.
        let known = Credential { counter: 0, ..Credential::from(passkey) };
        let shown = self.site()?.finish_discoverable_authentication_v2(credential, state, &known);
        let shown = shown.inspect_err(|error| tracing::debug!(%error, "a passkey was refused")).ok();
        Ok(shown.map(|shown| Signed { counter: shown.counter(), backed_up: shown.backup_state() }))
    }
}

#[cfg(any(test, fuzzing))]
impl Passkeys {
    /// Makes a passkey of what an authenticator may have answered; the fuzzer's way in. Answers its id.
    pub(crate) fn make_of(&self, attestation: &[u8]) -> Option<String> {
        let user = (OrgId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        let (options, state) = self.begin_registration(user, "ann@acme.example", &[]).ok()?;
        let challenge = options.get("publicKey")?.get("challenge")?;
        let client = serde_json::json!({
            "type": "webauthn.create", "challenge": challenge, "origin": "http://localhost", "crossOrigin": false,
        });
        let response = webauthn_rs_proto::AuthenticatorAttestationResponseRaw {
            attestation_object: attestation.to_vec(),
            client_data_json: client.to_string().into_bytes(),
            transports: None,
        };
        let credential = RegisterPublicKeyCredential {
            id: String::new(),
            raw_id: Vec::new(),
            response,
            type_: "public-key".to_owned(),
            extensions: webauthn_rs_proto::RegistrationExtensionsClientOutputs::default(),
        };
        self.finish_registration(&credential, &state).ok().map(|made| made.credential_id)
    }
}

/// Whose passkey it is, as an authenticator keeps it: two ids, which name nobody.
fn user_handle(organization: OrgId, user: UserId) -> Vec<u8> {
    [organization.0.into_bytes(), user.0.into_bytes()].concat()
}

/// Whose passkey was shown, as the authenticator says.
pub fn read_user_handle(credential: &PublicKeyCredential) -> Option<(OrgId, UserId)> {
    let (organization, user) = credential.get_user_unique_id()?.split_at_checked(16)?;
    let id = |bytes| Uuid::from_slice(bytes).ok();
    Some((OrgId(id(organization)?), UserId(id(user)?)))
}

/// The id of the passkey that was shown, as it is stored.
pub(super) fn credential_id(credential: &PublicKeyCredential) -> String {
    to_hex(credential.get_credential_id())
}

fn json(value: &impl serde::Serialize) -> Result<Value, Problem> {
    serde_json::to_value(value).map_err(|error| Fault::new("write a ceremony", error).into())
}

/// What the library kept or stored does not read: ours, not the client's.
fn broken(error: &serde_json::Error) -> Problem {
    Fault::found(format!("read a ceremony: {error}")).into()
}

fn fault(error: &webauthn_rs::prelude::WebauthnError) -> Problem {
    Fault::found(format!("begin a ceremony: {error}")).into()
}

fn refused(error: &webauthn_rs::prelude::WebauthnError) -> Problem {
    tracing::debug!(%error, "a passkey was refused");
    Refusal::ProofRefused { reason: "wrong".to_owned() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passkey_is_made_of_what_an_authenticator_of_this_site_answers() {
        let attestation = include_bytes!("../../../fuzz/seeds/passkeys/93193a06284c");
        let made = Passkeys::new("http://localhost").make_of(attestation);
        assert_eq!(made.as_deref(), Some("000102030405060708090a0b0c0d0e0f"));
        assert!(
            attestation.get(..90).and_then(|part| Passkeys::new("http://localhost").make_of(part)).is_none()
        );
        assert!(Passkeys::new("http://other.localhost").make_of(attestation).is_none(), "of another site");
    }

    #[test]
    fn a_site_that_is_known_by_an_address_has_no_passkeys() {
        for url in ["http://127.0.0.1:8080", "https://[::1]", "nonsense"] {
            let problem = Passkeys::new(url).begin_authentication(&[]).err().map(|problem| problem.code);
            assert_eq!(problem, Some("passkeys_unavailable"), "{url}");
        }
        assert!(Passkeys::new("https://intel.example.org").begin_authentication(&[]).is_ok());
    }
}
