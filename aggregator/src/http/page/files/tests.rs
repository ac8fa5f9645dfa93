//! Files that change while they are remembered, and compressed ones that do not fit.

use std::fs;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::*;

/// A time by which the changes of the test have settled.
fn later() -> SystemTime {
    SystemTime::now() + Duration::from_secs(10)
}

fn file(folder: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, content).expect("writes");
    path
}

fn brotli(content: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let parameters = brotli::enc::BrotliEncoderParams::default();
    brotli::BrotliCompress(&mut &content[..], &mut packed, &parameters).expect("to memory");
    packed
}

/// Content as gzip makes it without compressing.
fn gzip(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("a short content");
    let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    let lengths = [length.to_le_bytes(), (!length).to_le_bytes()].concat();
    let trailer =
        [crc32fast::hash(content).to_le_bytes(), u32::from(length).to_le_bytes()].concat();
    [&header, lengths.as_slice(), content, &trailer].concat()
}

/// Backdates the file's content by an hour.
fn backdate(path: &Path) {
    let file = File::options().write(true).open(path).expect("a file");
    file.set_modified(SystemTime::now() - Duration::from_secs(3600)).expect("sets");
}

#[cfg(unix)]
#[test]
fn an_unchanged_file_is_in_memory_once() {
    let folder = TempDir::new().expect("a folder");
    let path = file(&folder, "a", b"content");
    let mut files = Files::default();
    let first = files.look(later(), &path, Want::Content).expect("reads").content.expect("asked");
    let second = files.look(later(), &path, Want::Hash).expect("reads").content.expect("at hand");
    assert_eq!(first.as_ptr(), second.as_ptr());
    drop((first, second));
    let known = files.look(later(), &path, Want::Hash).expect("reads");
    assert!(known.content.is_none(), "only the hash is kept");
    assert_eq!(known.sha256, Sha256Hash::of(b"content"));
}

#[test]
fn a_content_of_the_same_length_and_with_an_older_date_is_new() {
    let folder = TempDir::new().expect("a folder");
    let path = file(&folder, "a", b"old");
    for now in [SystemTime::now(), later()] {
        let mut files = Files::default();
        fs::write(&path, b"old").expect("writes");
        let old = files.look(now, &path, Want::Content).expect("reads");
        fs::write(&path, b"new").expect("writes");
        backdate(&path);
        let new = files.look(now, &path, Want::Hash).expect("reads");
        assert_eq!((old.sha256, new.sha256), (Sha256Hash::of(b"old"), Sha256Hash::of(b"new")));
    }
}

#[test]
fn a_content_that_follows_at_once_with_the_same_date_is_new() {
    let folder = TempDir::new().expect("a folder");
    let path = file(&folder, "a", b"old");
    let date = fs::metadata(&path).and_then(|metadata| metadata.modified()).expect("a date");
    let mut files = Files::default();
    files.look(SystemTime::now(), &path, Want::Hash).expect("reads");
    fs::write(&path, b"new").expect("writes");
    File::options().write(true).open(&path).and_then(|file| file.set_modified(date)).expect("sets");
    let new = files.look(SystemTime::now(), &path, Want::Hash).expect("reads");
    assert_eq!(new.sha256, Sha256Hash::of(b"new"));
}

#[test]
fn a_compressed_file_is_used_for_its_own_content_only() {
    let folder = TempDir::new().expect("a folder");
    let content = b"content ".repeat(100);
    type Packs = fn(&[u8]) -> Vec<u8>;
    for (coding, ending, pack) in
        [(Coding::Brotli, "br", brotli as Packs), (Coding::Gzip, "gz", gzip as Packs)]
    {
        let path = file(&folder, "a.js", &content);
        let beside = file(&folder, &format!("a.js.{ending}"), &pack(&content));
        let mut files = Files::default();
        let found = |files: &mut Files| {
            let original = files.look(later(), &path, Want::Hash).expect("reads");
            files.compressed(later(), &path, coding, &original).expect("reads")
        };
        assert_eq!(found(&mut files), Some(beside.clone()));
        // Edited, and not compressed again; then it is.
        fs::write(&path, b"contents ".repeat(100)).expect("writes");
        backdate(&path);
        assert_eq!(found(&mut files), None);
        fs::write(&beside, pack(&b"contents ".repeat(100))).expect("writes");
        assert_eq!(found(&mut files), Some(beside.clone()));
        for other in [
            b"noise".to_vec(),
            pack(&b"contents ".repeat(101)),
            pack(b"contents"),
            b"contents ".repeat(100),
            vec![],
        ] {
            fs::write(&beside, other).expect("writes");
            assert_eq!(found(&mut files), None);
        }
        fs::remove_file(&beside).expect("removes");
        assert_eq!(found(&mut files), None);
    }
}
