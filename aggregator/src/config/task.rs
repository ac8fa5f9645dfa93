//! `[[task]]` and the tables below it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use fedra_aggregation::MAX_TOTAL_WEIGHT;
use fedra_coordinator::round::{Mode, Protection, RoundPlan};
use fedra_coordinator::settings::{EvaluationRounds, PrivacySettings, Schedule, TaskSettings};
use fedra_coordinator::storage::Retention;
use fedra_data::{CsvOptions, DecimalSign};
use fedra_data_files::{Purpose, Source};
use fedra_protocol::limits::MAX_TIME_LIMIT;
use fedra_protocol::{
    ClientAlgorithm, ClientEvaluation, DataSpec, LocalTraining, ModelSpec, RawLocalTraining,
    TaskId, UpdateRange,
};

use super::access::AccessConfig;
use super::section::Section;
use super::{
    ServerConfig, aggregation, codec, gate, optimizer, privacy, scaffold, schedule, value,
};

/// `[[task]]`: one task.
#[derive(Debug, Clone)]
pub struct TaskConfig {
    /// Settings of the task itself.
    pub settings: TaskSettings,
    /// File that the task begins with, if there is one.
    pub initial: Option<InitialConfig>,
    /// Held-out examples, if there are any.
    pub evaluation: Option<EvaluationConfig>,
    /// Conditions for taking part.
    pub access: AccessConfig,
}

/// `initial` and `initial_names`: a model file that a new task begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialConfig {
    /// The file: safetensors in the names and the orientation of Fedra or of PyTorch.
    pub path: PathBuf,
    /// Beginnings of the names of its tensors, with the layers that they stand for.
    pub names: BTreeMap<String, String>,
}

/// `[task.evaluation]`: held-out examples on the server's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluationConfig {
    /// The files.
    pub source: Source,
    /// Form of CSV files.
    pub csv: CsvOptions,
}

impl TaskConfig {
    /// `None` if what is there is too little to go on with.
    pub(super) fn read(mut section: Section<'_>, server: &ServerConfig) -> Option<Self> {
        let nameless = TaskId::new("unnamed").expect("a valid id");
        let id = section.required("id", nameless.clone(), value::task_id);
        if id != nameless {
            section.rename(format!("task[{id}]"));
        }
        let placeholder = ModelSpec::softmax_regression();
        let seed = section.or("seed", 1, value::whole(0));
        let privacy = section.optional_table("privacy", "task.privacy");
        let is_private = privacy.as_ref().is_some_and(privacy::is_wanted);
        let model: ModelSpec = section.required("model", placeholder, value::model);
        let default_range = UpdateRange::default_for(model.loss());
        let parameters = model.parameters();
        let mut plan = plan(
            section.table("round", "task.round"),
            section.optional("rounds", value::whole(1)),
            is_private,
            scaffold::is_wanted(&section),
        );
        let privacy = privacy.and_then(|section| privacy::read(section, &mut plan, parameters));
        let (optimizer, server_schedule) = optimizer::read(
            section.table("server_optimizer", "task.server_optimizer"),
            plan.rounds,
        );
        let Training { training, schedule: training_schedule, population } =
            training(section.table("training", "task.training"), seed, plan.rounds);
        let update_range = section.or("update_range", default_range, value::update_range);
        let fit = aggregation::Fit {
            plan: &plan,
            parameters,
            range: update_range,
            round_memory: server.round_memory,
            privacy: privacy.as_ref(),
        };
        let estimator = aggregation::read(section.table("aggregation", "task.aggregation"), &fit);
        let client_evaluation = section
            .optional_table("client_evaluation", "task.client_evaluation")
            .and_then(|table| {
                let read = client_evaluation(&table, &model, &plan, privacy.as_ref());
                table.finish();
                read
            });
        let evaluation =
            section.optional_table("evaluation", "task.evaluation").and_then(evaluation);
        let fit = gate::Fit {
            is_evaluated: evaluation.is_some(),
            client_evaluation: client_evaluation.as_ref(),
            privacy: privacy.as_ref(),
        };
        let gate = section.optional_table("gate", "task.gate");
        let gate = gate.and_then(|table| gate::read(table, &fit));
        let codec = codec::of_updates(&section, parameters, update_range, privacy.as_ref());
        if training.algorithm().has_variates() {
            let (plan, codec, privacy) = (&plan, &codec, privacy.as_ref());
            let fit = scaffold::Fit { plan, codec, estimator, privacy, population };
            scaffold::check(&section, &fit);
        }
        let settings = TaskSettings {
            title: section.or("title", id.to_string(), value::title),
            codec,
            model_codec: codec::of_models(&section, parameters, update_range),
            update_range,
            data: data(&section, &model),
            frozen: None,
            estimator,
            round_memory: server.round_memory,
            seed,
            optimizer,
            server_schedule,
            training,
            training_schedule,
            population,
            checkpoints: checkpoints(section.table("checkpoints", "task.checkpoints")),
            gate,
            client_evaluation,
            model,
            plan,
            privacy,
            id,
        };
        let task = Self {
            initial: initial(&section),
            evaluation,
            access: AccessConfig::read(section.table("access", "task.access"), server),
            settings,
        };
        let update = task.settings.codec.bounds().bytes.most();
        if update > server.upload_budget {
            let problem = format!(
                "one update of this model takes {update} bytes, more than server.upload_budget \
                 ({} bytes); raise the budget",
                server.upload_budget
            );
            section.mistake("model", problem);
        }
        section.finish();
        Some(task)
    }
}

