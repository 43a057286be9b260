//! VMCOREINFO of a guest under QEMU: the summary names QEMU's vmcoreinfo device.

use testkit::Folder;

use crate::fake::Fake;

#[test]
fn vmcoreinfo_of_qemus_note_is_of_its_device() {
    let folder = Folder::new();
    let dump = |more: &str| {
        // The socket serves one client.
        let fake = Fake::start("running");
        let from = format!("qmp:{}", fake.path().display());
        folder.run(&format!("dump --from {from} --to x --force {more}"))
    };
    let found = dump("--json").json()["vmcoreinfo"].clone();
    assert_eq!(found["source"], "qemu");
    assert_eq!(found["osrelease"], "6.1.0-fake");
    // The guest has no kernel.
    assert_eq!(found["verified"], false);
    let text = dump("--progress never");
    text.ok();
    for words in ["6.1.0-fake, from QEMU's vmcoreinfo device", "not verified"] {
        assert!(text.stderr().contains(words), "{}", text.stderr());
    }
}
