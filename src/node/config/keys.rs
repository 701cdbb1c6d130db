//! Every key there is: one table for the file, the environment and the flags.

use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::{LogFormat, NodeConfig};

/// One key.
pub struct Key {
    /// Its name in the file; `THREATFLOW_` and capitals in the environment, `--` and dashes as a flag.
    pub name: &'static str,
    /// What a right value is.
    pub expects: &'static str,
    /// Sets it; `None` when the value is not right.
    pub(super) set: fn(&mut NodeConfig, &str) -> Option<()>,
}

/// Every key.
pub const KEYS: &[Key] = &[
    key("data_dir", "a folder", |config, text| put(&mut config.data_dir, nonempty(text)?.into())),
    key("listen", "an IP address and port such as 127.0.0.1:8080", |config, text| {
        put(&mut config.listen, text.parse().ok()?)
    }),
    key("management_listen", "an IP address and port such as 10.0.0.1:8070", |config, text| {
        put(&mut config.management_listen, Some(text.parse().ok()?))
    }),
    key("peer_listen", "an IP address and a port that is not 0, such as 127.0.0.1:8090", |config, text| {
        put(
            &mut config.peer_listen,
            text.parse().ok().filter(|address: &std::net::SocketAddr| address.port() != 0)?,
        )
    }),
    key("peer_advertise", "a host and port such as node1.example.org:8090", |config, text| {
        put(&mut config.peer_advertise, Some(host_and_port(text)?))
    }),
    key("api_url", "a URL such as http://node1.example.org:8080", |config, text| {
        put(&mut config.api_url, Some(url(text)?))
    }),
    key("public_url", "a URL such as https://intel.example.org", |config, text| {
        put(&mut config.public_url, Some(url(text)?))
    }),
    key("node_id", "a number from 1 to 65535, different on every node", |config, text| {
        put(&mut config.node_id, number(text, 1, 65_535)?)
    }),
    key("zone", "a name of up to 64 characters", |config, text| {
        put(&mut config.zone, nonempty(text).filter(|text| text.chars().count() <= 64)?.to_owned())
    }),
    key("seal", "data_dir, file:PATH, credential:NAME, passphrase:PATH or passphrase", |config, text| {
        put(&mut config.seal, text.trim().parse().ok()?)
    }),
    key("stabilization_ms", "a number from 0 to 3600000", |config, text| {
        put(&mut config.stabilization, ms(text, 0, 3_600_000)?)
    }),
    key("dead_server_cleanup_ms", "0, or a number from 1000 to 2592000000", |config, text| {
        let off = number(text, 0, 0).map(Duration::from_millis);
        put(&mut config.dead_server_cleanup, off.or_else(|| ms(text, 1_000, 2_592_000_000))?)
    }),
    key("min_quorum", "a number from 1 to 99", |config, text| {
        put(&mut config.min_quorum, usize::try_from(number(text, 1, 99)?).ok()?)
    }),
    key("join", "a join token (`threatflow cluster token` makes one)", |config, text| {
        text.parse::<raft::Token>().ok()?;
        put(&mut config.join, Some(text.trim().to_owned()))
    }),
    key("admin_password_file", "a file that holds a password of at least 12 characters", |config, text| {
        put(&mut config.admin_password_file, Some(nonempty(text)?.into()))
    }),
    key(
        "log",
        "a level (error, warn, info, debug, trace) or a list such as info,raft=debug",
        |config, text| {
            EnvFilter::try_new(nonempty(text)?).ok()?;
            put(&mut config.log, text.to_owned())
        },
    ),
    key("log_format", "text or json", |config, text| put(&mut config.log_format, log_format(text)?)),
    key("connections_max", "a number from 16 to 65536", |config, text| {
        put(&mut config.connections_max, usize::try_from(number(text, 16, 65_536)?).ok()?)
    }),
    key("header_timeout_ms", "a number from 1000 to 300000", |config, text| {
        put(&mut config.header_timeout, ms(text, 1_000, 300_000)?)
    }),
    key("drain_ms", "a number from 0 to 60000", |config, text| put(&mut config.drain, ms(text, 0, 60_000)?)),
    key("heartbeat_ms", "a number from 10 to 10000", |config, text| {
        put(&mut config.heartbeat, ms(text, 10, 10_000)?)
    }),
    key("election_ms", "a number from 50 to 60000", |config, text| {
        put(&mut config.election, ms(text, 50, 60_000)?)
    }),
    key("checkpoint_ms", "a number from 100 to 600000", |config, text| {
        put(&mut config.checkpoint, ms(text, 100, 600_000)?)
    }),
    key("log_keep_entries", "a number from 0 to 100000000", |config, text| {
        put(&mut config.log_keep_entries, number(text, 0, 100_000_000)?)
    }),
    key("scrub_cycle_ms", "a number from 100 to 2678400000", |config, text| {
        put(&mut config.scrub.cycle, ms(text, 100, 2_678_400_000)?)
    }),
    key("scrub_kib_per_s", "a number from 64 to 16777216", |config, text| {
        put(&mut config.scrub.bytes_per_s, number(text, 64, 16_777_216)? << 10)
    }),
    key("password_memory_kib", "a number from 8 to 1048576", |config, text| {
        put(&mut config.password_cost.memory_kib, u32::try_from(number(text, 8, 1 << 20)?).ok()?)
    }),
    key("password_passes", "a number from 1 to 100", |config, text| {
        put(&mut config.password_cost.passes, u32::try_from(number(text, 1, 100)?).ok()?)
    }),
    key("password_lanes", "a number from 1 to 16", |config, text| {
        put(&mut config.password_cost.lanes, u32::try_from(number(text, 1, 16)?).ok()?)
    }),
    key("dns_server", "an IP address and port such as 10.0.0.53:53", |config, text| {
        put(&mut config.dns_server, Some(text.parse().ok()?))
    }),
    key("apply_workers", "a number from 1 to 64", |config, text| {
        put(&mut config.apply_workers, usize::try_from(number(text, 1, 64)?).ok()?)
    }),
];

const fn key(name: &'static str, expects: &'static str, set: fn(&mut NodeConfig, &str) -> Option<()>) -> Key {
    Key { name, expects, set }
}

/// Finds a key.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// All names, for messages.
pub(super) fn names() -> String {
    KEYS.iter().map(|key| key.name).collect::<Vec<_>>().join(", ")
}

#[allow(clippy::unnecessary_wraps)] // every setter ends with it
fn put<T>(place: &mut T, value: T) -> Option<()> {
    *place = value;
    Some(())
}

fn nonempty(text: &str) -> Option<&str> {
    (!text.trim().is_empty()).then_some(text)
}

fn number(text: &str, min: u64, max: u64) -> Option<u64> {
    text.parse().ok().filter(|number| (min..=max).contains(number))
}

fn ms(text: &str, min: u64, max: u64) -> Option<Duration> {
    number(text, min, max).map(Duration::from_millis)
}

fn host_and_port(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    let sound =
        !host.is_empty() && !host.contains(['/', ' ']) && port.parse::<u16>().is_ok_and(|port| port != 0);
    sound.then(|| text.to_owned())
}

fn url(text: &str) -> Option<String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
    let sound = !rest.is_empty() && !rest.contains(char::is_whitespace);
    sound.then(|| text.trim_end_matches('/').to_owned())
}

fn log_format(text: &str) -> Option<LogFormat> {
    match text {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}
