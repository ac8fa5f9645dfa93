//! The client processes of a run: started, killed and replaced, frozen and
//! woken up again.

use std::path::{Path, PathBuf};

use anyhow::Result;
use fedra_harness::aggregator::Programs;
use fedra_harness::process::{self, Freeze, Service};

use super::plan::Fault;

/// Composition of the client processes.
#[derive(Clone)]
pub struct Swarm {
    pub task: &'static str,
    pub processes: usize,
    /// Clients in each process.
    pub each: u32,
    /// Examples of each client.
    pub examples: u32,
    /// Decides who has which examples.
    pub seed: u64,
}

impl Swarm {
    /// Clients that take part when all are up.
    pub fn clients(&self) -> u32 {
        self.processes as u32 * self.each
    }
}

/// Running client processes. A process that is replaced keeps its examples, not its
/// name: to the aggregator it is a new client.
pub struct Fleet {
    swarm: Swarm,
    programs: Programs,
    socket: String,
    folder: PathBuf,
    running: Vec<Service>,
    /// Clients that were killed and frozen so far.
    pub killed: u32,
    pub frozen: u32,
}

impl Fleet {
    /// Starts all of them; they write their logs to `folder`.
    pub fn start(swarm: Swarm, programs: Programs, socket: String, folder: &Path) -> Result<Self> {
        let folder = folder.to_path_buf();
        let running = Vec::new();
        let mut fleet = Self { swarm, programs, socket, folder, running, killed: 0, frozen: 0 };
        for place in 0..fleet.swarm.processes {
            let service = fleet.process(place)?;
            fleet.running.push(service);
        }
        Ok(fleet)
    }

    fn process(&self, place: usize) -> Result<Service> {
        let Swarm { task, processes, each, examples, seed } = self.swarm;
        let mut edge = self.programs.native_clients(&self.socket, task, each);
        edge.args(["--shard", &format!("{place}/{processes}")])
            .args(["--examples", &examples.to_string()])
            .args(["--seed", &seed.to_string()])
            // There are many more processes than cores.
            .args(["--concurrency", "1"])
            .env("RUST_LOG", "warn");
        Service::start_quietly("a native client", &mut edge, &self.log(place))
    }

    fn log(&self, place: usize) -> PathBuf {
        self.folder.join(format!("clients-{place}.log"))
    }

    /// Does to a process what is meant for it.
    pub fn suffer(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::KillClient(place) => {
                self.running[place].kill();
                self.running[place] = self.process(place)?;
                self.killed += self.swarm.each;
            }
            // Clients that have had the last round cannot be frozen.
            Fault::FreezeClient(place) if !self.running[place].has_ended()? => {
                self.running[place].freeze(Freeze::Stop)?;
                self.frozen += self.swarm.each;
            }
            Fault::ThawClient(place) if !self.running[place].has_ended()? => {
                self.running[place].freeze(Freeze::Continue)?;
            }
            Fault::FreezeClient(_) | Fault::ThawClient(_) => {}
            Fault::KillServer => {}
        }
        Ok(())
    }

    /// Places of the processes that have ended by themselves; an error if one has failed.
    pub fn ended(&mut self) -> Result<Vec<usize>> {
        let mut ended = Vec::new();
        for (place, service) in self.running.iter_mut().enumerate() {
            if service.has_ended()? {
                ended.push(place);
            }
        }
        Ok(ended)
    }

    /// An error if a process of these places has ended: before the last round none has a
    /// reason to.
    pub fn expect_running(&mut self, places: &[usize]) -> Result<()> {
        places.iter().try_for_each(|&place| self.running[place].expect_running())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // Told to end, a frozen process would not hear it.
        if process::interrupted() {
            for service in &self.running {
                // One that is gone needs nothing any more.
                let _ = service.freeze(Freeze::Continue);
            }
        }
    }
}
