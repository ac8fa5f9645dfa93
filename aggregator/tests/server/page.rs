//! The page's folder over HTTP: codings, caching, ranges, redirects, and what is not
//! served.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::support::{Answer, TestServer, config, get, request};

const SCRIPT: &str = "/assets/app-0123456789abcdef.js";
const FOREVER: &str = "public, max-age=31536000, immutable";

/// A server with a page of a few files, whose script lies compressed beside itself.
struct Site {
    server: TestServer,
    page: PathBuf,
    script: Vec<u8>,
}

impl Site {
    async fn start() -> Self {
        let folder = Arc::new(TempDir::new().expect("a folder"));
        let page = folder.path().join("page");
        for below in ["assets", "admin"] {
            fs::create_dir_all(page.join(below)).expect("creates");
        }
        let script = b"console.log('again');\n".repeat(50);
        write(&page, "index.html", b"<p>first</p>");
        write(&page, "admin/index.html", b"<p>operator</p>");
        write(&page, ".secret", b"secret");
        write(&page, &SCRIPT[1..], &script);
        write(&page, &format!("{}.br", &SCRIPT[1..]), &brotli(&script));
        write(&page, &format!("{}.gz", &SCRIPT[1..]), &gzip(&script));
        let rest = format!("page = \"{}\"", page.display());
        let config = config(&folder.path().join("store"), "cohort_size = 1", &rest);
        let server = TestServer::start_config(config, folder).await;
        Self { server, page, script }
    }

    async fn get(&self, path: &str, headers: &str) -> Answer {
        request(self.server.address, "GET", path, headers).await
    }

    async fn script(&self, accepts: &str) -> Answer {
        self.get(SCRIPT, &format!("accept-encoding: {accepts}\r\n")).await
    }
}

fn write(page: &Path, name: &str, content: &[u8]) {
    fs::write(page.join(name), content).expect("writes");
}

/// Content as gzip makes it without compressing.
fn gzip(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("a short content");
    let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    let lengths = [length.to_le_bytes(), (!length).to_le_bytes()].concat();
    let trailer =
        [crc32fast::hash(content).to_le_bytes(), u32::from(length).to_le_bytes()].concat();
    [&header, lengths.as_slice(), content, &trailer].concat()
}

fn brotli(content: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let parameters = brotli::enc::BrotliEncoderParams::default();
    brotli::BrotliCompress(&mut &content[..], &mut packed, &parameters).expect("to memory");
    packed
}

fn tag(answer: &Answer) -> String {
    answer.header("etag").expect("a tag").to_owned()
}

#[tokio::test]
async fn a_file_is_sent_in_the_coding_that_the_client_likes_best() {
    let site = Site::start().await;
    for (accepts, coding, body) in [
        ("gzip, deflate, br, zstd", Some("br"), brotli(&site.script)),
        ("gzip;q=1, br;q=0.5", Some("gzip"), gzip(&site.script)),
        ("x-gzip", Some("gzip"), gzip(&site.script)),
        ("identity;q=0, gzip", Some("gzip"), gzip(&site.script)),
        ("*", Some("br"), brotli(&site.script)),
        ("", None, site.script.clone()),
        ("zstd", None, site.script.clone()),
        ("br;q=0, gzip;q=0", None, site.script.clone()),
    ] {
        let answer = site.script(accepts).await;
        assert_eq!(answer.status, 200, "{accepts}");
        assert_eq!(answer.header("content-encoding"), coding, "{accepts}");
        assert_eq!(answer.header("vary"), Some("accept-encoding"), "{accepts}");
        assert_eq!(answer.header("content-type"), Some("text/javascript; charset=utf-8"));
        assert_eq!(answer.header("content-length"), Some(body.len().to_string().as_str()));
        assert_eq!(answer.body, body, "{accepts}");
    }
    let refused = site.script("identity;q=0, zstd").await;
    assert_eq!(refused.status, 406);
    assert_eq!(refused.header("vary"), Some("accept-encoding"));
    // What is not there compressed is sent as it is.
    let page = site.get("/", "accept-encoding: br, gzip\r\n").await;
    assert_eq!((page.header("content-encoding"), page.text().as_str()), (None, "<p>first</p>"));
    site.server.stop().await;
}

#[tokio::test]
async fn every_representation_has_a_tag_of_its_own_and_is_not_sent_twice() {
    let site = Site::start().await;
    let mut tags = Vec::new();
    for coding in ["br", "gzip", "identity"] {
        let answer = site.script(coding).await;
        let tag = tag(&answer);
        assert!(tag.starts_with('"'), "{tag}");
        let known = format!("accept-encoding: {coding}\r\nif-none-match: \"other\", W/{tag}\r\n");
        let again = site.get(SCRIPT, &known).await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{coding}");
        assert_eq!(again.header("etag"), Some(tag.as_str()));
        assert_eq!(again.header("vary"), Some("accept-encoding"));
        assert_eq!(again.header("cache-control"), Some(FOREVER));
        tags.push(tag);
    }
    assert_eq!(tags.iter().collect::<BTreeSet<_>>().len(), 3, "{tags:?}");
    let other = format!("accept-encoding: br\r\nif-none-match: {}\r\n", tags[1]);
    assert_eq!(site.get(SCRIPT, &other).await.status, 200);
    assert_eq!(site.get(SCRIPT, "if-none-match: *\r\n").await.status, 304);
    assert_eq!(site.get(SCRIPT, "if-match: \"other\"\r\n").await.status, 412);
    site.server.stop().await;
}

