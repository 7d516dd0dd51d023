//! The compiled programs, as they are committed.

/// Built from `ebpf-programs/socket-observer` by `cargo xtask ebpf`.
pub(crate) static OBJECT: &[u8] =
    aya::include_bytes_aligned!("../../../ebpf-programs/socket-observer/socket-observer.bpf.o");

/// What the object is made of; committed beside it, and compared with it by `cargo xtask ebpf --check`.
const RECORD: &str = include_str!("../../../ebpf-programs/socket-observer/socket-observer.bpf.txt");

/// Returns the SHA-256 of the compiled programs that run in the kernel, in hexadecimal digits.
pub fn object_hash() -> &'static str {
    let line = RECORD.lines().find_map(|line| line.strip_prefix("object "));
    line.expect("a test reads the record").trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_tells_the_hash() {
        let hash = object_hash();
        assert!(hash.len() == 64 && hash.bytes().all(|it| it.is_ascii_hexdigit()), "{hash}");
    }
}
