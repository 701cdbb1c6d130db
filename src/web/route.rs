//! Routes as data: what is served, listed and tested is one table.

use std::sync::Arc;

use super::{Cx, Fields, Later, Problem, QueryFields, Reply, Version};

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

/// A function that reads a request, run without one to describe what it reads.
pub(super) type Reader<F> = Arc<dyn Fn(&mut F) + Send + Sync>;

/// What a body holds.
#[derive(Clone)]
pub enum Takes {
    /// There is none.
    Nothing,
    /// A JSON object, read by this.
    Fields(Reader<Fields>),
    /// JSON of another kind, in words.
    Json(&'static str),
    /// A form (`application/x-www-form-urlencoded`), read by this.
    Form(Reader<QueryFields>),
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
    /// What the body holds. The handler reads it by the same function.
    pub takes: Takes,
    /// Reads the query, as the handler does.
    pub asks: Reader<QueryFields>,
    /// Status of a good answer.
    pub success: u16,
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
        Self {
            method,
            paths,
            operation,
            summary,
            needs,
            body_bytes_max: Self::BODY_BYTES_MAX,
            takes: Takes::Nothing,
            asks: Arc::new(|_| {}),
            success: 200,
            handler,
        }
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

    /// A route at a path that a standard fixes, beside the versions.
    pub fn bare(
        method: Method,
        path: &'static str,
        operation: &'static str,
        summary: &'static str,
        needs: Needs,
        handler: impl Fn(Cx) -> Later<'static, Result<Reply, Problem>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            paths: vec![(Version::Bare, path)],
            ..Self::v2(method, path, operation, summary, needs, handler)
        }
    }

    /// The same route in v1 as well.
    #[must_use]
    pub fn and_v1(mut self, path: &'static str) -> Self {
        self.paths.push((Version::V1, path));
        self
    }

    /// Takes a JSON object that `read` reads.
    #[must_use]
    pub fn takes<T>(mut self, read: impl Fn(&mut Fields) -> T + Send + Sync + 'static) -> Self {
        self.takes = Takes::Fields(Arc::new(move |fields| {
            read(fields);
        }));
        self
    }

    /// Takes JSON of another kind, in words.
    #[must_use]
    pub fn takes_json(mut self, what: &'static str) -> Self {
        self.takes = Takes::Json(what);
        self
    }

    /// Takes a form that `read` reads.
    #[must_use]
    pub fn takes_form<T>(mut self, read: impl Fn(&mut QueryFields) -> T + Send + Sync + 'static) -> Self {
        self.takes = Takes::Form(Arc::new(move |form| {
            read(form);
        }));
        self
    }

    /// Takes a query that `read` reads.
    #[must_use]
    pub fn asks<T>(mut self, read: impl Fn(&mut QueryFields) -> T + Send + Sync + 'static) -> Self {
        self.asks = Arc::new(move |query| {
            read(query);
        });
        self
    }

    /// Answers another status than 200.
    #[must_use]
    pub fn answers(mut self, status: u16) -> Self {
        self.success = status;
        self
    }

    /// Answers 201: something is there that was not.
    #[must_use]
    pub fn creates(mut self) -> Self {
        self.success = 201;
        self
    }

    /// Reads a body and a query as a request of this route is read; the fuzzer's way in.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn read(&self, body: &[u8], query: &str) -> Result<(), Problem> {
        for (version, _) in &self.paths {
            if let Takes::Fields(read) = &self.takes {
                let mut fields = Fields::parse(*version, body)?;
                read(&mut fields);
                fields.finish()?;
            }
            if let Takes::Form(read) = &self.takes {
                let mut form = QueryFields::parse(&String::from_utf8_lossy(body));
                read(&mut form);
                form.finish()?;
            }
            let mut fields = QueryFields::parse(query);
            (self.asks)(&mut fields);
            fields.finish()?;
        }
        Ok(())
    }

    /// A larger or smaller body.
    #[must_use]
    pub fn body_max(mut self, bytes: usize) -> Self {
        self.body_bytes_max = bytes;
        self
    }
}
