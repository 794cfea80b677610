//! Programs of other processor architectures: the kernel hands them to QEMU, by rules of its `binfmt_misc`.
//!
//! Since Linux 6.7 a user namespace can have rules of its own, which nobody outside of it is subject to. So nothing
//! has to be set up on the machine: [`crate::Zygote::binfmt`] makes such rules. Where the machine has rules already,
//! [`MachineRules`] tells.

mod architecture;
mod binfmt;
mod qemu;

pub use architecture::Architecture;
pub use binfmt::{Binfmt, MachineRules};
pub use qemu::QemuDirs;

pub(crate) use binfmt::mount_here;
