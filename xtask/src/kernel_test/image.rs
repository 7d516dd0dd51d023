//! Unpacking a kernel, so that the emulator need not run its decompressor.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, ensure};

use super::architecture::Architecture;

/// First bytes of each compression, and what unpacks it.
const FORMATS: [(&[u8], &[&str]); 4] = [
    (b"\xfd7zXZ\0", &["xz", "-dc", "--single-stream"]),
    (b"\x28\xb5\x2f\xfd", &["zstd", "-dcq"]),
    (b"\x1f\x8b", &["gzip", "-dc"]),
    (b"\x02\x21\x4c\x18", &["lz4", "-dc"]),
];

/// Writes the kernel as the emulator takes it: of x86, the ELF file that the compressed kernel contains; of arm64, the file
/// itself, which is not compressed.
pub(super) fn unpack(architecture: Architecture, kernel: &Path, to: &Path) -> anyhow::Result<()> {
    let file = fs::read(kernel).with_context(|| format!("cannot read {}", kernel.display()))?;
    let image = match architecture {
        Architecture::X86_64 => payload(&file).and_then(decompress),
        Architecture::Aarch64 => plain(&file).map(<[u8]>::to_vec),
    };
    let image = image.with_context(|| {
        format!("{} is no kernel for {} that can be unpacked", kernel.display(), architecture.name())
    })?;
    fs::write(to, image).with_context(|| format!("cannot write {}", to.display()))
}

/// Returns the file itself: Documentation/arch/arm64/booting.rst tells where its mark is.
fn plain(file: &[u8]) -> anyhow::Result<&[u8]> {
    ensure!(file.get(0x38..0x3c) == Some(b"ARM\x64"), "the header is missing");
    Ok(file)
}

/// Returns the compressed payload: Documentation/arch/x86/boot.rst tells where it is.
fn payload(file: &[u8]) -> anyhow::Result<&[u8]> {
    let word = |at: usize| {
        let bytes = file.get(at..at + 4).context("the file is too short")?;
        anyhow::Ok(usize::try_from(u32::from_le_bytes(bytes.try_into()?))?)
    };
    ensure!(file.get(0x202..0x206) == Some(b"HdrS"), "the header is missing");
    let n_setup_sectors = match file[0x1f1] {
        0 => 4,
        n => usize::from(n),
    };
    let start = (n_setup_sectors + 1) * 512 + word(0x248)?;
    file.get(start..start + word(0x24c)?).context("the file is too short")
}

fn decompress(payload: &[u8]) -> anyhow::Result<Vec<u8>> {
    let format = FORMATS.iter().find(|(magic, _)| payload.starts_with(magic));
    let (_, words) = format.context("the compression is unknown")?;
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run `{}`", words[0]))?;
    let mut stdin = child.stdin.take().expect("standard input is piped");
    let output = thread::scope(|scope| {
        // The tool may leave the size, which follows the compressed bytes, unread.
        scope.spawn(move || stdin.write_all(payload).is_ok());
        child.wait_with_output()
    })?;
    // The exit status is no witness: tools complain about the size.
    ensure!(output.stdout.starts_with(b"\x7fELF"), "`{}` did not give an ELF file", words[0]);
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_where_the_header_says() {
        let mut file = vec![0; 4096];
        file[0x202..0x206].copy_from_slice(b"HdrS");
        file[0x1f1] = 2;
        file[0x248..0x24c].copy_from_slice(&10_u32.to_le_bytes());
        file[0x24c..0x250].copy_from_slice(&5_u32.to_le_bytes());
        file[3 * 512 + 10..3 * 512 + 15].copy_from_slice(b"abcde");
        assert_eq!(payload(&file).unwrap(), b"abcde");
        file[0x24c..0x250].copy_from_slice(&5000_u32.to_le_bytes());
        assert_eq!(payload(&file).unwrap_err().to_string(), "the file is too short");
        file[0x202] = 0;
        assert_eq!(payload(&file).unwrap_err().to_string(), "the header is missing");
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        assert_eq!(plain(&[0; 4096]).unwrap_err().to_string(), "the header is missing");
        assert_eq!(decompress(b"plain").unwrap_err().to_string(), "the compression is unknown");
        assert_eq!(
            decompress(b"\x1f\x8b and then nothing that makes sense").unwrap_err().to_string(),
            "`gzip` did not give an ELF file"
        );
    }
}
