//! The HTTP frame: from a request to a [`Cx`], from a [`Reply`] or a [`Problem`] to an answer.
//!
//! What always holds: every answer has a request id and the security headers; every error is an RFC 9457
//! problem; a body is read only after its sender was let in, and only up to the route's limit; a version
//! of the API is a representation, never a second implementation.
//!
//! Must not know: any slice. How callers are recognised and organizations found comes in through the
//! [`Gate`]. Start reading at `cx.rs`, then `route.rs`.

mod clock;
mod cx;
mod fields;
mod gate;
mod headers;
pub mod openapi;
mod problem;
mod reply;
mod route;
mod server;
mod traffic;
pub mod value;
mod version;

pub use axum::Router;
pub use clock::now;
pub use cx::Cx;
pub use fields::{Fields, QueryFields};
pub use gate::{Admitted, Caller, Credentials, Gate, Later};
pub use problem::{Problem, describe};
pub use reply::Reply;
pub use route::{Handler, Method, Needs, Route, Takes};
pub use server::{Frame, router};
pub use traffic::{BOUNDS_MS, Tallied, Tally, Traffic};
pub use version::Version;
