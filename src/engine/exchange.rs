//! As much of HTTP as an engine's API takes: requests one after the other on one connection.

use std::io::{self, BufRead, BufReader, Read, Write};

use serde_json::Value;

use crate::report::Failure;

/// Bytes of an answer that are read at most.
const MAX_ANSWER: u64 = 16 << 20;

/// Bytes of a chunk of what is sent.
const CHUNK: usize = 256 * 1024;

/// What an engine answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Whether it is Podman that speaks.
    pub(super) is_podman: bool,
    pub(super) body: Vec<u8>,
}

/// Asks for `target`, and leaves the connection open.
pub(super) fn ask<C: Read + Write>(
    connection: &mut BufReader<C>,
    method: &str,
    target: &str,
) -> io::Result<Answer> {
    let length = if method == "POST" {
        "Content-Length: 0\r\n"
    } else {
        ""
    };
    let request = format!("{method} {target} HTTP/1.1\r\nHost: docker\r\n{length}\r\n");
    connection.get_mut().write_all(request.as_bytes())?;
    connection.get_mut().flush()?;
    Answer::read(connection)
}

/// Posts what `write` writes, as the last request of the connection. The answer may come although
/// not all could be sent: an engine that refuses an archive need not read it to its end.
pub(super) fn post<C: Read + Write>(
    connection: &mut BufReader<C>,
    target: &str,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>,
) -> (io::Result<Answer>, Result<(), Failure>) {
    let sent = send(connection.get_mut(), target, write);
    (Answer::read(connection), sent)
}

fn send(
    connection: &mut impl Write,
    target: &str,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let request = format!(
        "POST {target} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\
         Content-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    connection.write_all(request.as_bytes())?;
    let mut body = io::BufWriter::with_capacity(CHUNK, Chunks(connection));
    write(&mut body)?;
    body.flush()?;
    drop(body);
    connection.write_all(b"0\r\n\r\n")?;
    Ok(connection.flush()?)
}

/// Makes a chunk of all that is written at once.
struct Chunks<'a, W>(&'a mut W);

impl<W: Write> Write for Chunks<'_, W> {
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

/// How an answer's body ends.
enum End {
    Length(u64),
    Chunks,
    Connection,
}

impl Answer {
    fn read(input: &mut impl BufRead) -> io::Result<Self> {
        let mut input = input.take(MAX_ANSWER);
        let bad = || io::Error::other("it does not speak HTTP");
        let mut line = String::new();
        input.read_line(&mut line)?;
        if line.is_empty() {
            return Err(io::Error::other("it gave no answer"));
        }
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status: u16 = line
            .starts_with("HTTP/1.")
            .then_some(status)
            .flatten()
            .ok_or_else(bad)?;
        let mut end = End::Connection;
        let mut is_podman = false;
        loop {
            line.clear();
            input.read_line(&mut line)?;
            let header = line.trim_end().to_ascii_lowercase();
            let Some((name, value)) = header.split_once(':') else {
                break;
            };
            match (name, value.trim()) {
                ("transfer-encoding", value) if value.ends_with("chunked") => end = End::Chunks,
                ("content-length", value) if matches!(end, End::Connection) => {
                    end = End::Length(value.parse().map_err(|_not_a_number| bad())?);
                }
                ("libpod-api-version", _) => is_podman = true,
                _ => {}
            }
        }
        if status == 204 || status == 304 {
            end = End::Length(0);
        }
        let mut body = Vec::new();
        match end {
            End::Length(length) => drop(input.take(length).read_to_end(&mut body)?),
            End::Connection => drop(input.read_to_end(&mut body)?),
            End::Chunks => read_chunks(&mut input, &mut body)?,
        }
        Ok(Self {
            status,
            is_podman,
            body,
        })
    }

    /// Returns the body as JSON.
    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Returns what went wrong; the first line that says so does.
    pub(super) fn problem(&self) -> Option<String> {
        let values = serde_json::Deserializer::from_slice(&self.body).into_iter::<Value>();
        let said = values
            .map_while(Result::ok)
            .find_map(|value| Some(value.get("error")?.as_str()?.to_owned()));
        if said.is_some() || matches!(self.status, 200 | 201) {
            return said;
        }
        let message = self.json();
        let message = message.and_then(|value| Some(value.get("message")?.as_str()?.to_owned()));
        Some(message.unwrap_or_else(|| format!("status {}", self.status)))
    }
}

fn read_chunks(input: &mut io::Take<impl BufRead>, body: &mut Vec<u8>) -> io::Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        input.read_line(&mut line)?;
        let digits = line.trim_end().split(';').next().unwrap_or_default();
        let length = match digits {
            // The rest was too long, or never came.
            "" => return Ok(()),
            _ => u64::from_str_radix(digits, 16)
                .map_err(|_not_hex| io::Error::other("it does not speak HTTP"))?,
        };
        input.by_ref().take(length).read_to_end(body)?;
        line.clear();
        input.read_line(&mut line)?;
        if length == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &str, expected: Result<Option<&str>, ()>) {
        let answer = Answer::read(&mut answer.as_bytes());
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
        check("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", Err(()));
    }

    #[test]
    fn the_next_answer_begins_where_one_ends() {
        let text = "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}\
                    HTTP/1.1 404 No\r\nLibpod-Api-Version: 4\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n7\r\n0\r\n\r\n\
                    HTTP/1.1 204 None\r\n\r\nHTTP/1.1 200 OK\r\n\r\nrest";
        let mut input = text.as_bytes();
        let all: Vec<_> = std::iter::from_fn(|| Answer::read(&mut input).ok())
            .map(|answer| (answer.status, answer.is_podman, answer.body))
            .collect();
        let expected = [
            (201, false, b"{}".to_vec()),
            (404, true, b"7".to_vec()),
            (204, false, Vec::new()),
            (200, false, b"rest".to_vec()),
        ];
        assert_eq!(all, expected);
    }
}
