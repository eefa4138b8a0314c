//! This process as Linux shows it, under the names that all Prometheus clients use for it. Elsewhere it is left out.

use std::fs;

/// What the system says about this process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Process {
    pub(super) resident_bytes: u64,
    pub(super) cpu_secs: f64,
    pub(super) n_open_files: u64,
    pub(super) n_threads: u64,
}

/// Reads it; `None` where the system does not tell.
pub(super) fn read() -> Option<Process> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let n_open_files = u64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()?;
    // SAFETY: sysconf takes a number and reads no memory of ours.
    let (ticks, page) = unsafe { (libc::sysconf(libc::_SC_CLK_TCK), libc::sysconf(libc::_SC_PAGESIZE)) };
    parse(&stat, u64::try_from(ticks).ok()?, u64::try_from(page).ok()?, n_open_files)
}

/// proc_pid_stat(5). The second field is the program's name in brackets and may hold anything.
fn parse(stat: &str, ticks_per_sec: u64, page_bytes: u64, n_open_files: u64) -> Option<Process> {
    let (_, rest) = stat.rsplit_once(')')?;
    // The first of these is field 3, the state.
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let ticks = number(14)?.checked_add(number(15)?)?;
    Some(Process {
        resident_bytes: number(24)?.checked_mul(page_bytes)?,
        cpu_secs: ticks as f64 / ticks_per_sec as f64,
        n_open_files,
        n_threads: number(20)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_any_program_name() {
        let stat =
            "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 12 0 99 1000000 300 18446744073709551615";
        let expected = Process { resident_bytes: 300 * 4096, cpu_secs: 2.0, n_open_files: 9, n_threads: 12 };
        assert_eq!(parse(stat, 100, 4096, 9), Some(expected));
        assert_eq!(parse("7 (a) S 1", 100, 4096, 9), None);
    }
}
