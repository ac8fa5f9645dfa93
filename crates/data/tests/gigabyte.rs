//! A gigabyte of CSV through the reader, in a process of its own whose memory is looked at.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::fs;

use fedra_data::{Part, ReadOptions, Reader, Targets};
use fedra_protocol::DataSpec;

const BYTES: usize = 1 << 30;
/// Examples that are kept of it.
const KEPT: usize = 1_000;
/// Most memory that the process may have taken, in KiB: a sixteenth of the file.
const MOST: usize = 64 << 10;

/// Largest memory of this process so far, in KiB, where the system tells.
fn largest() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

#[test]
fn a_gigabyte_takes_the_memory_of_its_examples() {
    let spec: DataSpec = serde_json::from_str(
        r#"{ "kind": "table", "target": "y", "columns": [
            { "name": "x", "type": "number" }, { "name": "y", "type": "number" }
        ] }"#,
    )
    .unwrap();
    let options = ReadOptions { most: Some(KEPT), ..ReadOptions::default() };
    let mut reader = Reader::new(&spec, 1, options);
    reader.open("large.csv", Part::Features).unwrap();
    reader.push(b"x,note,y\r\n").unwrap();
    // A long column that the task does not ask for, with everything that may be quoted.
    let note = "a \"\"note\"\" of more than one line;\n".repeat(30);
    let piece: String = (0..1_000).map(|i| format!("{i},\"{note}\",{}\r\n", 2 * i)).collect();
    let pieces = BYTES.div_ceil(piece.len());
    for _ in 0..pieces {
        // As they come from a disk: rows go across pieces.
        piece.as_bytes().chunks(65_536).try_for_each(|bytes| reader.push(bytes)).unwrap();
    }
    reader.close().unwrap();
    assert_eq!(reader.examples(), 1_000 * pieces as u64);
    let data = reader.finish().unwrap();
    assert_eq!(data.len(), KEPT);
    let Targets::Values { values, .. } = data.targets() else { panic!("values") };
    // Chosen over the whole range, each with its own target.
    assert!(values.iter().any(|y| *y < 200.0) && values.iter().any(|y| *y > 1_800.0));
    if let Some(kibibytes) = largest() {
        assert!(kibibytes < MOST, "{kibibytes} KiB");
    }
}
