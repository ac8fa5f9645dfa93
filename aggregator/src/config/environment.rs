//! Environment variables over the config file: which of them are the config's.
//!
//! A platform adds variables of its own. Kubernetes describes a Service named
//! `fedra` as `FEDRA_SERVICE_HOST`, `FEDRA_PORT_8080_TCP` and more. So only names
//! of keys are read, and no other name is a mistake.

use figment::providers::Env;

use super::Config;

const PREFIX: &str = "FEDRA_";
/// Between the levels of a key.
const SEPARATOR: &str = "__";

/// Variables of the command line, and of `fedra-edge`.
const COMMAND_LINE: [&str; 4] = ["CONFIG_FILE", "SERVER_URL", "ADMIN_TOKEN", "TOKEN"];

/// The variables of keys: `FEDRA_SERVER__LISTEN` is `server.listen`.
pub(super) fn environment() -> Env {
    let own = own_names();
    Env::prefixed(PREFIX)
        .filter(move |name| own.iter().any(|own| own.eq_ignore_ascii_case(name.as_str())))
        .split(SEPARATOR)
}

/// Warnings about variables that look like misspelt names of keys. They are not
/// read.
#[must_use]
pub fn stray_variables() -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    stray(names)
}

/// The variable of each key, less the prefix. Tasks have none.
fn own_names() -> Vec<String> {
    let keys = Config::keys();
    let settable = keys
        .iter()
        .filter(|key| key.starts_with("server.") && !key.starts_with("server.token_key."));
    settable.map(|key| key.replace('.', SEPARATOR).to_uppercase()).collect()
}

fn stray(names: impl Iterator<Item = String>) -> Vec<String> {
    let known: Vec<String> =
        own_names().into_iter().chain(COMMAND_LINE.map(str::to_owned)).collect();
    let mut warnings: Vec<String> = names.filter_map(|name| warning(&name, &known)).collect();
    warnings.sort();
    warnings
}

fn warning(variable: &str, known: &[String]) -> Option<String> {
    let upper = variable.to_uppercase();
    let name = upper.strip_prefix(PREFIX)?;
    if known.iter().any(|known| known == name) || is_of_a_service(&upper) {
        return None;
    }
    let simple = |name: &str| name.replace(SEPARATOR, "_");
    let near = known
        .iter()
        .map(|known| (strsim::osa_distance(&simple(name), &simple(known)), known))
        .filter(|(distance, known)| *distance <= known.len() / 8)
        .min();
    let problem = match near {
        Some((_, known)) => format!("did you mean {PREFIX}{known}?"),
        None if name.starts_with("TASK__") => "tasks are set in the config file only".to_owned(),
        None if name.contains(SEPARATOR) => "there is no such key".to_owned(),
        None => return None,
    };
    Some(format!("the environment variable {variable} is not read: {problem}"))
}

/// True if Kubernetes gives such a name to variables of a Service. The name of a
/// Service does not end with a hyphen, so no second underscore precedes these.
fn is_of_a_service(variable: &str) -> bool {
    let follows = |suffix: &str| {
        variable.match_indices(suffix).any(|(at, _)| {
            let (service, rest) = (&variable[..at], &variable[at + suffix.len()..]);
            !service.ends_with('_') && is_end(suffix, rest)
        })
    };
    ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"].into_iter().any(follows)
}

/// True if a Service's variable may end like this after the suffix.
fn is_end(suffix: &str, rest: &str) -> bool {
    if rest.is_empty() {
        return true;
    }
    let Some(rest) = rest.strip_prefix('_') else { return false };
    match suffix {
        "_SERVICE_PORT" => !rest.starts_with('_'),
        "_PORT" => {
            let port = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
            port.len() < rest.len() && ["_TCP", "_UDP", "_SCTP"].iter().any(|p| port.starts_with(p))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings(names: &[&str]) -> Vec<String> {
        stray(names.iter().map(|name| (*name).to_owned()))
    }

    #[test]
    fn variables_of_others_are_let_be() {
        let of_services = [
            "FEDRA_SERVICE_HOST",
            "FEDRA_SERVICE_PORT",
            "FEDRA_SERVICE_PORT_HTTP",
            "FEDRA_PORT",
            "FEDRA_PORT_8080_TCP",
            "FEDRA_PORT_8080_TCP_PROTO",
            "FEDRA_PORT_8080_TCP_PORT",
            "FEDRA_PORT_8080_TCP_ADDR",
            "FEDRA_PORT_8080_UDP",
            "FEDRA_SERVER_PORT",
            "FEDRA_SERVER_SERVICE_HOST",
            "FEDRA_SERVER__LISTEN_PORT",
            "FEDRA_SERVER__LISTEN_SERVICE_HOST",
        ];
        assert_eq!(warnings(&of_services), [""; 0]);
        let others = ["FEDRA_BLESS", "FEDRA_VERSION", "FEDRA_HOME", "FEDRATION__X", "PATH"];
        assert_eq!(warnings(&others), [""; 0]);
        let own = ["FEDRA_SERVER__LISTEN", "fedra_server__listen", "FEDRA_TOKEN"];
        assert_eq!(warnings(&own), [""; 0]);
    }

    #[test]
    fn a_misspelt_name_is_told() {
        let hint = |name: &str| {
            let mut found = warnings(&[name]);
            assert_eq!(found.len(), 1, "{name}");
            let text = found.remove(0);
            let start = format!("the environment variable {name} is not read: ");
            text.strip_prefix(&start).unwrap_or_else(|| panic!("{text}")).to_owned()
        };
        for (name, meant) in [
            ("FEDRA_SERVER_LISTEN", "FEDRA_SERVER__LISTEN"),
            ("FEDRA_SERVER__LISTN", "FEDRA_SERVER__LISTEN"),
            ("FEDRA_SERVER__LIMITS_HEADER_BYTES", "FEDRA_SERVER__LIMITS__HEADER_BYTES"),
            ("fedra_server__max_conections", "FEDRA_SERVER__MAX_CONNECTIONS"),
            ("FEDRA_CONFIG_FIEL", "FEDRA_CONFIG_FILE"),
        ] {
            assert_eq!(hint(name), format!("did you mean {meant}?"));
        }
        assert_eq!(hint("FEDRA_SERVER__PORT"), "there is no such key");
        assert_eq!(hint("FEDRA_TASK__DIGITS__TITLE"), "tasks are set in the config file only");
    }
}
