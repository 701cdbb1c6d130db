//! Flipped bits: in the middle they are refused, in a torn end they are cut.

use super::{
    Chance,
    fake::{Act, FakeDisk, Fault as Wrong, Image},
    model::{Ask, Content, Session},
};

/// A log of several segments, stopped in order; a content per change.
fn log() -> (Image, Content) {
    let disk = FakeDisk::new(Image::default(), Wrong::None, 7);
    let mut session = Session::open(&disk, 3).unwrap();
    for index in 0..60 {
        let item = session.item(index);
        session.ask(Ask::Append(vec![item]));
        session.serve();
    }
    let content = session.close();
    (disk.now(), content)
}

fn open(image: Image) -> Result<Content, String> {
    let disk = FakeDisk::new(image, Wrong::None, 8);
    Session::open(&disk, 1).map(|session| session.content().clone()).map_err(|fault| fault.to_string())
}

/// End of the last byte that is not zero.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1)
}

#[test]
fn a_bit_flip_anywhere_in_a_log_that_was_stopped_in_order_is_refused_or_harmless() {
    let (image, content) = log();
    let mut chance = Chance(11);
    let mut refused = 0;
    for round in 0..600 {
        let names: Vec<_> = image.names.iter().collect();
        let (name, file) = names[round % names.len()];
        let bytes = &image.files[*file];
        // The last frame is the witness of the one before and holds no record.
        let end = used(bytes).max(33) - 32;
        let at = if round % 3 == 0 { chance.below(36) as usize } else { chance.below(end as u64) as usize };
        let mut image = image.clone();
        image.files[*file][at] ^= 1 << chance.below(8);
        match open(image) {
            Ok(found) => assert_eq!(found, content, "{name} byte {at}: changed without notice"),
            Err(why) => {
                refused += 1;
                assert!(why.contains("is damaged at byte") && why.contains(name), "{why}");
                assert!(why.contains("remove it from the cluster"), "{why}");
            }
        }
    }
    assert!(refused > 300, "only {refused} flips were refused");
}

#[test]
fn the_refusal_names_segment_place_and_proof() {
    let (mut image, _) = log();
    let file = image.names["0000000000000002.log"];
    image.files[file][4096 + 32 + 10] ^= 1;
    let why = open(image).unwrap_err();
    assert!(why.contains("segment 0000000000000002.log is damaged at byte 4096"), "{why}");
    assert!(why.contains("was durable"), "{why}");
}

#[test]
fn a_missing_segment_is_refused() {
    let (image, _) = log();
    for gone in ["0000000000000001.log", "0000000000000003.log"] {
        let mut image = image.clone();
        image.names.remove(gone).unwrap();
        let why = open(image).unwrap_err();
        assert!(why.contains("missing"), "{why}");
    }
}

#[test]
fn a_bit_flip_in_the_torn_end_is_cut() {
    let disk = FakeDisk::new(Image::default(), Wrong::None, 7);
    let mut session = Session::open(&disk, 3).unwrap();
    let items: Vec<_> = (0..3).map(|index| session.item(index)).collect();
    for item in items {
        session.ask(Ask::Append(vec![item]));
        session.serve();
    }
    let before = session.history[2].1.clone();
    // The power goes after the write of the last entry and before its sync; all of it is on disk but
    // for one bit.
    let write = disk.acts().iter().rposition(|act| matches!(act, Act::Write(..))).unwrap();
    let Act::Write(file, at, bytes) = disk.acts()[write].clone() else { unreachable!() };
    for bit in 0..bytes.len() * 8 {
        let mut image = disk.now();
        image.files[file][at + bit / 8] ^= 1 << (bit % 8);
        let found = open(image).unwrap();
        // Padding carries nothing.
        assert!(found == before || (bit / 8 > bytes.len() - 8 && found == *session.content()), "bit {bit}");
    }
}
