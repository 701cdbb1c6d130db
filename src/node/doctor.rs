//! What is not as it should be about a node, looked at from outside while it runs or stands.

use std::{fs, ops::RangeInclusive, os::unix::fs::PermissionsExt, path::Path};

use raft::Replica;
use rustix::fs::statvfs;

use super::{NodeConfig, Seal, vault};
use crate::store::Keyring;

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub weight: Weight,
    /// What was found, and what to do where something is to be done.
    pub text: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// As it should be.
    Good,
    /// It works, and is not for production.
    Warning,
    /// It does not work, or endangers what is stored.
    Wrong,
}

/// Less than this, or less than a tenth, is little.
const FREE_BYTES_MIN: u64 = 1 << 30;

/// Looks at everything that can be seen without the node.
pub fn examine(config: &NodeConfig) -> Vec<Finding> {
    let mut found = Vec::new();
    folder(&config.data_dir, &mut found);
    if let Some(keyring) = keyring(config, &mut found) {
        authority(&config.data_dir.join("raft"), &keyring, &mut found);
    }
    room(&config.data_dir, &mut found);
    let kernel = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
    ports(config, &kernel("ip_local_port_range"), &kernel("ip_local_reserved_ports"), &mut found);
    found
}

fn folder(path: &Path, found: &mut Vec<Finding>) {
    let shown = path.display();
    let Ok(about) = fs::metadata(path) else {
        note(found, Weight::Good, format!("data folder {shown}: not made yet"));
        return;
    };
    let mode = about.permissions().mode() & 0o777;
    let weight = if mode.trailing_zeros() >= 6 { Weight::Good } else { Weight::Warning };
    let fix = if weight == Weight::Good { String::new() } else { format!("; run `chmod 700 {shown}`") };
    note(found, weight, format!("data folder {shown}: mode {mode:04o}{fix}"));
}

/// Answers it, if it is there and opens.
fn keyring(config: &NodeConfig, found: &mut Vec<Finding>) -> Option<Keyring> {
    let path = config.data_dir.join("cluster.key");
    let under = vault::sealed_by(&path).unwrap_or_else(|| config.seal.name().to_owned());
    if under == Seal::DataDir.name() {
        let lies = if path.exists() { "lies" } else { "will lie" };
        let text = format!(
            "keyring: {lies} open in the data folder, so a copy of the folder can be read; set `seal` in the \
             configuration (packaging/threatflow.toml says how) and start the node again"
        );
        note(found, Weight::Warning, text);
        return opened(&path, &Seal::DataDir, None, found);
    }
    if within(&config.data_dir, &config.seal) {
        let text = format!(
            "keyring: sealed, but {} lies in the data folder beside it; move it elsewhere",
            config.seal
        );
        note(found, Weight::Warning, text);
    }
    // Asking for a passphrase is for a start.
    if config.seal == Seal::Passphrase(None) {
        return None;
    }
    let good = format!("keyring: sealed, and {} opens it", config.seal);
    opened(&path, &config.seal, Some(good), found)
}

fn opened(path: &Path, seal: &Seal, good: Option<String>, found: &mut Vec<Finding>) -> Option<Keyring> {
    let read = vault::Vault::open(path, seal)
        .and_then(|opened| opened.map(|(_, bundle)| Ok(Keyring::from_bundle(&bundle)?)).transpose());
    match read {
        Ok(keyring) => {
            let good = good.filter(|_| keyring.is_some());
            found.extend(good.map(|text| Finding { weight: Weight::Good, text }));
            keyring
        }
        Err(failure) => {
            note(found, Weight::Wrong, format!("keyring: {failure}"));
            None
        }
    }
}

fn authority(raft: &Path, keyring: &Keyring, found: &mut Vec<Finding>) {
    if !Replica::exists(raft) {
        return;
    }
    let (weight, text) = match Replica::keeps_authority_sealed(raft, keyring) {
        Ok(true) => (Weight::Good, "authority: its key is sealed, and the keyring opens it".to_owned()),
        Ok(false) => {
            let text = "authority: its key lies open in the data folder, so who has a copy of it can admit nodes; the \
                        next start seals it, and `threatflow cluster rotate-ca` makes copies worthless";
            (Weight::Warning, text.to_owned())
        }
        Err(fault) => (Weight::Wrong, format!("authority: {fault}")),
    };
    note(found, weight, text);
}

