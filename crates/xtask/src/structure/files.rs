//! Source files of the repository with their comments. What a build makes is left out.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fedra_harness::project;

use super::script;
use super::source::{Comment, Source};

/// A source file.
#[derive(Debug)]
pub struct File {
    /// The path from the repository's root.
    pub path: PathBuf,
    pub lines: usize,
    pub comments: Vec<Comment>,
}

/// Files of a language.
struct Language {
    endings: &'static [&'static str],
    /// Folders of files that are not ours, or that a build makes.
    skipped: &'static [&'static str],
    comments: fn(&str) -> Vec<Comment>,
}

const RUST: Language = Language {
    endings: &["rs"],
    skipped: &["target", "node_modules"],
    comments: |text| Source::read(text).comments,
};

const SCRIPTS: Language = Language {
    endings: &["ts", "mjs", "js"],
    skipped: &["node_modules", "dist", "generated", "wasm"],
    comments: script::comments,
};

/// All Rust files in these folders.
pub fn rust(folders: &[&Path]) -> Result<Vec<File>> {
    let mut files = Vec::new();
    for folder in folders {
        RUST.read(folder, &mut files)?;
    }
    Ok(files)
}

/// All TypeScript and JavaScript in the repository at `root`: the npm package, the
/// pages, and the tests in browsers.
pub fn scripts(root: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    for folder in ["web", "wasm-tests"] {
        SCRIPTS.read(&root.join(folder), &mut files)?;
    }
    Ok(files)
}

impl Language {
    fn read(&self, folder: &Path, files: &mut Vec<File>) -> Result<()> {
        let entries =
            fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                if !self.skipped.iter().any(|skipped| path.ends_with(skipped)) {
                    self.read(&path, files)?;
                }
            } else if path.extension().is_some_and(|own| self.endings.iter().any(|e| own == *e)) {
                files.push(self.file(&path)?);
            }
        }
        Ok(())
    }

    fn file(&self, path: &Path) -> Result<File> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let path = path.strip_prefix(project::root()).unwrap_or(path).to_path_buf();
        Ok(File { path, lines: text.lines().count(), comments: (self.comments)(&text) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_languages_have_their_files() {
        let root = project::root();
        let rust = rust(&[&root.join("crates/xtask")]).unwrap();
        assert!(rust.iter().any(|file| file.path.ends_with("xtask/src/structure.rs")));
        let scripts = scripts(&root).unwrap();
        for known in ["web/package/src/client.ts", "wasm-tests/e2e/harness/until.mjs"] {
            let file = scripts.iter().find(|file| file.path == Path::new(known));
            assert!(file.is_some_and(|file| file.lines > 0 && !file.comments.is_empty()));
        }
        let is_ours = |file: &File| !file.path.iter().any(|part| part == "node_modules");
        assert!(scripts.iter().all(is_ours));
    }
}
