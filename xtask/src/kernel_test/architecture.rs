//! The processors that machines can have.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::bail;
use serde::{Deserialize, Serialize};

use crate::packages::Tool;

/// A kind of processor.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
pub(super) enum Architecture {
    #[default]
    #[value(name = "x86_64")]
    #[serde(rename = "x86_64")]
    X86_64,
    #[serde(rename = "aarch64")]
    Aarch64,
}

/// What makes programs for another processor than this machine's, and runs them here.
pub(super) struct Cross {
    /// What cargo and rustup call the processor's usual system.
    pub(super) target: &'static str,
    /// The variable by which cargo is told the linker.
    pub(super) linker_variable: &'static str,
    pub(super) linker: &'static str,
    /// Runs one program, with the system calls of this machine's kernel.
    pub(super) emulator: &'static str,
    pub(super) tools: &'static [Tool],
}

static TO_AARCH64: Cross = Cross {
    target: "aarch64-unknown-linux-gnu",
    linker_variable: "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER",
    linker: "aarch64-linux-gnu-gcc",
    emulator: "qemu-aarch64",
    tools: &[
        Tool {
            program: "aarch64-linux-gnu-gcc",
            package: "gcc-aarch64-linux-gnu",
            purpose: "links for the other processor",
        },
        Tool {
            program: "/usr/aarch64-linux-gnu/lib/crt1.o",
            package: "libc6-dev-arm64-cross",
            purpose: "what is linked",
        },
        Tool { program: "qemu-aarch64", package: "qemu-user", purpose: "asks what was linked for its tests" },
    ],
};

impl Architecture {
    pub(super) const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// Returns the name that Rust, the kernel and the command line have for it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// Returns the name that Debian has for it.
    pub(super) const fn debian_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// Returns the folder below `kernels` that holds what is its own.
    pub(super) fn folder(self, kernels: &Path) -> PathBuf {
        match self {
            Self::X86_64 => kernels.to_owned(),
            Self::Aarch64 => kernels.join(self.name()),
        }
    }

    /// Returns what emulates machines.
    pub(super) const fn emulator(self) -> Tool {
        match self {
            Self::X86_64 => Tool {
                program: "qemu-system-x86_64",
                package: "qemu-system-x86",
                purpose: "emulates the machines",
            },
            Self::Aarch64 => Tool {
                program: "qemu-system-aarch64",
                package: "qemu-system-arm",
                purpose: "emulates the machines",
            },
        }
    }

    /// Returns what the emulator is told of the machine.
    pub(super) const fn machine(self) -> &'static [&'static str] {
        match self {
            Self::X86_64 => &["-machine", "q35", "-cpu", "max"],
            // Pointers are signed by an algorithm that costs an emulator little. Without vectors of any length, whose
            // registers are saved at every switch of tasks.
            Self::Aarch64 => &["-machine", "virt", "-cpu", "max,pauth-impdef=on,sve=off"],
        }
    }

    /// Returns the device of the console.
    pub(super) const fn console(self) -> &'static str {
        match self {
            Self::X86_64 => "ttyS0",
            Self::Aarch64 => "ttyAMA0",
        }
    }

    /// Returns what makes and runs programs for it, unless this machine has such a processor itself.
    ///
    /// # Errors
    ///
    /// That cannot be done here.
    pub(super) fn cross(self) -> anyhow::Result<Option<&'static Cross>> {
        match self {
            _ if self.name() == env::consts::ARCH => Ok(None),
            Self::Aarch64 => Ok(Some(&TO_AARCH64)),
            Self::X86_64 => bail!("kernels for x86_64 are tested on machines of that processor only"),
        }
    }
}
