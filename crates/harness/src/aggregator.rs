//! An aggregator on this machine, for the commands that show or measure
//! training: started from a configuration, followed round by round.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::{Context, Result, bail};
use fedra_http_api::{Task, address};

use crate::http::Http;
use crate::process::Service;
use crate::table::{self, Table};
use crate::{process, project, status};

const START_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);

/// A running aggregator.
pub struct Aggregator {
    service: Service,
    http: Http,
    port: u16,
    programs: Programs,
}

impl Aggregator {
    /// Starts one with the configuration in `folder`, which also gets its log.
    pub fn start(folder: &Path, port: u16) -> Result<Self> {
        status::step("Starting the aggregator");
        let programs = Programs::built();
        let mut serve = programs.serve(folder);
        let log = folder.join("aggregator.log");
        let service = Service::start("the aggregator", &mut serve, &log)?;
        Self::ready(service, port, programs)
    }

    /// Starts these programs, the log going to the new file `log`. `port` is where
    /// the aggregator is reached.
    pub fn start_with(
        folder: &Path,
        port: u16,
        programs: &Programs,
        log: &Path,
        logging: Logging,
    ) -> Result<Self> {
        let mut serve = programs.serve(folder);
        match logging {
            Logging::Text => {}
            Logging::Events => {
                serve.args(["--log-format", "json"]);
            }
            Logging::Everything => {
                serve.args(["--log-format", "json"]).env("RUST_LOG", "warn,fedra=debug");
            }
        }
        let service = Service::start("the aggregator", &mut serve, log)?;
        Self::ready(service, port, programs.clone())
    }

    fn ready(service: Service, port: u16, programs: Programs) -> Result<Self> {
        let http = Http::new(format!("http://127.0.0.1:{port}"));
        let mut aggregator = Self { service, http, port, programs };
        aggregator.wait_until_ready()?;
        Ok(aggregator)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let started = Instant::now();
        while !self.http.is_ok("/readyz") {
            self.service.expect_running()?;
            if started.elapsed() > START_DEADLINE {
                bail!("the aggregator was not ready within {} s", START_DEADLINE.as_secs());
            }
            process::pause(POLL)?;
        }
        Ok(())
    }

    /// Address that clients connect to.
    pub fn socket(&self) -> String {
        format!("ws://127.0.0.1:{}/v1/connect", self.port)
    }

    /// Address of the page for a browser.
    pub fn page(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Native clients for `task` that share MNIST between them; more options go
    /// after these.
    pub fn native_clients(&self, task: &str, clients: u32) -> Command {
        self.programs.native_clients(&self.socket(), task, clients)
    }

    /// A task with its rounds.
    pub fn task(&mut self, task: &str) -> Result<Task> {
        self.http.json(&address::task(task)).or_else(|error| {
            // Its last lines say more than that it does not answer.
            process::pause(POLL)?;
            self.service.expect_running()?;
            Err(error)
        })
    }

    /// Prints rounds of `task` as they are evaluated. Returns the last one's
    /// accuracy once `rounds` of them are done, or the task has ended; without
    /// `rounds` only an interrupt ends it. `clients` are needed until then.
    pub fn follow(
        &mut self,
        task: &str,
        rounds: Option<u64>,
        clients: &mut [&mut Service],
    ) -> Result<Option<f64>> {
        let mut table = Table::new(rounds);
        println!("{}", table::HEADER);
        loop {
            self.service.expect_running()?;
            let mut ended = Vec::new();
            for (index, service) in clients.iter_mut().enumerate() {
                if service.has_ended()? {
                    ended.push(index);
                }
            }
            let seen = self.task(task)?;
            for row in table.update(seen.summary.state, &seen.history) {
                println!("{row}");
            }
            if let Some(accuracy) = table.finished() {
                return Ok(accuracy);
            }
            if !table.all_trained() {
                for index in ended {
                    clients[index].expect_running()?;
                }
            }
            process::pause(POLL)?;
        }
    }

    /// Keeps it up until an interrupt.
    pub fn stay(mut self) -> Result<()> {
        loop {
            self.service.expect_running()?;
            process::pause(POLL)?;
        }
    }

    /// Ends it.
    pub fn stop(self) -> Result<()> {
        self.service.stop()
    }

    /// Ends it without a warning, as a crash would.
    pub fn kill(&mut self) {
        self.service.kill();
    }

    /// An error when it is no longer there.
    pub fn expect_running(&mut self) -> Result<()> {
        self.service.expect_running()
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.service.id()
    }

    /// Asks it.
    pub fn http(&self) -> &Http {
        &self.http
    }
}

/// The form and detail of an aggregator's log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Logging {
    /// Text, in the default detail.
    Text,
    /// The same in JSON, for a program that reads the event log.
    Events,
    /// Every session's doings and every update, in JSON.
    Everything,
}

/// The aggregator and the clients as programs.
#[derive(Clone)]
pub struct Programs {
    /// Folder of the programs, unless it is where they were built.
    folder: Option<PathBuf>,
}

impl Programs {
    /// Programs as they were built last.
    pub fn built() -> Self {
        Self { folder: None }
    }

    /// Copies in `folder`, for a run that starts them again and again: a build
    /// meanwhile does not change them.
    pub fn set_aside(folder: &Path, names: &[&str]) -> Result<Self> {
        let folder = folder.join("programs");
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let copies = Self { folder: Some(folder) };
        for name in names {
            let (from, to) = (project::program(name), copies.path(name));
            // A program that still runs cannot be written to, but can be replaced.
            let _ = fs::remove_file(&to);
            fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
        Ok(copies)
    }

    /// One of them.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.path(name));
        command.current_dir(project::root());
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        let built = project::program(name);
        match (&self.folder, built.file_name()) {
            (Some(folder), Some(file)) => folder.join(file),
            _ => built,
        }
    }

    /// Native clients of the aggregator at `socket`: see [`Aggregator::native_clients`].
    pub fn native_clients(&self, socket: &str, task: &str, clients: u32) -> Command {
        let mut edge = self.command("fedra-edge");
        edge.args(["--url", socket, "--task", task, "--data"]).arg(project::mnist());
        edge.args(["--clients", &clients.to_string()]);
        edge
    }

    fn serve(&self, folder: &Path) -> Command {
        let mut serve = self.command("fedra-aggregator");
        serve.arg("serve").arg("--config").arg(config_file(folder));
        serve
    }
}

/// A free port below those that the system gives to outgoing connections. Between
/// two lives of an aggregator none of its clients may come to sit on its port.
pub fn lasting_port() -> Result<u16> {
    lasting_port_above(20_000 + u16::try_from(std::process::id() % 10_000).unwrap_or(0))
}

/// The next such port above another one.
pub fn lasting_port_above(port: u16) -> Result<u16> {
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    (port.saturating_add(1)..32_000).find(is_free).context("there is no port to listen on")
}

/// Makes `folder` ready for a start: the configuration `text`, and no store left
/// from before.
pub fn prepare(folder: &Path, text: &str) -> Result<()> {
    let store = store(folder);
    match fs::remove_dir_all(&store) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", store.display()));
        }
        _ => {}
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = config_file(folder);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    status::note(&format!("the configuration is {}", process::shown(&path)));
    Ok(())
}

/// The store of the aggregator in `folder`.
pub fn store(folder: &Path) -> PathBuf {
    folder.join("store")
}

fn config_file(folder: &Path) -> PathBuf {
    folder.join("fedra.toml")
}
