//! One connection to an engine.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rbuild_registry::TlsStream;

use super::address::{Address, Ssh};

/// A connection, whatever it goes through.
pub(super) enum Connection {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
    Ssh(Tunnel),
}

/// A program that passes bytes on.
pub(super) struct Tunnel {
    input: ChildStdin,
    output: ChildStdout,
}

impl Connection {
    /// Connects, and returns what ends the connection.
    pub(super) fn open(address: &Address) -> io::Result<(Self, Ending)> {
        Ok(match address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                let other = stream.try_clone()?;
                (Self::Unix(stream), Ending::Unix(other))
            }
            Address::Tcp(address, tls) => {
                let stream = TcpStream::connect(address)?;
                let other = stream.try_clone()?;
                let connection = match tls {
                    None => Self::Tcp(stream),
                    Some(files) => {
                        let host = address.rsplit_once(':').map_or("", |(host, _)| host);
                        Self::Tls(Box::new(TlsStream::new(stream, host, files)?))
                    }
                };
                (connection, Ending::Tcp(other))
            }
            Address::Ssh(ssh) => {
                let (tunnel, child) = Tunnel::open(ssh)?;
                (Self::Ssh(tunnel), Ending::Ssh(Mutex::new(child)))
            }
        })
    }
}

impl Tunnel {
    fn open(ssh: &Ssh) -> io::Result<(Self, Child)> {
        let mut command = Command::new("ssh");
        command.args(["-o", "ConnectTimeout=30", "-T"]);
        if let Some(user) = &ssh.user {
            command.args(["-l", user]);
        }
        if let Some(port) = ssh.port {
            command.args(["-p", &port.to_string()]);
        }
        if let Some(key) = &ssh.key {
            command.args(["-i", key]);
        }
        command.args(["--", &ssh.host]).args(&ssh.command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("ssh cannot be started: {error}"))
        })?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.ok_or_else(|| io::Error::other("ssh has no pipes"))?;
        Ok((Self { input, output }, child))
    }
}

/// What ends a connection, from any thread.
pub(super) enum Ending {
    Unix(UnixStream),
    Tcp(TcpStream),
    Ssh(Mutex<Child>),
}

impl Ending {
    /// Ends the connection, if it has not ended.
    pub(super) fn end(&self) {
        match self {
            Self::Unix(stream) => drop(stream.shutdown(Shutdown::Both)),
            Self::Tcp(stream) => drop(stream.shutdown(Shutdown::Both)),
            Self::Ssh(child) => {
                let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
                if child.kill().is_ok() {
                    drop(child.wait());
                }
            }
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
            Self::Ssh(tunnel) => tunnel.output.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
            Self::Ssh(tunnel) => tunnel.input.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.flush(),
            Self::Tcp(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
            Self::Ssh(tunnel) => tunnel.input.flush(),
        }
    }
}
