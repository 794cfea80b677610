//! Requests to an agent, and what is answered.

use std::path::Path;

use crate::Agent;
use crate::key::PrivateKey;
use crate::stream::{Ended, Stream};
use crate::wire::{Reader, Writer};

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

/// Longest message, in bytes: as for OpenSSH's agent.
const LONGEST: u32 = 256 * 1024;

/// Serves one client until it goes away, or is sent away.
pub(crate) fn serve(mut client: Stream<'_>, agent: &Agent) {
    let mut upstream = None;
    while serve_one(&mut client, agent, &mut upstream).is_ok() {}
}

/// Answers one request. `upstream` is the connection to another agent, once there is one.
fn serve_one<'a>(
    client: &mut Stream<'a>,
    agent: &Agent,
    upstream: &mut Option<Stream<'a>>,
) -> Result<(), Ended> {
    let request = receive(client)?;
    let answer = match agent {
        _ if !is_allowed(&request) => None,
        Agent::Keys(keys) => answer(keys, &request),
        Agent::Socket(path) => match forward(client, path, &request, upstream) {
            Err(Ended::Stopped) => return Err(Ended::Stopped),
            answer => answer.ok(),
        },
    };
    send(client, &answer.unwrap_or_else(|| vec![FAILURE]))
}

/// Asks another agent. One that is gone may come back, so the next request tries again.
fn forward<'a>(
    client: &Stream<'a>,
    path: &Path,
    request: &[u8],
    upstream: &mut Option<Stream<'a>>,
) -> Result<Vec<u8>, Ended> {
    let mut stream = match upstream.take() {
        Some(stream) => stream,
        None => client.connect(path)?,
    };
    send(&mut stream, request)?;
    let answer = receive(&mut stream)?;
    *upstream = Some(stream);
    Ok(answer)
}

/// Whoever is at the socket may see which keys there are, and use them; nothing else.
fn is_allowed(request: &[u8]) -> bool {
    match request.first() {
        Some(&REQUEST_IDENTITIES) => request.len() == 1,
        Some(&SIGN_REQUEST) => true,
        _ => false,
    }
}

/// Returns what is answered to an allowed request; `None` is failure.
fn answer(keys: &[PrivateKey], request: &[u8]) -> Option<Vec<u8>> {
    let mut request = Reader(request);
    if request.byte()? == REQUEST_IDENTITIES {
        let mut answer = Writer::of_kind(IDENTITIES_ANSWER);
        answer.number(u32::try_from(keys.len()).ok()?);
        for key in keys {
            answer.string(key.public()).string(key.comment().as_bytes());
        }
        return Some(answer.0);
    }
    let public = request.string()?;
    let data = request.string()?;
    let flags = request.number()?;
    let key = keys.iter().find(|key| key.public() == public)?;
    let mut answer = Writer::of_kind(SIGN_RESPONSE);
    answer.string(&key.sign(data, flags)?);
    Some(answer.0)
}

fn receive(from: &mut Stream<'_>) -> Result<Vec<u8>, Ended> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length == 0 || length > LONGEST {
        return Err(Ended::Closed);
    }
    let mut message = vec![0; usize::try_from(length).map_err(|_large| Ended::Closed)?];
    from.read_exact(&mut message)?;
    Ok(message)
}

fn send(to: &mut Stream<'_>, message: &[u8]) -> Result<(), Ended> {
    let mut framed = Writer::default();
    framed.string(message);
    to.write_all(&framed.0)
}
