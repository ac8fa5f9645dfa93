//! Studies: an experiment in some variants, each with a grid of settings and some seeds, and
//! the table and the chart that come of it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use fedra_coordinator::storage::Storage;
use fedra_protocol::{Headline, Sha256Hash};
use serde::{Deserialize, Serialize};

use crate::report::chart::{Series, chart};
use crate::report::{ReportError, Row, figure};
use crate::{Experiment, ExperimentError, RunError};

/// A file of a study.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Heading of the page.
    title: String,
    /// Text below it, as Markdown.
    #[serde(default)]
    text: String,
    /// Seeds of each variant; the grid is searched with the first.
    seeds: Vec<u64>,
    /// The experiment that every variant is one of.
    base: toml::Table,
    variant: Vec<Variant>,
}

/// `[[variant]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variant {
    name: String,
    /// Figure of the paper that it is held against, as text.
    #[serde(default)]
    paper: String,
    /// Keys of the experiment, as `task.training.learning_rate`, and their values.
    #[serde(default)]
    set: toml::Table,
    /// Keys and the values among which the best is chosen: the fewest rounds to the target, or
    /// the best last metric.
    #[serde(default)]
    grid: BTreeMap<String, Vec<toml::Value>>,
    /// Seeds in place of the study's.
    seeds: Option<Vec<u64>>,
}

/// Reason why a study cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// The file of the study.
    #[error("{path}: {problem}")]
    File {
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: String,
    },
    /// A variant is no experiment.
    #[error("variant {variant:?}: {source}")]
    Variant {
        /// Its name.
        variant: String,
        /// The problem.
        source: ExperimentError,
    },
    /// A run of a variant failed.
    #[error("variant {variant:?}: {source}")]
    Run {
        /// Its name.
        variant: String,
        /// The problem.
        source: RunError,
    },
    /// Results cannot be written.
    #[error(transparent)]
    Report(#[from] ReportError),
}

/// Result of one run, as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    rows: Vec<Row>,
    model: String,
    reached: bool,
    wall_seconds: f64,
}

impl Kept {
    /// Rounds until the target; `None` if it was not reached.
    fn rounds(&self) -> Option<u64> {
        self.rows.last().filter(|_| self.reached).map(|row| row.round)
    }

    fn megabytes(&self) -> f64 {
        self.rows.iter().map(Row::bytes).sum::<u64>() as f64 / 1e6
    }

    /// Epsilon spent in all, if there is a promise.
    fn epsilon(&self) -> Option<f64> {
        self.rows.last().and_then(|row| row.epsilon)
    }

    fn last(&self) -> Option<f64> {
        self.rows.iter().filter_map(|row| row.metric).next_back()
    }
}

/// A study that is being done.
struct Study<'a> {
    file: File,
    folder: &'a Path,
    kept: &'a Path,
}

/// Does a study: `path` is its file, whose experiments' paths are relative to `folder`. Runs
/// that are in `kept` are not made again. Writes `NAME.md` and `NAME.svg` in `out`.
///
/// # Errors
///
/// [`StudyError`] with the variant at fault.
pub fn study(path: &Path, folder: &Path, kept: &Path, out: &Path) -> Result<PathBuf, StudyError> {
    let problem = |problem: String| StudyError::File { path: path.to_owned(), problem };
    let (study, text) = Study::read(path, folder, kept)?;
    // Before the first run: a mistake in the last variant would come hours later.
    study.check()?;
    for folder in [kept, out] {
        fs::create_dir_all(folder).map_err(|error| problem(error.to_string()))?;
    }
    let mut done = Vec::new();
    for variant in &study.file.variant {
        done.push(study.variant(variant)?);
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let page = out.join(format!("{name}.md"));
    let (markdown, svg) = study.page(&name, &text, &done);
    for (path, text) in [(page.clone(), markdown), (out.join(format!("{name}.svg")), svg)] {
        fs::write(&path, text)
            .map_err(|source| ReportError::File { path: path.display().to_string(), source })?;
    }
    Ok(page)
}

/// Checks a study without running it. Returns the number of its runs.
///
/// # Errors
///
/// [`StudyError`] with the variant at fault.
pub fn check(path: &Path, folder: &Path) -> Result<usize, StudyError> {
    Study::read(path, folder, Path::new(""))?.0.check()
}

/// A variant with its best settings and its runs, one a seed.
struct Done<'a> {
    variant: &'a Variant,
    /// Settings of the grid that were chosen.
    chosen: Vec<(String, toml::Value)>,
    runs: Vec<Kept>,
    headline: Headline,
    target: Option<f64>,
}

