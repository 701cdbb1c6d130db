#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;

use super::*;

fn key_file(folder: &Path, byte: u8) -> Seal {
    let path = folder.join(format!("seal-{byte}"));
    write_secret(&path, &[byte; 40]).unwrap();
    Seal::File(path)
}

fn refused(path: &Path, seal: &Seal) -> String {
    match Vault::open(path, seal) {
        Err(failure) => failure.to_string(),
        Ok(_) => "it opens".to_owned(),
    }
}

#[test]
fn a_sealed_keyring_opens_with_its_own_seal_only_and_shows_nothing() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("cluster.key");
    let (right, wrong) = (key_file(place.path(), b'a'), key_file(place.path(), b'b'));
    Vault::create(&path, &right).unwrap().keep(b"the keyring").unwrap();
    assert!(!fs::read_to_string(&path).unwrap().contains(&to_hex(b"the keyring")));
    assert_eq!(Vault::open(&path, &right).unwrap().unwrap().1.as_slice(), b"the keyring");
    assert!(refused(&path, &wrong).contains("does not open"));
    assert!(refused(&path, &Seal::DataDir).contains("sealed by a file"));
    assert_eq!(sealed_by(&path).as_deref(), Some("file"));
}

#[test]
fn a_passphrase_opens_it_again_and_another_does_not() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("cluster.key");
    let named = |text: &str| {
        let file = place.path().join("passphrase");
        write_secret(&file, text.as_bytes()).unwrap();
        Seal::Passphrase(Some(file))
    };
    Vault::create(&path, &named("correct horse battery\n")).unwrap().keep(b"the keyring").unwrap();
    let again = Vault::open(&path, &named("correct horse battery")).unwrap().unwrap();
    assert_eq!(again.1.as_slice(), b"the keyring");
    // A change is kept under the same passphrase.
    again.0.keep(b"another").unwrap();
    assert_eq!(
        Vault::open(&path, &named("correct horse battery")).unwrap().unwrap().1.as_slice(),
        b"another"
    );
    assert!(refused(&path, &named("correct horse batterx")).contains("does not open"));
    assert!(refused(&path, &named("short")).contains("shorter than 12"));
}

#[test]
fn a_keyring_that_lay_open_is_sealed_when_a_seal_is_named() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("cluster.key");
    Vault::create(&path, &Seal::DataDir).unwrap().keep(b"the keyring").unwrap();
    let seal = key_file(place.path(), b'a');
    assert_eq!(Vault::open(&path, &seal).unwrap().unwrap().1.as_slice(), b"the keyring");
    assert_eq!(sealed_by(&path).as_deref(), Some("file"));
    assert_eq!(Vault::open(&path, &seal).unwrap().unwrap().1.as_slice(), b"the keyring");
}

#[test]
fn what_others_may_read_is_refused_with_the_fix() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("cluster.key");
    let seal = key_file(place.path(), b'a');
    Vault::create(&path, &seal).unwrap().keep(b"the keyring").unwrap();
    let Seal::File(key) = &seal else { panic!("a file") };
    fs::set_permissions(key, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(refused(&path, &seal).contains("mode 0640"));
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let why = refused(&path, &seal);
    assert!(why.contains("mode 0644") && why.contains("chmod 600"), "{why}");
}

#[test]
fn a_missing_or_short_key_is_named_with_how_to_make_one() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("cluster.key");
    let missing = Seal::File(place.path().join("nothing"));
    assert!(Vault::create(&path, &missing).err().unwrap().to_string().contains("head -c 32 /dev/urandom"));
    let short = place.path().join("short");
    write_secret(&short, b"0123456789").unwrap();
    assert!(Vault::create(&path, &Seal::File(short)).err().unwrap().to_string().contains("10 bytes"));
}

#[test]
fn a_seal_reads_back_from_its_text() {
    for text in [
        "data_dir",
        "file:/etc/threatflow/seal.key",
        "credential:threatflow-seal",
        "passphrase",
        "passphrase:/run/p",
    ] {
        assert_eq!(text.parse::<Seal>().unwrap().to_string(), text);
    }
    for text in ["", "file:", "credential:a/b", "secret:x", "passphrase:"] {
        assert!(text.parse::<Seal>().is_err(), "{text}");
    }
}
