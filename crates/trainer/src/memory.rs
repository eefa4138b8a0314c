//! What the process has used of the machine, and what is left.

use std::fs;

/// The process's largest resident memory so far, shared libraries included; `None` where the system does not
/// tell.
pub fn peak_rss_bytes() -> Option<u64> {
    kib_after("/proc/self/status", "VmHWM:")
}

/// The process's resident memory; `None` where the system does not tell.
pub fn rss_bytes() -> Option<u64> {
    kib_after("/proc/self/status", "VmRSS:")
}

/// Forgets the largest resident memory so far, where the system lets a process do that.
pub fn forget_peak() {
    // Without it the peak is that of the whole process, which is what it is then compared with.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Memory that new allocations can have without swapping, and that the container has left; `None` where the system does
/// not tell.
pub fn available_bytes() -> Option<u64> {
    let available = kib_after("/proc/meminfo", "MemAvailable:")?;
    Some(container_room().map_or(available, |room| room.min(available)))
}

/// A container's limit, what it uses, and what of that is a cache of files that makes room when asked.
const CONTAINERS: [[&str; 4]; 2] = [
    ["/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"],
    ["/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"],
];

fn container_room() -> Option<u64> {
    CONTAINERS.iter().find_map(|[dir, limit, used, cache]| {
        let number =
            |name: &str| fs::read_to_string(format!("{dir}/{name}")).ok()?.trim().parse::<u64>().ok();
        let stat = fs::read_to_string(format!("{dir}/memory.stat")).unwrap_or_default();
        let cached = stat.lines().find_map(|line| line.strip_prefix(cache)?.trim().parse().ok()).unwrap_or(0);
        Some(number(limit)?.saturating_sub(number(used)?.saturating_sub(cached)))
    })
}

fn kib_after(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
