//! Memory of this process, as the system counts it.

use std::fs;

/// Makes the present amount the peak, where the system allows it (Linux).
pub(super) fn reset_peak() {
    // The kernel's documentation: writing 5 resets the peak resident set size. Where it is refused, the peak stays the
    // process's.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The largest resident set since the last reset, in bytes; `None` where the system does not tell.
pub(super) fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}
