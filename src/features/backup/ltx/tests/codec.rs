//! One file.

use super::{
    super::{Decoder, Encoder, Header, Limits, LtxError, format::page_after, lock_page},
    BLOCKS, Chance, FRAMES, STORED, file, header, noise,
};

type Pages = Vec<(u32, Vec<u8>)>;

fn read(bytes: &[u8]) -> Result<(Header, Pages), LtxError> {
    let mut decoder = Decoder::new(bytes, Limits::default())?;
    let mut pages = Pages::new();
    while let Some(page) = decoder.advance()? {
        pages.push((page, decoder.page().to_vec()));
    }
    Ok((*decoder.header(), pages))
}

/// What the reference writer was given.
fn reference_pages() -> Pages {
    let text = b"organization ".repeat(40)[..512].to_vec();
    vec![(1, noise(1, 512)), (2, vec![0; 512]), (3, text)]
}

#[test]
fn a_file_of_encrypted_pages_is_byte_for_byte_what_the_reference_writer_makes() {
    let pages = [(2, noise(5, 512)), (8, noise(6, 512))];
    assert_eq!(file(header(512, 8, 4, 7), &pages), STORED);
}

#[test]
fn both_encodings_of_the_reference_writer_are_read() {
    let expected = (header(512, 3, 1, 9), reference_pages());
    assert_eq!(read(FRAMES).unwrap(), expected);
    assert_eq!(read(BLOCKS).unwrap(), expected);
}

#[test]
fn what_is_written_is_read_for_every_page_size() {
    let (mut chance, mut chance_of) = (Chance(7), Chance(8));
    for power in 9..=16 {
        let size = 1 << power;
        for _ in 0..8 {
            let commit = 1 + chance.below(40) as u32;
            let pages: Pages = (1..=commit)
                .map(|page| (page, chance.page(size)))
                .filter(|_| chance_of.below(3) > 0)
                .collect();
            let header = header(size, commit, 5, 5 + chance.below(9));
            let bytes = file(header, &pages);
            assert_eq!(read(&bytes).unwrap(), (header, pages));
        }
    }
}

#[test]
fn a_page_packs_the_same_whatever_came_before_it() {
    let alone = file(header(512, 9, 2, 2), &[(7, b"abcd".repeat(128))]);
    let behind =
        file(header(512, 9, 2, 2), &[(3, b"xabcdabcd".repeat(57)[..512].to_vec()), (7, b"abcd".repeat(128))]);
    let frame = |file: &[u8]| {
        let begin = file.windows(6).position(|head| head == [0, 0, 0, 7, 0, 0]).unwrap();
        file[begin..begin + 40].to_vec()
    };
    assert_eq!(frame(&alone), frame(&behind));
}

#[test]
fn a_flipped_bit_anywhere_is_found_or_changes_no_page() {
    for original in [FRAMES, BLOCKS] {
        let expected = read(original).unwrap();
        let mut harmless = 0;
        for at in 0..original.len() {
            for bit in 0..8 {
                let mut bytes = original.to_vec();
                bytes[at] ^= 1 << bit;
                // A reference back to other, equal bytes unpacks to the same page.
                match read(&bytes) {
                    Ok(pages) => {
                        assert_eq!(pages, expected, "byte {at}");
                        harmless += 1;
                    }
                    Err(error) => assert!(error.is_damage(), "{error}"),
                }
            }
        }
        assert!(harmless < 16, "{harmless}");
    }
}

#[test]
fn a_flipped_byte_anywhere_in_a_file_of_encrypted_pages_is_found() {
    let pages: Pages = (1..=6).map(|page| (page, noise(page.into(), 512))).collect();
    let original = file(header(512, 6, 1, 4), &pages);
    for at in 0..original.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut bytes = original.clone();
            bytes[at] ^= change;
            let error = read(&bytes).expect_err(&format!("byte {at}"));
            assert!(error.is_damage(), "{error}");
        }
    }
}

