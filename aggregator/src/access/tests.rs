//! Tokens that are let in and tokens that are not, and what is remembered.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::claims::ClaimFault;
use super::*;
use crate::config::Config;
use crate::config::TaskConfig;

#[expect(dead_code, reason = "the tests of the whole server use more of it")]
#[path = "../../tests/server/mint.rs"]
mod mint;
use mint::{Mint, encode};

/// The time in these tests, Unix seconds.
const NOW: u64 = 1_700_000_000;
const SECRET: &[u8] = b"a shared secret that is long enough";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

/// An Access and a task that needs tokens, with the keys "k1" (Ed25519) and "k2"
/// (a secret).
struct Site {
    access: Access,
    task: TaskConfig,
    server: ServerConfig,
    _folder: TempDir,
}

impl Site {
    fn new(access: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("writes");
            path
        };
        let public = write("k1.pem", ed25519().public_pem().as_bytes());
        let secret = write("k2", &[SECRET, b"\n"].concat());
        let toml = format!(
            r#"
            [[server.token_key]]
            id = "k1"
            algorithm = "EdDSA"
            public_key_file = "{}"
            [[server.token_key]]
            id = "k2"
            algorithm = "HS256"
            secret_file = "{}"
            [[task]]
            id = "tiny"
            model = "softmax-regression"
            [task.access]
            {access}
            "#,
            public.display(),
            secret.display(),
        );
        let Config { server, mut tasks } =
            Config::from_toml(&toml).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let access = Access::new(&server, Arc::new(Metrics::new())).expect("sound files");
        Self { access, task: tasks.remove(0), server, _folder: folder }
    }

    fn admit(&self, token: &str) -> Result<AdmittedClient, Denied> {
        let token = Token::new(token).expect("visible ASCII");
        let claimed = Some(SubjectId::from_bytes([9; 16]));
        let address = "192.0.2.1".parse().expect("an address");
        self.access.admit(
            &self.task.settings.id,
            &self.task.access,
            Some(&token),
            claimed,
            address,
            now(),
        )
    }

    #[track_caller]
    fn assert_denied(&self, token: &str, reason: Reason) {
        let Err(denied) = self.admit(token) else { panic!("let in") };
        assert_eq!(denied.reason, reason);
        let shown = format!("{} {denied:?} {}", denied.reason.label(), denied.reason.sentence());
        assert!(token.split('.').all(|part| part.len() < 8 || !shown.contains(part)), "{shown}");
    }
}

fn ed25519() -> Mint {
    Mint::ed25519("k1", 1)
}

/// Sound claims, with others over them; `null` takes one away.
fn claims(changes: &Value) -> Value {
    let mut claims = json!({ "aud": "tiny", "sub": "visitor-7", "iat": NOW, "exp": NOW + 300 });
    for (name, value) in changes.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    claims.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
    claims
}

const REQUIRED: &str = "tokens = \"required\"";

#[test]
fn a_token_says_who_takes_part() {
    let site = Site::new(REQUIRED);
    let subject = |mint: &Mint, changes: Value| {
        site.admit(&mint.token(&claims(&changes))).expect("let in").subject.expect("a subject")
    };
    let (public, shared) = (ed25519(), Mint::hs256("k2", SECRET));
    let visitor = subject(&public, json!({}));
    assert_ne!(visitor, SubjectId::from_bytes([9; 16]), "the device's own word");
    assert_eq!(visitor, subject(&shared, json!({ "aud": ["other", "tiny"] })));
    assert_ne!(visitor, subject(&public, json!({ "sub": "visitor-8" })));
    // Stable over releases: it is what a privacy ledger knows the participant by.
    assert_eq!(visitor.to_string(), "e56c1dd9bebc051ad484c05db8427a2d");
    let task = |id| TaskId::new(id).expect("valid");
    assert_eq!(tokens::subject(&task("tiny"), "visitor-7"), visitor);
    assert_ne!(tokens::subject(&task("other"), "visitor-7"), visitor);
    assert_ne!(
        tokens::subject(&task("ab"), "c"),
        tokens::subject(&task("a"), "bc"),
        "letters shift between the task and the name"
    );
}

