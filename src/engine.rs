//! Giving images to a Docker engine or to Podman, by the part of their API that both have.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::environment;
use crate::report::Failure;
use crate::stop::Stop;

/// Bytes of an answer that are read at most; what comes behind them is progress.
const MAX_ANSWER: u64 = 1 << 20;

/// Bytes of a chunk of the archive.
const CHUNK: usize = 256 * 1024;

/// A connection to an engine.
pub(crate) struct Engine {
    /// As messages name it.
    name: String,
    stream: Stream,
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Engine {
    /// Connects to the engine that `DOCKER_HOST` names, else to one that listens at a usual place;
    /// `None` if nobody does.
    pub(crate) fn find(context: Option<&str>) -> Result<Option<Self>, Failure> {
        if let Some(context) = context.filter(|context| *context != "default") {
            return Err(Failure::with_help(
                format!("rbuild does not know the Docker context {context}"),
                "DOCKER_HOST names an engine",
            ));
        }
        if let Some(host) = environment::variable("DOCKER_HOST").filter(|host| !host.is_empty()) {
            return Self::at(&host).map(Some);
        }
        Ok(usual_sockets().iter().find_map(|path| {
            let stream = UnixStream::connect(path).ok()?;
            Some(Self {
                name: path.display().to_string(),
                stream: Stream::Unix(stream),
            })
        }))
    }

    fn at(host: &str) -> Result<Self, Failure> {
        let has_tls = environment::variable("DOCKER_TLS_VERIFY").is_some_and(|on| !on.is_empty());
        let stream = match host.split_once("://") {
            Some(("unix", path)) => UnixStream::connect(Path::new(path)).map(Stream::Unix),
            Some(("tcp" | "http", address)) if !has_tls => {
                TcpStream::connect(address.trim_end_matches('/')).map(Stream::Tcp)
            }
            _ => {
                return Err(Failure::with_help(
                    format!("--load does not reach the engine at {host}"),
                    "it speaks to unix:// sockets, and tcp:// without TLS; `-o type=docker,dest=- | docker load` reaches all",
                ));
            }
        };
        let stream = stream.map_err(|error| {
            Failure::message(format!("cannot reach the engine at {host}: {error}"))
        })?;
        Ok(Self {
            name: host.to_owned(),
            stream,
        })
    }

    /// Has the engine load the archive that `write` writes.
    pub(crate) fn load(
        mut self,
        stop: &Stop,
        write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let other = self.stream.try_clone()?;
        stop.on_stop(move || other.shut_down());
        let sent = self.send(write);
        // An engine that refuses an archive need not read it to its end, but says why.
        let answer = Answer::read(&mut BufReader::new(&mut self.stream).take(MAX_ANSWER));
        let failed = |problem: &str| {
            Failure::message(format!(
                "the engine at {} did not load the image: {problem}",
                self.name
            ))
        };
        match (answer, sent) {
            (Ok(answer), sent) => match answer.problem() {
                Some(problem) => Err(failed(&problem)),
                None => sent,
            },
            (Err(_), Err(failure)) => Err(failure),
            (Err(error), Ok(())) => Err(failed(&error.to_string())),
        }
    }

    fn send(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.stream.write_all(
            b"POST /images/load?quiet=1 HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\
              Content-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n",
        )?;
        let chunks = Chunks(&mut self.stream);
        let mut body = io::BufWriter::with_capacity(CHUNK, chunks);
        write(&mut body)?;
        body.flush()?;
        drop(body);
        self.stream.write_all(b"0\r\n\r\n")?;
        Ok(self.stream.flush()?)
    }
}

fn usual_sockets() -> Vec<PathBuf> {
    let mut sockets = vec![PathBuf::from("/var/run/docker.sock")];
    if let Some(runtime) = environment::variable("XDG_RUNTIME_DIR").map(PathBuf::from) {
        sockets.push(runtime.join("docker.sock"));
        sockets.push(runtime.join("podman/podman.sock"));
    }
    sockets.push("/run/podman/podman.sock".into());
    sockets
}

impl Stream {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
        })
    }

    fn shut_down(&self) {
        drop(match self {
            Self::Unix(stream) => stream.shutdown(std::net::Shutdown::Both),
            Self::Tcp(stream) => stream.shutdown(std::net::Shutdown::Both),
        });
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.flush(),
            Self::Tcp(stream) => stream.flush(),
        }
    }
}

