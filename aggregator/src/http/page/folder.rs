//! Files of the page's folder by the path of a request.
//!
//! No path and no symbolic link leads outside of the folder. Names that begin with a
//! dot are not served, except `.well-known` (RFC 8615).

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

/// The page of a folder.
const INDEX: &str = "index.html";

/// Target of a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Located {
    /// A regular file below the folder; the path is free of symbolic links.
    File(PathBuf),
    /// A folder with a page. Its relative addresses need a slash at the path's end.
    Folder,
    Nothing,
}

/// Looks up the path of a request, which begins with a slash. Blocking.
pub(super) fn locate(folder: &Path, path: &str) -> io::Result<Located> {
    match find(folder, path) {
        // A missing file, a file in the place of a folder, a name that the system
        // does not take.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename
            ) =>
        {
            Ok(Located::Nothing)
        }
        place => place,
    }
}

fn find(folder: &Path, path: &str) -> io::Result<Located> {
    let Some(relative) = relative(path) else { return Ok(Located::Nothing) };
    // Every time: the folder itself may be a link that is moved to a new release.
    let root = folder.canonicalize()?;
    let real = root.join(relative).canonicalize()?;
    if !real.starts_with(&root) {
        tracing::debug!(path, "a link leads out of the page's folder");
        return Ok(Located::Nothing);
    }
    let is_folder = real.is_dir();
    if !is_folder {
        let there = real.is_file() && !path.ends_with('/');
        return Ok(if there { Located::File(real) } else { Located::Nothing });
    }
    let index = real.join(INDEX).canonicalize()?;
    if !index.is_file() || !index.starts_with(&root) {
        return Ok(Located::Nothing);
    }
    Ok(if path.ends_with('/') { Located::File(index) } else { Located::Folder })
}

/// The path below the folder, if all its segments are plain names.
fn relative(path: &str) -> Option<PathBuf> {
    let path = path.strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Some(PathBuf::new());
    }
    path.split('/').enumerate().map(|(depth, segment)| name(segment, depth)).collect()
}

/// The name that a segment stands for.
fn name(segment: &str, depth: usize) -> Option<String> {
    // Decoded once, and after the path was cut: an encoded slash stays within a name,
    // where it is refused.
    let name = percent_decode_str(segment).decode_utf8().ok()?;
    let hidden = name.starts_with('.') && !(depth == 0 && name == ".well-known");
    // A colon is a drive or a stream on Windows.
    let foreign = |c: char| matches!(c, '/' | '\\' | ':') || c.is_control();
    let plain = !name.is_empty() && !hidden && !name.contains(foreign);
    plain.then(|| name.into_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// A page's folder beside a secret.
    fn site() -> (TempDir, PathBuf) {
        let around = TempDir::new().expect("a folder");
        let site = around.path().join("page");
        fs::create_dir_all(site.join("admin")).expect("creates");
        fs::create_dir_all(site.join("empty")).expect("creates");
        fs::create_dir_all(site.join(".well-known")).expect("creates");
        for file in ["index.html", "admin/index.html", "a b.js", ".env", ".well-known/x", "..js"] {
            fs::write(site.join(file), file).expect("writes");
        }
        fs::write(around.path().join("secret"), "secret").expect("writes");
        (around, site)
    }

    fn found(site: &Path, path: &str) -> Option<String> {
        match locate(site, path).expect("readable") {
            Located::File(file) => Some(fs::read_to_string(file).expect("a file")),
            Located::Folder | Located::Nothing => None,
        }
    }

    #[test]
    fn names_lead_to_files_and_folders_to_their_pages() {
        let (_around, site) = site();
        for (path, file) in [
            ("/", "index.html"),
            ("/index.html", "index.html"),
            ("/admin/", "admin/index.html"),
            ("/a%20b.js", "a b.js"),
            ("/%61%20b.js", "a b.js"),
            ("/.well-known/x", ".well-known/x"),
        ] {
            assert_eq!(found(&site, path).as_deref(), Some(file), "{path}");
        }
        assert_eq!(locate(&site, "/admin").expect("readable"), Located::Folder);
    }

    #[test]
    fn no_path_leads_out_of_the_folder_or_to_a_hidden_name() {
        let (_around, site) = site();
        for path in [
            "",
            "*",
            "/..",
            "/../secret",
            "/%2e%2e/secret",
            "/.%2e/secret",
            "/admin/../index.html",
            "/admin/../../secret",
            "/admin/%2e%2e%2f%2e%2e%2fsecret",
            "/admin%2findex.html",
            "/%252e%252e/secret",
            "/..%5csecret",
            "/admin%5cindex.html",
            "//index.html",
            "/admin//index.html",
            "/./index.html",
            "/index.html/",
            "/index.html/x",
            "/index.html%00",
            "/index.html%0a",
            "/c:%5csecret",
            "/index.html:stream",
            "/.env",
            "/..js",
            "/%2eenv",
            "/admin/.well-known",
            "/%ff",
            "/empty",
            "/empty/",
            "/none",
        ] {
            assert_eq!(locate(&site, path).expect("readable"), Located::Nothing, "{path}");
        }
        let long = format!("/{}", "x".repeat(5000));
        assert_eq!(locate(&site, &long).expect("no failure"), Located::Nothing);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_within_the_folder_only() {
        use std::os::unix::fs::symlink;

        let (around, site) = site();
        symlink("index.html", site.join("inside.html")).expect("links");
        symlink("../secret", site.join("outside")).expect("links");
        symlink("..", site.join("above")).expect("links");
        assert_eq!(found(&site, "/inside.html").as_deref(), Some("index.html"));
        for path in ["/outside", "/above/secret", "/above", "/above/"] {
            assert_eq!(locate(&site, path).expect("readable"), Located::Nothing, "{path}");
        }
        let release = around.path().join("current");
        symlink("page", &release).expect("links");
        assert_eq!(found(&release, "/").as_deref(), Some("index.html"));
    }
}
