//! QEMU's user-mode emulators on this machine.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::architecture::{self, Architecture, HEADER};

/// Where emulators are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QemuDirs {
    dirs: Vec<PathBuf>,
    is_chosen: bool,
}

/// Where packages put them.
const SYSTEM: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/bin"];

/// How much of a program holds its program headers, in bytes.
const START: u64 = 64 * 1024;

impl QemuDirs {
    /// Where distributions' packages put them.
    #[must_use]
    pub fn of_system() -> Self {
        Self {
            dirs: SYSTEM.iter().map(PathBuf::from).collect(),
            is_chosen: false,
        }
    }

    /// The one folder that the user wants them taken from.
    #[must_use]
    pub fn chosen(dir: PathBuf) -> Self {
        Self {
            dirs: vec![dir],
            is_chosen: true,
        }
    }

    /// Whether the user chose them, so that they come before what the machine is set up with.
    #[must_use]
    pub fn is_chosen(&self) -> bool {
        self.is_chosen
    }

    /// Returns the path of a usable emulator for programs of `architecture`.
    ///
    /// # Errors
    ///
    /// Why there is none and what to do about it, in full sentences.
    pub fn find(&self, architecture: &Architecture) -> Result<PathBuf, String> {
        let name = format!("qemu-{}", architecture.qemu_name());
        let mut unusable = None;
        for dir in &self.dirs {
            for file in [format!("{name}-static"), name.clone()] {
                let path = dir.join(file);
                match check(&path) {
                    Ok(true) => return Ok(std::path::absolute(&path).unwrap_or(path)),
                    Ok(false) => {}
                    Err(reason) => {
                        unusable.get_or_insert_with(|| format!("{} {reason}", path.display()));
                    }
                }
            }
        }
        let reason = unusable.unwrap_or_else(|| {
            let dirs: Vec<_> = self
                .dirs
                .iter()
                .map(|dir| dir.display().to_string())
                .collect();
            format!("There is no {name}-static or {name} in {}", dirs.join(", "))
        });
        Err(format!("{reason}. {INSTALL}"))
    }
}

const INSTALL: &str = "\
Install the package `qemu-user-static` (Debian, Ubuntu, Fedora, Arch; e.g. `sudo apt-get install qemu-user-static`), or \
name a folder with static builds of QEMU by --qemu or RBUILD_QEMU.";

/// Whether there is a program at `path`; an error says why it is of no use.
fn check(path: &Path) -> Result<bool, String> {
    let file = match fs_err::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(format!("cannot be read ({})", error.kind())),
    };
    let mut start = Vec::new();
    match file.take(START).read_to_end(&mut start) {
        Ok(_) => judge(&start).map(|()| true),
        Err(error) => Err(format!("cannot be read ({})", error.kind())),
    }
}

fn judge(start: &[u8]) -> Result<(), String> {
    if !architecture::own().matches(start) {
        return Err("is not a program of this machine".to_owned());
    }
    match is_static(start) {
        Some(true) => Ok(()),
        Some(false) => Err("is not static, so it finds no libraries inside a build".to_owned()),
        None => Err("is not a sound program".to_owned()),
    }
}

/// Whether a 64-bit little-endian ELF file asks for no loader; `None` if it is not sound.
fn is_static(start: &[u8]) -> Option<bool> {
    const INTERPRETER: u32 = 3;
    const SMALLEST: usize = 56;
    debug_assert!(start.len() >= HEADER, "its architecture is known");
    let half = |at: usize| Some(u16::from_le_bytes(*start.get(at..)?.first_chunk()?));
    let table = u64::from_le_bytes(*start.get(32..)?.first_chunk()?);
    let (size, count) = (usize::from(half(54)?), usize::from(half(56)?));
    let table = usize::try_from(table).ok()?;
    if size < SMALLEST || count == 0 {
        return None;
    }
    let headers = start.get(table..table.checked_add(size.checked_mul(count)?)?)?;
    let kind = |header: &[u8]| header.first_chunk().map(|kind| u32::from_le_bytes(*kind));
    Some(
        !headers
            .chunks(size)
            .any(|header| kind(header) == Some(INTERPRETER)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program with one program header of this kind.
    fn program(kind: u32) -> Vec<u8> {
        let mut bytes = architecture::own().header().to_vec();
        bytes.resize(120, 0);
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        bytes[64..68].copy_from_slice(&kind.to_le_bytes());
        bytes
    }

    #[test]
    fn only_static_programs_are_of_use() {
        assert_eq!(judge(&program(1)), Ok(()));
        assert!(judge(&program(3)).unwrap_err().contains("not static"));
        let mut foreign = program(1);
        foreign[18] ^= 0xff;
        assert!(judge(&foreign).unwrap_err().contains("this machine"));
        for end in 0..120 {
            assert!(judge(&program(1)[..end]).is_err(), "{end} bytes");
        }
        let mut far = program(1);
        far[32..40].fill(0xff);
        assert!(judge(&far).unwrap_err().contains("sound"));
    }

    #[test]
    fn emulators_are_found_by_both_names() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = QemuDirs::chosen(dir.path().to_owned());
        let arm = Architecture::named("arm64").unwrap();
        let reason = dirs.find(arm).unwrap_err();
        assert!(reason.contains("qemu-aarch64-static") && reason.contains("qemu-user-static"));
        fs_err::write(dir.path().join("qemu-aarch64-static"), program(3)).unwrap();
        assert!(dirs.find(arm).unwrap_err().contains("not static"));
        fs_err::write(dir.path().join("qemu-aarch64"), program(1)).unwrap();
        assert_eq!(dirs.find(arm), Ok(dir.path().join("qemu-aarch64")));
        assert!(dirs.is_chosen() && !QemuDirs::of_system().is_chosen());
    }
}
