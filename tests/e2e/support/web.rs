//! A web server on a free port of the loopback interface. It serves what a test puts there, and git
//! repositories by git's own CGI program, and remembers what it was asked.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use super::run::Run;

/// What a path answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// Names in small letters.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// What it was answered.
    pub(crate) status: u16,
}

#[derive(Debug, Default)]
struct State {
    pages: BTreeMap<String, Page>,
    /// Failures that come first: path and how many.
    failures: BTreeMap<String, usize>,
    /// The `Authorization` header that everybody must send.
    wanted: Option<String>,
    /// Folder of the git repositories.
    repositories: Option<PathBuf>,
    asked: Vec<Asked>,
}

/// A running server; its thread ends with the process.
#[derive(Debug, Clone)]
pub(crate) struct Web {
    /// `127.0.0.1:PORT`
    pub(crate) address: String,
    state: Arc<Mutex<State>>,
}

impl Web {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let web = Self {
            address: listener.local_addr().unwrap().to_string(),
            state: Arc::default(),
        };
        let server = web.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                // A client may hang up at any time.
                std::thread::spawn(move || drop(server.serve(stream)));
            }
        });
        web
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Serves `body` with these headers.
    pub(crate) fn put(&self, path: &str, body: impl Into<Vec<u8>>, headers: &[(&str, &str)]) {
        self.put_page(path, 200, body, headers);
    }

    pub(crate) fn put_page(
        &self,
        path: &str,
        status: u16,
        body: impl Into<Vec<u8>>,
        headers: &[(&str, &str)],
    ) {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let page = Page {
            status,
            headers: headers.iter().map(own).collect(),
            body: body.into(),
        };
        let mut state = self.state.lock().unwrap();
        state.pages.insert(path.to_owned(), page);
    }

    /// Lets the next `n_times` requests for a path fail with 503.
    pub(crate) fn fail(&self, path: &str, n_times: usize) {
        let mut state = self.state.lock().unwrap();
        state.failures.insert(path.to_owned(), n_times);
    }

    /// Refuses everybody who does not send this `Authorization` header.
    pub(crate) fn want(&self, authorization: &str) {
        self.state.lock().unwrap().wanted = Some(authorization.to_owned());
    }

    /// Serves the git repositories in a folder.
    pub(crate) fn serve_git(&self, folder: &Path) {
        self.state.lock().unwrap().repositories = Some(folder.to_owned());
    }

    /// Returns what was asked since the last time.
    pub(crate) fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split_whitespace();
        let method = words.next().unwrap_or_default().to_owned();
        let path = words.next().unwrap_or_default().to_owned();
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers
            .get("content-length")
            .map_or(0, |text| text.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let mut asked = Asked {
            method,
            path,
            headers,
            body,
            status: 0,
        };
        let page = self.answer(&asked);
        asked.status = page.status;
        let is_head = asked.method == "HEAD";
        self.state.lock().unwrap().asked.push(asked);
        let mut head = format!(
            "HTTP/1.1 {} X\r\nConnection: close\r\nContent-Length: {}\r\n",
            page.status,
            page.body.len()
        );
        for (name, value) in &page.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        if !is_head && page.status != 304 {
            stream.write_all(&page.body)?;
        }
        Ok(())
    }

    fn answer(&self, asked: &Asked) -> Page {
        let status = |status| Page {
            status,
            ..Page::default()
        };
        let mut state = self.state.lock().unwrap();
        if let Some(left) = state
            .failures
            .get_mut(&asked.path)
            .filter(|left| **left > 0)
        {
            *left -= 1;
            return status(503);
        }
        if state.wanted.is_some() && asked.headers.get("authorization") != state.wanted.as_ref() {
            return status(401);
        }
        if let Some(page) = state.pages.get(&asked.path) {
            let tag = page.headers.iter().find(|(name, _)| name == "ETag");
            let is_known =
                tag.is_some_and(|(_, tag)| asked.headers.get("if-none-match") == Some(tag));
            return if is_known { status(304) } else { page.clone() };
        }
        match state.repositories.clone() {
            Some(folder) => {
                drop(state);
                git(&folder, asked)
            }
            None => status(404),
        }
    }
}

/// Runs git's CGI program.
fn git(folder: &Path, asked: &Asked) -> Page {
    let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
    let header = |name: &str| asked.headers.get(name).cloned().unwrap_or_default();
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", folder)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", &asked.method)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", asked.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&asked.body).unwrap();
    let output = child.wait_with_output().unwrap().stdout;
    let end = output
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    let mut page = Page {
        status: 200,
        headers: Vec::new(),
        body: output[end + 4..].to_vec(),
    };
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let (name, value) = line.split_once(": ").unwrap();
        if name == "Status" {
            page.status = value[..3].parse().unwrap();
        } else {
            page.headers.push((name.to_owned(), value.to_owned()));
        }
    }
    page
}

/// A git repository with a work tree, from which bare copies are served.
#[derive(Debug)]
pub(crate) struct GitRepository {
    dir: PathBuf,
}

impl GitRepository {
    /// Makes an empty one in a folder that is not there.
    pub(crate) fn new(dir: PathBuf) -> Self {
        fs_err::create_dir_all(&dir).unwrap();
        let repository = Self { dir };
        repository.git(&["init", "-q", "-b", "main"]);
        repository
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let file = self.dir.join(path);
        fs_err::create_dir_all(file.parent().unwrap()).unwrap();
        fs_err::write(file, text).unwrap();
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }

    /// Commits everything and returns the commit's id.
    pub(crate) fn commit(&self) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "a commit"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Runs git in it and returns what it writes.
    pub(crate) fn git(&self, args: &[&str]) -> String {
        let mut command = Command::new("git");
        command
            .args(["-c", "protocol.file.allow=always"])
            .args(args)
            .current_dir(&self.dir)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_AUTHOR_NAME", "t")
            .env("GIT_AUTHOR_EMAIL", "t@example.org")
            .env("GIT_COMMITTER_NAME", "t")
            .env("GIT_COMMITTER_EMAIL", "t@example.org")
            .env("GIT_AUTHOR_DATE", "1700000000 +0000")
            .env("GIT_COMMITTER_DATE", "1700000000 +0000");
        Run::of(&mut command).ok().out().to_owned()
    }

    /// Makes or renews a bare copy.
    pub(crate) fn publish(&self, bare: &Path) {
        if bare.is_dir() {
            fs_err::remove_dir_all(bare).unwrap();
        }
        self.git(&["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
    }
}