impl<'s> Study<'s> {
    /// Reads a study; also its text.
    fn read(path: &Path, folder: &'s Path, kept: &'s Path) -> Result<(Self, String), StudyError> {
        let problem = |problem: String| StudyError::File { path: path.to_owned(), problem };
        let text = fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
        let file: File = toml::from_str(&text).map_err(|error| problem(error.to_string()))?;
        let seeds = || file.variant.iter().flat_map(|variant| &variant.seeds);
        if file.seeds.is_empty() || file.variant.is_empty() || seeds().any(Vec::is_empty) {
            return Err(problem("a study has variants, and each has seeds".to_owned()));
        }
        if file.variant.iter().flat_map(|variant| variant.grid.values()).any(Vec::is_empty) {
            return Err(problem("each key of a grid has values".to_owned()));
        }
        Ok((Self { file, folder, kept }, text))
    }

    /// Checks every variant with every combination of its grid; the number of runs.
    fn check(&self) -> Result<usize, StudyError> {
        let mut runs = 0;
        for variant in &self.file.variant {
            let seeds = variant.seeds.as_ref().unwrap_or(&self.file.seeds);
            let combinations = combinations(&variant.grid);
            for settings in &combinations {
                self.experiment(variant, settings, seeds[0])?;
            }
            runs += combinations.len() + seeds.len() - 1;
        }
        Ok(runs)
    }

    fn variant<'a>(&'a self, variant: &'a Variant) -> Result<Done<'a>, StudyError> {
        let seeds = variant.seeds.as_ref().unwrap_or(&self.file.seeds);
        let mut best: Option<(Vec<(String, toml::Value)>, Kept)> = None;
        for settings in combinations(&variant.grid) {
            let run = self.run(variant, &settings, seeds[0])?;
            let experiment = self.experiment(variant, &settings, seeds[0])?;
            let headline = experiment.task.settings.model.headline();
            let is_better = best.as_ref().is_none_or(|(_, best)| is_better(&run, best, headline));
            if is_better {
                best = Some((settings, run));
            }
        }
        let (chosen, first) = best.expect("at least one combination");
        let experiment = self.experiment(variant, &chosen, seeds[0])?;
        let mut runs = vec![first];
        for &seed in &seeds[1..] {
            runs.push(self.run(variant, &chosen, seed)?);
        }
        let headline = experiment.task.settings.model.headline();
        Ok(Done { variant, chosen, runs, headline, target: experiment.simulation.target })
    }

    /// The experiment of a variant.
    fn experiment(
        &self,
        variant: &Variant,
        settings: &[(String, toml::Value)],
        seed: u64,
    ) -> Result<Experiment, StudyError> {
        let table = self.table(variant, settings, seed);
        Experiment::from_table(table, self.folder)
            .map_err(|source| StudyError::Variant { variant: variant.name.clone(), source })
    }

    fn table(
        &self,
        variant: &Variant,
        settings: &[(String, toml::Value)],
        seed: u64,
    ) -> toml::Table {
        let mut table = self.file.base.clone();
        let seed = i64::try_from(seed).unwrap_or(i64::MAX);
        let own = variant.set.iter().map(|(key, value)| (key.as_str(), value.clone()));
        let chosen = settings.iter().map(|(key, value)| (key.as_str(), value.clone()));
        let seeds = [("simulation.seed", seed.into()), ("task.seed", seed.into())];
        for (key, value) in own.chain(chosen).chain(seeds) {
            set(&mut table, key, value);
        }
        table
    }