#[tokio::test]
async fn names_with_a_hash_are_kept_for_ever_and_others_are_asked_for_again() {
    let site = Site::start().await;
    assert_eq!(site.script("br").await.header("cache-control"), Some(FOREVER));
    for path in ["/", "/index.html", "/admin/"] {
        let answer = site.get(path, "").await;
        assert_eq!(answer.header("cache-control"), Some("no-cache"), "{path}");
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
        // A date would let caches guess, and says nothing about the content.
        assert_eq!(answer.header("last-modified"), None, "{path}");
    }
    site.server.stop().await;
}

#[tokio::test]
async fn a_changed_file_is_sent_whatever_its_date_and_its_compressed_copy() {
    let site = Site::start().await;
    write(&site.page, "index.html.br", &brotli(b"<p>first</p>"));
    let accept = "accept-encoding: br\r\n";
    let first = site.get("/", accept).await;
    assert_eq!(first.header("content-encoding"), Some("br"));
    let known = format!("{accept}if-none-match: {}\r\n", tag(&first));
    assert_eq!(site.get("/", &known).await.status, 304);
    let index = site.page.join("index.html");
    let dates = [
        fs::metadata(&index).and_then(|metadata| metadata.modified()).expect("a date"),
        SystemTime::now() - Duration::from_secs(3600),
    ];
    // As long as the one before.
    for (date, content) in dates.into_iter().zip(["<p>other</p>", "<p>third</p>"]) {
        fs::write(&index, content).expect("writes");
        let file = fs::File::options().write(true).open(&index).expect("opens");
        file.set_modified(date).expect("sets");
        let since = "if-modified-since: Fri, 01 Jan 2100 00:00:00 GMT\r\n";
        for headers in [known.clone(), format!("{accept}{since}")] {
            let changed = site.get("/", &headers).await;
            assert_eq!((changed.status, changed.text().as_str()), (200, content));
            assert_eq!(changed.header("content-encoding"), None, "it is that of another content");
        }
    }
    site.server.stop().await;
}

#[tokio::test]
async fn a_range_is_one_of_the_chosen_representation() {
    let site = Site::start().await;
    let packed = brotli(&site.script);
    let whole = site.script("br").await;
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    let ask = |more: String| format!("accept-encoding: br\r\nrange: bytes=1-4\r\n{more}");
    let part = site.get(SCRIPT, &ask(format!("if-range: {}\r\n", tag(&whole)))).await;
    assert_eq!((part.status, part.body.as_slice()), (206, &packed[1..5]));
    let place = format!("bytes 1-4/{}", packed.len());
    assert_eq!(part.header("content-range"), Some(place.as_str()));
    assert_eq!(part.header("content-length"), Some("4"));
    assert_eq!(part.header("content-encoding"), Some("br"));
    assert_eq!(part.header("etag"), whole.header("etag"));
    let identity = tag(&site.script("identity").await);
    let other = site.get(SCRIPT, &ask(format!("if-range: {identity}\r\n"))).await;
    assert_eq!((other.status, other.body.len()), (200, packed.len()));
    let beyond = site.get(SCRIPT, "range: bytes=100000-\r\n").await;
    assert_eq!(beyond.status, 416);
    let length = format!("bytes */{}", site.script.len());
    assert_eq!(beyond.header("content-range"), Some(length.as_str()));
    let two = site.get(SCRIPT, "range: bytes=0-1,3-4\r\n").await;
    assert_eq!((two.status, two.body.len()), (200, site.script.len()));
    site.server.stop().await;
}

#[tokio::test]
async fn a_folder_is_its_page_and_its_address_ends_with_a_slash() {
    let site = Site::start().await;
    assert_eq!(site.get("/admin/", "").await.text(), "<p>operator</p>");
    let moved = site.get("/admin?view=1", "").await;
    // Relative: a proxy may have put a prefix before it.
    assert_eq!((moved.status, moved.header("location")), (308, Some("./admin/?view=1")));
    // No listing.
    assert_eq!(site.get("/assets/", "").await.status, 404);
    assert_eq!(site.get("/assets", "").await.status, 404);
    site.server.stop().await;
}

#[tokio::test]
async fn what_is_not_of_the_page_is_not_there() {
    let site = Site::start().await;
    for path in [
        "/none.js",
        "/.secret",
        "/%2esecret",
        "/../store",
        "/%2e%2e/store",
        "/assets/..%2f..%2fstore",
        "/assets/%2e%2e/index.html",
        "/..%5cstore",
        "/index.html%00",
        "/index.html/",
        "//index.html",
    ] {
        let answer = site.get(path, "").await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
    }
    site.server.stop().await;
}

#[tokio::test]
async fn the_head_of_a_file_says_what_get_would() {
    let site = Site::start().await;
    for headers in ["", "accept-encoding: br\r\n", "accept-encoding: gzip\r\n"] {
        let whole = site.get(SCRIPT, headers).await;
        let head = request(site.server.address, "HEAD", SCRIPT, headers).await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        for name in ["content-length", "content-type", "content-encoding", "etag", "vary"] {
            assert_eq!(head.header(name), whole.header(name), "{name}");
        }
    }
    let ranged = request(site.server.address, "HEAD", SCRIPT, "range: bytes=0-1\r\n").await;
    assert_eq!(ranged.status, 200, "a range is for GET only");
    for (method, path, status) in [
        ("POST", SCRIPT, 405),
        ("OPTIONS", SCRIPT, 204),
        ("PUT", "/admin", 405),
        ("POST", "/none", 404),
    ] {
        let answer = request(site.server.address, method, path, "").await;
        assert_eq!(answer.status, status, "{method} {path}");
        let allow = (status != 404).then_some("GET, HEAD, OPTIONS");
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
    }
    assert_eq!(get(site.server.address, "/v1/tasks").await.status, 200);
    site.server.stop().await;
}
