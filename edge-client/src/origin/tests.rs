//! Every way in which a server's address is written.

use proptest::prelude::*;

use super::{ServerUrl, ServerUrlError};

fn parsed(text: &str) -> Result<ServerUrl, ServerUrlError> {
    text.parse()
}

#[test]
fn all_forms_of_an_address_mean_one_socket_and_the_models_beside_it() {
    for (given, socket, models) in [
        ("https://a.example", "wss://a.example/v1/connect", "https://a.example/v1/"),
        ("https://a.example/", "wss://a.example/v1/connect", "https://a.example/v1/"),
        ("https://a.example/v1", "wss://a.example/v1/connect", "https://a.example/v1/"),
        ("https://a.example/v1/", "wss://a.example/v1/connect", "https://a.example/v1/"),
        ("https://a.example/v1/connect", "wss://a.example/v1/connect", "https://a.example/v1/"),
        ("wss://a.example/v1/connect/", "wss://a.example/v1/connect", "https://a.example/v1/"),
        ("wss://a.example", "wss://a.example/v1/connect", "https://a.example/v1/"),
        ("http://a.example", "ws://a.example/v1/connect", "http://a.example/v1/"),
        ("ws://a.example/v1/connect", "ws://a.example/v1/connect", "http://a.example/v1/"),
        ("http://a:8080", "ws://a:8080/v1/connect", "http://a:8080/v1/"),
        ("https://a/fed", "wss://a/fed/v1/connect", "https://a/fed/v1/"),
        ("https://a/fed/", "wss://a/fed/v1/connect", "https://a/fed/v1/"),
        ("https://a/fed//", "wss://a/fed/v1/connect", "https://a/fed/v1/"),
        ("https://a/fed/v1", "wss://a/fed/v1/connect", "https://a/fed/v1/"),
        ("https://a/fed/v1/connect", "wss://a/fed/v1/connect", "https://a/fed/v1/"),
        ("https://a/x/y/v1/", "wss://a/x/y/v1/connect", "https://a/x/y/v1/"),
        ("https://a/dev1", "wss://a/dev1/v1/connect", "https://a/dev1/v1/"),
        ("https://a/v1/connects", "wss://a/v1/connects/v1/connect", "https://a/v1/connects/v1/"),
        ("https://a/a%20b", "wss://a/a%20b/v1/connect", "https://a/a%20b/v1/"),
        ("HTTPS://A.Example/Fed", "wss://a.example/Fed/v1/connect", "https://a.example/Fed/v1/"),
        ("https://a.example.", "wss://a.example./v1/connect", "https://a.example./v1/"),
        (
            "https://xn--bcher-kva.example",
            "wss://xn--bcher-kva.example/v1/connect",
            "https://xn--bcher-kva.example/v1/",
        ),
        ("http://127.0.0.1:8080/", "ws://127.0.0.1:8080/v1/connect", "http://127.0.0.1:8080/v1/"),
        ("https://[::1]", "wss://[::1]/v1/connect", "https://[::1]/v1/"),
        (
            "http://[2001:DB8:0::1]:8080",
            "ws://[2001:db8::1]:8080/v1/connect",
            "http://[2001:db8::1]:8080/v1/",
        ),
        // Ports that go without saying.
        ("https://a:443", "wss://a/v1/connect", "https://a/v1/"),
        ("http://a:080", "ws://a/v1/connect", "http://a/v1/"),
        ("http://a:443", "ws://a:443/v1/connect", "http://a:443/v1/"),
        // A query is the socket's.
        ("wss://a/v1/connect?x=/y", "wss://a/v1/connect?x=/y", "https://a/v1/"),
        ("https://a?k=1", "wss://a/v1/connect?k=1", "https://a/v1/"),
        ("https://a/fed/?k=a@b", "wss://a/fed/v1/connect?k=a@b", "https://a/fed/v1/"),
    ] {
        let url = parsed(given).unwrap_or_else(|error| panic!("{given}: {error}"));
        assert_eq!((url.socket(), &*url.http("")), (socket, models), "{given}");
        assert_eq!(url.is_encrypted(), socket.starts_with("wss:"), "{given}");
    }
    let url = parsed("https://a/fed").unwrap();
    assert_eq!(url.http("models/ab"), "https://a/fed/v1/models/ab");
}

