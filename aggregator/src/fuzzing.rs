//! Entry points into this crate for fuzz targets and tests. Compiled with `--cfg
//! fuzzing`, which `cargo xtask fuzz` sets, and for tests, which replay the corpus.

pub use crate::access::forged::{forwarded, join_token};

#[cfg(test)]
mod tests {
    use std::fs;
    use std::panic::catch_unwind;
    use std::path::Path;

    /// Runs what the fuzzer has found through the target, once more.
    #[track_caller]
    fn replay(name: &str, target: fn(&[u8])) {
        let mut count = 0;
        for kind in ["corpus", "crashers"] {
            let folder = Path::new("../crates/fuzz").join(kind).join(name);
            let Ok(entries) = fs::read_dir(folder) else { continue };
            for entry in entries {
                let path = entry.expect("a file").path();
                let bytes = fs::read(&path).expect("a readable file");
                assert!(catch_unwind(|| target(&bytes)).is_ok(), "{}", path.display());
                count += 1;
            }
        }
        assert!(count > 0, "the corpus has no file");
    }

    #[test]
    fn no_forged_token_is_let_in() {
        replay("join_token", super::join_token);
    }

    #[test]
    fn no_header_of_a_proxy_is_taken_for_more_than_it_is() {
        replay("forwarded", super::forwarded);
    }
}
