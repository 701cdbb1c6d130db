//! Somebody who calls the API.

use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;

/// One caller: where, and with which token.
#[derive(Clone)]
pub struct Caller {
    agent: Agent,
    url: String,
    token: Option<String>,
}

/// What was answered.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub json: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Caller {
    pub fn new(url: &str) -> Self {
        Self::within(url, Duration::from_secs(60))
    }

    /// A caller who gives a request up after `patience`.
    pub fn within(url: &str, patience: Duration) -> Self {
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(patience));
        Self { agent: config.build().new_agent(), url: url.to_owned(), token: None }
    }

    pub fn without_token(&self) -> Self {
        Self { token: None, ..self.clone() }
    }

    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    pub fn token(&self) -> &str {
        self.token.as_deref().unwrap_or_default()
    }

    /// The same caller at another node.
    pub fn at(&self, url: &str) -> Self {
        Self { url: url.to_owned(), ..Self::new(url) }.with_token(self.token())
    }

    pub fn log_in(&self, email: &str, password: &str, organization: &str) -> Self {
        let body = json!({ "email": email, "password": password, "organization": organization });
        let answer = self.post("/api/v2/auth/login", &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        self.with_token(answer.json["tokens"]["access_token"].as_str().unwrap())
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None, &[]).unwrap()
    }

    pub fn try_get(&self, path: &str) -> Option<Answer> {
        self.send("GET", path, None, &[])
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.json("POST", path, body)
    }

    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.json("PUT", path, body)
    }

    pub fn json(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.send(method, path, Some(body.to_string().as_bytes()), &[]).unwrap()
    }

    /// Anything at all; `None` when the connection broke.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&[u8]>,
        headers: &[(&str, &str)],
    ) -> Option<Answer> {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if body.is_some() && !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = match body {
            Some(body) => self.agent.run(request.body(body).unwrap()),
            None => self.agent.run(request.body(()).unwrap()),
        };
        let mut response = response.ok()?;
        let headers = response.headers().iter();
        let headers = headers
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("").to_owned()))
            .collect();
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(256 << 20).read_to_string().ok()?;
        let json = serde_json::from_str(&body).unwrap_or(Value::Null);
        Some(Answer { status, headers, body, json })
    }
}
