#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| guestdump_fuzz::notes::notes(input));
