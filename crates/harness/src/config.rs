//! The aggregator's configuration for a run on this machine, as text. No file is
//! touched.

use std::fmt::{Display, Write};
use std::path::Path;

pub use fedra_http_api::Policy;

/// MNIST's training images: the most that one client has.
const IMAGES: u32 = 60_000;

/// A configuration file.
pub struct Config<'a> {
    /// On 127.0.0.1.
    pub port: u16,
    /// The folder of the store.
    pub store: &'a Path,
    /// The built page, if it is to be served.
    pub page: Option<&'a Path>,
    /// The folder of the MNIST files: every task is evaluated with them.
    pub mnist: &'a Path,
    /// Settings of the server.
    pub server: Server<'a>,
    /// No global model is ever removed.
    pub keep_all_models: bool,
    /// All tasks.
    pub tasks: &'a [Task<'a>],
}

/// Settings of the server that are not left at their default.
#[derive(Clone, Copy, Default)]
pub struct Server<'a> {
    /// Connections that are open at the same time.
    pub max_connections: Option<u32>,
    /// Memory for messages that are not whole yet, such as `64MiB`.
    pub upload_budget: Option<&'static str>,
    /// Time from a connection to its check-in.
    pub handshake_timeout: Option<&'static str>,
    /// Time without a sign of life.
    pub idle_timeout: Option<&'static str>,
    /// Certificate and private key, as PEM files.
    pub tls: Option<(&'a Path, &'a Path)>,
}

/// One task.
#[derive(Clone)]
pub struct Task<'a> {
    /// Its name in the API.
    pub id: &'a str,
    /// Its name for people.
    pub title: &'a str,
    /// One of the built-in models.
    pub model: &'a str,
    /// Rounds after which it is finished, if ever.
    pub rounds: Option<u64>,
    /// Factor of the mean update.
    pub server_learning_rate: f64,
    /// Training on a client.
    pub training: Training,
    /// Settings of its rounds.
    pub round: Round,
    /// Its privacy policy, if it has one.
    pub privacy: Option<Privacy>,
}

/// Local training of a client.
#[derive(Clone, Copy)]
pub struct Training {
    /// Passes over the local examples.
    pub epochs: u32,
    /// Examples of one step.
    pub batch_size: u32,
    /// Step size of SGD.
    pub learning_rate: f64,
}

/// Settings of rounds. A round ends when every client that can has reported.
#[derive(Clone, Copy)]
pub struct Round {
    /// Most clients of a round.
    pub cohort_size: u32,
    /// Clients that a round begins with at least.
    pub minimum_cohort: u32,
    /// Updates that a round ends with at least.
    pub minimum_reports: u32,
    /// Longest wait for more than the minimum.
    pub selection_window: &'static str,
    /// Longest time for all reports.
    pub deadline: &'static str,
}

/// A privacy policy; its clipping norm follows the median.
#[derive(Clone, Copy)]
pub struct Privacy {
    /// The source of the noise.
    pub policy: Policy,
    /// Standard deviation of the noise in the sum, in clipping norms.
    pub noise_multiplier: f64,
    /// Initial bound on the L2 norm of an update.
    pub clipping_norm: f64,
    /// Budget of one participant, ε.
    pub epsilon: f64,
    /// Budget of one participant, δ.
    pub delta: f64,
    /// Rounds of one participant; without it, rounds count against every
    /// participant.
    pub max_participations: Option<u32>,
    /// Longest time for a step of secure aggregation.
    pub step_deadline: &'static str,
}

impl Config<'_> {
    /// The file's contents.
    pub fn text(&self) -> String {
        let mut text = String::new();
        table(&mut text, "[server]");
        line(&mut text, "listen", format!("\"127.0.0.1:{}\"", self.port));
        line(&mut text, "store", quoted(self.store));
        if let Some(page) = self.page {
            line(&mut text, "page", quoted(page));
        }
        self.server.write(&mut text);
        for task in self.tasks {
            task.write(&mut text, self.mnist);
            if self.keep_all_models {
                table(&mut text, "[task.checkpoints]");
                line(&mut text, "last", 0);
            }
        }
        text
    }
}

impl Server<'_> {
    fn write(&self, text: &mut String) {
        if let Some(most) = self.max_connections {
            line(text, "max_connections", most);
        }
        let times = [
            ("upload_budget", self.upload_budget),
            ("handshake_timeout", self.handshake_timeout),
            ("idle_timeout", self.idle_timeout),
        ];
        for (key, value) in times {
            if let Some(value) = value {
                line(text, key, format!("{value:?}"));
            }
        }
        if let Some((certificate, private_key)) = self.tls {
            table(text, "[server.tls]");
            line(text, "certificate", quoted(certificate));
            line(text, "private_key", quoted(private_key));
        }
    }
}

impl Task<'_> {
    fn write(&self, text: &mut String, mnist: &Path) {
        table(text, "[[task]]");
        line(text, "id", format!("{:?}", self.id));
        line(text, "title", format!("{:?}", self.title));
        line(text, "model", format!("{:?}", self.model));
        line(text, "seed", 1);
        if let Some(rounds) = self.rounds {
            line(text, "rounds", rounds);
        }

        table(text, "[task.server_optimizer]");
        line(text, "learning_rate", format!("{:?}", self.server_learning_rate));

        table(text, "[task.training]");
        let Training { epochs, batch_size, learning_rate } = self.training;
        line(text, "epochs", epochs);
        line(text, "batch_size", batch_size);
        line(text, "learning_rate", format!("{learning_rate:?}"));

        table(text, "[task.round]");
        let round = self.round;
        line(text, "cohort_size", round.cohort_size);
        line(text, "minimum_cohort", round.minimum_cohort);
        line(text, "selection_window", format!("{:?}", round.selection_window));
        line(text, "report_goal", round.cohort_size);
        line(text, "minimum_reports", round.minimum_reports);
        line(text, "deadline", format!("{:?}", round.deadline));
        match &self.privacy {
            // All clients weigh the same.
            Some(privacy) => privacy.write(text),
            None => line(text, "max_weight", IMAGES),
        }
        table(text, "[task.evaluation]");
        line(text, "data", quoted(&mnist.join("t10k-images-idx3-ubyte")));
        line(text, "labels", quoted(&mnist.join("t10k-labels-idx1-ubyte")));
    }
}

