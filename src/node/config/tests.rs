#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use super::{LogFormat, NodeConfig};

fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("threatflow.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn load(
    file: Option<&Path>,
    environment: &[(&str, &str)],
    flags: &[(&'static str, &str)],
) -> Result<NodeConfig, String> {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let flags = flags.iter().map(|(name, value)| (*name, (*value).to_owned()));
    NodeConfig::load(file, environment, flags).map_err(|failure| failure.to_string())
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let (_folder, path) = written("node_id = 2\nlisten = \"127.0.0.1:1\"\nlog_format = \"json\"\n");
    let environment = [("THREATFLOW_NODE_ID", "3"), ("THREATFLOW_LISTEN", "127.0.0.1:2"), ("HOME", "/")];
    let config = load(Some(&path), &environment, &[("node_id", "4")]).ok().unwrap();
    assert_eq!(config.node_id, 4);
    assert_eq!(config.listen.port(), 2);
    assert_eq!(config.log_format, LogFormat::Json);
    assert_eq!(config.peer_listen.port(), 8090);
}

#[test]
fn unknown_keys_are_named_with_their_line_and_the_known_ones() {
    let (_folder, path) = written("# ours\nnode_id = 2\nlissten = \"127.0.0.1:1\"\n[tls]\ncert = 1\n");
    let wrong = load(Some(&path), &[("THREATFLOW_NODEID", "3")], &[]).err().unwrap();
    for part in ["threatflow.toml line 3: unknown key \"lissten\"", "line 4: unknown key \"tls\""] {
        assert!(wrong.contains(part), "{wrong}");
    }
    assert!(wrong.contains("environment variable THREATFLOW_NODEID: unknown"), "{wrong}");
    assert!(wrong.contains("known keys: data_dir, listen, "), "{wrong}");
}

#[test]
fn bad_values_are_named_with_what_would_be_right() {
    let (_folder, path) = written("listen = 8080\nconnections_max = true\n");
    let wrong =
        load(Some(&path), &[("THREATFLOW_NODE_ID", "zero")], &[("log", "raft=loudest")]).err().unwrap();
    for part in ["line 1: listen is \"8080\", but must be an IP", "line 2: connections_max must be a number"]
    {
        assert!(wrong.contains(part), "{wrong}");
    }
    assert!(
        wrong.contains("THREATFLOW_NODE_ID: node_id is \"zero\", but must be a number from 1"),
        "{wrong}"
    );
    assert!(wrong.contains("flag --log: log is "), "{wrong}");
}

#[test]
fn broken_toml_is_named_with_its_line() {
    let (_folder, path) = written("node_id = 2\nlisten = \n");
    let wrong = load(Some(&path), &[], &[]).err().unwrap();
    assert!(wrong.contains("threatflow.toml line 2: "), "{wrong}");
}

#[test]
fn a_join_token_is_never_quoted() {
    let wrong = load(None, &[], &[("join", "tfj1.secretsecret")]).err().unwrap();
    assert!(wrong.contains("flag --join") && !wrong.contains("secretsecret"), "{wrong}");
}

#[test]
fn client_variables_and_empty_ones_are_no_business_of_a_node() {
    let environment = [
        ("THREATFLOW_SERVER", "http://127.0.0.1:1"),
        ("THREATFLOW_PASSWORD", "x"),
        ("THREATFLOW_RECOVERY_KEY_FILE", "key"),
        ("THREATFLOW_SSE_CUSTOMER_KEY", "x"),
        ("THREATFLOW_JOIN", ""),
    ];
    assert!(load(None, &environment, &[]).is_ok());
}

#[test]
fn listening_everywhere_needs_an_address_for_peers() {
    let wrong = load(None, &[], &[("peer_listen", "0.0.0.0:8090")]).err().unwrap();
    assert!(wrong.contains("set peer_advertise"), "{wrong}");
    let flags =
        [("peer_listen", "0.0.0.0:8090"), ("peer_advertise", "n1.test:8090"), ("listen", "0.0.0.0:8080")];
    let config = load(None, &[], &flags).ok().unwrap();
    assert_eq!(config.url(config.listen), "http://n1.test:8080");
}

/// The file that packages install names every key, commented, and parses when uncommented.
#[test]
fn the_packaged_configuration_names_every_key_with_a_right_value() {
    let text = include_str!("../../../packaging/threatflow.toml");
    for key in super::KEYS {
        let line =
            text.lines().find(|line| line.trim_start_matches('#').starts_with(&format!("{} =", key.name)));
        assert!(line.is_some(), "{} is not explained", key.name);
    }
    let (_folder, path) = written(text);
    assert!(load(Some(&path), &[], &[]).is_ok());
}
