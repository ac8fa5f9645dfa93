//! The contract with the page: events, options and codes as TypeScript, generated from
//! the Rust sources and compared with the committed file. To write it anew after a change
//! that is meant: `FEDRA_BLESS=1 cargo test --workspace --test contract`.
//!
//! Derive macros (`ts-rs`, `tsify`) leave the doc comments of variants out, and make one type
//! of all events, where the page has an interface for each.

mod typescript;

use std::{env, fs};

use fedra_edge_client::{
    BackendName, ClientEvent, EventCode, Failure, Notice, RoundProgress, SessionState,
    StatusReason, UpdateFate,
};
use fedra_protocol::{Headline, Loss, RefusalCode, RoundPhase, StandbyCause, UpdateFault};
use serde_json::{Value, json};
use typescript::{Entry, Form, Names};

const HEAD: &str = "\
// Generated from the Rust sources by edge-client/tests/contract; not to be edited.

";

const fn same(name: &'static str) -> Entry {
    named(name, name)
}

const fn named(rust: &'static str, typescript: &'static str) -> Entry {
    Entry { rust, typescript, form: Form::Serde }
}

const fn formed(name: &'static str, form: Form) -> Entry {
    Entry { rust: name, typescript: name, form }
}

/// The types by the file that has them.
const CONTRACT: [(&str, &[Entry]); 13] = [
    (
        include_str!("../../src/events.rs"),
        &[
            same("ClientEvent"),
            same("ClientScores"),
            same("SessionState"),
            same("UpdateFate"),
            same("RoundProgress"),
        ],
    ),
    (
        include_str!("../../src/local_work/personal.rs"),
        &[same("Personalization"), same("ModelScores")],
    ),
    (
        include_str!("../../src/privacy.rs"),
        &[
            same("PrivacyTerms"),
            same("ExampleTerms"),
            named("PolicyName", "PrivacyPolicy"),
            same("Consent"),
        ],
    ),
    (
        include_str!("../../src/options.rs"),
        &[
            named("ClientOptions", "ModuleOptions"),
            named("PrivacyOptions", "ModulePrivacyOptions"),
            named("ExampleOptions", "ExamplePrivacy"),
        ],
    ),
    (include_str!("../../src/devices.rs"), &[named("BackendName", "Backend")]),
    (include_str!("../../src/backend.rs"), &[named("BackendPreference", "BackendChoice")]),
    (
        include_str!("../../src/codes.rs"),
        &[
            formed("EventCode", Form::Untagged),
            formed("CallCode", Form::Untagged),
            formed("StatusReason", Form::Untagged),
            formed("Notice", Form::Codes),
            formed("CallFault", Form::Codes),
        ],
    ),
    (include_str!("../../src/failure.rs"), &[formed("Failure", Form::Codes)]),
    (
        include_str!("../../../crates/protocol/src/message.rs"),
        &[same("RefusalCode"), same("StandbyCause"), same("UpdateFault")],
    ),
    (include_str!("../../../crates/protocol/src/task.rs"), &[same("RoundPhase")]),
    (include_str!("../../../crates/protocol/src/model/loss.rs"), &[same("Loss")]),
    (include_str!("../../../crates/protocol/src/evaluation.rs"), &[same("Headline")]),
    (include_str!("../../../crates/privacy-policy/src/floors.rs"), &[same("PrivacyFloors")]),
];

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../web/package/src/generated/contract.ts");

fn generated() -> String {
    let names = Names::new(CONTRACT.iter().flat_map(|(_, entries)| entries.iter().copied()));
    let declarations: Vec<String> = CONTRACT
        .iter()
        .flat_map(|(source, entries)| entries.iter().map(|entry| names.declaration(source, *entry)))
        .collect();
    HEAD.to_owned() + &declarations.join("\n")
}

