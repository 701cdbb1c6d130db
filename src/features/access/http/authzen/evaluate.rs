//! One question, or several with common defaults.

use serde_json::{Value, json};

use super::{
    judge::Judge,
    read::{Object, Question, body},
};
use crate::{
    features::access::Recall,
    web::{Cx, Problem, Reply},
};

/// Questions of one request at most.
const QUESTIONS_MAX: usize = 100;

/// When to stop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Semantic {
    All,
    FirstDeny,
    FirstPermit,
}

pub(super) async fn one(cx: Cx, recall: Recall) -> Result<Reply, Problem> {
    let body = body(&cx)?;
    single(Judge::open(cx, recall, &body).await?, &body).await
}

async fn single(judge: Judge, body: &Object) -> Result<Reply, Problem> {
    let question = Question::read(body, body).map_err(Problem::malformed)?;
    Ok(Reply::ok(judge.answer(&question).await?))
}

pub(super) async fn many(cx: Cx, recall: Recall) -> Result<Reply, Problem> {
    let body = body(&cx)?;
    let judge = Judge::open(cx, recall, &body).await?;
    let items = match body.get("evaluations") {
        None | Some(Value::Null) => return single(judge, &body).await,
        Some(Value::Array(items)) if items.is_empty() => return single(judge, &body).await,
        Some(Value::Array(items)) if items.len() <= QUESTIONS_MAX => items,
        Some(_) => {
            let detail = format!("evaluations must be a list of at most {QUESTIONS_MAX} questions");
            return Err(Problem::malformed(detail));
        }
    };
    let semantic = semantic(&body)?;
    let mut answers = Vec::with_capacity(items.len());
    for item in items {
        let read = item.as_object().ok_or_else(|| "a question must be an object".to_owned());
        let answer = match read.and_then(|item| Question::read(item, &body)) {
            Ok(question) => judge.answer(&question).await?,
            Err(why) => {
                json!({ "decision": false, "context": { "error": { "status": 400, "message": why } } })
            }
        };
        let allowed = answer.get("decision") == Some(&Value::Bool(true));
        answers.push(answer);
        match semantic {
            Semantic::FirstDeny if !allowed => break,
            Semantic::FirstPermit if allowed => break,
            _ => {}
        }
    }
    Ok(Reply::ok(json!({ "evaluations": answers })))
}

fn semantic(body: &Object) -> Result<Semantic, Problem> {
    let options = body.get("options").and_then(|options| options.get("evaluations_semantic"));
    match options.map(Value::as_str) {
        None | Some(Some("execute_all")) => Ok(Semantic::All),
        Some(Some("deny_on_first_deny")) => Ok(Semantic::FirstDeny),
        Some(Some("permit_on_first_permit")) => Ok(Semantic::FirstPermit),
        Some(_) => Err(Problem::malformed(
            "options.evaluations_semantic must be execute_all, deny_on_first_deny or permit_on_first_permit",
        )),
    }
}
