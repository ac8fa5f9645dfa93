//! Reads one table of the config and remembers every mistake instead of
//! stopping at the first.
//!
//! Each key is asked for by name; a key that is not asked for is unknown. The
//! asked-for names are remembered too, so that a test can hold the manual to
//! them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use figment::value::{Dict, Value};

/// One thing that is wrong with a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The key's path, for example `task[mnist].round.deadline`; empty for the
    /// file as a whole.
    pub path: String,
    /// The problem and its remedy.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return f.write_str(&self.problem);
        }
        write!(f, "{}: {}", self.path, self.problem)
    }
}

/// Findings of reading a config so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) mistakes: RefCell<Vec<Mistake>>,
    /// Every key that was asked for, as `server.listen` or `task.round.deadline`.
    pub(super) keys: RefCell<BTreeSet<String>>,
}

impl Findings {
    pub(super) fn mistake(&self, path: impl Into<String>, problem: impl Into<String>) {
        let mistake = Mistake { path: path.into(), problem: problem.into() };
        self.mistakes.borrow_mut().push(mistake);
    }
}

/// One table of the config.
pub(super) struct Section<'a> {
    findings: &'a Findings,
    /// Path for people, for example `task[mnist].round`.
    path: String,
    /// Path for the list of keys, for example `task.round`.
    kind: &'static str,
    dict: Dict,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    pub(super) fn new(
        findings: &'a Findings,
        path: impl Into<String>,
        kind: &'static str,
        dict: Dict,
    ) -> Self {
        Self { findings, path: path.into(), kind, dict, known: RefCell::default() }
    }

    /// The path of a key for people.
    pub(super) fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Gives the section the name under which its mistakes are reported.
    pub(super) fn rename(&mut self, path: String) {
        self.path = path;
    }

    pub(super) fn mistake(&self, key: &str, problem: impl Into<String>) {
        self.findings.mistake(self.path(key), problem);
    }

    /// The value of a key, or `default` if it is absent or cannot be read.
    pub(super) fn or<T>(
        &self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> T {
        self.optional(key, read).unwrap_or(default)
    }

    /// The value of a key that must be there; `placeholder` stands in for it
    /// while the rest is checked.
    pub(super) fn required<T>(
        &self,
        key: &'static str,
        placeholder: T,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> T {
        if !self.dict.contains_key(key) {
            self.mistake(key, "missing; this key has no default");
        }
        self.or(key, placeholder, read)
    }

    /// The value of a key, or `None` if it is absent or cannot be read.
    pub(super) fn optional<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        self.value(key)
            .and_then(|value| read(value).map_err(|problem| self.mistake(key, problem)).ok())
    }

    /// A value as it stands there, without a word about it.
    pub(super) fn peek(&self, key: &str) -> Option<&Value> {
        self.dict.get(key)
    }

    /// A table below this one; an absent one reads as empty.
    pub(super) fn table(&self, key: &'static str, kind: &'static str) -> Section<'a> {
        Section::new(self.findings, self.path(key), kind, self.dict_of(key).unwrap_or_default())
    }

    /// A table below this one, if there.
    pub(super) fn optional_table(
        &self,
        key: &'static str,
        kind: &'static str,
    ) -> Option<Section<'a>> {
        let dict = self.dict_of(key)?;
        Some(Section::new(self.findings, self.path(key), kind, dict))
    }

    /// The tables of an array of tables.
    pub(super) fn tables(&self, key: &'static str, kind: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let Some(array) = value.as_array() else {
            self.mistake(key, format!("must be an array of tables, written [[{key}]]"));
            return Vec::new();
        };
        let section = |(index, value): (usize, &Value)| {
            let path = format!("{}[{index}]", self.path(key));
            let Some(dict) = value.as_dict() else {
                self.findings.mistake(&path, format!("must be a table, written [[{key}]]"));
                return None;
            };
            Some(Section::new(self.findings, path, kind, dict.clone()))
        };
        array.iter().enumerate().filter_map(section).collect()
    }

    /// Reports the keys that were not asked for. To be called at the end.
    pub(super) fn finish(self) {
        let known = self.known.borrow();
        for key in self.dict.keys().filter(|key| !known.contains(&key.as_str())) {
            let near = known
                .iter()
                .map(|known| (strsim::osa_distance(key, known), known))
                .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
                .min();
            let hint = match near {
                Some((_, known)) => format!("did you mean `{known}`?"),
                None => format!("known keys here: {}", known.join(", ")),
            };
            self.mistake(key, format!("unknown key; {hint}"));
        }
    }

    fn dict_of(&self, key: &'static str) -> Option<Dict> {
        let value = self.value(key)?;
        let dict = value.as_dict().cloned();
        if dict.is_none() {
            self.mistake(key, "must be a table");
        }
        dict
    }

    fn value(&self, key: &'static str) -> Option<&Value> {
        self.known.borrow_mut().push(key);
        let full =
            if self.kind.is_empty() { key.to_owned() } else { format!("{}.{key}", self.kind) };
        self.findings.keys.borrow_mut().insert(full);
        self.dict.get(key)
    }
}
