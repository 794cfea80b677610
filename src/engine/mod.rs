//! Giving images to a Docker engine or to Podman, by the part of their API that both have.

mod address;
mod connection;
mod exchange;

use std::io::{self, BufReader, Write};
use std::path::PathBuf;
use std::sync::Arc;

use rbuild_image::digest::{DiffId, Digest};
use rbuild_image::reference::Reference;
use serde_json::Value;

use crate::environment;
use crate::report::Failure;
use crate::stop::Stop;

use address::Address;
use connection::{Connection, Ending};
use exchange::{Answer, ask, post};

/// Images of an engine that are looked at for layers.
const MAX_IMAGES: usize = 300;

/// An engine that was found.
pub(crate) struct Engine<'a> {
    /// As messages name it.
    name: String,
    address: Address,
    stop: &'a Stop,
}

/// What an engine has of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// All of it.
    Image,
    /// So many of its layers, from the base on.
    Layers(usize),
}

impl<'a> Engine<'a> {
    /// Finds the engine of a Docker context, the one that the environment names, else one that
    /// listens at a usual place; `None` if nobody does.
    pub(crate) fn find(context: Option<&str>, stop: &'a Stop) -> Result<Option<Self>, Failure> {
        if let Some((name, address)) = address::named(context)? {
            return Ok(Some(Self {
                name,
                address,
                stop,
            }));
        }
        let found = usual_sockets()
            .into_iter()
            .find(|path| std::os::unix::net::UnixStream::connect(path).is_ok());
        Ok(found.map(|path| Self {
            name: path.display().to_string(),
            address: Address::Unix(path),
            stop,
        }))
    }

    /// Tells what the engine has of an image; nothing if it refuses to say.
    pub(crate) fn held(&self, id: &Digest, layers: &[DiffId]) -> Result<Held, Failure> {
        let mut session = self.connect()?;
        held(&mut session.connection, id, layers)
            .map_err(|error| self.failed("load", &error.to_string()))
    }

    /// Gives an image that the engine has its names.
    pub(crate) fn tag(&self, id: &Digest, names: &[Reference]) -> Result<(), Failure> {
        let mut session = self.connect()?;
        for name in names {
            let repository = encoded(&name.name());
            let tag = encoded(name.tag().unwrap_or("latest"));
            let target = format!("/images/{id}/tag?repo={repository}&tag={tag}");
            let answer = ask(&mut session.connection, "POST", &target)
                .map_err(|error| self.failed("name", &error.to_string()))?;
            if let Some(problem) = answer.problem() {
                return Err(self.failed("name", &problem));
            }
        }
        Ok(())
    }

    /// Has the engine load the archive that `write` writes.
    pub(crate) fn load(
        &self,
        write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut session = self.connect()?;
        match post(&mut session.connection, "/images/load?quiet=1", write) {
            (Ok(answer), sent) => match answer.problem() {
                Some(problem) => Err(self.failed("load", &problem)),
                None => sent,
            },
            (Err(_), Err(failure)) => Err(failure),
            (Err(error), Ok(())) => Err(self.failed("load", &error.to_string())),
        }
    }

    fn connect(&self) -> Result<Session, Failure> {
        let (connection, ending) = Connection::open(&self.address).map_err(|error| {
            Failure::message(format!("cannot reach the engine at {}: {error}", self.name))
        })?;
        let ending = Arc::new(ending);
        let session = Session {
            connection: BufReader::new(connection),
            ending: Arc::clone(&ending),
        };
        self.stop.on_stop(move || ending.end());
        Ok(session)
    }

    fn failed(&self, doing: &str, problem: &str) -> Failure {
        Failure::message(format!(
            "the engine at {} did not {doing} the image: {problem}",
            self.name
        ))
    }
}

/// A connection that ends with this.
struct Session {
    connection: BufReader<Connection>,
    ending: Arc<Ending>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.ending.end();
    }
}

fn held(
    connection: &mut BufReader<Connection>,
    id: &Digest,
    layers: &[DiffId],
) -> io::Result<Held> {
    let found = ask(connection, "GET", &format!("/images/{id}/json"))?;
    if found.status == 200 && found.json().is_some_and(|image| is_image(&image, id)) {
        return Ok(Held::Image);
    }
    // Podman wants an archive to be whole, and so do engines that keep images as they are shipped.
    if found.status != 404 || found.is_podman || keeps_blobs(&ask(connection, "GET", "/info")?) {
        return Ok(Held::Layers(0));
    }
    let listed = ask(connection, "GET", "/images/json")?.json();
    let listed = listed.as_ref().and_then(Value::as_array);
    let ids = listed.into_iter().flatten();
    let ids = ids.filter_map(|image| image.get("Id")?.as_str()?.parse::<Digest>().ok());
    let mut most = 0;
    for other in ids.take(MAX_IMAGES) {
        let image = ask(connection, "GET", &format!("/images/{other}/json"))?.json();
        let image = image.unwrap_or_default();
        let theirs = image["RootFS"]["Layers"].as_array();
        let theirs = theirs.into_iter().flatten().filter_map(Value::as_str);
        let n_same = theirs
            .zip(layers)
            .take_while(|(theirs, ours)| *theirs == ours.to_string())
            .count();
        most = most.max(n_same);
        if most == layers.len() {
            break;
        }
    }
    Ok(Held::Layers(most))
}

/// Some engines find images by other digests, too.
fn is_image(image: &Value, id: &Digest) -> bool {
    let found = image.get("Id").and_then(Value::as_str).unwrap_or_default();
    found.trim_start_matches("sha256:") == id.hex()
}

/// Reports whether what `/info` says is of an engine that keeps blobs, not layers.
fn keeps_blobs(info: &Answer) -> bool {
    let Some(info) = info.json().filter(|_| info.status == 200) else {
        return true;
    };
    info["DriverStatus"]
        .to_string()
        .contains("containerd.snapshotter")
}

/// A value of a query.
fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte);
    text.bytes()
        .map(|byte| match is_plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
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