#[test]
fn a_file_cut_at_any_length_is_found_and_so_is_one_that_goes_on() {
    for original in [FRAMES, BLOCKS] {
        for length in 0..original.len() {
            let LtxError::Bad { at, what } = read(&original[..length]).unwrap_err() else { panic!() };
            assert_eq!((at, what.as_str()), (length as u64, "the file ends here, too early"));
        }
        let longer = [original, &[0]].concat();
        let error = read(&longer).unwrap_err().to_string();
        assert_eq!(error, format!("LTX file, byte {}: the file goes on after its end", original.len()));
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let with = |at: usize, byte: u8| {
        let mut bytes = FRAMES.to_vec();
        bytes[at] = byte;
        read(&bytes).unwrap_err().to_string()
    };
    assert_eq!(with(0, b'M'), "LTX file, byte 0: no LTX file: it does not begin with LTX1");
    assert_eq!(with(7, 0), "LTX file, byte 4: flags 0x0 are not known, only 0x2");
    assert_eq!(with(10, 3), "LTX file, byte 8: a page size of 768: a power of two, 512 to 65536, is needed");
    assert_eq!(with(103, 2), "LTX file, byte 100: page 2 of a snapshot where page 1 is due");
    assert_eq!(with(105, 2), "LTX file, byte 100: a page with flags 0x0002");
    assert_eq!(with(500, 0), "LTX file, byte 100: the checksum of an LZ4 frame does not fit its content");
    let last = FRAMES.len() - 1;
    assert_eq!(
        with(last, !FRAMES[last]),
        format!("LTX file, byte {}: the checksum of the file does not fit its content", last - 7)
    );
}

#[test]
fn limits_hold_before_anything_is_kept() {
    let refused = |limits| match Decoder::new(FRAMES, limits).and_then(Decoder::verify) {
        Err(error) => error.to_string(),
        Ok(pages) => format!("{pages} pages"),
    };
    let (pages, bytes) = (3, FRAMES.len() as u64);
    assert_eq!(refused(Limits { pages, bytes }), "3 pages");
    assert_eq!(
        refused(Limits { pages: 2, bytes }),
        "LTX file, byte 12: a database of 3 pages; at most 2 are read"
    );
    assert!(refused(Limits { pages, bytes: bytes - 1 }).ends_with("more than 765 bytes"));
}

#[test]
fn the_lock_page_is_passed_over() {
    let lock = lock_page(65536);
    assert_eq!(lock, 16385);
    assert_eq!(lock_page(4096), 262_145);
    let page = vec![7; 65536];
    let beside = [lock - 1, lock, lock + 1].map(|number| (number, page.clone()));
    let (_, pages) = read(&file(header(65536, lock + 1, 2, 2), &beside)).unwrap();
    assert_eq!(pages.iter().map(|(page, _)| *page).collect::<Vec<_>>(), [lock - 1, lock + 1]);
    // In a snapshot the page behind it is due after the one before it.
    assert_eq!([1, lock - 1, lock].map(|page| page_after(page, 65536)), [2, lock + 1, lock + 1]);
}

#[test]
fn the_writer_refuses_what_no_reader_takes() {
    let refusal = |header: Header, pages: &[u32]| {
        let mut encoder = match Encoder::new(Vec::new(), header) {
            Ok(encoder) => encoder,
            Err(error) => return error.to_string(),
        };
        for page in pages {
            if let Err(error) = encoder.page(*page, &[0; 512]) {
                return error.to_string();
            }
        }
        encoder.finish().map_or_else(|error| error.to_string(), |_| "written".to_owned())
    };
    assert!(refusal(header(512, 0, 1, 1), &[]).contains("a database of 0 pages"));
    assert!(refusal(header(512, 1, 0, 1), &[]).contains("no range"));
    assert!(refusal(header(512, 1, 3, 2), &[]).contains("no range"));
    assert!(refusal(header(1000, 1, 1, 1), &[]).contains("page size of 1000"));
    assert!(refusal(header(1024, 1, 1, 1), &[1]).contains("page 1 has 512 bytes, a page has 1024"));
    assert!(refusal(header(512, 3, 1, 1), &[2]).contains("page 2 of a snapshot where page 1 is due"));
    assert!(refusal(header(512, 3, 1, 1), &[1, 2]).contains("a snapshot ends where page 3 is due"));
    assert!(refusal(header(512, 3, 2, 2), &[3, 2]).contains("page 2 after page 3"));
    assert!(refusal(header(512, 3, 2, 2), &[4]).contains("page 4 of a database of 3"));
    assert_eq!(refusal(header(512, 3, 2, 2), &[]), "written");
}
