//! Defaults, and that every mistake is found and explained.

mod banded;
mod training;

use super::*;
use fedra_coordinator::round::{Mode, Protection};
use fedra_coordinator::storage::Retention;
use fedra_protocol::Shape;

pub(super) const SMALL: &str = r#"
[[task]]
id = "tiny"
model = "softmax-regression"
"#;

pub(super) fn mistakes(toml: &str) -> Vec<String> {
    let Err(Mistakes(mistakes)) = Config::from_toml(toml) else {
        panic!("no mistake found");
    };
    mistakes.iter().map(ToString::to_string).collect()
}

#[test]
fn a_task_needs_an_id_and_a_model() {
    let config = Config::from_toml(SMALL).expect("valid");
    let server = &config.server;
    assert_eq!(server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(server.store, Path::new("fedra-data"));
    assert_eq!(server.page, None);
    assert_eq!(server.max_connections, 10_000);
    assert_eq!(server.upload_budget, 256 << 20);
    assert_eq!(server.handshake_timeout, Duration::from_secs(10));
    assert_eq!(server.idle_timeout, Duration::from_secs(60));
    let [task] = config.tasks.as_slice() else { panic!("one task") };
    assert_eq!(task.settings.title, "tiny");
    assert_eq!((task.settings.plan.invited, task.settings.plan.minimum_cohort), (64, 8));
    assert_eq!((task.settings.plan.report_goal, task.settings.plan.minimum_reports), (64, 4));
    assert_eq!(task.settings.plan.deadline, Duration::from_secs(60));
    assert_eq!(task.settings.plan.selection_window, Duration::from_millis(500));
    assert_eq!((task.settings.plan.max_weight, task.settings.plan.rounds), (100_000, None));
    assert_eq!(task.settings.plan.mode, Mode::Synchronous);
    assert_eq!(task.settings.plan.minimum_duration, Duration::ZERO);
    assert_eq!(task.settings.plan.reconnect_grace, Duration::from_secs(3));
    assert_eq!(task.settings.plan.waiting_room, None);
    assert_eq!(task.settings.plan.retry_after, Duration::from_secs(30));
    assert_eq!((task.settings.training.epochs(), task.settings.training.batch_size()), (1, 10));
    assert_eq!(task.evaluation, None);
    assert_eq!(task.settings.checkpoints, Retention { last: 10, every: 0, best: true });

    assert_eq!(
        mistakes("[[task]]"),
        [
            "task[0].id: missing; this key has no default",
            "task[0].model: missing; this key has no default",
        ]
    );
    assert_eq!(mistakes(""), ["task: there is no task; add one with [[task]]"]);
}

#[test]
fn small_cohorts_have_small_defaults() {
    let config =
        Config::from_toml(&format!("{SMALL}round = {{ cohort_size = 3 }}")).expect("valid");
    let plan = &config.tasks[0].settings.plan;
    assert_eq!((plan.invited, plan.minimum_cohort), (3, 3));
    assert_eq!((plan.report_goal, plan.minimum_reports), (3, 3));
}

#[test]
fn over_selection_rounds_up() {
    for (size, over, expected) in [(10, 0.1, 11), (10, 0.11, 12), (3, 0.0, 3), (100, 0.3, 130)] {
        let toml = format!(
            "{SMALL}round = {{ cohort_size = {size}, over_selection = {over}, minimum_cohort = 1 }}"
        );
        let config = Config::from_toml(&toml).expect("valid");
        assert_eq!(config.tasks[0].settings.plan.invited, expected, "{size} {over}");
    }
}

#[test]
fn every_mistake_is_found_at_once() {
    let found = mistakes(
        r#"
        surprise = 1
        [server]
        listen = "localhost"
        uplod_budget = "1GiB"
        idle_timeout = 60
        handshake_timeout = "soon"
        max_connections = 0
        upload_budget = "12 parsecs"
        page = "no/such/folder"
        [[task]]
        id = "a"
        model = "resnet"
        rounds = 0
        server_optimizer = { learning_rate = -1 }
        round = { cohort_size = 4, minimum_cohort = 5, report_goal = 6, minimum_reports = 7, max_weight = 100000000, deadline = "0s" }
        training = { batch_size = 70000, momentum = 1.5 }
        evaluation = { labels = "nowhere", decimal = ";", delimiter = "tab" }
        [[task]]
        id = "a"
        model = { input = [4], layers = [{ type = "linear", outputs = 1 }], loss = "softmax_cross_entropy" }
        [[task]]
        id = "Not An Id"
        model = "mnist-2nn"
        round = 3
        "#,
    );
    let expected = [
        "surprise: unknown key; known keys here: server, task",
        "server.listen: must be an address and a port",
        "server.uplod_budget: unknown key; did you mean `upload_budget`?",
        "server.idle_timeout: must be a duration such as",
        "server.handshake_timeout: must be a duration such as",
        "server.max_connections: must be a whole number of at least 1",
        "server.upload_budget: must be a size such as",
        "server.page: there is no index.html in no/such/folder",
        "task[a].model: no built-in model \"resnet\"; use \"softmax-regression\"",
        "task[a].rounds: must be a whole number of at least 1",
        "task[a].server_optimizer.learning_rate: must be from 0.000001 to 1000; it is -1",
        "task[a].round.minimum_cohort: 5 is more than the 4 that are invited",
        "task[a].round.report_goal: 6 is more than the 4 that are invited",
        "task[a].round.minimum_reports: 7 is more than report_goal (6)",
        "task[a].round.minimum_reports: 7 is more than minimum_cohort (5)",
        "task[a].round.max_weight: 100000000 examples from each of 6 clients",
        "task[a].round.deadline: must be from 1ms to 1day; it is 0s",
        "task[a].training.momentum: must be at least 0 and below 1; it is 1.5",
        "task[a].training.batch_size: must be 1 to 65536; it is 70000",
        "task[a].evaluation.data: missing",
        "task[a].evaluation.labels: there is no file or folder nowhere",
        "task[a].evaluation.delimiter: must be one character",
        "task[a].evaluation.decimal: must be \".\" or \",\"",
        "task[1].id: the id \"a\" is taken by an earlier task",
        "task[a].model: softmax cross-entropy needs at least 2 outputs; the model has 1",
        "task[2].id: a task id has 1 to 64 characters",
        "task[2].round: must be a table",
    ];
    for expected in expected {
        let hits = found.iter().filter(|mistake| mistake.starts_with(expected)).count();
        assert_eq!(hits, 1, "{expected}\n{found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn the_range_of_updates_is_a_power_of_two_and_goes_by_the_loss() {
    let task = |loss: &str, keys: &str| {
        format!(
            "[[task]]\nid = \"a\"\n{keys}\nmodel = {{ input = [2], layers = [{{ type = \"linear\", \
             outputs = 2 }}], loss = \"{loss}\" }}"
        )
    };
    let cases = [
        ("softmax_cross_entropy", "", 64),
        ("mean_squared_error", "", 1 << 20),
        ("softmax_cross_entropy", "update_range = 1", 1),
        ("mean_squared_error", "update_range = 16777216", 1 << 24),
    ];
    for (loss, keys, range) in cases {
        let config = Config::from_toml(&task(loss, keys)).expect("valid");
        assert_eq!(u32::from(config.tasks[0].settings.update_range), range, "{loss} {keys}");
    }
    for bad in ["0", "3", "-64", "64.5", "\"64\"", "33554432", "4294967296"] {
        let found = mistakes(&task("mean_squared_error", &format!("update_range = {bad}")));
        let expected = "task[a].update_range: must be a power of two, 1 to 16777216";
        assert!(found.len() == 1 && found[0].starts_with(expected), "{bad}: {found:?}");
    }
}

/// The small task with these keys in its table of rounds.
fn with_round(keys: &str) -> String {
    format!("{SMALL}[task.round]\n{keys}")
}

#[test]
fn buffered_rounds_have_keys_of_their_own() {
    let config = Config::from_toml(&with_round("mode = \"buffered\"")).expect("valid");
    let mode = Mode::Buffered { max_staleness: 10, staleness_exponent: 0.5 };
    assert_eq!(config.tasks[0].settings.plan.mode, mode);
    let keys = "mode = \"buffered\"\nmax_staleness = 3\nstaleness_exponent = 0";
    let config = Config::from_toml(&with_round(keys)).expect("valid");
    let mode = Mode::Buffered { max_staleness: 3, staleness_exponent: 0.0 };
    assert_eq!(config.tasks[0].settings.plan.mode, mode);

    let found = mistakes(&with_round("max_staleness = 3\nstaleness_exponent = 1.0"));
    let expected = "only for mode = \"buffered\"; set that, or leave the key out";
    assert_eq!(
        found,
        [
            format!("task[tiny].round.max_staleness: {expected}"),
            format!("task[tiny].round.staleness_exponent: {expected}"),
        ]
    );
    let found = mistakes(&with_round("mode = \"eager\""));
    assert!(found[0].contains("\"eager\" is not known"), "{found:?}");
    let found = mistakes(&with_round("mode = \"buffered\"\nstaleness_exponent = 11"));
    assert!(found[0].ends_with("must be from 0 to 10; it is 11"), "{found:?}");
    let found = mistakes(&with_round("mode = \"buffered\"\nminimum_duration = \"5s\""));
    assert!(found[0].contains("buffered rounds have no cohort"), "{found:?}");
}

#[test]
fn buffered_rounds_go_with_the_noise_of_the_server_or_of_masking_groups() {
    let round = "[task.round]\nmode = \"buffered\"\ncohort_size = 40\nreport_goal = 10\n";
    let with = |policy: &str| {
        let privacy = PRIVATE.replace("distributed", policy).replace("1.0", "20.0");
        format!("{SMALL}rounds = 50\n{round}{privacy}")
    };
    for more in ["noise = \"independent\"", "max_participations = 4"] {
        let config = Config::from_toml(&format!("{}{more}", with("central"))).expect("valid");
        let settings = &config.tasks[0].settings;
        assert_eq!(settings.plan.protection, Protection::DebitLast);
        assert_eq!((settings.plan.max_weight, settings.plan.minimum_reports), (1, 8));
        // A sum has as many updates as close a round, not as many as clients are at work.
        let policy = settings.policy().expect("a policy");
        assert_eq!((policy.cohort, policy.minimum_survivors), (10, 8), "{more}");
    }
    let config = Config::from_toml(&with("distributed")).expect("valid");
    let settings = &config.tasks[0].settings;
    assert!(settings.plan.forms_groups());
    let policy = settings.policy().expect("a policy");
    assert_eq!((policy.cohort, policy.minimum_survivors), (10, 8), "those of a group");
    assert!(settings.needs().algorithms.contains("masking_groups"));

    let at_once = with("distributed").replace("report_goal", "max_staleness = 0\nreport_goal");
    for (toml, reason) in [
        (with("local"), "a round is debited before its clients are invited"),
        (at_once, "clients wait for each other while models are made"),
    ] {
        let found = mistakes(&toml);
        let expected = format!("task[tiny].privacy.policy: {reason}");
        assert!(found.len() == 1 && found[0].starts_with(&expected), "{found:?}");
    }
}

#[test]
fn a_round_that_stays_open_beyond_its_goal_has_room_for_all_who_are_invited() {
    // 64 reports of a million examples fit into 2^26, 100 do not.
    let keys = "cohort_size = 100\nreport_goal = 64\nmax_weight = 1000000";
    assert!(Config::from_toml(&with_round(keys)).is_ok());
    for stays_open in ["minimum_duration = \"1s\"", "mode = \"buffered\""] {
        let found = mistakes(&with_round(&format!("{keys}\n{stays_open}")));
        let expected = "task[tiny].round.max_weight: 1000000 examples from each of 100 clients";
        assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
    }
}

#[test]
fn a_minimum_duration_fits_into_the_deadline() {
    let keys = "minimum_duration = \"1min\"\nwaiting_room = 0\nretry_after = \"10s\"";
    let config = Config::from_toml(&with_round(keys)).expect("valid");
    let plan = &config.tasks[0].settings.plan;
    assert_eq!(plan.minimum_duration, plan.deadline);
    assert_eq!((plan.waiting_room, plan.retry_after), (Some(0), Duration::from_secs(10)));
    let found = mistakes(&with_round("minimum_duration = \"61s\""));
    let expected = "task[tiny].round.minimum_duration: 1m 1s is longer than the deadline (1m)";
    assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
    let found = mistakes(&with_round("retry_after = \"0s\"\nreconnect_grace = 3"));
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn broken_toml_is_one_clear_mistake() {
    let found = mistakes("[server\nlisten = 3");
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn an_update_has_to_fit_the_budget() {
    let found = mistakes(&format!("[server]\nupload_budget = \"10kB\"\n{SMALL}"));
    assert!(found[0].starts_with("task[tiny].model: one update of this model takes 31400 bytes"));
}

#[test]
fn an_update_is_half_as_long_in_half_precision() {
    let length = |codec: &str| {
        let config = Config::from_toml(&format!("{SMALL}{codec}")).expect("valid");
        config.tasks[0].settings.codec.bounds().bytes.most()
    };
    assert_eq!(length(""), 4 * 7_850);
    assert_eq!(length("codec = \"f32\"\n"), 4 * 7_850);
    assert_eq!(length("codec = \"f16\"\n"), 2 * 7_850);
    let budget = "[server]\nupload_budget = \"20kB\"\n";
    assert!(Config::from_toml(&format!("{budget}{SMALL}codec = \"f16\"\n")).is_ok());
    for name in ["f8", "packed"] {
        let found = mistakes(&format!("{SMALL}codec = {name:?}\n"));
        let expected = format!("task[tiny].codec: {name:?} is not known");
        assert!(found[0].starts_with(&expected), "{found:?}");
    }
}

#[test]
fn a_codec_is_refused_where_the_policys_words_are_the_codec() {
    for policy in ["distributed", "local"] {
        let privacy = PRIVATE.replace("distributed", policy).replace("1.0", "20.0");
        for codec in ["f32", "f16", "int8", "eden1", "topk"] {
            let found = mistakes(&format!("{SMALL}codec = {codec:?}\n{privacy}"));
            let expected =
                format!("task[tiny].codec: the codec {codec} is for values in the clear");
            assert!(found[0].starts_with(&expected), "{found:?}");
            assert!(found[0].ends_with("leave the key out, or the policy"), "{found:?}");
        }
    }
    let central = PRIVATE.replace("distributed", "central").replace("1.0", "20.0");
    let central = format!("{central}noise = \"independent\"\n");
    let config = Config::from_toml(&format!("{SMALL}codec = \"f16\"\n{central}")).expect("valid");
    assert_eq!(config.tasks[0].settings.codec.bounds().bytes.most(), 2 * 7_850);
}

pub(super) const PRIVATE: &str = r#"
[task.privacy]
policy = "distributed"
noise_multiplier = 1.0
clipping_norm = 1.0
epsilon = 8.0
delta = 1e-5
"#;

#[test]
fn a_privacy_policy_decides_about_weights_survivors_and_rounds() {
    let config = Config::from_toml(&format!("{SMALL}{PRIVATE}")).expect("valid");
    let task = &config.tasks[0];
    let privacy = task.settings.privacy.as_ref().expect("a policy");
    assert_eq!((task.settings.plan.max_weight, task.settings.plan.minimum_reports), (1, 8));
    let step_deadline = Duration::from_secs(10);
    assert_eq!(task.settings.plan.protection, Protection::Secure { step_deadline });
    assert_eq!(privacy.counting, Counting::Rounds);
    // As many rounds as the budget pays for, and no more.
    let granted = privacy.derived.policy().max_participations;
    assert!(privacy.derived.epsilon_after(granted) <= 8.0);
    assert!(privacy.derived.epsilon_after(granted + 1) > 8.0);
    // A power of two of coordinates, bit-packed, instead of 7,850 floats.
    let update = task.settings.codec.bounds().bytes.most();
    assert!(update < 4 * 7_850, "{update}");

    let capped = PRIVATE.replace("1.0", "20.0") + "max_participations = 3\n";
    let config = Config::from_toml(&format!("{SMALL}{capped}")).expect("valid");
    let privacy = config.tasks[0].settings.privacy.as_ref().expect("a policy");
    assert_eq!(privacy.counting, Counting::Subjects);
    assert_eq!(privacy.derived.policy().max_participations, 3);
    let summary = config.tasks[0].summary();
    assert!(summary.contains("  privacy: distributed, noise multiplier 20, "), "{summary}");

    let none = PRIVATE.replace("distributed", "none");
    let config = Config::from_toml(&format!("{SMALL}{none}")).expect("valid");
    assert!(config.tasks[0].settings.privacy.is_none());
}

#[test]
fn mistakes_in_a_privacy_policy_say_what_to_do() {
    let with = |privacy: &str| mistakes(&format!("{SMALL}[task.privacy]\n{privacy}"));
    let found = with("policy = \"magic\"\nepsilon = 0");
    assert!(found.iter().any(|m| m.contains("\"magic\" is not known")), "{found:?}");
    assert!(found.iter().any(|m| m.starts_with("task[tiny].privacy.epsilon: must be above 0")));
    let weighed = format!("{SMALL}round = {{ max_weight = 5 }}\n{PRIVATE}");
    let found = mistakes(&weighed);
    assert!(found[0].contains("every client weighs the same"), "{found:?}");
    let found = with("policy = \"local\"");
    for key in ["noise_multiplier", "clipping_norm", "epsilon", "delta"] {
        let missing = format!("task[tiny].privacy.{key}: missing");
        assert!(found.iter().any(|m| m.starts_with(&missing)), "{found:?}");
    }
    let found = mistakes(&format!("{SMALL}{}", PRIVATE.replace("8.0", "0.5")));
    assert!(found[0].contains("1 participations cost epsilon"), "{found:?}");
    let found = mistakes(&format!("{SMALL}{PRIVATE}max_participations = 50"));
    assert!(found[0].contains("raise noise_multiplier or epsilon"), "{found:?}");
    let central = PRIVATE.replace("distributed", "central");
    let found = mistakes(&format!("{SMALL}{central}"));
    assert!(found[0].contains("needs to know how many rounds there will be"), "{found:?}");
    let found = mistakes(&format!("{SMALL}rounds = 16\n{central}"));
    assert!(found[0].starts_with("task[tiny].privacy.max_participations: missing"), "{found:?}");
    let found = mistakes(&format!("{SMALL}{PRIVATE}noise = \"tree\""));
    assert!(found[0].contains("only the policy \"central\""), "{found:?}");
}

/// Every key that takes a fraction, and a config that has it.
fn fractions() -> [(&'static str, String); 21] {
    let task = |line: &str| format!("{SMALL}{line}");
    let adam = |key| task(&format!("server_optimizer = {{ name = \"adam\", {key} = $ }}"));
    let private = |key: &str| {
        let central = PRIVATE.replace("distributed", "central") + "noise = \"independent\"\n";
        let central =
            if central.contains(key) { central } else { format!("{central}{key} = 0.5\n") };
        let line = central.lines().find(|line| line.starts_with(key)).expect("a line").to_owned();
        format!("{SMALL}{}", central.replace(&line, &format!("{key} = $")))
    };
    [
        ("server_optimizer.learning_rate", task("server_optimizer = { learning_rate = $ }")),
        ("server_optimizer.momentum", adam("momentum")),
        ("server_optimizer.beta2", adam("beta2")),
        ("server_optimizer.tau", adam("tau")),
        ("aggregation.norm", task("aggregation = { estimator = \"norm_bound\", norm = $ }")),
        ("training.learning_rate", task("training = { learning_rate = $ }")),
        ("training.momentum", task("training = { momentum = $ }")),
        ("training.weight_decay", task("training = { weight_decay = $ }")),
        ("training.proximal", task("training = { proximal = $ }")),
        ("training.clip_gradient_norm", task("training = { clip_gradient_norm = $ }")),
        ("training.beta1", task("training = { algorithm = \"adam\", beta1 = $ }")),
        ("training.beta2", task("training = { algorithm = \"adam\", beta2 = $ }")),
        ("training.epsilon", task("training = { algorithm = \"adam\", epsilon = $ }")),
        ("round.over_selection", task("round = { over_selection = $ }")),
        (
            "round.staleness_exponent",
            task("round = { mode = \"buffered\", staleness_exponent = $ }"),
        ),
        ("privacy.noise_multiplier", private("noise_multiplier")),
        ("privacy.clipping_norm", private("clipping_norm")),
        ("privacy.epsilon", private("epsilon")),
        ("privacy.delta", private("delta")),
        ("privacy.target_quantile", private("target_quantile")),
        (
            "handshakes_per_second_per_address",
            format!("[server.limits]\nhandshakes_per_second_per_address = $\n{SMALL}"),
        ),
    ]
}

#[test]
fn a_number_that_is_none_or_absurd_is_a_mistake_with_its_range() {
    for (key, toml) in fractions() {
        for bad in ["nan", "inf", "-inf", "-1.0", "-1e300"] {
            let found = mistakes(&toml.replace('$', bad));
            assert_eq!(found.len(), 1, "{key} = {bad}: {found:?}");
            assert!(found[0].contains(key) && found[0].contains("must be "), "{bad}: {found:?}");
        }
    }
    // What is in the range of f64, and not in that of what is done with it.
    for (key, toml) in fractions() {
        for absurd in ["1e300", "1e40"] {
            let Err(found) = Config::from_toml(&toml.replace('$', absurd)) else {
                panic!("{key} = {absurd} is taken");
            };
            let names_it = found.0.iter().any(|mistake| mistake.to_string().contains(key));
            assert!(names_it, "{key} = {absurd}: {found}");
        }
        // Taken or not: it does not panic.
        drop(Config::from_toml(&toml.replace('$', "1e-300")));
    }
}

#[test]
fn access_is_open_by_default() {
    let config = Config::from_toml(SMALL).expect("valid");
    let Config { server, tasks } = &config;
    assert!(server.allowed_origins.is_none() && server.tls.is_none());
    assert!(server.token_keys.is_empty());
    let limits = &server.limits;
    assert_eq!((limits.connections_per_address, limits.handshakes_per_second), (0, 2000));
    assert_eq!(limits.header_timeout, server.handshake_timeout);
    assert!(limits.keep_alive_timeout > Duration::from_secs(60), "longer than balancers keep");
    assert_eq!(tasks[0].access.tokens, Tokens::None);
    assert_eq!(tasks[0].access.max_token_lifetime, HOUR);

    let config = Config::from_toml(&format!(
        "[server]\nhandshake_timeout = \"3s\"\nallowed_origins = [\"https://Example.org:443\"]\n\
         [server.limits]\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]\n{SMALL}"
    ))
    .expect("valid");
    assert_eq!(config.server.limits.header_timeout, Duration::from_secs(3));
    let crowd = "access = { max_clients = 9, max_clients_per_address = 2 }";
    let summary = Config::from_toml(&format!("{SMALL}{crowd}")).expect("valid").summary();
    let line = "  takes part: anybody, at most 9 at a time, at most 2 at a time from one address\n";
    assert!(summary.contains(line), "{summary}");
    let networks: Vec<_> =
        config.server.limits.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "::1/128"]);
    let origins = config.server.allowed_origins.expect("a list");
    assert_eq!(origins[0].to_string(), "https://example.org");
}

#[test]
fn mistakes_about_access_are_explained() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("writes");
        path.display().to_string()
    };
    let short = write("short", "not thirty-two bytes");
    let private = write("private.pem", "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n");
    let garbage = write("garbage", "AAAA");
    let found = mistakes(&format!(
        r#"
        [server]
        allowed_origins = ["https://example.org/", "*"]
        [server.tls]
        certificate = "nowhere.pem"
        private_key = "nowhere.key"
        [server.limits]
        handshakes_per_second_per_address = -1
        trusted_proxies = ["everybody"]
        client_address_header = "x-real-ip"
        header_bytes = "1KiB"
        connections_per_adress = 1
        [[server.token_key]]
        id = "a"
        algorithm = "HS256"
        secret_file = "{short}"
        [[server.token_key]]
        id = "b"
        algorithm = "EdDSA"
        public_key_file = "{private}"
        [[server.token_key]]
        id = "b"
        algorithm = "EdDSA"
        public_key_file = "{garbage}"
        secret_file = "{short}"
        [[server.token_key]]
        id = "c"
        algorithm = "RS256"
        [[server.token_key]]
        id = "d"
        algorithm = "EdDSA"
        [[task]]
        id = "tiny"
        model = "softmax-regression"
        access = {{ tokens = "maybe", max_token_lifetime = "0s" }}
        "#
    ));
    let expected = [
        "server.allowed_origins: must be an origin such as",
        "server.tls.certificate: nowhere.pem: ",
        "server.limits.handshakes_per_second_per_address: must be from 0 to 1000000; it is -1",
        "server.limits.header_bytes: must be from 8KiB to 1MiB",
        "server.limits.trusted_proxies: must be an address or a network",
        "server.limits.client_address_header: must be \"x-forwarded-for\" or \"forwarded\"",
        "server.limits.connections_per_adress: unknown key; did you mean",
        "server.token_key[0].secret_file: ",
        "server.token_key[1].public_key_file: ",
        "server.token_key[2].secret_file: does not go with the algorithm",
        "server.token_key[2].public_key_file: ",
        "server.token_key[2].id: the id \"b\" is taken",
        "server.token_key[3].algorithm: must be \"EdDSA\" or \"HS256\"",
        "server.token_key[4].public_key_file: missing",
        "task[tiny].access.tokens: must be \"required\" or \"none\"",
        "task[tiny].access.max_token_lifetime: must be from 1s",
    ];
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    assert!(found[7].contains("at least 32 bytes") && found[8].contains("private key"));
    // A task that no client could join.
    let closed = format!("{SMALL}access = {{ tokens = \"required\" }}");
    let found = mistakes(&closed);
    assert!(found[0].starts_with("task[tiny].access.tokens: there is no key"), "{found:?}");
}

#[test]
fn data_are_described_and_held_against_the_model() {
    let task = |data: &str, outputs: u32| {
        format!(
            r#"
            [[task]]
            id = "a"
            model = {{ input = [3], layers = [{{ type = "linear", outputs = {outputs} }}], loss = "softmax_cross_entropy" }}
            [task.data]
            {data}
            "#
        )
    };
    let table = r#"
        kind = "table"
        target = "y"
        columns = [
            { name = "x", type = "number", min = 0, max = 10, fill = 5, flag_missing = true },
            { name = "b", type = "boolean" },
            { name = "y", type = "category", values = ["low", "high"] },
        ]
    "#;
    let config = Config::from_toml(&task(table, 2)).expect("valid");
    let data = config.tasks[0].settings.data.as_ref().expect("described");
    assert_eq!((data.kind(), data.shape()), ("table", Shape::Features(3)));
    assert_eq!(config.tasks[0].settings.description().data, Some(data.encoded()));
    for (data, outputs, expected) in [
        (table, 3, "task[a].data: the data have one of 2 classes an example, the model 3 outputs"),
        (r#"kind = "text""#, 2, "task[a].data: missing field `context`"),
        (r#"kind = "sound""#, 2, "task[a].data: unknown variant: found `sound`"),
        ("kind = \"text\"\ncontext = 0", 2, "task[a].data: context: must be at least 1"),
    ] {
        let found = mistakes(&task(data, outputs));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(expected), "{found:?}");
    }
    // A model that cannot be read is one mistake, not two.
    let unknown = task(table, 2).replace("input = [3]", "input = []");
    assert_eq!(mistakes(&unknown).len(), 1);
}
