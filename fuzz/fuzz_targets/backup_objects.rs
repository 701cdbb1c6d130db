#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| threatflow::fuzzing::backup_objects(data));
