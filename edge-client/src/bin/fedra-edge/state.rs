//! Number of times that each client of this process has taken part in private tasks,
//! kept in a file, because a limit that a restart forgets would be none.
//!
//! A change is on the disk, whole, before the call returns: a new file takes the
//! old one's place. One process at a time has the file.

use std::cell::RefCell;
use std::fs::{self, File, TryLockError};
use std::future;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, bail, ensure};
use fedra_edge_client::{CallbackError, ParticipationLog, ResidualStore, ServerUrl};
use fedra_protocol::{SubjectId, TaskId};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::platform;

const VERSION: u32 = 1;

/// The file's content.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    clients: Vec<Entry>,
}

/// One client of one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    server: String,
    task: TaskId,
    /// Its number in the process, from 0.
    client: u32,
    subject: SubjectId,
    participations: u32,
}

/// An open state file, or a process's memory where there is none.
#[derive(Clone)]
pub struct StateFile(Rc<RefCell<Inner>>);

struct Inner {
    path: Option<PathBuf>,
    entries: Vec<Entry>,
    /// Held as long as the file is in use.
    _lock: Option<File>,
}

impl StateFile {
    /// Without a file: subjects of this process alone.
    pub fn in_memory() -> Self {
        Self::new(Inner { path: None, entries: Vec::new(), _lock: None })
    }

    /// Reads the file, or starts with an empty one.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let lock_path = beside(path, "lock");
        let lock = File::create(&lock_path)
            .with_context(|| format!("cannot create {}", lock_path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("another process uses the state file {shown}"),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", lock_path.display()));
            }
        }
        let entries = match fs::read(path) {
            Ok(bytes) => {
                let content: Content = serde_json::from_slice(&bytes)
                    .with_context(|| format!("the state file {shown} is damaged"))?;
                ensure!(
                    content.version == VERSION,
                    "the state file {shown} has version {}, this program writes {VERSION}",
                    content.version
                );
                content.clients
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {shown}")),
        };
        Ok(Self::new(Inner { path: Some(path.to_path_buf()), entries, _lock: Some(lock) }))
    }

    fn new(inner: Inner) -> Self {
        Self(Rc::new(RefCell::new(inner)))
    }

    /// Subject and participations of a client; `fresh` names one that is new.
    pub fn client(
        &self,
        server: &ServerUrl,
        task: &TaskId,
        client: u32,
        fresh: impl FnOnce() -> SubjectId,
    ) -> Participant {
        let mut inner = self.0.borrow_mut();
        // The same server may have been written in another way.
        let is_server = |written: &str| written.parse().as_ref() == Ok(server);
        let is_it = |entry: &Entry| {
            entry.client == client && entry.task == *task && is_server(&entry.server)
        };
        let place = inner.entries.iter().position(is_it).unwrap_or_else(|| {
            inner.entries.push(Entry {
                server: server.socket().to_string(),
                task: task.clone(),
                client,
                subject: fresh(),
                participations: 0,
            });
            inner.entries.len() - 1
        });
        Participant { file: self.clone(), place }
    }
}

/// One client's entry.
pub struct Participant {
    file: StateFile,
    place: usize,
}

impl Participant {
    pub fn subject(&self) -> SubjectId {
        self.file.0.borrow().entries[self.place].subject
    }

    pub fn participations(&self) -> u32 {
        self.file.0.borrow().entries[self.place].participations
    }

    /// Keeps what this client has not sent of its updates in a file of its own, beside the
    /// state file: it is as long as the model, and changes in every round.
    pub fn residual(&self) -> anyhow::Result<ResidualStore> {
        let Some(path) = self.file.0.borrow().path.clone() else {
            return Ok(ResidualStore::nowhere());
        };
        let own = beside(&path, &format!("residual-{}", self.place));
        let stored = match fs::read(&own) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", own.display()));
            }
        };
        let (file, shown) = (self.file.clone(), own.display().to_string());
        let keep = move |bytes: &[u8]| {
            // The number in the file's name is that of the client in the state file.
            let kept = file.0.borrow().save().map_err(anyhow::Error::from);
            if let Err(error) = kept.and_then(|()| Ok(replace(&own, bytes)?)) {
                warn!("what was not sent of the updates is in memory alone: {own:?}: {error:#}");
            }
        };
        ResidualStore::new(stored.as_deref(), keep)
            .with_context(|| format!("{shown} is damaged; delete it to begin without it"))
    }

    /// Keeps this entry up to date.
    pub fn log(self) -> ParticipationLog {
        ParticipationLog::new(move |participations| {
            let mut inner = self.file.0.borrow_mut();
            inner.entries[self.place].participations = participations;
            future::ready(inner.save().map_err(CallbackError::new))
        })
    }
}