#[test]
fn the_pages_types_are_those_of_the_rust_sources() {
    let generated = generated();
    if env::var_os("FEDRA_BLESS").is_some() {
        return fs::write(FILE, generated).expect("the package's folder");
    }
    let committed = fs::read_to_string(FILE).expect("the committed file");
    assert!(committed == generated, "the contract has changed; see the head of this test");
}

/// The generated text between the name of a declaration and the next one.
fn section<'a>(text: &'a str, declaration: &str) -> &'a str {
    let (_, rest) = text.split_once(declaration).unwrap_or_else(|| panic!("no {declaration}"));
    rest.split_once("export ").map_or(rest, |(section, _)| section)
}

#[test]
fn an_event_is_serialised_with_the_members_that_its_type_has() {
    let text = generated();
    let status = ClientEvent::Status {
        state: SessionState::Waiting,
        round: Some(1),
        reason: Some(StatusReason::Standby(StandbyCause::MissedDeadline)),
        retry_in_ms: Some(2),
    };
    let backend = ClientEvent::Backend {
        backend: BackendName::WebGpu,
        adapter: Some("a".into()),
        reason: "r".into(),
        cpu_samples_per_second: Some(1.0),
        webgpu_samples_per_second: Some(1.0),
        gradient_error: Some(0.0),
    };
    let round = ClientEvent::Round(RoundProgress {
        round: 1,
        attempt: 0,
        phase: RoundPhase::Collecting,
        cohort: 1,
        reported: 0,
        left: 0,
        report_goal: 1,
        clients_connected: 1,
        deadline_ms: Some(1),
        rounds_total: Some(1),
    });
    let update = ClientEvent::Update {
        round: 1,
        outcome: UpdateFate::Rejected,
        fault: Some(UpdateFault::OutOfRange),
        message: Some("m".into()),
    };
    for (event, declarations) in [
        (status, &["interface StatusEvent"][..]),
        (backend, &["interface BackendEvent"]),
        (round, &["interface RoundEvent", "interface RoundProgress"]),
        (update, &["interface UpdateEvent"]),
    ] {
        let Value::Object(members) = json!(event) else { panic!("an object") };
        let declared: String = declarations.iter().map(|name| section(&text, name)).collect();
        for name in members.keys() {
            assert!(
                declared.contains(&format!("  readonly {name}: "))
                    || declared.contains(&format!("  readonly {name}?: ")),
                "{name} in {declared}"
            );
        }
        let count = declared.matches("  readonly ").count();
        assert_eq!(count, members.len(), "{declared}");
    }
}

#[test]
fn a_name_is_serialised_as_its_type_says() {
    let text = generated();
    for (value, declaration) in [
        (json!(SessionState::Unavailable), "type SessionState ="),
        (json!(BackendName::WebGpu), "type Backend ="),
        (json!(RoundPhase::Finalizing), "type RoundPhase ="),
        (json!(UpdateFault::NotInCohort), "type UpdateFault ="),
        (json!(StandbyCause::MissedDeadline), "type StandbyCause ="),
        (json!(Loss::SoftmaxCrossEntropy), "type Loss ="),
        (json!(Headline::BitsPerToken), "type Headline ="),
        (json!(EventCode::Notice(Notice::NoWebgpu)), "type Notice ="),
        (json!(EventCode::Failure(Failure::ParticipationNotKept)), "type Failure ="),
    ] {
        let name = value.as_str().expect("a text");
        let section = section(&text, declaration);
        assert!(section.contains(&format!("  | '{name}'")), "{name} in {section}");
    }
    let refused = json!(EventCode::Failure(Failure::Refused(RefusalCode::ShuttingDown)));
    let name = refused.as_str().and_then(|code| code.strip_prefix("refused-")).expect("a prefix");
    assert!(section(&text, "type Failure =").contains("  | `refused-${RefusalCode}`"));
    assert!(section(&text, "type RefusalCode =").contains(&format!("  | '{name}'")));
}
