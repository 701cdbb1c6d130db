//! The parser takes any bytes.

use super::{
    super::{
        record::{Kind, Raw, Seal},
        segment::{FrameBuilder, HEADER, header, parse_segment, witness},
    },
    Chance,
};
use crate::contract::GroupId;

fn image(chance: &mut Chance) -> Vec<u8> {
    let seal = Seal { group: GroupId(9), salt: chance.next() };
    let mut image = header(5, &seal);
    let mut frame = FrameBuilder::default();
    for number in 1..20 {
        for _ in 0..chance.below(4) {
            let body = vec![7; chance.below(90) as usize];
            frame.push(&Raw::plain(Kind::Vote, None, &body), &seal).unwrap();
        }
        image.extend_from_slice(frame.finish(number, number - 1, &seal).unwrap());
        frame.clear();
    }
    image
}

#[test]
fn what_was_written_is_parsed() {
    let image = image(&mut Chance(1));
    let parsed = parse_segment(&image).unwrap();
    assert_eq!((parsed.number, parsed.seal.group, parsed.end), (5, GroupId(9), image.len()));
    let numbers: Vec<_> = parsed.frames.iter().map(|frame| frame.head.number).collect();
    assert_eq!(numbers, (1..20).collect::<Vec<_>>());
}

#[test]
fn mutated_and_random_bytes_never_panic_and_never_add_frames() {
    let mut chance = Chance(2);
    for _ in 0..3000 {
        let mut bytes = image(&mut chance);
        for _ in 0..=chance.below(6) {
            let at = chance.below(bytes.len() as u64) as usize;
            match chance.below(4) {
                0 => bytes[at] ^= 1 << chance.below(8),
                1 => bytes[at] = chance.next() as u8,
                2 => bytes.truncate(at.max(1)),
                _ => {
                    let value = [0, u32::MAX, 1 << 31][chance.below(3) as usize].to_le_bytes();
                    bytes.iter_mut().skip(at).zip(value).for_each(|(to, from)| *to = from);
                }
            }
        }
        if let Ok(parsed) = parse_segment(&bytes) {
            assert!(parsed.frames.len() < 20 && parsed.end <= bytes.len().max(HEADER).next_multiple_of(8));
            witness(&bytes, HEADER, 1, &parsed.seal);
        }
        let noise: Vec<u8> = (0..chance.below(5000)).map(|_| chance.next() as u8).collect();
        assert!(parse_segment(&noise).is_err());
    }
}

#[test]
fn frames_of_another_segment_are_not_taken() {
    let (mut chance, mut other) = (Chance(3), Chance(4));
    let mut bytes = image(&mut chance);
    let end = bytes.len();
    bytes.extend_from_slice(&image(&mut other)[HEADER..]);
    let parsed = parse_segment(&bytes).unwrap();
    assert_eq!(parsed.end, end);
    assert!(witness(&bytes, end, 0, &parsed.seal).is_none(), "stale bytes bore witness");
}