    fn run(
        &self,
        variant: &Variant,
        settings: &[(String, toml::Value)],
        seed: u64,
    ) -> Result<Kept, StudyError> {
        let table = toml::to_string(&self.table(variant, settings, seed)).unwrap_or_default();
        let kept = self.kept.join(format!("{}.json", Sha256Hash::of(table.as_bytes())));
        let known =
            fs::read_to_string(&kept).ok().and_then(|text| serde_json::from_str(&text).ok());
        if let Some(known) = known {
            return Ok(known);
        }
        let experiment = self.experiment(variant, settings, seed)?;
        let headline = experiment.task.settings.model.headline();
        let begun = Instant::now();
        let outcome = experiment.run(&Storage::in_memory(), |_| ControlFlow::Continue(()));
        let failed = |source| StudyError::Run { variant: variant.name.clone(), source };
        let outcome = outcome.map_err(failed)?;
        let rows = outcome.rounds.iter().map(|round| Row::of(round, headline, 0.0)).collect();
        let run = Kept {
            rows,
            model: outcome.model.to_string(),
            reached: outcome.reached,
            wall_seconds: begun.elapsed().as_secs_f64(),
        };
        eprintln!(
            "{}{}, seed {seed}: {} in {:.0} s",
            variant.name,
            words(settings),
            run.rounds().map_or_else(
                || format!(
                    "{} {} after {} rounds",
                    headline.name(),
                    figure(run.last().unwrap_or(f64::NAN)),
                    run.rows.len()
                ),
                |rounds| format!("target after {rounds} rounds")
            ),
            run.wall_seconds
        );
        let text = serde_json::to_string(&run).unwrap_or_default();
        fs::write(&kept, text)
            .map_err(|source| ReportError::File { path: kept.display().to_string(), source })?;
        Ok(run)
    }

    /// The page and its chart.
    fn page(&self, name: &str, text: &str, done: &[Done<'_>]) -> (String, String) {
        let File { title, text: words_of, seeds, .. } = &self.file;
        let has_target = done.iter().any(|of| of.target.is_some());
        let metric = done.first().map_or("metric", |of| of.headline.name());
        let mut page = format!("# {title}\n\n{}\n\n", words_of.trim());
        let has_epsilon = done.iter().flat_map(|of| &of.runs).any(|run| run.epsilon().is_some());
        let one_seed = done.iter().all(|of| of.runs.len() < 2);
        let mut columns = vec!["variant", "settings of the grid", "paper", "epsilon"];
        let last_metric = format!("last {metric}");
        let (of_each, spread) = (format!("{metric} of each seed"), ["mean", "deviation"]);
        match (has_target, one_seed) {
            (true, _) => columns.extend([
                "rounds to the target",
                "MB until then",
                "simulated s until then",
                last_metric.as_str(),
            ]),
            (false, true) => columns.push(metric),
            (false, false) => {
                columns.push(&of_each);
                columns.extend(spread);
            }
        }
        let rows: Vec<Vec<String>> = done
            .iter()
            .map(|Done { variant, chosen, runs, .. }| {
                let chosen = words(chosen).trim_start_matches(", ").to_owned();
                let spent = runs.iter().filter_map(Kept::epsilon).max_by(f64::total_cmp);
                let epsilon = match has_epsilon {
                    true => spent.map_or("none".to_owned(), |spent| format!("{spent:.3}")),
                    false => String::new(),
                };
                let mut row = vec![variant.name.clone(), chosen, variant.paper.clone(), epsilon];
                row.extend(if has_target { until_target(runs) } else { at_the_end(runs) });
                row.truncate(columns.len());
                row
            })
            .collect();
        // A column that says nothing is left out.
        let is_told = |column: &usize| rows.iter().any(|row| !row[*column].is_empty());
        let told: Vec<usize> = (0..columns.len()).filter(is_told).collect();
        let line = |cell: &dyn Fn(usize) -> String| {
            let cells: Vec<String> = told.iter().map(|&column| cell(column)).collect();
            format!("| {} |", cells.join(" | "))
        };
        let _ = writeln!(page, "{}", line(&|column| columns[column].to_owned()));
        let _ = writeln!(page, "|{}", "---|".repeat(told.len()));
        for row in &rows {
            let _ = writeln!(page, "{}", line(&|column| row[column].clone()));
        }
        let wall: f64 = done.iter().flat_map(|of| &of.runs).map(|run| run.wall_seconds).sum();
        let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
        let _ = write!(
            page,
            "\n![{title}]({name}.svg)\n\nSeeds {}. The runs of the table took {wall:.0} s. The hash \
             of the study below is `{}`; the models of the first seeds are\n\n",
            seeds.join(", "),
            Sha256Hash::of(text.as_bytes()),
        );
        for Done { variant, runs, .. } in done {
            let model = runs.first().map_or("none", |run| &run.model);
            let _ = writeln!(page, "- {}: `{model}`", variant.name);
        }
        let _ = write!(page, "\n```toml\n{}\n```\n", text.trim());
        let series: Vec<Series> = done
            .iter()
            .map(|of| Series {
                name: of.variant.name.clone(),
                points: of.runs.first().map_or_else(Vec::new, |run| {
                    let finite = |row: &Row| row.metric.filter(|metric| metric.is_finite());
                    let point = |row: &Row| finite(row).map(|of| (row.round as f64, of));
                    run.rows.iter().filter_map(point).collect()
                }),
            })
            .collect();
        let target = done.iter().find_map(|of| of.target);
        (page, chart(metric, "round", &series, target))
    }
}

/// True if a run is better than another: it needs fewer rounds to the target, or ends better.
fn is_better(run: &Kept, other: &Kept, headline: Headline) -> bool {
    match (run.rounds(), other.rounds()) {
        (Some(own), Some(best)) => own < best,
        (Some(_), None) => true,
        (None, Some(_)) => false,
        (None, None) => match (run.last(), other.last()) {
            (Some(own), Some(best)) => headline.is_better(own, best),
            (own, None) => own.is_some(),
            (None, Some(_)) => false,
        },
    }
}

/// Every combination of the grid's values; one without any where there is no grid.
fn combinations(grid: &BTreeMap<String, Vec<toml::Value>>) -> Vec<Vec<(String, toml::Value)>> {
    grid.iter().fold(vec![Vec::new()], |before, (key, values)| {
        let with = |settings: &Vec<(String, toml::Value)>| {
            values
                .iter()
                .map(|value| [&settings[..], &[(key.clone(), value.clone())]].concat())
                .collect::<Vec<_>>()
        };
        before.iter().flat_map(with).collect()
    })
}

/// Sets a key with dots. A value that is in its way is replaced.
fn set(table: &mut toml::Table, key: &str, value: toml::Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| toml::Table::new().into());
            if !inner.is_table() {
                *inner = toml::Table::new().into();
            }
            if let Some(inner) = inner.as_table_mut() {
                set(inner, rest, value);
            }
        }
    }
}

