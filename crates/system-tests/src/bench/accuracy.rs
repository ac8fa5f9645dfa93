//! `cargo xtask bench accuracy`: what privacy costs in accuracy, with a real
//! aggregator, real clients and all of the protocol on this machine.
//!
//! Two experiments. `cohort`: native clients and browser tabs together, a fifth
//! of the native ones leaving each round between its steps. `users`: as many
//! simulated users as it takes for the noise to be small beside their sum, over a
//! range of budgets. All users are in all rounds, and no amplification by
//! sampling is claimed.

mod run;

use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use fedra_harness::config::{Policy, Privacy, Round, Task, Training};
use fedra_harness::{browser, npm, process, project, status};

use self::run::{Outcome, Run, Swarm, Tabs};
use super::dist;

const DELTA: f64 = 1e-5;

#[derive(Args)]
pub struct Options {
    /// Only these experiments; both without a name.
    experiments: Vec<Experiment>,
    /// Rounds of each run.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// `users`: how many, each with its own 60 images.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(50..=1000))]
    users: u32,
    /// `users`: the budgets.
    #[arg(long, value_delimiter = ',', default_values_t = [1.0, 2.0, 4.0, 8.0])]
    epsilon: Vec<f64>,
    /// `cohort`: browser tabs beside the native clients.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=8))]
    tabs: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Experiment {
    /// 32 native clients, a fifth of them leaving, and tabs: MNIST 2NN.
    Cohort,
    /// Many users of 60 images each: oriented gradients and one linear layer.
    Users,
}

pub fn run(options: &Options) -> Result<()> {
    let wanted = |one| options.experiments.is_empty() || options.experiments.contains(&one);
    npm::packages(&project::web())?;
    status::step("Building the aggregator and the native edge client");
    process::run(&mut project::build_programs())?;
    let mut tables = Vec::new();
    if wanted(Experiment::Cohort) {
        tables.push(cohort(options)?);
    }
    if wanted(Experiment::Users) {
        tables.push(users(options)?);
    }
    for table in tables {
        println!();
        for line in table {
            println!("{line}");
        }
    }
    Ok(())
}

/// Source of the noise, and its budget.
#[derive(Clone, Copy)]
struct Protection {
    policy: Policy,
    epsilon: f64,
}

/// An experiment less its privacy.
struct Setting {
    model: &'static str,
    server_learning_rate: f64,
    training: Training,
    clipping_norm: f64,
    /// Clients in a round.
    clients: u32,
    /// The fewest that a round ends with, for which the noise is made.
    survivors: u32,
    rounds: u32,
    swarm: Swarm,
    tabs: Option<Tabs>,
}

impl Setting {
    fn run(&self, name: &str, protection: Option<Protection>) -> Result<Outcome> {
        let privacy = match protection {
            None => None,
            Some(protection) => Some(self.privacy(protection)?),
        };
        let task = Task {
            id: "bench",
            title: "Benchmark",
            model: self.model,
            rounds: Some(self.rounds.into()),
            server_learning_rate: self.server_learning_rate,
            training: self.training,
            round: Round {
                cohort_size: self.clients,
                minimum_cohort: self.clients,
                minimum_reports: self.survivors,
                selection_window: "0s",
                deadline: "30min",
            },
            privacy,
        };
        run::run(&Run { name, task, swarm: &self.swarm, tabs: self.tabs.as_ref() })
    }

    fn privacy(&self, Protection { policy, epsilon }: Protection) -> Result<Privacy> {
        Ok(Privacy {
            policy,
            noise_multiplier: self.noise_multiplier(policy, epsilon)?,
            clipping_norm: self.clipping_norm,
            epsilon,
            delta: DELTA,
            max_participations: None,
            step_deadline: "5min",
        })
    }

