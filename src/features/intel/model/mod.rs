//! The pure rules: what a bundle is, what an object says about itself, how far an import has come.

mod bundle;
mod import;
mod object;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
mod text;

pub use bundle::{Bundle, BundleError, parse};
pub use import::{Import, ImportState, Tally, cut};
pub use object::{NAME_CHARS_MAX, Object, counts_to};
pub use text::same_content;
