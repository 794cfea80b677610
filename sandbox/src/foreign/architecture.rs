//! Processor architectures: their names, and what their programs' first bytes look like.

/// An architecture that this machine may run programs of, by itself or by QEMU.
#[derive(Debug, PartialEq, Eq)]
pub struct Architecture {
    name: &'static str,
    qemu: &'static str,
    class: Class,
    order: Order,
    /// `e_machine` of ELF.
    machine: u16,
}

/// `EI_CLASS` of ELF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Bits32 = 1,
    Bits64 = 2,
}

/// `EI_DATA` of ELF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Little = 1,
    Big = 2,
}

/// How much of a file tells its architecture: the header of ELF up to `e_machine`.
pub(super) const HEADER: usize = 20;

/// What of those bytes counts. Not the operating system's variant and the padding (7 to 15), and not whether a program
/// can be loaded anywhere (2 and 3 in `e_type`, whose low byte comes first or last).
const MASK: [u8; HEADER] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
];

#[rustfmt::skip]
const ALL: [Architecture; 13] = [
    Architecture { name: "386", qemu: "i386", class: Class::Bits32, order: Order::Little, machine: 3 },
    Architecture { name: "amd64", qemu: "x86_64", class: Class::Bits64, order: Order::Little, machine: 62 },
    Architecture { name: "arm", qemu: "arm", class: Class::Bits32, order: Order::Little, machine: 40 },
    Architecture { name: "arm64", qemu: "aarch64", class: Class::Bits64, order: Order::Little, machine: 183 },
    Architecture { name: "loong64", qemu: "loongarch64", class: Class::Bits64, order: Order::Little, machine: 258 },
    Architecture { name: "mips", qemu: "mips", class: Class::Bits32, order: Order::Big, machine: 8 },
    Architecture { name: "mips64", qemu: "mips64", class: Class::Bits64, order: Order::Big, machine: 8 },
    Architecture { name: "mips64le", qemu: "mips64el", class: Class::Bits64, order: Order::Little, machine: 8 },
    Architecture { name: "mipsle", qemu: "mipsel", class: Class::Bits32, order: Order::Little, machine: 8 },
    Architecture { name: "ppc64", qemu: "ppc64", class: Class::Bits64, order: Order::Big, machine: 21 },
    Architecture { name: "ppc64le", qemu: "ppc64le", class: Class::Bits64, order: Order::Little, machine: 21 },
    Architecture { name: "riscv64", qemu: "riscv64", class: Class::Bits64, order: Order::Little, machine: 243 },
    Architecture { name: "s390x", qemu: "s390x", class: Class::Bits64, order: Order::Big, machine: 22 },
];

impl Architecture {
    /// Returns all that are known, by name.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &ALL
    }

    /// Returns the architecture that Go and image platforms call `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|known| known.name == name)
    }

    /// Go's name, as in image platforms.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// QEMU's name, as in `qemu-aarch64`.
    #[must_use]
    pub fn qemu_name(&self) -> &'static str {
        self.qemu
    }

    /// Whether this machine's processor runs such programs by itself.
    #[must_use]
    pub fn is_native(&self) -> bool {
        self == own() || runs_32_bits(self)
    }

    /// The first bytes of a program.
    pub(super) fn header(&self) -> [u8; HEADER] {
        const PROGRAM: u16 = 2;
        let half = |value: u16| match self.order {
            Order::Little => value.to_le_bytes(),
            Order::Big => value.to_be_bytes(),
        };
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(b"\x7fELF");
        header[4..7].copy_from_slice(&[self.class as u8, self.order as u8, 1]);
        header[16..18].copy_from_slice(&half(PROGRAM));
        header[18..].copy_from_slice(&half(self.machine));
        header
    }

    /// Which bits of [`Architecture::header`] every program has.
    pub(super) fn mask(&self) -> [u8; HEADER] {
        let mut mask = MASK;
        match self.order {
            Order::Little => mask[16] = 0xfe,
            Order::Big => mask[17] = 0xfe,
        }
        mask
    }

    /// Whether a file that begins like this is a program of this architecture.
    pub(super) fn matches(&self, start: &[u8]) -> bool {
        let bits = self.header().into_iter().zip(self.mask());
        start.len() >= HEADER
            && bits
                .zip(start)
                .all(|((header, mask), byte)| header & mask == byte & mask)
    }
}

/// This program's own architecture.
pub(super) fn own() -> &'static Architecture {
    #[cfg(target_arch = "x86_64")]
    const OWN: &Architecture = &ALL[1];
    #[cfg(target_arch = "aarch64")]
    const OWN: &Architecture = &ALL[3];
    OWN
}

/// Processors of amd64 run 386 programs; only some of arm64 run those of arm, and the kernel tells which.
fn runs_32_bits(architecture: &Architecture) -> bool {
    #[cfg(target_arch = "x86_64")]
    return architecture.name == "386";
    #[cfg(target_arch = "aarch64")]
    return architecture.name == "arm" && crate::sys::can_be_32_bits();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_sorted() {
        assert!(ALL.is_sorted_by_key(|known| known.name));
        for known in &ALL {
            assert_eq!(Architecture::named(known.name), Some(known));
        }
        assert_eq!(Architecture::named("wasm"), None);
        assert_eq!(own().qemu_name(), std::env::consts::ARCH);
    }

    #[test]
    fn this_program_is_of_its_own_architecture() {
        let program = fs_err::read("/proc/self/exe").unwrap();
        let matching: Vec<_> = ALL.iter().filter(|known| known.matches(&program)).collect();
        assert_eq!(matching, [own()]);
        assert!(own().is_native());
        assert!(!Architecture::named("s390x").unwrap().is_native());
    }

    #[test]
    fn headers_match_only_themselves() {
        for known in &ALL {
            let mut header = known.header();
            let matching: Vec<_> = ALL.iter().filter(|other| other.matches(&header)).collect();
            assert_eq!(matching, [known]);
            // Loadable anywhere, of another system's variant.
            let low = if known.order == Order::Little { 16 } else { 17 };
            header[low] = 3;
            header[7] = 3;
            assert!(known.matches(&header));
            header[low] = 4;
            assert!(!known.matches(&header), "a core file");
            assert!(!known.matches(&header[..HEADER - 1]));
        }
    }
}