#[test]
fn claims_have_to_be_right() {
    let site = Site::new(REQUIRED);
    let long = "x".repeat(257);
    for (changes, reason) in [
        (json!({ "exp": NOW - 30, "iat": NOW - 60 }), Some(Reason::Expired)),
        (json!({ "exp": NOW - 29, "iat": NOW - 60 }), None),
        (json!({ "nbf": NOW + 31 }), Some(Reason::NotYetValid)),
        (json!({ "nbf": NOW + 30 }), None),
        (json!({ "iat": NOW + 31 }), Some(ClaimFault::IatInFuture.into())),
        (json!({ "iat": NOW + 30 }), None),
        (json!({ "exp": NOW + 3600 }), None),
        (json!({ "exp": NOW + 3601 }), Some(Reason::TooLongLived)),
        (json!({ "exp": 1e300 }), Some(Reason::TooLongLived)),
        (json!({ "exp": (NOW as f64) + 0.5 }), None),
        (json!({ "aud": "other" }), Some(Reason::WrongAudience)),
        (json!({ "aud": ["other"] }), Some(Reason::WrongAudience)),
        (json!({ "aud": [] }), Some(Reason::WrongAudience)),
        (json!({ "aud": null }), Some(ClaimFault::NoAud.into())),
        (json!({ "aud": 7 }), Some(ClaimFault::BadAud.into())),
        (json!({ "aud": ["tiny", 7] }), Some(ClaimFault::BadAud.into())),
        (json!({ "exp": null }), Some(ClaimFault::NoExp.into())),
        (json!({ "exp": "soon" }), Some(ClaimFault::BadExp.into())),
        (json!({ "iat": null }), Some(ClaimFault::NoIat.into())),
        (json!({ "iat": "now" }), Some(ClaimFault::BadIat.into())),
        (json!({ "iat": NOW + 300 }), Some(ClaimFault::BadExp.into())),
        (json!({ "nbf": true }), Some(ClaimFault::BadNbf.into())),
        (json!({ "sub": null }), Some(ClaimFault::NoSub.into())),
        (json!({ "sub": "" }), Some(ClaimFault::BadSub.into())),
        (json!({ "sub": 42 }), Some(ClaimFault::BadSub.into())),
        (json!({ "sub": long }), Some(ClaimFault::BadSub.into())),
        (json!({ "jti": long }), Some(ClaimFault::BadJti.into())),
        (json!({ "jti": 1 }), Some(ClaimFault::BadJti.into())),
    ] {
        let token = ed25519().token(&claims(&changes));
        match reason {
            Some(reason) => site.assert_denied(&token, reason),
            None => drop(site.admit(&token).expect("let in")),
        }
    }
}

#[test]
fn the_claim_at_fault_is_named_to_holders_of_a_key_only() {
    let site = Site::new(REQUIRED);
    let wrong = claims(&json!({ "sub": 42 }));
    let Err(denied) = site.admit(&ed25519().token(&wrong)) else { panic!("let in") };
    assert_eq!(denied.reason.label(), "bad-sub");
    assert!(denied.reason.sentence().contains("`sub` must be a text"));
    // A forger gets the same answer for all claims and keys.
    let forged = [Mint::ed25519("k1", 2), Mint::ed25519("k3", 2)];
    let sentences = forged.map(|mint| {
        let Err(denied) = site.admit(&mint.token(&wrong)) else { panic!("let in") };
        denied.reason.sentence()
    });
    assert_eq!(sentences, ["the token is not signed with a key that this server knows"; 2]);
}

#[test]
fn a_token_without_a_key_id_needs_a_single_key_of_its_algorithm() {
    let mut site = Site::new(REQUIRED);
    let good = claims(&json!({}));
    let no_id = json!({ "kid": null });
    let (public, shared) = (ed25519(), Mint::hs256("k2", SECRET));
    drop(site.admit(&public.token_with(&no_id, &good)).expect("let in"));
    drop(site.admit(&shared.token_with(&no_id, &good)).expect("let in"));
    let forged = Mint::ed25519("k1", 2).token_with(&no_id, &good);
    site.assert_denied(&forged, Reason::BadSignature);
    // Its name as a used token is the same with and without the id of its key.
    let single = claims(&json!({ "jti": "one" }));
    drop(site.admit(&public.token_with(&no_id, &single)).expect("let in"));
    site.assert_denied(&public.token(&single), Reason::Replayed);

    let mut second = site.server.token_keys[0].clone();
    second.id = "k3".to_owned();
    site.server.token_keys.push(second);
    site.access.reload(&site.server).expect("sound files");
    site.assert_denied(&public.token_with(&no_id, &good), Reason::NoKeyId);
    drop(site.admit(&shared.token_with(&no_id, &good)).expect("one of its algorithm"));
    site.server.token_keys.retain(|key| key.id == "k2");
    site.access.reload(&site.server).expect("sound files");
    site.assert_denied(&public.token_with(&no_id, &good), Reason::UnknownKey);
}

