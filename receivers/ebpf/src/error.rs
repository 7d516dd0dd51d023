use std::{io, path::PathBuf};

use aya::{EbpfError, maps::MapError, programs::ProgramError};

/// The running kernel's type information does not tell where the programs must look.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// There is no type information.
    #[error(
        "cannot read the kernel's type information (BTF) from {path}; the kernel must be built with \
         `CONFIG_DEBUG_INFO_BTF=y`"
    )]
    Read {
        /// Where it was expected.
        path: PathBuf,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
    /// The type information is not as its specification says.
    #[error("the kernel's type information (BTF) is malformed at byte {at}")]
    Malformed {
        /// Where.
        at: usize,
    },
    /// A structure is not there.
    #[error("the kernel's type information (BTF) has no `struct {structure}`; this kernel is not supported")]
    MissingStructure {
        /// Its name.
        structure: &'static str,
    },
    /// A structure has no such member.
    #[error(
        "the kernel's type information (BTF) has no member `{member}` in `struct {structure}`; this kernel is not \
         supported"
    )]
    MissingMember {
        /// The structure's name.
        structure: &'static str,
        /// The member's name, or the names on the way to it.
        member: &'static str,
    },
    /// A member is where the programs do not look.
    #[error(
        "member `{member}` of `struct {structure}` is at byte {offset}, which is unexpected; this kernel is not supported"
    )]
    UnexpectedOffset {
        /// The structure's name.
        structure: &'static str,
        /// The member's name.
        member: &'static str,
        /// Where it is.
        offset: u32,
    },
}

/// The programs could not be put into the kernel.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The kernel's layout is not known.
    #[error("cannot find out where the kernel keeps its sockets")]
    Layout(#[from] LayoutError),
    /// The kernel refuses because of missing privilege.
    #[error(
        "cannot load the eBPF programs without privilege; run as root or grant CAP_BPF and CAP_PERFMON (`ridley check` \
         shows what is missing)"
    )]
    NotPermitted(#[source] Refused),
    /// The compiled programs or their maps were refused.
    #[error("cannot create the eBPF maps")]
    CreateMaps(#[source] Box<EbpfError>),
    /// The kernel's verifier refused a program.
    #[error("cannot load the eBPF program `{program}`")]
    LoadProgram {
        /// Name of the program.
        program: &'static str,
        /// Why.
        #[source]
        source: Box<ProgramError>,
    },
    /// A program could not be attached.
    #[error("cannot attach the eBPF program `{program}` to `{tracepoint}`")]
    AttachProgram {
        /// Name of the program.
        program: &'static str,
        /// Where to.
        tracepoint: &'static str,
        /// Why.
        #[source]
        source: Box<ProgramError>,
    },
    /// A map could not be opened.
    #[error("cannot open the eBPF map `{map}`")]
    OpenMap {
        /// Name of the map.
        map: &'static str,
        /// Why.
        #[source]
        source: Box<MapError>,
    },
    /// A map could not be mapped into memory.
    #[error("cannot map the eBPF map `{map}` into memory")]
    MapMemory {
        /// Name of the map.
        map: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The runtime could not watch the ring buffer.
    #[error("cannot watch the eBPF ring buffer")]
    WatchRing(#[source] io::Error),
}

/// What the operating system did not let this process do.
///
/// Without what lies between: which of many maps or programs came first differs from run to run, and is no matter.
#[derive(Debug, thiserror::Error)]
#[error("{operation}")]
pub struct Refused {
    operation: String,
    #[source]
    answer: io::Error,
}

impl LoadError {
    /// Returns what the operating system answered, if that was that this process may not.
    fn denial(&self) -> Option<io::Error> {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(err) = cause {
            if let Some(answer) = err.downcast_ref::<io::Error>()
                && answer.kind() == io::ErrorKind::PermissionDenied
            {
                return Some(
                    answer.raw_os_error().map_or(answer.kind().into(), io::Error::from_raw_os_error),
                );
            }
            cause = err.source();
        }
        None
    }

    /// Says what to do if privilege is missing; else returns the error as it is.
    pub(crate) fn or_not_permitted(self) -> Self {
        match self.denial() {
            Some(answer) => Self::NotPermitted(Refused { operation: self.to_string(), answer }),
            None => self,
        }
    }
}

/// A program that the receiver runs could not be run.
#[derive(Debug, thiserror::Error)]
#[error("cannot run the eBPF program `{program}`")]
pub struct RunProgramError {
    /// Name of the program.
    pub program: &'static str,
    /// Why.
    #[source]
    pub source: Box<ProgramError>,
}

#[cfg(test)]
mod tests {
    use component::ErrorChain;

    use super::*;

    const EPERM: i32 = 1;

    /// Which map came first differs from run to run, and so would the line.
    #[test]
    fn a_refusal_tells_the_operation_and_the_answer_alone() {
        let source = MapError::CreateError {
            name: "CGROUPS".to_owned(),
            io_error: io::Error::from_raw_os_error(EPERM),
        };
        let error = LoadError::CreateMaps(Box::new(EbpfError::MapError(source))).or_not_permitted();
        let said = ErrorChain(&error).to_string();
        assert!(said.contains("grant CAP_BPF and CAP_PERFMON"), "{said}");
        let end = "cannot create the eBPF maps: Operation not permitted (os error 1)";
        assert!(said.ends_with(end), "{said}");
    }

    /// More privilege would not help.
    #[test]
    fn another_answer_is_passed_on() {
        let error = LoadError::WatchRing(io::ErrorKind::OutOfMemory.into()).or_not_permitted();
        assert!(matches!(error, LoadError::WatchRing(_)), "{error:?}");
    }
}
