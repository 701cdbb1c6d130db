//! Flipped bits: in the middle they are refused, in a torn end they are cut.

use super::{
    super::{
        durable,
        segment::{HEADER, number_of, parse_segment},
    },
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
        let names: Vec<_> = image.names.iter().filter(|(name, _)| number_of(name).is_some()).collect();
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
    // for one bit, and nothing says that it was durable.
    let beside = disk.now().names[durable::NAME];
    let writes = |of_log: bool| {
        let acts = disk.acts().into_iter().rev();
        acts.filter(move |act| matches!(act, Act::Write(file, ..) if (*file != beside) == of_log))
    };
    let Some(Act::Write(_, _, told)) = writes(false).nth(1) else { unreachable!() };
    let Some(Act::Write(file, at, bytes)) = writes(true).next() else { unreachable!() };
    for bit in 0..bytes.len() * 8 {
        let mut image = disk.now();
        image.files[beside].clone_from(&told);
        image.files[file][at + bit / 8] ^= 1 << (bit % 8);
        let found = open(image).unwrap();
        // Padding carries nothing.
        assert!(found == before || (bit / 8 > bytes.len() - 8 && found == *session.content()), "bit {bit}");
    }
}

/// A log of some votes and entries that was killed after its last answer.
fn killed() -> (Image, Content) {
    let disk = FakeDisk::new(Image::default(), Wrong::None, 7);
    let mut session = Session::open(&disk, 5).unwrap();
    for index in 0..30 {
        let item = session.item(index);
        let vote = Ask::Vote(bytes::Bytes::from(vec![index as u8; 3]));
        session.ask(if index % 7 == 6 { vote } else { Ask::Append(vec![item]) });
        session.serve();
        if index % 7 == 6 {
            let item = session.item(index);
            session.ask(Ask::Append(vec![item]));
            session.serve();
        }
    }
    (disk.now(), session.content().clone())
}

/// Every way to lose the end of the log: cut or zeroed at each frame, in each segment, those behind it gone.
#[test]
fn a_lost_end_is_refused_wherever_it_begins_and_nothing_is_cut() {
    let (image, content) = killed();
    assert_eq!(open(image.clone()), Ok(content));
    let segments: Vec<_> = image.names.iter().filter(|(name, _)| number_of(name).is_some()).collect();
    let mut refused = 0;
    for (place, (_, file)) in segments.iter().enumerate() {
        let bytes = &image.files[**file];
        let starts: Vec<_> =
            parse_segment(bytes).unwrap().frames.iter().map(|frame| frame.records[0].0).collect();
        for at in starts.iter().map(|at| at - 32).chain([HEADER]) {
            for zeroed in [true, false] {
                let mut image = image.clone();
                for (behind, _) in &segments[place + 1..] {
                    image.names.remove(*behind);
                }
                let harmed = &mut image.files[**file];
                if zeroed {
                    harmed[at..].fill(0);
                } else {
                    harmed.truncate(at);
                }
                let disk = FakeDisk::new(image.clone(), Wrong::None, 8);
                let why =
                    Session::open(&disk, 1).err().expect("a log that lost its end was taken").to_string();
                assert!(why.contains("the end of the log is missing; this node may have lost"), "{why}");
                assert_eq!(disk.now().files, image.files, "what could be put back was cut");
                refused += 1;
            }
        }
    }
    assert!(refused > 60, "only {refused} ends were lost");
    let mut image = image.clone();
    image.names.retain(|name, _| number_of(name).is_none());
    assert!(open(image).unwrap_err().contains("the log ends before its first frame"));
}

#[test]
fn without_a_sound_record_of_what_is_durable_the_frames_decide() {
    let (image, content) = killed();
    let beside = image.names[durable::NAME];
    let mut harmed = vec![image.clone(), image.clone(), image.clone()];
    harmed[0].names.remove(durable::NAME);
    harmed[1].files[beside][3] ^= 1;
    harmed[2].files[beside].truncate(5);
    for image in harmed {
        assert_eq!(open(image), Ok(content.clone()));
    }
}
