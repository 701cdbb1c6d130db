//! Routes of access: what an organization adds to the built-in roles, and questions about who may do what.

mod ask;
mod authzen;
mod body;
mod grants;
mod groups;
mod matrix;
mod policies;
mod review;
mod roles;
mod simulate;

use serde::Serialize;
use serde_json::{Value, json};

use super::{Recall, queries::Stored};
use crate::{
    cluster::{Answer, View},
    web::{Cx, Later, Problem, Reply, Route},
};

pub use authzen::sketch as read_question;

/// Routes of the slice.
pub fn routes(recall: &Recall, public_url: Option<&str>) -> Vec<Route> {
    [
        vec![matrix::route()],
        roles::routes(),
        groups::routes(),
        grants::routes(),
        policies::routes(),
        ask::routes(recall),
        authzen::routes(recall, public_url),
        vec![simulate::route(), review::route()],
    ]
    .concat()
}

/// A handler that asks what the node remembers of rights.
fn with<F>(recall: &Recall, handle: fn(Cx, Recall) -> F) -> impl Fn(Cx) -> Answering + use<F>
where
    F: Future<Output = Result<Reply, Problem>> + Send + 'static,
{
    let recall = recall.clone();
    move |cx| Box::pin(handle(cx, recall.clone()))
}

type Answering = Later<'static, Result<Reply, Problem>>;

/// A stored thing as it is shown: its own fields, and when it came to be and changed.
fn view<T: Serialize>(stored: &Stored<T>) -> Value {
    let mut view = json!(stored.value);
    if let Some(fields) = view.as_object_mut() {
        if let Some(expires) = fields.remove("expires") {
            let at = expires.as_i64().map(|ms| crate::kernel::Millis(ms).to_string());
            fields.insert("expires_at".to_owned(), json!(at));
        }
        fields.insert("created_at".to_owned(), json!(stored.created.to_string()));
        fields.insert("updated_at".to_owned(), json!(stored.updated.to_string()));
        fields.insert("version".to_owned(), json!(stored.version));
    }
    view
}

/// 204, once readers of this node see that it is gone: what was allowed by it is refused at the next request.
async fn gone<T>(cx: &Cx, answer: &Answer<T>) -> Result<Reply, Problem> {
    cx.cluster.await_view(&View::Session(Some(answer.index))).await?;
    Ok(Reply::none().after(answer))
}

/// An id in the path; what is none names nothing.
fn id_in_path<T: std::str::FromStr>(cx: &Cx, name: &str) -> Result<T, Problem> {
    cx.param(name).parse().map_err(|_| Problem::not_found())
}
