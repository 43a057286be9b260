//! Every public module has an example in its documentation, which `cargo test`
//! runs or at least compiles.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// The file of the module `name`, which the file `of` declares.
fn file_of(of: &Path, name: &str) -> PathBuf {
    let folder = of.parent().unwrap();
    let file = folder.join(name).with_extension("rs");
    if file.exists() {
        file
    } else {
        folder.join(name).join("mod.rs")
    }
}

fn public_modules(of: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(of).unwrap();
    let declared = text
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod "));
    let names = declared.filter_map(|rest| rest.strip_suffix(';'));
    names.map(|name| file_of(of, name)).collect()
}

#[test]
fn every_public_module_has_an_example() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let mut modules = public_modules(&root);
    assert!(modules.len() > 10);
    // Adapters are entry points of their own.
    let adapters = file_of(&root, "adapters");
    modules.retain(|module| *module != adapters);
    modules.extend(public_modules(&adapters));
    modules.push(file_of(&root, "memory").with_file_name("mapped.rs"));
    for module in modules {
        let text = fs::read_to_string(&module).unwrap();
        let examples = text.lines().filter(|line| {
            let line = line.trim_start();
            line.starts_with("//! ```") || line.starts_with("/// ```")
        });
        assert!(examples.count() >= 2, "{} has no example", module.display());
    }
}