/// Cells of a variant whose experiments end at a target: rounds of each seed, and means.
fn until_target(runs: &[Kept]) -> Vec<String> {
    let rounds = runs.iter().map(|run| {
        run.rounds().map_or_else(
            || format!("more than {}", run.rows.last().map_or(0, |row| row.round)),
            |rounds| rounds.to_string(),
        )
    });
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / runs.len() as f64;
    let bytes = mean(&mut runs.iter().map(Kept::megabytes));
    let seconds = mean(&mut runs.iter().filter_map(|run| Some(run.rows.last()?.seconds)));
    let last = mean(&mut runs.iter().filter_map(Kept::last));
    let rounds: Vec<String> = rounds.collect();
    vec![rounds.join(", "), format!("{bytes:.1}"), format!("{seconds:.0}"), figure(last)]
}

/// Cells of a variant whose experiments go on to their last round: the metric of each seed,
/// mean and standard deviation.
fn at_the_end(runs: &[Kept]) -> Vec<String> {
    let last: Vec<f64> = runs.iter().filter_map(Kept::last).collect();
    let mean = last.iter().sum::<f64>() / last.len().max(1) as f64;
    let square = |value: &f64| (value - mean).powi(2);
    let spread = last.iter().map(square).sum::<f64>() / (last.len().max(2) - 1) as f64;
    let each: Vec<String> = last.iter().copied().map(figure).collect();
    vec![each.join(", "), figure(mean), format!("{:.4}", spread.sqrt())]
}

/// Settings as words after a comma.
fn words(settings: &[(String, toml::Value)]) -> String {
    settings
        .iter()
        .map(|(key, value)| format!(", {} {value}", key.strip_prefix("task.").unwrap_or(key)))
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails may panic")]
mod tests {
    use super::*;

    #[test]
    fn keys_with_dots_reach_into_tables() {
        let mut table: toml::Table = toml::from_str("[a]\nb = 1\nc = 2").unwrap();
        set(&mut table, "a.b", 5.into());
        set(&mut table, "a.d.e", true.into());
        set(&mut table, "f", "text".into());
        let expected = "f = \"text\"\n[a]\nb = 5\nc = 2\nd = { e = true }";
        assert_eq!(table, toml::from_str(expected).unwrap());
    }

    #[test]
    fn a_grid_has_every_combination_and_an_empty_one_has_one() {
        let grid = BTreeMap::from([
            ("a".to_owned(), vec![1.into(), 2.into()]),
            ("b.c".to_owned(), vec!["x".into(), "y".into(), "z".into()]),
        ]);
        let all = combinations(&grid);
        assert_eq!(all.len(), 6);
        assert!(all.contains(&vec![("a".to_owned(), 2.into()), ("b.c".to_owned(), "y".into())]));
        assert_eq!(combinations(&BTreeMap::new()), [Vec::new()]);
    }
}
