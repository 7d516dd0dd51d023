use std::{fs, io, path::Path};

const CGROUP_LIMITS: [&str; 2] = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

/// What cannot be read of the memory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MemoryError {
    #[error("cannot read {path}")]
    Read { path: &'static str, source: io::Error },
    #[error("{path} does not say how much memory there is")]
    Form { path: &'static str },
}

/// Returns how many bytes of memory the process has.
pub(crate) fn used() -> Result<u64, MemoryError> {
    const PATH: &str = "/proc/self/statm";
    let text = fs::read_to_string(PATH).map_err(|source| MemoryError::Read { path: PATH, source })?;
    let n_pages = resident(&text).ok_or(MemoryError::Form { path: PATH })?;
    Ok(n_pages.saturating_mul(rustix::param::page_size() as u64))
}

/// Returns how many bytes of memory the process may have: the limit of its control group, or what the machine has.
pub(crate) fn available() -> Result<u64, MemoryError> {
    const PATH: &str = "/proc/meminfo";
    let text = fs::read_to_string(PATH).map_err(|source| MemoryError::Read { path: PATH, source })?;
    let total = total(&text).ok_or(MemoryError::Form { path: PATH })?;
    // Without a limit there is no number, or one that is larger than any memory.
    let limits =
        CGROUP_LIMITS.iter().filter_map(|it| fs::read_to_string(Path::new(it)).ok()?.trim().parse().ok());
    Ok(limits.fold(total, u64::min))
}

/// <https://man7.org/linux/man-pages/man5/proc_pid_statm.5.html>
fn resident(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// <https://man7.org/linux/man-pages/man5/proc_meminfo.5.html>
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|it| it.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_understood() {
        assert_eq!(resident("4521 3012 890 12 0 700 0\n"), Some(3012));
        assert_eq!(resident(""), None);
        assert_eq!(total("MemTotal:       32594912 kB\nMemFree:        1 kB\n"), Some(32_594_912 * 1024));
        assert_eq!(total("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn this_process_has_some_of_what_there_is() {
        let (used, available) = (used().unwrap(), available().unwrap());
        assert!((100_000..available).contains(&used), "{used} of {available}");
    }
}
