//! The aggregator's configuration for the demo, as text. No file is touched.

use std::fmt::Write;
use std::path::Path;

/// What varies from run to run.
pub struct Demo<'a> {
    pub task: &'a str,
    pub port: u16,
    /// Clients to wait for before a round starts.
    pub clients: u32,
    pub rounds: Option<u64>,
    pub store: &'a Path,
    pub page: Option<&'a Path>,
    /// The folder of the MNIST files.
    pub mnist: &'a Path,
}

/// The configuration file: McMahan's 2NN with E = 1 and B = 10. A cohort has
/// room for tabs beside the native clients.
pub fn text(demo: &Demo<'_>) -> String {
    let mut text =
        format!("[server]\nlisten = \"127.0.0.1:{}\"\nstore = {}\n", demo.port, quoted(demo.store));
    if let Some(page) = demo.page {
        line(&mut text, "page", &quoted(page));
    }
    text.push_str("\n[[task]]\n");
    line(&mut text, "id", &format!("{:?}", demo.task));
    line(&mut text, "title", "\"Handwritten digits\"");
    line(&mut text, "model", "\"mnist-2nn\"");
    line(&mut text, "seed", "1");
    if let Some(rounds) = demo.rounds {
        line(&mut text, "rounds", &rounds.to_string());
    }
    text.push_str("\n[task.training]\nepochs = 1\nbatch_size = 10\nlearning_rate = 0.1\n");
    text.push_str("\n[task.round]\n");
    line(&mut text, "cohort_size", &demo.clients.max(64).to_string());
    line(&mut text, "minimum_cohort", &demo.clients.to_string());
    text.push_str("selection_window = \"500ms\"\n");
    line(&mut text, "report_goal", &demo.clients.max(64).to_string());
    text.push_str("minimum_reports = 1\ndeadline = \"120s\"\n");
    text.push_str("\n[task.evaluation]\nformat = \"idx\"\n");
    for (key, file) in [("images", "t10k-images-idx3-ubyte"), ("labels", "t10k-labels-idx1-ubyte")]
    {
        line(&mut text, key, &quoted(&demo.mnist.join(file)));
    }
    text
}

fn line(text: &mut String, key: &str, value: &str) {
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

    fn demo(rounds: Option<u64>, page: Option<&Path>) -> String {
        text(&Demo {
            task: "mnist",
            port: 9000,
            clients: 8,
            rounds,
            store: Path::new("a \"b\"\\c"),
            page,
            mnist: Path::new("data"),
        })
    }

    #[test]
    fn what_is_not_given_is_left_out() {
        let text = demo(None, None);
        assert!(!text.contains("rounds"), "{text}");
        assert!(!text.contains("page"), "{text}");
        let text = demo(Some(3), Some(Path::new("dist")));
        assert!(text.contains("\nrounds = 3\n"), "{text}");
        assert!(text.contains("\npage = \"dist\"\n"), "{text}");
    }

    #[test]
    fn paths_are_escaped() {
        assert!(demo(None, None).contains(r#"store = "a \"b\"\\c""#));
    }
}