impl Privacy {
    fn write(&self, text: &mut String) {
        table(text, "[task.privacy]");
        line(text, "policy", format!("{:?}", self.policy.name()));
        match self.policy {
            // Fresh noise in every round, for a fair comparison: a tree pays off
            // only if each participant is in few of them.
            Policy::Central => line(text, "noise", "\"independent\""),
            Policy::Distributed => {
                line(text, "step_deadline", format!("{:?}", self.step_deadline));
            }
            Policy::Local => {}
        }
        line(text, "noise_multiplier", format!("{:?}", self.noise_multiplier));
        line(text, "clipping_norm", format!("{:?}", self.clipping_norm));
        line(text, "target_quantile", "0.5");
        line(text, "epsilon", format!("{:?}", self.epsilon));
        line(text, "delta", format!("{:?}", self.delta));
        if let Some(most) = self.max_participations {
            line(text, "max_participations", most);
        }
    }
}

fn table(text: &mut String, name: &str) {
    let gap = if text.is_empty() { "" } else { "\n" };
    writeln!(text, "{gap}{name}").expect("writing to a string cannot fail");
}

fn line(text: &mut String, key: &str, value: impl Display) {
    writeln!(text, "{key} = {value}").expect("writing to a string cannot fail");
}

/// A TOML basic string.
fn quoted(path: &Path) -> String {
    let path = path.to_string_lossy();
    format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: &str) -> Task<'_> {
        Task {
            id,
            title: "Digits",
            model: "mnist-2nn",
            rounds: None,
            server_learning_rate: 1.0,
            training: Training { epochs: 1, batch_size: 10, learning_rate: 0.1 },
            round: Round {
                cohort_size: 64,
                minimum_cohort: 8,
                minimum_reports: 1,
                selection_window: "500ms",
                deadline: "120s",
            },
            privacy: None,
        }
    }

    fn text(tasks: &[Task<'_>], page: Option<&Path>) -> String {
        let (store, mnist) = (Path::new("a \"b\"\\c"), Path::new("data"));
        Config {
            port: 9000,
            store,
            page,
            mnist,
            server: Server::default(),
            keep_all_models: false,
            tasks,
        }
        .text()
    }

    #[test]
    fn what_is_not_given_is_left_out() {
        let plain = text(&[task("mnist")], None);
        for word in ["rounds", "page", "privacy"] {
            assert!(!plain.contains(word), "{plain}");
        }
        let full = text(&[Task { rounds: Some(3), ..task("mnist") }], Some(Path::new("dist")));
        assert!(full.contains("\nrounds = 3\n"), "{full}");
        assert!(full.contains("\npage = \"dist\"\n"), "{full}");
    }

    #[test]
    fn what_is_not_left_at_its_default_is_written() {
        let (store, certificate, key) = (Path::new("a"), Path::new("b.pem"), Path::new("c.pem"));
        let server = Server {
            max_connections: Some(12),
            upload_budget: Some("64MiB"),
            handshake_timeout: Some("3s"),
            idle_timeout: None,
            tls: Some((certificate, key)),
        };
        let tasks = [task("mnist"), task("other")];
        let (mnist, page) = (Path::new("data"), None);
        let config =
            Config { port: 1, store, page, mnist, server, keep_all_models: true, tasks: &tasks };
        let text = config.text();
        let server = text.split("[[task]]").next().unwrap();
        for line in ["max_connections = 12", "upload_budget = \"64MiB\"", "[server.tls]"] {
            assert!(server.contains(line), "{server}");
        }
        assert!(!text.contains("idle_timeout"), "{text}");
        assert_eq!(text.matches("[task.checkpoints]\nlast = 0\n").count(), 2);
    }

    #[test]
    fn paths_are_escaped() {
        assert!(text(&[], None).contains(r#"store = "a \"b\"\\c""#));
    }

    #[test]
    fn each_task_has_its_own_tables_and_only_a_private_one_a_policy() {
        let privacy = Privacy {
            policy: Policy::Distributed,
            noise_multiplier: 2.0,
            clipping_norm: 0.5,
            epsilon: 8.0,
            delta: 1e-5,
            max_participations: Some(40),
            step_deadline: "10s",
        };
        let private = Task { privacy: Some(privacy), ..task("private") };
        let both = text(&[task("mnist"), private.clone()], None);
        assert_eq!(both.matches("[[task]]").count(), 2);
        assert_eq!(both.matches("[task.evaluation]").count(), 2);
        let policy = both.split("[task.privacy]\n").nth(1).unwrap();
        for line in ["policy = \"distributed\"", "delta = 1e-5", "max_participations = 40"] {
            assert!(policy.contains(line), "{policy}");
        }
        assert!(!policy.contains("independent"), "{policy}");
        // Only secure aggregation has steps, only the server a choice of noise.
        let central = Privacy { policy: Policy::Central, max_participations: None, ..privacy };
        let central = text(&[Task { privacy: Some(central), ..private }], None);
        assert!(central.contains("noise = \"independent\""), "{central}");
        assert!(!central.contains("step_deadline"), "{central}");
        assert!(!central.contains("max_participations"), "{central}");
    }
}
