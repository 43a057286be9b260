//! The parts of a split dump on the command line.

use guestdump::kdump::DumpHeaders;
use serde_json::json;
use testkit::Folder;

/// Makes the parts `a` and `b` of the dump `whole`, which is there. Each part has all of the file; the
/// descriptors of the second begin with those of its own pages.
fn split(folder: &Folder, at: u64) {
    let whole = folder.read("whole");
    let headers = DumpHeaders::decode(&whole).unwrap();
    let end = headers.max_mapnr();
    for (name, start, end) in [("a", 0, at), ("b", at, end)] {
        let mut part = whole.clone();
        let mut headers = headers;
        headers.sub.split = 1;
        (headers.sub.start_pfn, headers.sub.end_pfn) = (start, end);
        (headers.sub.start_pfn_64, headers.sub.end_pfn_64) = (start, end);
        headers.main.written_blocks = 0;
        let mut main = Vec::new();
        let encoding = headers.abi.encoding();
        headers.main.encode(encoding, &mut main).unwrap();
        part[..main.len()].copy_from_slice(&main);
        let mut sub = Vec::new();
        headers.sub.encode(headers.abi, &mut sub).unwrap();
        let block = headers.main.block_size as usize;
        part[block..block + sub.len()].copy_from_slice(&sub);
        let [_, second] = headers.bitmaps().unwrap();
        let second = &whole[second.start as usize..second.end as usize];
        let pages = |end: u64| {
            guestdump::bitmap::runs(second)
                .flatten()
                .take_while(|f| *f < end)
                .count()
        };
        let (skipped, all) = (pages(start), pages(u64::MAX));
        let from = headers.descriptors() as usize;
        part.copy_within(from + 24 * skipped..from + 24 * all, from);
        folder.write(name, part);
    }
}

#[test]
fn one_part_is_incomplete_and_all_are_a_dump() {
    let folder = Folder::new();
    folder.run("dump --from demo:16M --to whole").ok();
    split(&folder, 100);
    folder
        .run("check b")
        .fails(1, &["b: ", "one part of a split dump", "0x64"]);
    let info = folder.run("info --json b").json();
    assert_eq!(info["complete"], false);
    assert_eq!(info["lacks"][0]["kind"], "part");
    folder
        .run("dump --from b --to x")
        .fails(1, &["one part of a split dump", "--keep-incomplete"]);
    let run = folder.run("dump --from b --to x --keep-incomplete");
    assert_eq!(run.code(), 3, "{}", run.stderr());
    folder.run("check x").fails(1, &["incomplete"]);

    assert!(folder.run("check b a").ok().starts_with("b, a: good"));
    let info = folder.run("info --json a vmcore:b").json();
    assert_eq!(
        (&info["complete"], &info["lacks"]),
        (&json!(true), &json!([]))
    );
    folder
        .run("dump --from vmcore:b --from a --to y --format elf")
        .ok();
    folder.run("dump --from whole --to z --format elf").ok();
    assert!(folder.read("y") == folder.read("z"));
    folder
        .run("check a a")
        .fails(1, &["not parts of one dump", "page frame"]);
    folder
        .run("dump --from a --from demo --to x")
        .fails(2, &["parts of one split dump"]);
}
