//! What the fuzz target has found, once more; the corpus is that of `crates/fuzz`.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use super::strangers;

#[test]
fn no_stranger_breaks_a_promise() {
    let mut count = 0;
    for kind in ["corpus", "crashers"] {
        let folder = Path::new("../crates/fuzz").join(kind).join("strangers");
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for entry in entries {
            let path = entry.expect("a file").path();
            let bytes = fs::read(&path).expect("a readable file");
            assert!(catch_unwind(|| strangers(&bytes)).is_ok(), "{}", path.display());
            count += 1;
        }
    }
    assert!(count > 0, "the corpus has no file");
}
