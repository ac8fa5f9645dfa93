//! Files of the page, compressed ahead: `x.js.br` and `x.js.gz` beside `x.js`, each
//! only where it is smaller.
//!
//! Brotli at its best takes seconds on the WASM module, so what came of a
//! content is kept by its hash. The same content always gives the same bytes.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, bail};
use fedra_harness::{process, project, status};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

/// A content, compressed in both ways.
pub struct Compressed {
    pub gzip: Vec<u8>,
    pub brotli: Vec<u8>,
}

/// Bytes of all files of a folder.
#[derive(Default)]
struct Totals {
    files: usize,
    raw: u64,
    /// Bytes of the compressed files, and of the others as they are.
    gzip: u64,
    brotli: u64,
}

/// Qualities of brotli.
#[derive(Clone, Copy)]
enum Quality {
    Best = 11,
    /// The best makes the digits a tenth smaller, and takes eighty times as long.
    Quick = 5,
}

impl Quality {
    fn of(file: &Path) -> Self {
        if file.extension().is_some_and(|ending| ending == "bin") {
            Self::Quick
        } else {
            Self::Best
        }
    }
}

/// Compresses a content as well as possible, unless that was done before.
pub fn compress(content: &[u8]) -> Result<Compressed> {
    kept(content, Quality::Best, &store())
}

/// Compresses the files below `folder`. Forgets what was kept of other contents.
pub fn folder(folder: &Path) -> Result<()> {
    let totals = beside(folder, &store())?;
    status::note(&format!(
        "{} files, {}: {} as brotli, {} as gzip",
        totals.files,
        status::bytes(totals.raw),
        status::bytes(totals.brotli),
        status::bytes(totals.gzip),
    ));
    Ok(())
}

/// Folder in which results are kept.
fn store() -> PathBuf {
    project::cache().join("compressed")
}

fn kept(content: &[u8], quality: Quality, store: &Path) -> Result<Compressed> {
    let key = key(content, quality);
    let (gzip, brotli) = (store.join(format!("{key}.gz")), store.join(format!("{key}.br")));
    if let (Ok(gzip), Ok(brotli)) = (fs::read(&gzip), fs::read(&brotli)) {
        return Ok(Compressed { gzip, brotli });
    }
    let compressed = encode(content, quality)?;
    fs::create_dir_all(store).with_context(|| format!("cannot create {}", store.display()))?;
    write(&gzip, &compressed.gzip)?;
    write(&brotli, &compressed.brotli)?;
    Ok(compressed)
}

fn key(content: &[u8], quality: Quality) -> String {
    format!("{}-{}", hex::encode(Sha256::digest(content)), quality as i32)
}

fn encode(content: &[u8], quality: Quality) -> Result<Compressed> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(content)?;
    let gzip = gzip.finish()?;
    let mut brotli = Vec::new();
    let parameters = brotli::enc::BrotliEncoderParams {
        quality: quality as i32,
        size_hint: content.len(),
        ..Default::default()
    };
    brotli::BrotliCompress(&mut &*content, &mut brotli, &parameters)?;
    Ok(Compressed { gzip, brotli })
}

