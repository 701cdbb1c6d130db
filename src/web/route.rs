//! Routes as data: what is served, listed and tested is one table.

use std::sync::Arc;

use super::{Cx, Later, Problem, Reply, Version};

/// What runs for a route.
pub type Handler = Arc<dyn Fn(Cx) -> Later<'static, Result<Reply, Problem>> + Send + Sync>;

/// A method of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Read.
    Get,
    /// Create, or do.
    Post,
    /// Set.
    Put,
    /// Amend.
    Patch,
    /// Remove.
    Delete,
}

impl Method {
    /// As it stands in a request.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// Who may ask at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Anybody.
    Nobody,
    /// Somebody with valid credentials.
    Caller,
}

/// One route.
#[derive(Clone)]
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path in each version, below the version's prefix; `{name}` is a parameter.
    pub paths: Vec<(Version, &'static str)>,
    /// Its name in the API description.
    pub operation: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// Who may ask at all.
    pub needs: Needs,
    /// Largest body taken.
    pub body_bytes_max: usize,
    /// What runs.
    pub handler: Handler,
}

impl Route {
    /// Largest body when a route says nothing.
    pub const BODY_BYTES_MAX: usize = 1 << 20;

    /// A route of v2.
    pub fn v2(
        method: Method,
        path: &'static str,
        operation: &'static str,
        summary: &'static str,
        needs: Needs,
        handler: impl Fn(Cx) -> Later<'static, Result<Reply, Problem>> + Send + Sync + 'static,
    ) -> Self {
        let handler: Handler = Arc::new(handler);
        let paths = vec![(Version::V2, path)];
        Self { method, paths, operation, summary, needs, body_bytes_max: Self::BODY_BYTES_MAX, handler }
    }

    /// A route of v1 alone, where v2 addresses the organization in its path.
    pub fn v1(
        method: Method,
        path: &'static str,
        operation: &'static str,
        summary: &'static str,
        needs: Needs,
        handler: impl Fn(Cx) -> Later<'static, Result<Reply, Problem>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            paths: vec![(Version::V1, path)],
            ..Self::v2(method, path, operation, summary, needs, handler)
        }
    }

    /// The same route in v1 as well.
    #[must_use]
    pub fn and_v1(mut self, path: &'static str) -> Self {
        self.paths.push((Version::V1, path));
        self
    }

    /// A larger or smaller body.
    #[must_use]
    pub fn body_max(mut self, bytes: usize) -> Self {
        self.body_bytes_max = bytes;
        self
    }
}
