//! The words that fields of a record can be.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Declares a set of words once: its type, its names and how they are read.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $word:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name { $($(#[$of])* #[serde(rename = $text)] $word,)* }
        impl $name {
            /// Every word.
            pub const NAMES: &[&str] = &[$($text,)*];
            /// The word.
            pub fn name(self) -> &'static str { Self::NAMES.get(self as usize).copied().unwrap_or("") }
        }
        impl FromStr for $name {
            type Err = ();
            fn from_str(text: &str) -> Result<Self, ()> {
                [$(Self::$word,)*].into_iter().find(|word| word.name() == text).ok_or(())
            }
        }
    };
}
pub(super) use words;

words! {
    /// How far it is.
    Status {
        /// Nobody has begun.
        Open = "open",
        /// Somebody works on it.
        InProgress = "in_progress",
        /// It is answered, and may be looked at again.
        Resolved = "resolved",
        /// It is over, and counts against no quota.
        Closed = "closed",
    }
}

words! {
    /// What to do first.
    Priority {
        /// Last.
        Low = "low",
        /// As it comes.
        Medium = "medium",
        /// Soon.
        High = "high",
        /// Now.
        Critical = "critical",
    }
}

words! {
    /// Whom it may reach.
    Classification {
        /// The fewest.
        Confidential = "confidential",
        /// Some.
        Restricted = "restricted",
        /// The organization.
        Internal = "internal",
        /// Anybody.
        Public = "public",
    }
}

words! {
    /// How bad it is.
    Severity {
        /// Hardly.
        Low = "low",
        /// Somewhat.
        Medium = "medium",
        /// Bad.
        High = "high",
        /// As bad as can be.
        Critical = "critical",
    }
}

words! {
    /// What an investigation began with.
    SourceType {
        /// A page.
        Url = "url",
        /// A text.
        Text = "text",
        /// A file.
        File = "file",
        /// Another program.
        Api = "api",
    }
}