/// `[task.training]`.
struct Training {
    /// Local training at its full learning rate.
    training: LocalTraining,
    /// Course of the rate.
    schedule: Schedule,
    /// All clients, where the algorithm asks for their number.
    population: Option<u32>,
}

fn training(section: Section<'_>, seed: u64, rounds: Option<u64>) -> Training {
    let step = value::number("above 0 and at most 1e9", |x| x > 0.0 && x <= 1e9);
    let share = value::number("at least 0 and below 1", |x| (0.0..1.0).contains(&x));
    let penalty = value::number("from 0 to 1000", |x| (0.0..=1e3).contains(&x));
    let norm = value::number("above 0 and at most 1e9", |x| x > 0.0 && x <= 1e9);
    let (instant, day) = (Duration::from_millis(1), MAX_TIME_LIMIT);
    let steps = section.optional("steps", value::whole(1));
    let algorithm = algorithm(&section);
    let population = scaffold::population(&section, algorithm);
    let raw = RawLocalTraining {
        algorithm,
        epochs: section.or("epochs", if steps.is_some() { 0 } else { 1 }, value::whole(1)),
        steps: steps.unwrap_or(0),
        time_limit: section.optional("time_limit", value::duration(instant, day)),
        batch_size: section.or("batch_size", 10, value::whole(1)),
        learning_rate: section.or("learning_rate", 0.1, step) as f32,
        momentum: section.or("momentum", 0.0, share) as f32,
        weight_decay: section.or("weight_decay", 0.0, &penalty) as f32,
        proximal: section.or("proximal", 0.0, &penalty) as f32,
        clip_gradient_norm: section.optional("clip_gradient_norm", norm).map(|norm| norm as f32),
        seed,
        max_examples: section.or("max_examples", 0, value::whole(0)),
    };
    let training = LocalTraining::new(raw).unwrap_or_else(|error| {
        let text = error.to_string();
        let key = text.split(' ').next().unwrap_or_default().to_owned();
        let problem = text[key.len()..].trim_start().to_owned();
        section.mistake(&key, problem);
        LocalTraining::default()
    });
    let table = section.table("schedule", "task.training.schedule");
    let schedule = schedule::read(table, rounds, training.learning_rate().into());
    section.finish();
    Training { training, schedule, population }
}