/// Makes a chunk of all that is written at once.
struct Chunks<'a>(&'a mut Stream);

impl Write for Chunks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // An empty chunk is the end.
        if !bytes.is_empty() {
            write!(self.0, "{:x}\r\n", bytes.len())?;
            self.0.write_all(bytes)?;
            self.0.write_all(b"\r\n")?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// What an engine answered.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Answer {
    fn read(input: &mut io::Take<impl io::BufRead>) -> io::Result<Self> {
        let bad = || io::Error::other("it does not speak HTTP");
        let mut line = String::new();
        input.read_line(&mut line)?;
        if line.is_empty() {
            return Err(io::Error::other("it gave no answer"));
        }
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = line
            .starts_with("HTTP/1.")
            .then_some(status)
            .flatten()
            .ok_or_else(bad)?;
        let mut is_chunked = false;
        loop {
            line.clear();
            input.read_line(&mut line)?;
            let header = line.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            is_chunked |= header.starts_with("transfer-encoding:") && header.ends_with("chunked");
        }
        let mut body = Vec::new();
        if !is_chunked {
            input.read_to_end(&mut body)?;
            return Ok(Self { status, body });
        }
        loop {
            line.clear();
            input.read_line(&mut line)?;
            let digits = line.trim_end().split(';').next().unwrap_or_default();
            let length = match digits {
                // The rest was too long, or never came.
                "" => break,
                _ => u64::from_str_radix(digits, 16).map_err(|_not_hex| bad())?,
            };
            if length == 0 {
                break;
            }
            input.by_ref().take(length).read_to_end(&mut body)?;
            line.clear();
            input.read_line(&mut line)?;
        }
        Ok(Self { status, body })
    }

    /// Returns what went wrong; the first line that says so does.
    fn problem(&self) -> Option<String> {
        let values = serde_json::Deserializer::from_slice(&self.body).into_iter::<Value>();
        let said = values
            .map_while(Result::ok)
            .find_map(|value| Some(value.get("error")?.as_str()?.to_owned()));
        if said.is_some() || self.status == 200 {
            return said;
        }
        let message = serde_json::from_slice::<Value>(&self.body).ok();
        let message = message.and_then(|value| Some(value.get("message")?.as_str()?.to_owned()));
        Some(message.unwrap_or_else(|| format!("status {}", self.status)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &str, expected: Result<Option<&str>, ()>) {
        let answer = Answer::read(&mut answer.as_bytes().take(MAX_ANSWER));
        let problem = answer.map(|answer| answer.problem()).map_err(drop);
        assert_eq!(problem, expected.map(|text| text.map(str::to_owned)));
    }

    #[test]
    fn answers() {
        check("HTTP/1.1 200 OK\r\n\r\n{\"stream\":\"Loaded\"}\n", Ok(None));
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             8\r\n{\"stream\r\n11\r\n\":\"x\"}\n{\"error\":\"\r\n6\r\nfull\"}\r\n0\r\n\r\n",
            Ok(Some("full")),
        );
        check(
            "HTTP/1.1 500 No\r\n\r\n{\"message\":\"no such thing\"}",
            Ok(Some("no such thing")),
        );
        check("HTTP/1.0 404 No\r\n\r\n<html>", Ok(Some("status 404")));
        check("", Err(()));
        check("220 mail ready\r\n", Err(()));
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            Err(()),
        );
    }
}