#[test]
fn signatures_have_to_be_right() {
    let site = Site::new(REQUIRED);
    let good = claims(&json!({}));
    let public = ed25519();
    // Another key under the same name, and an unknown key.
    site.assert_denied(&Mint::ed25519("k1", 2).token(&good), Reason::BadSignature);
    site.assert_denied(&Mint::ed25519("k3", 1).token(&good), Reason::UnknownKey);
    // The public key, which is no secret, taken for a shared secret.
    for secret in [public.public(), public.public_pem().into_bytes()] {
        site.assert_denied(&Mint::hs256("k1", &secret).token(&good), Reason::BadSignature);
    }
    // Signed with one key, sent under the name of the other.
    site.assert_denied(&Mint::hs256("k1", SECRET).token(&good), Reason::BadSignature);
    site.assert_denied(&Mint::ed25519("k2", 1).token(&good), Reason::BadSignature);
    // No signature.
    let none = json!({ "alg": "none", "kid": "k1" });
    site.assert_denied(&format!("{}.{}.", encode(&none), encode(&good)), Reason::Malformed);
    let token = public.token(&good);
    let (message, _) = token.rsplit_once('.').expect("three parts");
    site.assert_denied(&format!("{message}."), Reason::BadSignature);
    // Signed claims replaced by others.
    let other = encode(&claims(&json!({ "sub": "somebody else" })));
    let parts: Vec<_> = token.split('.').collect();
    site.assert_denied(&format!("{}.{other}.{}", parts[0], parts[2]), Reason::BadSignature);
    // An extension that has to be understood.
    let critical = json!({ "crit": ["b64"], "b64": true });
    site.assert_denied(&public.token_with(&critical, &good), Reason::Malformed);
    // Not tokens at all.
    let garbage = URL_SAFE_NO_PAD.encode([0xff; 64]);
    for text in ["x", "a.b.c", "....", &format!("{garbage}.{garbage}.{garbage}")] {
        site.assert_denied(text, Reason::Malformed);
    }
}

#[test]
fn without_a_token_there_is_no_way_in_but_to_an_open_task() {
    let address = "192.0.2.1".parse().expect("an address");
    let claimed = Some(SubjectId::from_bytes([9; 16]));
    let site = Site::new(REQUIRED);
    let Err(denied) =
        site.access.admit(&site.task.settings.id, &site.task.access, None, claimed, address, now())
    else {
        panic!("let in")
    };
    assert_eq!((denied.reason, denied.retry_after), (Reason::Missing, None));
    assert_eq!(
        fedra_protocol::Refusal::from(denied).code,
        fedra_protocol::RefusalCode::Unauthorized
    );
    let open = Site::new("");
    let admitted = open
        .access
        .admit(&open.task.settings.id, &open.task.access, None, claimed, address, now())
        .expect("open");
    assert_eq!(admitted.subject, claimed);
}

#[test]
fn a_token_with_an_id_is_used_once_and_not_by_being_turned_away() {
    let site = Site::new("tokens = \"required\"\nmax_clients = 1");
    let single = |id| ed25519().token(&claims(&json!({ "jti": id, "sub": id })));
    let first = site.admit(&single("one")).expect("let in");
    // Turned away for another reason, it is not used up.
    site.assert_denied(&single("two"), Reason::TooManyClients);
    drop(first);
    site.assert_denied(&single("one"), Reason::Replayed);
    drop(site.admit(&single("two")).expect("let in"));
    site.assert_denied(&single("two"), Reason::Replayed);
    // The same id under another key is another token.
    let shared = Mint::hs256("k2", SECRET).token(&claims(&json!({ "jti": "one" })));
    drop(site.admit(&shared).expect("let in"));
    // Without an id it may come again.
    let many = ed25519().token(&claims(&json!({})));
    drop(site.admit(&many).expect("let in"));
    drop(site.admit(&many).expect("let in again"));
}

#[test]
fn keys_are_replaced_while_it_runs() {
    let mut site = Site::new(REQUIRED);
    let (old, new) = (ed25519(), Mint::hs256("k2", SECRET));
    let good = claims(&json!({}));
    drop(site.admit(&old.token(&good)).expect("let in"));
    site.server.token_keys.remove(0);
    site.access.reload(&site.server).expect("sound files");
    site.assert_denied(&old.token(&good), Reason::UnknownKey);
    drop(site.admit(&new.token(&good)).expect("let in"));
    // A key that cannot be read changes nothing.
    site.server.token_keys[0].source =
        crate::credentials::TokenKeySource::Hs256 { secret_file: "nowhere".into() };
    let error = site.access.reload(&site.server).expect_err("no file");
    assert!(error.to_string().starts_with("nowhere: "), "{error}");
    drop(site.admit(&new.token(&good)).expect("let in"));
}