    /// Noise multiplier of the aggregator's own plan.
    fn noise_multiplier(&self, policy: Policy, epsilon: f64) -> Result<f64> {
        let mut plan = Command::new(project::program("fedra-aggregator"));
        plan.current_dir(project::root())
            .args(["privacy", "plan", "--adaptive-clipping", "--policy", policy.name()])
            .args(["--model", self.model])
            .args(["--clients", &self.clients.to_string()])
            .args(["--survivors", &self.survivors.to_string()])
            .args(["--rounds", &self.rounds.to_string()])
            .args(["--epsilon", &epsilon.to_string()])
            .args(["--delta", &DELTA.to_string()]);
        let planned = process::run_silently(&mut plan)?;
        if !planned.status.success() {
            bail!("there is no plan for epsilon {epsilon} ({})", planned.status);
        }
        planned_noise(&planned.stdout)
    }
}

/// The noise multiplier in what `privacy plan` prints.
fn planned_noise(plan: &str) -> Result<f64> {
    let line = plan.lines().find_map(|line| line.strip_prefix("noise_multiplier "));
    let noise = line.context("the plan has no noise multiplier")?.trim();
    noise.parse().with_context(|| format!("{noise:?} is no noise multiplier"))
}

/// Native clients of the first experiment.
const NATIVE: u32 = 32;
/// The share of them that leaves each round.
const DROP_RATE: f64 = 0.2;
/// Number of them that is left in one round of a thousand.
const FEWEST_NATIVE: u32 = 18;
/// Images of each client.
const EXAMPLES: u32 = 600;
/// The aim, and a budget that protects no client, under which the model learns.
const COHORT_BUDGETS: [f64; 2] = [8.0, 1000.0];

fn cohort(options: &Options) -> Result<Vec<String>> {
    let tabs = if options.tabs > 0 {
        dist(&[])?;
        Some(Tabs { count: options.tabs, examples: EXAMPLES, chromium: browser::chromium()? })
    } else {
        None
    };
    let setting = Setting {
        model: "mnist-2nn",
        server_learning_rate: 1.0,
        training: Training { epochs: 1, batch_size: 10, learning_rate: 0.1 },
        clipping_norm: 1.0,
        clients: NATIVE + options.tabs,
        survivors: FEWEST_NATIVE + options.tabs,
        rounds: options.rounds,
        swarm: Swarm { clients: NATIVE, examples: EXAMPLES, drop_rate: DROP_RATE },
        tabs,
    };
    let mut rows = vec![Row::new(None, setting.run("cohort-none", None)?)];
    for epsilon in COHORT_BUDGETS {
        rows.extend(both(&setting, "cohort", epsilon)?);
    }
    let title = format!(
        "MNIST 2NN: {NATIVE} native clients, a fifth of them leaving each round, and {} tabs; \
         {EXAMPLES} images each",
        options.tabs
    );
    Ok(table(&title, &setting, &rows))
}

fn users(options: &Options) -> Result<Vec<String>> {
    let setting = Setting {
        model: "mnist-oriented-gradients",
        server_learning_rate: 2.0,
        training: Training { epochs: 10, batch_size: 20, learning_rate: 0.1 },
        clipping_norm: 0.5,
        clients: options.users,
        survivors: options.users - options.users / 20,
        rounds: options.rounds,
        swarm: Swarm { clients: options.users, examples: 60, drop_rate: 0.0 },
        tabs: None,
    };
    let mut rows = vec![Row::new(None, setting.run("users-none", None)?)];
    for &epsilon in &options.epsilon {
        rows.extend(both(&setting, "users", epsilon)?);
    }
    let title = format!("Oriented gradients: {} users of 60 images each", options.users);
    Ok(table(&title, &setting, &rows))
}

/// The server's noise and every client's own, at the same budget.
fn both(setting: &Setting, experiment: &str, epsilon: f64) -> Result<Vec<Row>> {
    [Policy::Central, Policy::Distributed]
        .into_iter()
        .map(|policy| {
            let protection = Some(Protection { policy, epsilon });
            let name = format!("{experiment}-{}-{epsilon}", policy.name());
            Ok(Row::new(protection, setting.run(&name, protection)?))
        })
        .collect()
}

/// A line of the last table.
struct Row {
    protection: Option<Protection>,
    outcome: Outcome,
}

impl Row {
    fn new(protection: Option<Protection>, outcome: Outcome) -> Self {
        Self { protection, outcome }
    }

    fn text(&self, clients: u32) -> String {
        let Outcome { rounds, accuracy, spent_epsilon, debits, tab_updates, .. } = self.outcome;
        let dash = || "-".to_owned();
        let number = |value: Option<f64>, digits: usize| {
            value.map_or_else(dash, |value| format!("{value:.digits$}"))
        };
        format!(
            "{:<13}{clients:>8}{rounds:>8}{:>8}{:>10}{:>10}{:>9}{:>9}{:>15}",
            self.protection.map_or("none", |protection| protection.policy.name()),
            debits.map_or_else(dash, |debits| debits.to_string()),
            number(accuracy, 4),
            number(spent_epsilon, 3),
            self.protection.map_or_else(dash, |protection| protection.epsilon.to_string()),
            self.protection.map_or_else(dash, |_| format!("{DELTA:e}")),
            tab_updates.map_or_else(dash, |updates| updates.to_string()),
        )
    }
}

fn table(title: &str, setting: &Setting, rows: &[Row]) -> Vec<String> {
    let mut lines = vec![
        title.to_owned(),
        format!(
            "{:<13}{:>8}{:>8}{:>8}{:>10}{:>10}{:>9}{:>9}{:>15}",
            "policy",
            "clients",
            "rounds",
            "debits",
            "accuracy",
            "epsilon",
            "budget",
            "delta",
            "tabs' updates"
        ),
    ];
    lines.extend(rows.iter().map(|row| row.text(setting.clients)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_noise_is_read_from_the_plan() {
        let plan = "minimum_reports                   80\n\
                    noise_multiplier                  2.091\n\
                    noise of the mean, clipping norms 0.1\n";
        assert_eq!(planned_noise(plan).unwrap(), 2.091);
        assert!(planned_noise("rounds 10").is_err());
        assert!(planned_noise("noise_multiplier many").is_err());
    }

    #[test]
    fn a_run_without_privacy_has_no_epsilon() {
        let outcome = Outcome {
            rounds: 10,
            accuracy: Some(0.9612),
            spent_epsilon: None,
            debits: None,
            tab_updates: None,
        };
        let plain = Row::new(None, outcome).text(1000);
        assert_eq!(
            plain.split_whitespace().collect::<Vec<_>>(),
            ["none", "1000", "10", "-", "0.9612", "-", "-", "-", "-"]
        );
        let outcome = Outcome {
            rounds: 9,
            accuracy: Some(0.5),
            spent_epsilon: Some(7.9994),
            debits: Some(10),
            tab_updates: Some(18),
        };
        let protection = Protection { policy: Policy::Distributed, epsilon: 8.0 };
        let private = Row::new(Some(protection), outcome).text(34);
        assert_eq!(
            private.split_whitespace().collect::<Vec<_>>(),
            ["distributed", "34", "9", "10", "0.5000", "7.999", "8", "1e-5", "18"]
        );
    }
}