#[test]
fn what_people_read_has_no_query() {
    let url = parsed("https://a/fed/?key=secret").unwrap();
    assert_eq!(url.to_string(), "wss://a/fed/v1/connect");
}

#[test]
fn other_addresses_are_refused_with_a_reason() {
    use ServerUrlError::{Character, Dots, Fragment, Host, NoScheme, Port, Scheme, Unicode, User};
    let port = |text: &str| Port(text.to_owned());
    for (bad, expected) in [
        ("", NoScheme),
        ("a.example", NoScheme),
        ("localhost:8080", NoScheme),
        ("localhost:8080/v1/connect", NoScheme),
        ("https:/a", NoScheme),
        ("//a", NoScheme),
        ("/v1/connect", NoScheme),
        ("ftp://a", Scheme("ftp".into())),
        ("://a", Scheme(String::new())),
        ("https://https://a", port("")),
        ("https://a:/", port("")),
        ("https://", Host),
        ("https:///fed", Host),
        ("https://:8080", Host),
        ("https://?x", Host),
        ("https://.", Host),
        ("https://a..b", Host),
        ("https://a,b", Host),
        ("https://%61", Host),
        ("https://::1", Host),
        ("https://[::1", Host),
        ("https://[::1]8080", Host),
        ("https://[fe80::1%25eth0]", Host),
        ("https://[1.2.3.4]", Host),
        ("https://[]", Host),
        ("https://2001:db8::1/", Port("db8::1".into())),
        ("https://a:0", port("0")),
        ("https://a:65536", port("65536")),
        ("https://a:80a", port("80a")),
        ("https://a:+80", port("+80")),
        ("https://a:-1", port("-1")),
        ("https://user@a", User),
        ("https://user:password@a:80/", User),
        ("https://@a", User),
        ("https://a/v1/connect#part", Fragment),
        ("https://a/#", Fragment),
        ("https://a/fed/../v1", Dots),
        ("https://a/./", Dots),
        (" https://a", Character(' ')),
        ("https://a\n", Character('\n')),
        ("https://a /", Character(' ')),
        ("https://a/\u{a0}", Character('\u{a0}')),
        ("https:\\\\a", Character('\\')),
        ("https://a/\"", Character('"')),
        ("<https://a>", Character('<')),
        ("https://bücher.example", Unicode('ü')),
        ("https://a/bücher", Unicode('ü')),
    ] {
        assert_eq!(parsed(bad), Err(expected), "{bad}");
    }
    let long = format!("https://{}", "a".repeat(254));
    assert_eq!(parsed(&long), Err(Host));
}

#[test]
fn a_reason_says_what_to_write() {
    for (bad, hint) in [
        ("localhost:8080", "begin with https://"),
        ("ftp://a", "write https://"),
        ("https://bücher.example", "xn--"),
        ("https://::1", "https://[2001:db8::1]"),
        ("https://a:0", "from 1 to 65535"),
        ("https://u:secret@a", "use a token"),
    ] {
        let reason = parsed(bad).unwrap_err().to_string();
        assert!(reason.contains(hint) && !reason.contains("secret"), "{reason}");
    }
}

/// Addresses, and texts that look like some.
fn address() -> impl Strategy<Value = String> {
    prop_oneof![
        r"(https?|wss?|HTTP)://[a-zA-Z0-9.-]{1,12}(:[0-9]{0,5})?(/[ -~]{0,20})?",
        r"[a-z:/@?#.\[\]0-9]{0,30}",
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn what_is_taken_stays_as_it_is_and_can_be_reached(text in address()) {
        if let Ok(url) = parsed(&text) {
            prop_assert_eq!(parsed(url.socket()), Ok(url.clone()));
            let site = url.http("");
            let site = site.strip_suffix("v1/").unwrap();
            let query = url.socket().split_once('?').map_or(String::new(), |(_, q)| format!("?{q}"));
            for form in ["", "v1", "v1/", "v1/connect", "v1/connect/"] {
                prop_assert_eq!(parsed(&format!("{site}{form}{query}")), Ok(url.clone()));
            }
            for address in [url.socket().to_owned(), url.http("models/ab")] {
                let uri: hyper::Uri = address.parse().unwrap();
                prop_assert!(uri.host().is_some_and(|host| !host.is_empty()), "{}", address);
            }
        }
    }
}
