//! Whom a question is about, and the answer.

use std::sync::Arc;

use serde_json::{Value, json};

use super::read::{Object, Question};
use crate::{
    cluster::View,
    features::access::{
        Recall, circumstances_of,
        model::{Circumstances, Compiled, Decision, Verdict},
        queries,
    },
    kernel::{Attributes, OrgId, Permission, UserId},
    web::{Cx, Problem},
};

/// Somebody who asks, in one organization.
pub(super) struct Judge {
    pub(super) cx: Cx,
    pub(super) org: OrgId,
    recall: Recall,
    own: Arc<Compiled>,
    now: Circumstances,
}

/// Somebody who is asked about.
pub(super) struct Asked {
    pub(super) rights: Arc<Compiled>,
    pub(super) how: Circumstances,
}

impl Judge {
    /// In the organization of the path, or that the context names, or the caller's own.
    pub(super) async fn open(cx: Cx, recall: Recall, body: &Object) -> Result<Self, Problem> {
        let org = place(&cx, body).await?;
        let now = circumstances_of(&cx.ticket.origin, cx.now);
        let own = recall.rights(&cx.cluster, &cx.view, org, &cx.caller.actor).await?;
        Ok(Self { cx, org, recall, own, now })
    }

    /// The rights of a subject; none when nobody is known by it. Whoever asks about others must be allowed to.
    pub(super) async fn about(&self, kind: &str, id: &str) -> Result<Option<Asked>, Problem> {
        if kind == "user" || kind == "identity" {
            let known = id.parse::<UserId>().ok();
            if known.is_some() && known == self.own.holder().user {
                return Ok(Some(Asked { rights: Arc::clone(&self.own), how: self.now }));
            }
            self.require()?;
            let user = match known {
                Some(user) => Some(user),
                None => self.with_email(id).await?,
            };
            let Some(user) = user else { return Ok(None) };
            let rights = self.recall.rights_of(&self.cx.cluster, &View::Local, self.org, user).await?;
            let how = self.elsewhere();
            return Ok(rights.standing().sees().then_some(Asked { rights, how }));
        }
        self.require()?;
        Ok(None)
    }

    /// Refuses who may not ask about others.
    pub(super) fn require(&self) -> Result<(), Problem> {
        self.own.require(Permission::AccessCheck, &Attributes::whole(), &self.now)?;
        Ok(())
    }

    /// Others do not ask from where the caller does.
    pub(super) fn elsewhere(&self) -> Circumstances {
        Circumstances { at: self.now.at, ..Circumstances::default() }
    }

    async fn with_email(&self, email: &str) -> Result<Option<UserId>, Problem> {
        if !email.contains('@') {
            return Ok(None);
        }
        let email = email.to_lowercase();
        let read =
            self.cx.cluster.read(&View::Local, self.org, move |tx| queries::user_with_email(tx, &email));
        Ok(read.await?.flatten())
    }

    pub(super) async fn answer(&self, question: &Question) -> Result<Value, Problem> {
        let Some(asked) = self.about(&question.subject.kind, &question.subject.id).await? else {
            return Ok(refused(
                "unknown_subject",
                "no active user of the organization is meant by the subject",
            ));
        };
        let decision = decide(&asked.rights, question, &question.circumstances(&asked.how));
        Ok(told(&asked.rights, question, &decision))
    }
}

async fn place(cx: &Cx, body: &Object) -> Result<OrgId, Problem> {
    if !cx.param("org").is_empty() {
        return cx.place(Permission::OrganizationRead).await;
    }
    let named = match body.get("context").and_then(|context| context.get("organization")) {
        None | Some(Value::Null) => "me",
        Some(Value::String(name)) => name,
        Some(_) => return Err(Problem::malformed("context.organization must be the id or slug of one")),
    };
    cx.place_of(named, Permission::OrganizationRead).await
}

/// By the table of permissions, when it has what is asked; else by the policies about things of others.
pub(super) fn decide(rights: &Compiled, question: &Question, how: &Circumstances) -> Decision {
    match question.permission() {
        Some(permission) => rights.decide(permission, &question.attributes(), how),
        None => rights.decide_external(&question.external(), how),
    }
}

fn told(rights: &Compiled, question: &Question, decision: &Decision) -> Value {
    if decision.verdict == Verdict::Allowed {
        return json!({ "decision": true });
    }
    let permission = question.permission();
    let known = rights.policies().is_some_and(|policies| policies.knows_external(&question.resource.kind));
    if permission.is_none() && !known {
        let detail = "neither the table of permissions nor a policy has this action on this type of thing";
        return refused("unknown_permission", detail);
    }
    if decision.verdict == Verdict::Depends {
        return refused("depends", "it hangs on properties or circumstances that the question does not name");
    }
    let reason = permission.map(|permission| rights.explain(permission, decision));
    let rule = reason.as_ref().and_then(|reason| reason.get("rule")).filter(|rule| !rule.is_null());
    let code = decision.reason.code();
    match (rule, decision.reason) {
        (Some(rule), _) => refused(code, &format!("decided by {rule}")),
        (None, crate::features::access::model::Reason::Policy(policy)) => {
            refused(code, &format!("decided by the policy {policy}"))
        }
        (None, _) => refused(code, "no role, grant or policy allows it"),
    }
}

/// A no with its reason: for the one who is refused, and for an administrator.
pub(super) fn refused(code: &str, detail: &str) -> Value {
    json!({
        "decision": false,
        "context": {
            "code": code,
            "reason_admin": { "403": detail },
            "reason_user": { "403": "you may not do this; ask an administrator of your organization" },
        },
    })
}