/// Reason why the file does not hold what it should.
#[derive(Debug, thiserror::Error)]
enum SaveError {
    #[error(transparent)]
    Content(#[from] serde_json::Error),
    #[error("cannot write {}: {source}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
}

impl Inner {
    fn save(&self) -> Result<(), SaveError> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let content = Content { version: VERSION, clients: self.entries.clone() };
        let json = serde_json::to_vec(&content)?;
        replace(path, &json).map_err(|source| SaveError::Unwritable { path: path.clone(), source })
    }
}

/// Puts a new file in the place of the old one: there is always a whole one.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = beside(path, "new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    platform::sync_folder(folder.unwrap_or(Path::new(".")))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".");
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> ServerUrl {
        "ws://127.0.0.1:1/v1/connect".parse().unwrap()
    }

    fn client(file: &StateFile, name: &str, client: u32) -> Participant {
        let task = TaskId::new(name).unwrap();
        file.client(&server(), &task, client, || SubjectId::from_bytes(rand::random()))
    }

    #[test]
    fn a_server_is_the_same_however_its_address_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        // As versions before wrote it, which kept what they were given.
        let subject = SubjectId::from_bytes([7; 16]);
        let entry = serde_json::json!({
            "server": "ws://Example.org:80/fed/v1/connect", "task": "digits", "client": 0,
            "subject": subject, "participations": 5,
        });
        let content = serde_json::json!({ "version": VERSION, "clients": [entry] });
        fs::write(&path, content.to_string()).unwrap();
        let file = StateFile::open(&path).unwrap();
        let task = TaskId::new("digits").unwrap();
        for same in ["http://example.org/fed", "ws://example.org/fed/v1/connect"] {
            let known = file.client(&same.parse().unwrap(), &task, 0, || panic!("{same} is new"));
            assert_eq!((known.subject(), known.participations()), (subject, 5));
        }
        let other = "https://example.org/fed".parse().unwrap();
        let fresh = SubjectId::from_bytes([8; 16]);
        assert_eq!(file.client(&other, &task, 0, || fresh).subject(), fresh);
    }

    #[test]
    fn participations_and_subjects_outlive_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let file = StateFile::open(&path).unwrap();
        let mut subjects = Vec::new();
        for (number, participations) in [(0, 3), (1, 7)] {
            let participant = client(&file, "digits", number);
            subjects.push(participant.subject());
            pollster::block_on(participant.log().keep(participations)).unwrap();
        }
        drop(file);
        let file = StateFile::open(&path).unwrap();
        let known = [client(&file, "digits", 0), client(&file, "digits", 1)];
        assert_eq!(known.each_ref().map(Participant::participations), [3, 7]);
        assert_eq!(known.map(|participant| participant.subject()).to_vec(), subjects);
        for other in [client(&file, "digits", 2), client(&file, "letters", 0)] {
            assert_eq!(other.participations(), 0);
            assert!(!subjects.contains(&other.subject()));
        }
    }

    #[test]
    fn a_second_process_is_kept_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let first = StateFile::open(&path).unwrap();
        let error = StateFile::open(&path).err().expect("it is in use");
        assert!(error.to_string().contains("another process"), "{error}");
        drop(first);
        StateFile::open(&path).unwrap();
    }

    #[test]
    fn a_damaged_file_is_not_taken_for_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let unknown = r#"{"version":1,"clients":[],"more":0}"#;
        for (content, complaint) in
            [("{", "damaged"), (unknown, "damaged"), (r#"{"version":2,"clients":[]}"#, "version 2")]
        {
            fs::write(&path, content).unwrap();
            let error = StateFile::open(&path).err().expect(content);
            assert!(error.to_string().contains(complaint), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let file = StateFile::open(&path).unwrap();
        let log = client(&file, "digits", 0).log();
        // A folder in the place of the file.
        fs::create_dir(&path).unwrap();
        let error = pollster::block_on(log.keep(1)).unwrap_err();
        assert!(error.to_string().contains("state.json"), "{error}");
    }

    #[test]
    fn a_damaged_residual_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let file = StateFile::open(&path).unwrap();
        let participants = [client(&file, "digits", 0), client(&file, "digits", 1)];
        participants[1].residual().unwrap();
        fs::write(folder.path().join("state.json.residual-1"), "no").unwrap();
        participants[0].residual().unwrap();
        let error = participants[1].residual().expect_err("it is damaged");
        let text = error.to_string();
        assert!(text.contains("residual-1") && text.contains("delete it"), "{text}");
    }

    #[test]
    fn without_a_file_there_is_only_memory() {
        let file = StateFile::in_memory();
        pollster::block_on(client(&file, "digits", 0).log().keep(1)).unwrap();
        assert_eq!(client(&file, "digits", 0).participations(), 1);
    }
}
