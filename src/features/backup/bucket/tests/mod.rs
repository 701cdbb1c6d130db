//! The verbs over a folder, and over a server in memory that can be made to fail.

mod fake;
mod faults;
mod folder;
mod real;
mod s3;
mod settings;

use std::path::Path;

use super::{Bucket, Credentials, FolderSettings, Pace, Settings};
use fake::Fake;
use faults::{Fault, Faults};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// Patient enough for a few retries.
fn pace() -> Pace {
    Pace { request_seconds: 5, give_up_seconds: 20, ..Pace::default() }
}

fn in_folder(path: &Path) -> Bucket {
    let settings = Settings::Folder(FolderSettings { path: path.to_owned(), pace: pace() });
    settings.validate(None).unwrap();
    Bucket::open(&settings, None).unwrap()
}

fn s3_settings(more: &str) -> Settings {
    let text = format!(
        r#"{{"kind":"s3","bucket":"backups","prefix":"c1/l1","endpoint":"http://localhost:1","path_style":true,
        "allow_http":true,"pace":{{"request_seconds":5,"give_up_seconds":20}}{more}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn credentials() -> Credentials {
    let text = format!(r#"{{"access_key":"AKIAIOSFODNN7EXAMPLE","secret_key":"{SECRET}"}}"#);
    serde_json::from_str(&text).unwrap()
}

/// A bucket of a server in memory, behind a connection that fails as it is told.
fn in_memory(faults: &[(&'static str, Fault)]) -> (Bucket, Fake, Faults) {
    let (fake, faults) = (Fake::default(), Faults::new(faults));
    let wire = faults.over(fake.client());
    let bucket = Bucket::over(&s3_settings(""), Some(&credentials()), Some(wire)).unwrap();
    (bucket, fake, faults)
}