/// The value of `algorithm`, with the keys that only Adam has.
fn algorithm(section: &Section<'_>) -> ClientAlgorithm {
    let share = value::number("at least 0 and below 1", |x| (0.0..1.0).contains(&x));
    let term = value::number("above 0 and at most 1", |x| x > 0.0 && x <= 1.0);
    let name = section.or("algorithm", "sgd".to_owned(), value::text);
    let beta1 = section.optional("beta1", &share);
    let beta2 = section.optional("beta2", &share);
    let epsilon = section.optional("epsilon", term);
    if name == "adam" {
        return ClientAlgorithm::Adam {
            beta1: beta1.unwrap_or(0.9) as f32,
            beta2: beta2.unwrap_or(0.999) as f32,
            epsilon: epsilon.unwrap_or(1e-8) as f32,
        };
    }
    for (key, value) in [("beta1", beta1), ("beta2", beta2), ("epsilon", epsilon)] {
        if value.is_some() {
            section.mistake(key, "only for algorithm = \"adam\"; set that, or leave the key out");
        }
    }
    match &name[..] {
        "sgd" => ClientAlgorithm::Sgd,
        "nesterov" => ClientAlgorithm::Nesterov,
        "scaffold" => ClientAlgorithm::Scaffold,
        _ => {
            let known = "\"sgd\", \"nesterov\", \"adam\" and \"scaffold\"";
            let problem = format!("{name:?} is not known; the algorithms are {known}");
            section.mistake("algorithm", problem);
            ClientAlgorithm::Sgd
        }
    }
}

fn plan(
    section: Section<'_>,
    rounds: Option<u64>,
    is_private: bool,
    has_variates: bool,
) -> RoundPlan {
    let day = Duration::from_secs(24 * 3600);
    let cohort_size: u32 = section.or("cohort_size", 64, value::whole(1));
    let over_selection = section.or(
        "over_selection",
        0.0,
        value::number("from 0 to 10", |x| (0.0..=10.0).contains(&x)),
    );
    let invited = invited(cohort_size, over_selection);
    let cohort_size = cohort_size as usize;
    let minimum_cohort = section.or("minimum_cohort", cohort_size.min(8), value::whole(1));
    let report_goal = section.or("report_goal", cohort_size, value::whole(1));
    let fewest = minimum_cohort.min(report_goal);
    // Noise is made for the fewest survivors: a low default would drown the rest.
    let default_reports = if is_private { fewest.div_ceil(5) * 4 } else { fewest.min(4) };
    let alike = match (is_private, has_variates) {
        (true, _) => Some("under a privacy policy"),
        (false, true) => Some("with the algorithm scaffold"),
        (false, false) => None,
    };
    let duration = |key, default, least| section.or(key, default, value::duration(least, day));
    let instant = Duration::from_millis(1);
    let plan = RoundPlan {
        mode: mode(&section),
        invited,
        minimum_cohort,
        selection_window: duration("selection_window", Duration::from_millis(500), Duration::ZERO),
        report_goal,
        minimum_reports: section.or(
            "minimum_reports",
            default_reports.clamp(1, fewest.max(1)),
            value::whole(1),
        ),
        deadline: duration("deadline", Duration::from_secs(60), instant),
        minimum_duration: duration("minimum_duration", Duration::ZERO, Duration::ZERO),
        reconnect_grace: duration("reconnect_grace", Duration::from_secs(3), Duration::ZERO),
        waiting_room: section.optional("waiting_room", value::whole(0)),
        retry_after: duration("retry_after", Duration::from_secs(30), instant),
        max_weight: max_weight(&section, alike),
        rounds,
        protection: Protection::None,
    };
    check_plan(&section, &plan);
    check_times(&section, &plan);
    section.finish();
    plan
}