/// Writes a file that is whole or not there.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let fresh = PathBuf::from(name);
    fs::write(&fresh, bytes)
        .and_then(|()| fs::rename(&fresh, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn beside(folder: &Path, store: &Path) -> Result<Totals> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    let used = Mutex::new((Totals::default(), BTreeSet::new()));
    let queue = Mutex::new(files.into_iter());
    let work = || -> Result<()> {
        loop {
            let Some(file) = queue.lock().expect("no worker panics with it").next() else {
                return Ok(());
            };
            if process::interrupted() {
                bail!("interrupted");
            }
            let (key, sizes) = one(&file, store)?;
            let mut used = used.lock().expect("no worker panics with it");
            used.0.files += 1;
            used.0.raw += sizes.0;
            used.0.gzip += sizes.1;
            used.0.brotli += sizes.2;
            used.1.insert(key);
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker panicked"))
    })?;
    let (totals, keys) = used.into_inner().expect("no worker panics with it");
    forget(store, &keys)?;
    Ok(totals)
}

/// Compresses one file. Returns its key, and its bytes raw, as gzip and as brotli.
fn one(file: &Path, store: &Path) -> Result<(String, (u64, u64, u64))> {
    let content = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let quality = Quality::of(file);
    let compressed = kept(&content, quality, store)?;
    let smallest = |ending: &str, bytes: &[u8]| -> Result<u64> {
        let mut name = file.as_os_str().to_owned();
        name.push(ending);
        let beside = PathBuf::from(name);
        if bytes.len() < content.len() {
            write(&beside, bytes)?;
            return Ok(bytes.len() as u64);
        }
        Ok(content.len() as u64)
    };
    let gzip = smallest(".gz", &compressed.gzip)?;
    let brotli = smallest(".br", &compressed.brotli)?;
    Ok((key(&content, quality), (content.len() as u64, gzip, brotli)))
}

/// All files below `folder` that are not compressed ones, which are removed: they may
/// be of an earlier content.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "br" || ending == "gz") {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// Removes from the store what belongs to none of these keys.
fn forget(store: &Path, keys: &BTreeSet<String>) -> Result<()> {
    let entries =
        fs::read_dir(store).with_context(|| format!("cannot read {}", store.display()))?;
    for entry in entries {
        let path = entry?.path();
        let key = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if !keys.contains(key) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// An empty folder of this test's own.
    fn fresh(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn compressed_files_lie_beside_theirs_where_they_are_smaller() {
        let (page, store) = (fresh("page"), fresh("store"));
        let script = b"console.log('again');\n".repeat(50);
        fs::create_dir(page.join("assets")).unwrap();
        fs::write(page.join("assets/app.js"), &script).unwrap();
        fs::write(page.join("tiny"), "x").unwrap();
        fs::write(page.join("tiny.br"), "of an earlier build").unwrap();
        let totals = beside(&page, &store).unwrap();
        assert_eq!((totals.files, totals.raw), (2, script.len() as u64 + 1));
        let gzip = fs::read(page.join("assets/app.js.gz")).unwrap();
        let brotli = fs::read(page.join("assets/app.js.br")).unwrap();
        assert_eq!(totals.gzip, gzip.len() as u64 + 1);
        assert_eq!(totals.brotli, brotli.len() as u64 + 1);
        assert!(!page.join("tiny.br").exists() && !page.join("tiny.gz").exists());
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&*gzip).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, script);
        unpacked.clear();
        brotli::BrotliDecompress(&mut &*brotli, &mut unpacked).unwrap();
        assert_eq!(unpacked, script);
        for folder in [page, store] {
            fs::remove_dir_all(folder).unwrap();
        }
    }

    #[test]
    fn results_are_kept_by_content_and_forgotten_with_it() {
        let (page, store) = (fresh("kept-page"), fresh("kept-store"));
        let content = [7; 1000];
        let first = kept(&content, Quality::Best, &store).unwrap();
        let again = encode(&content, Quality::Best).unwrap();
        assert_eq!((&first.gzip, &first.brotli), (&again.gzip, &again.brotli), "the same bytes");
        // What lies in the store is what is used.
        let name = format!("{}.br", key(&content, Quality::Best));
        fs::write(store.join(name), "kept").unwrap();
        assert_eq!(kept(&content, Quality::Best, &store).unwrap().brotli, b"kept");
        fs::write(page.join("other"), "other").unwrap();
        beside(&page, &store).unwrap();
        assert_eq!(kept(&content, Quality::Best, &store).unwrap().brotli, again.brotli);
        for folder in [page, store] {
            fs::remove_dir_all(folder).unwrap();
        }
    }
}
