//! The log: one line per event on stderr.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use super::{NodeConfig, config::LogFormat};

/// Begins to log. A second call changes nothing.
pub(super) fn begin(config: &NodeConfig) {
    // Judged when the configuration was read.
    // The engine beneath tells its whole state at every step: what it warns of is enough unless asked for.
    let wanted = if config.log.contains("openraft") {
        config.log.clone()
    } else {
        format!("{},openraft=warn", config.log)
    };
    let filter = EnvFilter::try_new(wanted).unwrap_or_else(|_| EnvFilter::new("info"));
    // A line that cannot be written is lost. Told to stderr by `eprintln!`, as the library does, it would panic in
    // whichever thread logs, and a full disk under stderr is when a node has to stop in order.
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    let _ = match config.log_format {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).try_init(),
    };
}
