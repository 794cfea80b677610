//! rbuild-agent: lends SSH keys to the steps of a build.
//!
//! A step gets a socket that speaks the SSH agent protocol
//! (<https://www.rfc-editor.org/rfc/rfc9987>). Behind it is the user's own agent, or private key
//! files. Whoever is at the socket can list the keys and have data signed; adding, removing,
//! locking and extensions are refused, and no private key ever leaves.

mod bignum;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod key;
mod openssh;
mod pem;
mod protocol;
mod serve;
mod stream;
mod wire;

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

pub use key::PrivateKey;
pub use serve::Server;

/// A key file that is larger is none, in bytes.
const MAX_KEY_FILE: u64 = 100 * 1024;

/// Who answers for the keys.
#[derive(Debug)]
pub enum Agent {
    /// Another agent, at this socket.
    Socket(PathBuf),
    /// These keys.
    Keys(Vec<PrivateKey>),
}

/// Why keys cannot be lent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// A file or socket cannot be used.
    #[error("failed to open {}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no private key that can be used.
    #[error("failed to parse {}: {reason}", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: KeyError,
    },
    /// Several sockets.
    #[error("only single socket allowed")]
    SeveralSockets,
    /// Keys and a socket.
    #[error("invalid combination of keys and sockets")]
    KeysAndSocket,
}

/// What is wrong with a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It is encrypted.
    #[error("the key has a passphrase; add it to an agent with ssh-add, and give that one")]
    Passphrase,
    /// It is in no format that is known.
    #[error("not a private key")]
    Format,
    /// It is damaged.
    #[error("the key is damaged")]
    Damaged,
    /// It is of a kind that cannot be used here.
    #[error(
        "keys of this kind cannot be used: RSA of 2048 to 4096 bits, ECDSA on P-256 and P-384, and \
         Ed25519 can; add others to an agent with ssh-add, and give that one"
    )]
    Kind,
}

impl Agent {
    /// Opens what the user names: one socket of an agent, or files with private keys.
    ///
    /// # Errors
    /// [`AgentError`]
    pub fn open(paths: &[PathBuf]) -> Result<Self, AgentError> {
        let mut keys = Vec::new();
        let mut socket = None;
        for path in paths {
            let failed = |source| AgentError::Open {
                path: path.clone(),
                source,
            };
            let found = fs_err::metadata(path).map_err(failed)?;
            if found.file_type().is_socket() {
                if socket.replace(path).is_some() {
                    return Err(AgentError::SeveralSockets);
                }
                continue;
            }
            let content = read(path).map_err(failed)?;
            let comment = path.to_string_lossy();
            let key =
                PrivateKey::parse(&content, &comment).map_err(|reason| AgentError::Parse {
                    path: path.clone(),
                    reason,
                })?;
            keys.push(key);
        }
        match socket {
            Some(_) if !keys.is_empty() => Err(AgentError::KeysAndSocket),
            Some(socket) => Ok(Self::Socket(socket.clone())),
            None => Ok(Self::Keys(keys)),
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut content = Vec::new();
    let file = fs_err::File::open(path)?.into_parts().0;
    file.take(MAX_KEY_FILE).read_to_end(&mut content)?;
    Ok(content)
}
