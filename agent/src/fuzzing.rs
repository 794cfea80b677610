//! What must hold whatever key files hold and clients say: the body of a fuzz target.
//!
//! The target in `fuzz/` calls it with what the fuzzer finds; the test below calls it with the seeds
//! that are kept there, so that what was once broken stays mended without a fuzzer.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use crate::Agent;
use crate::bignum;
use crate::key::PrivateKey;
use crate::protocol;
use crate::stream::Stream;
use crate::wire::{Reader, Writer};

/// Longest number that is reduced here: as of RSA keys.
const LONGEST_NUMBER: usize = 512;

/// Any file is a key or is refused, and whatever a client says, it gets well-formed answers and no
/// private key. The first byte tells what the rest is: a file, the content of a file in OpenSSH's
/// format, what a client says, or two numbers.
pub fn agent(input: &[u8]) {
    match input.split_first() {
        Some((b'f', file)) => key(file),
        Some((b'k', content)) => key(pem(content).as_bytes()),
        Some((b'c', said)) => client(said),
        Some((b'n', numbers)) => reduce(numbers),
        _ => {}
    }
}

fn key(file: &[u8]) {
    let Ok(key) = PrivateKey::parse(file, "comment") else {
        return;
    };
    let mut public = Reader(key.public());
    assert!(public.string().is_some_and(|kind| !kind.is_empty()));
    for flags in [0, 2, 4, u32::MAX] {
        let is_rsa = key.public().starts_with(b"\0\0\0\x07ssh-rsa");
        assert!(key.sign(b"data", flags).is_some() || (is_rsa && flags == 0));
    }
}

/// The secret half of a key of our own.
const SEED: [u8; 32] = [7; 32];

/// A key of our own, so that there is something to ask for.
fn own_keys() -> &'static Agent {
    static KEYS: OnceLock<Agent> = OnceLock::new();
    KEYS.get_or_init(|| {
        let key = PrivateKey::parse(pem(&own_key()).as_bytes(), "own");
        Agent::Keys(vec![key.expect("it is a key")])
    })
}

/// The same as the content of a file in OpenSSH's format.
fn own_key() -> Vec<u8> {
    let pair = Ed25519KeyPair::from_seed_unchecked(&SEED).expect("any 32 bytes are a seed");
    let public = pair.public_key().as_ref();
    let mut private = Writer::default();
    private.number(1).number(1).string(b"ssh-ed25519");
    private
        .string(public)
        .string(&[&SEED, public].concat())
        .string(b"own");
    let mut file = Writer(b"openssh-key-v1\0".to_vec());
    file.string(b"none").string(b"none").string(b"").number(1);
    file.string(b"").string(&private.0);
    file.0
}

fn pem(content: &[u8]) -> String {
    let body = STANDARD.encode(content);
    let label = "OPENSSH PRIVATE KEY";
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

fn client(said: &[u8]) {
    let (here, there) = UnixStream::pair().expect("sockets can be made");
    let (stop, _trigger) = rustix::pipe::pipe().expect("a pipe can be made");
    let mut heard = Vec::new();
    std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            if let Ok(stream) = Stream::new(there, stop.as_fd()) {
                protocol::serve(stream, own_keys());
            }
        });
        let mut reading = here.try_clone().expect("a socket can be cloned");
        let answers = scope.spawn(move || {
            let mut heard = Vec::new();
            // What came before an end that is not clean counts as well.
            drop(reading.read_to_end(&mut heard));
            heard
        });
        // The other side may hang up first.
        drop((&here).write_all(said));
        drop(here.shutdown(Shutdown::Write));
        server.join().expect("the agent does not panic");
        heard = answers.join().expect("reading does not panic");
    });
    let mut rest = Reader(&heard);
    let mut asked = Reader(said);
    while !rest.0.is_empty() {
        let answer = rest.string().expect("answers are whole");
        let question = asked.string().expect("each answers a question");
        match (question.first(), answer.first()) {
            (_, Some(5)) => assert_eq!(answer.len(), 1),
            (Some(11), Some(12)) | (Some(13), Some(14)) => {}
            other => panic!("{other:?}"),
        }
        let is_told = answer.windows(32).any(|part| part == SEED);
        assert!(!is_told || question.windows(32).any(|part| part == SEED));
    }
}

fn reduce(numbers: &[u8]) {
    let mut reader = Reader(numbers);
    let (Some(number), Some(modulus)) = (reader.integer(), reader.integer()) else {
        return;
    };
    let mut writer = Writer::default();
    writer.integer(number).integer(modulus);
    let mut again = Reader(&writer.0);
    assert_eq!(
        (again.integer(), again.integer()),
        (Some(number), Some(modulus))
    );
    if number.len() > LONGEST_NUMBER || modulus.len() > LONGEST_NUMBER {
        return;
    }
    let found = bignum::reduce(number, modulus);
    let value = |bytes: &[u8]| -> Option<u128> {
        let fits = bytes.len() <= 16;
        fits.then(|| {
            bytes
                .iter()
                .fold(0, |value, byte| value << 8 | u128::from(*byte))
        })
    };
    if let (Some(number), Some(modulus)) = (value(number), value(modulus)) {
        let expected = modulus
            .checked_sub(1)
            .and_then(|less| number.checked_rem(less));
        assert_eq!(found.as_deref().map(value), expected.map(Some));
    }
}

#[cfg(test)]
#[path = "../../fuzz/seeds.rs"]
mod seeds;

#[cfg(test)]
mod tests {
    #[test]
    fn seeds_of_agent() {
        super::seeds::check_seeds("agent", super::agent);
    }
}
