//! Contract of [`BlobStore`], run against every backend.

use std::sync::Arc;

use bytes::Bytes;
use fedra_protocol::Sha256Hash;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::sample::{id, model, round, round_with_state};
use crate::storage::*;

fn contract(blobs: &dyn BlobStore) {
    let (a, b) = (id("a"), id("b"));
    let (record, files) = round_with_state(3, "3");
    let keys = record.blobs();
    assert_eq!(blobs.list(&a).expect("lists"), Listing::default());
    assert!(matches!(blobs.get(&a, &keys[0]), Err(BlobError::Damaged(_))));
    for (key, content) in keys.iter().zip(files.all()) {
        blobs.put(&a, key, content).expect("stores");
        // The same again does no harm.
        blobs.put(&a, key, content).expect("stores");
        assert_eq!(&blobs.get(&a, key).expect("reads"), content);
        let error = blobs.get(&b, key).expect_err("it is another task's").to_string();
        assert!(error.contains(&blobs.place(&b, key)) && error.ends_with(" is gone"), "{error}");
    }
    let (other, other_files) = round(12, "12");
    blobs.put(&a, &other.blobs()[0], &other_files.model).expect("stores");
    let mut all: Vec<BlobKey> = keys.iter().copied().chain(other.blobs()).collect();
    all.sort();
    let listed = |blobs: &dyn BlobStore| blobs.list(&a).expect("lists").blobs;
    assert_eq!(listed(blobs).into_iter().collect::<Vec<_>>(), all);
    assert_eq!(blobs.list(&b).expect("lists"), Listing::default());

    blobs.delete(&a, &other.blobs()[0]).expect("removes");
    blobs.delete(&a, &other.blobs()[0]).expect("it is gone already");
    assert_eq!(listed(blobs).len(), 2);
    blobs.set_aside(&a, &keys[1]).expect("sets aside");
    blobs.set_aside(&a, &keys[1]).expect("it is gone already");
    assert_eq!(listed(blobs).into_iter().collect::<Vec<_>>(), keys[..1]);
    assert!(matches!(blobs.get(&a, &keys[1]), Err(BlobError::Damaged(_))));
    let state = files.optimizer_state.as_ref().expect("there is one");
    blobs.put(&a, &keys[1], state).expect("it is put back");
    assert_eq!(&blobs.get(&a, &keys[1]).expect("reads"), state);
    blobs.remove_unfinished(&a).expect("there is nothing");
    assert_eq!(listed(blobs).len(), 2);
    damage(blobs);
}

/// Checks that a file that does not fit its key is not handed out.
fn damage(blobs: &dyn BlobStore) {
    let task = id("damaged");
    let key = |content: &Bytes, kind| {
        let sha256 = Sha256Hash::of(content);
        BlobKey { round: 0, kind, sha256 }
    };
    let mut infinite = model("x").to_vec();
    let last = infinite.len() - 4;
    infinite[last..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    let infinite = Bytes::from(infinite);
    let wrong = [
        (key(&model("1"), BlobKind::Model), model("2"), "does not have the hash in its name"),
        (key(&infinite, BlobKind::Model), infinite, "is not finite"),
        (
            key(&Bytes::new(), BlobKind::OptimizerState),
            Bytes::from_static(b"x"),
            "does not have the hash in its name",
        ),
    ];
    for (key, content, expected) in wrong {
        blobs.put(&task, &key, &content).expect("stores");
        let error = blobs.get(&task, &key).expect_err("damaged");
        assert!(matches!(error, BlobError::Damaged(_)), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.to_string().contains(&blobs.place(&task, &key)), "{error}");
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).build().expect("a runtime")
}

fn objects(objects: impl ObjectStore, runtime: &Runtime) -> ObjectBlobs {
    ObjectBlobs::new(Arc::new(objects), Path::from("fedra/models"), runtime.handle().clone())
}

#[test]
fn memory_keeps_the_contract() {
    contract(Storage::in_memory().blobs.as_ref());
}

#[test]
fn the_folder_keeps_the_contract() {
    let folder = TempDir::new().expect("a folder");
    contract(open(folder.path()).expect("opens").blobs.as_ref());
}

#[test]
fn objects_in_memory_keep_the_contract() {
    let runtime = runtime();
    contract(&objects(InMemory::new(), &runtime));
}

#[test]
fn a_task_runs_on_records_in_redb_and_objects_elsewhere() {
    let (runtime, folder) = (runtime(), TempDir::new().expect("a folder"));
    let blobs = Arc::new(objects(InMemory::new(), &runtime));
    let store = Storage { blobs, ..open(folder.path()).expect("opens") };
    super::contract::contract(&store);
}
