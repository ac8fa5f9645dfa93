//! Programs of others that do the same work, run beside Fedra. Their interface is in
//! `docs/PERFORMANCE.md`; a peer that is not there is left out.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};
use clap::Args;
use fedra_harness::{process, status};
use serde_json::Value;

use super::last_line;

/// Rounds that peers and Fedra are measured in, in turn.
const ROUNDS: u32 = 5;

#[derive(Args)]
#[group(id = "beside")]
pub struct Options {
    /// Folder of peers to measure beside Fedra: `NAME/run` each, see
    /// docs/PERFORMANCE.md.
    #[arg(long, value_name = "FOLDER")]
    peers: Option<PathBuf>,
    /// Rounds, in which Fedra and its peers take turns and of which the median counts:
    /// one by default, and five with peers.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
}

impl Options {
    pub fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.peers.is_some() { ROUNDS } else { 1 })
    }

    /// The peer called `name`, if it is there.
    pub fn find(&self, name: &'static str) -> Result<Option<Peer>> {
        let Some(folder) = &self.peers else {
            return Ok(None);
        };
        if !folder.is_dir() {
            bail!("{} is no folder", folder.display());
        }
        // Its full path: it runs in a folder of its own.
        let program = folder.canonicalize()?.join(name).join("run");
        if !program.is_file() {
            status::note(&format!("{name} is left out: there is no {}", program.display()));
            return Ok(None);
        }
        Ok(Some(Peer { name, program }))
    }
}

/// Program of others.
pub struct Peer {
    name: &'static str,
    program: PathBuf,
}

impl Peer {
    /// Its output when it is given `arguments`, if `is_row` holds of that. A failure is
    /// noted, and costs one figure of many.
    pub fn measure(
        &self,
        arguments: &[&str],
        is_row: impl Fn(&Value) -> bool,
    ) -> Result<Option<Value>> {
        status::note(self.name);
        let mut command = Command::new(&self.program);
        if let Some(folder) = self.program.parent() {
            command.current_dir(folder);
        }
        let failure = match last_line(command.args(arguments)) {
            Ok(row) if is_row(&row) => return Ok(Some(row)),
            Ok(row) => format!("this is no such row: {row}"),
            Err(error) if process::interrupted() => return Err(error),
            Err(error) => format!("{error:#}"),
        };
        status::note(&format!("{} {}: {failure}", self.name, arguments.join(" ")));
        Ok(None)
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    fn options(folder: &Path) -> Options {
        Options { peers: Some(folder.to_path_buf()), rounds: None }
    }

    fn peer(folder: &Path, name: &'static str, script: &str) -> Peer {
        fs::create_dir_all(folder.join(name)).unwrap();
        let program = folder.join(name).join("run");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        options(folder).find(name).unwrap().unwrap()
    }

    #[test]
    fn a_peer_gets_its_arguments_and_its_last_line_counts() {
        let folder = std::env::temp_dir().join(format!("fedra-peers-{}", std::process::id()));
        let any = |_: &Value| true;
        let echo = peer(&folder, "echo", r#"echo hello; printf '{"model": "%s", "batch": %s}' $@"#);
        let row = echo.measure(&["mnist-2nn", "10"], any).unwrap().unwrap();
        assert_eq!((row["model"].as_str(), row["batch"].as_u64()), (Some("mnist-2nn"), Some(10)));
        assert_eq!(echo.measure(&["mnist-2nn", "10"], |_| false).unwrap(), None);

        for script in ["exit 3", "true", "echo fast"] {
            assert_eq!(peer(&folder, "broken", script).measure(&[], any).unwrap(), None);
        }
        assert!(options(&folder).find("absent").unwrap().is_none());
        assert!(options(&folder.join("absent")).find("echo").is_err());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn peers_are_measured_in_several_rounds() {
        let alone = Options { peers: None, rounds: None };
        assert!(alone.find("echo").unwrap().is_none());
        assert_eq!((alone.rounds(), options(Path::new("/")).rounds()), (1, ROUNDS));
    }
}