/// The value of `mode`, with the keys that only buffered rounds have.
fn mode(section: &Section<'_>) -> Mode {
    let mode = section.or("mode", "synchronous".to_owned(), value::text);
    let max_staleness = section.optional("max_staleness", value::whole(0));
    let staleness_exponent = section.optional(
        "staleness_exponent",
        value::number("from 0 to 10", |x| (0.0..=10.0).contains(&x)),
    );
    if mode == "buffered" {
        return Mode::Buffered {
            max_staleness: max_staleness.unwrap_or(10),
            staleness_exponent: staleness_exponent.unwrap_or(0.5),
        };
    }
    if mode != "synchronous" {
        let known = "\"synchronous\" and \"buffered\"";
        section.mistake("mode", format!("{mode:?} is not known; the modes are {known}"));
        return Mode::Synchronous;
    }
    for (key, is_there) in [
        ("max_staleness", max_staleness.is_some()),
        ("staleness_exponent", staleness_exponent.is_some()),
    ] {
        if is_there {
            section.mistake(key, "only for mode = \"buffered\"; set that, or leave the key out");
        }
    }
    Mode::Synchronous
}

/// Largest weight of a client. `alike` is the reason why every client weighs the same, if
/// there is one.
fn max_weight(section: &Section<'_>, alike: Option<&str>) -> u64 {
    let configured = section.optional("max_weight", value::whole(1));
    let Some(reason) = alike else { return configured.unwrap_or(100_000) };
    if configured.is_some() {
        let problem = format!("{reason} every client weighs the same; leave the key out");
        section.mistake("max_weight", problem);
    }
    1
}

/// ceil(cohort_size * (1 + over_selection)), without the last bit's error
/// inviting one more than meant.
fn invited(cohort_size: u32, over_selection: f64) -> usize {
    let exact = f64::from(cohort_size) * (1.0 + over_selection);
    (exact - 1e-9 * exact).ceil() as usize
}

/// The relations that [`RoundPlan`] promises.
fn check_plan(section: &Section<'_>, plan: &RoundPlan) {
    let RoundPlan { invited, minimum_cohort, report_goal, minimum_reports, .. } = *plan;
    if minimum_cohort > invited {
        section.mistake(
            "minimum_cohort",
            format!("{minimum_cohort} is more than the {invited} that are invited; a round would never start. Lower it, or raise cohort_size"),
        );
    }
    if report_goal > invited {
        section.mistake(
            "report_goal",
            format!("{report_goal} is more than the {invited} that are invited; lower it, or raise cohort_size or over_selection"),
        );
    }
    if minimum_reports > report_goal {
        section.mistake(
            "minimum_reports",
            format!("{minimum_reports} is more than report_goal ({report_goal}); a round that reaches its goal could not complete. Lower it"),
        );
    }
    if minimum_reports > minimum_cohort {
        section.mistake(
            "minimum_reports",
            format!("{minimum_reports} is more than minimum_cohort ({minimum_cohort}); a round of that size could not complete. Lower it, or raise minimum_cohort"),
        );
    }
    check_weights(section, plan);
}

/// All the reports that one round can take fit into a sum.
fn check_weights(section: &Section<'_>, plan: &RoundPlan) {
    let RoundPlan { report_goal, max_weight, .. } = *plan;
    let reports = plan.most_reports();
    let key = if reports == report_goal { "report_goal" } else { "cohort_size" };
    if max_weight.saturating_mul(reports as u64) > MAX_TOTAL_WEIGHT {
        let most = MAX_TOTAL_WEIGHT / reports as u64;
        section.mistake(
            "max_weight",
            format!("{max_weight} examples from each of {reports} clients are more than the {MAX_TOTAL_WEIGHT} that one sum holds; use at most {most}, or lower {key}"),
        );
    }
}

fn check_times(section: &Section<'_>, plan: &RoundPlan) {
    if plan.minimum_duration.is_zero() {
        return;
    }
    if plan.mode != Mode::Synchronous {
        let problem = "buffered rounds have no cohort that starts together; leave the key out";
        section.mistake("minimum_duration", problem);
    } else if plan.minimum_duration > plan.deadline {
        let [minimum, deadline] =
            [plan.minimum_duration, plan.deadline].map(humantime::format_duration);
        section.mistake(
            "minimum_duration",
            format!("{minimum} is longer than the deadline ({deadline}), at which the round closes anyway; lower it, or raise the deadline"),
        );
    }
}

