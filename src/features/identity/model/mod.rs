//! People and what may become of them: pure rules.

mod house;
mod link;
mod password;
mod user;

pub use house::House;
pub use link::{LINK_SECRET_BYTES, Link};
pub use password::{PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN, judge_password, judge_strength};
pub use user::{NewUser, State, User};