fn within(folder: &Path, seal: &Seal) -> bool {
    let (Seal::File(path) | Seal::Passphrase(Some(path))) = seal else { return false };
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    real(path).starts_with(real(folder))
}

fn room(path: &Path, found: &mut Vec<Finding>) {
    let Ok(disk) = statvfs(path) else { return };
    let (free, all) =
        (disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize));
    let little = free < FREE_BYTES_MIN || free < all / 10;
    let weight = if little { Weight::Warning } else { Weight::Good };
    let fix = if little { "; a node stops when its disk is full: make room" } else { "" };
    note(found, weight, format!("disk: {} of {} MB free{fix}", free / 1_000_000, all / 1_000_000));
}

/// A port that is free while the node is down is given to a connection, and the node cannot have it back.
fn ports(config: &NodeConfig, outgoing: &str, reserved: &str, found: &mut Vec<Finding>) {
    let Some(given) = range(outgoing, char::is_whitespace) else { return };
    let spared: Vec<_> = reserved.split(',').filter_map(|part| range(part, |sign| sign == '-')).collect();
    let listeners = [
        ("listen", Some(config.listen)),
        ("peer_listen", Some(config.peer_listen)),
        ("management_listen", config.management_listen),
    ];
    for (name, address) in listeners {
        let Some(port) = address.map(|address| address.port()) else { continue };
        if given.contains(&port) && !spared.iter().any(|range| range.contains(&port)) {
            let text = format!(
                "{name}: while the node is down, port {port} may be given to an outgoing connection, and the node then \
                 cannot start; choose a port below {}, or put this one into net.ipv4.ip_local_reserved_ports",
                given.start()
            );
            note(found, Weight::Warning, text);
        }
    }
}

/// Two numbers, or one that is both ends.
fn range(text: &str, between: fn(char) -> bool) -> Option<RangeInclusive<u16>> {
    let mut ends = text.trim().split(between).map(|end| end.parse().ok());
    let first = ends.next()??;
    Some(first..=ends.next().unwrap_or(Some(first))?)
}

fn note(found: &mut Vec<Finding>, weight: Weight, text: String) {
    found.push(Finding { weight, text });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{node::folder::DataFolder, store::Keyring};

    fn worst(config: &NodeConfig, about: &str) -> Weight {
        let found = examine(config);
        found.into_iter().find(|finding| finding.text.starts_with(about)).unwrap().weight
    }

    #[test]
    fn an_open_keyring_and_a_seal_beside_it_are_warned_of_and_a_lost_seal_is_wrong() {
        let place = tempfile::tempdir().unwrap();
        let data_dir = place.path().join("data");
        let mut config = NodeConfig { data_dir: data_dir.clone(), ..NodeConfig::default() };
        let folder = DataFolder::claim(&data_dir).unwrap();
        folder.keep(Keyring::create().unwrap(), &Seal::DataDir).unwrap();
        assert_eq!(worst(&config, "keyring"), Weight::Warning);

        let inside = data_dir.join("seal");
        crate::store::write_secret(&inside, &[7; 40]).unwrap();
        config.seal = Seal::File(inside.clone());
        folder.keep(Keyring::create().unwrap(), &config.seal).unwrap();
        assert_eq!(worst(&config, "keyring: sealed, but"), Weight::Warning);

        let outside = place.path().join("seal");
        fs::rename(&inside, &outside).unwrap();
        assert!(examine(&config).iter().any(|finding| finding.weight == Weight::Wrong));
        config.seal = Seal::File(outside);
        assert_eq!(worst(&config, "keyring"), Weight::Good);
        assert_eq!(worst(&config, "data folder"), Weight::Good);
    }

    #[test]
    fn ports_that_outgoing_connections_are_given_are_warned_of_unless_they_are_reserved() {
        let at = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let config = NodeConfig { listen: at(40_000), peer_listen: at(8090), ..NodeConfig::default() };
        let found = |reserved| {
            let mut found = Vec::new();
            ports(&config, "32768\t60999\n", reserved, &mut found);
            found.into_iter().map(|finding| finding.text).collect::<Vec<_>>()
        };
        assert!(matches!(&found("\n")[..], [text] if text.starts_with("listen: ") && text.contains("40000")));
        assert_eq!(found("8080,39990-40010\n"), <[String; 0]>::default());
        assert_eq!(found("40000\n"), <[String; 0]>::default());
        assert_eq!(found("40001-40010\n").len(), 1);
    }
}