fn checkpoints(section: Section<'_>) -> Retention {
    let default = Retention::default();
    let keep = Retention {
        last: section.or("last", default.last, value::whole(0)),
        every: section.or("every", default.every, value::whole(0)),
        best: section.or("best", default.best, value::yes_or_no),
    };
    section.finish();
    keep
}

fn evaluation(section: Section<'_>) -> Option<EvaluationConfig> {
    let there = |key: &'static str, path: PathBuf| {
        if !path.as_os_str().is_empty() && !path.exists() {
            section.mistake(key, format!("there is no file or folder {}", path.display()));
        }
        path
    };
    let data = there("data", section.required("data", PathBuf::new(), value::path));
    let labels = section.optional("labels", value::path).map(|path| there("labels", path));
    let csv = CsvOptions {
        delimiter: section.optional("delimiter", value::delimiter),
        decimal: section.or("decimal", DecimalSign::Point, value::decimal),
    };
    let source = Source { data, labels, purpose: Purpose::Evaluation };
    section.finish();
    Some(EvaluationConfig { source, csv })
}

/// `[task.client_evaluation]`: rounds in which the clients evaluate the newest model.
fn client_evaluation(
    section: &Section<'_>,
    model: &ModelSpec,
    plan: &RoundPlan,
    privacy: Option<&PrivacySettings>,
) -> Option<EvaluationRounds> {
    let every = section.or("every", 5, value::whole(1));
    let share = value::number("above 0 and at most 0.5", |x| x > 0.0 && x <= 0.5);
    let held_out = section.or("held_out", 0.2, share);
    let bound = value::number("above 0 and at most 1e9", |x| x > 0.0 && x <= 1e9);
    let loss_bound = section.optional("loss_bound", bound);
    if plan.mode != Mode::Synchronous {
        let problem = "clients evaluate in rounds that start together; for mode = \"buffered\" \
                       leave the table out and set task.evaluation";
        section.mistake("every", problem);
        return None;
    }
    let default = ClientEvaluation::default_loss_bound(model);
    let loss_bound = match (loss_bound.or(default), privacy) {
        (Some(bound), _) => bound,
        // Nothing is bounded in the clear.
        (None, None) => 1.0,
        (None, Some(_)) => {
            let problem = "missing; under a privacy policy the loss of a regression needs a bound: \
                           a client's larger mean loss counts as this";
            section.mistake("loss_bound", problem);
            return None;
        }
    };
    let evaluation = match ClientEvaluation::new(held_out, loss_bound) {
        Ok(evaluation) => evaluation,
        Err(error) => {
            section.mistake("held_out", error.to_string());
            return None;
        }
    };
    EvaluationRounds::new(evaluation, every, model, privacy)
        .inspect_err(|error| section.mistake("every", error.to_string()))
        .ok()
}

/// The file that a new task begins with. It is read when the task is made.
fn initial(section: &Section<'_>) -> Option<InitialConfig> {
    let path = section.optional("initial", value::path);
    let names = section.optional("initial_names", value::texts);
    if path.is_none() && names.is_some() {
        section.mistake("initial_names", "only with initial; set that, or leave the key out");
    }
    Some(InitialConfig { path: path?, names: names.unwrap_or_default() })
}

/// The description of the data, if it fits the model.
fn data(section: &Section<'_>, model: &ModelSpec) -> Option<DataSpec> {
    let data = section.optional("data", value::data)?;
    // A model that cannot be read has a mistake of its own.
    let is_known = section.peek("model").is_some_and(|given| value::model(given).is_ok());
    match data.check_for(model) {
        Err(misfit) if is_known => {
            section.mistake("data", misfit.to_string());
            None
        }
        _ => Some(data),
    }
}
