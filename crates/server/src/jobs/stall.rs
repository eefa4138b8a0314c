//! Whether a worker still gets on. Pure: clocks and processes are the supervisor's.
//!
//! A worker has two signs of life. Its heartbeat, every two seconds from a thread of its own, says that the process runs. Its
//! pulse, a number in the heartbeat, grows with every microbatch, lot of rows and generated token: a GPU that hangs stops
//! the pulse and not the heartbeat. How long a pulse may take depends on the model and the machine, so what a run has shown
//! so far is the measure, and before it has shown anything there is much patience: to end a run that is slow would be
//! worse than to wait for one that hangs.

use std::fmt;
use std::time::{Duration, Instant};

use ftl_core::job::Phase;
use ftl_core::{Problem, ProblemKind};

/// Pulses that must have been seen before the next is measured by them. The first ones compile kernels and fill caches.
const PULSES_OF_A_MEASURE: u32 = 3;

/// How long a worker may be without a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Without a heartbeat. Swapping can hold up even a thread that does nothing.
    pub heartbeat: Duration,
    /// Without a pulse, where nothing is known about how long one takes: a large model is read from a slow disk, and on a CPU
    /// a microbatch may take most of an hour.
    pub unknown_pulse: Duration,
    /// Without a pulse while steps are taken, at the least.
    pub steady_pulse: Duration,
    /// Without a pulse while steps are taken, as a multiple of the longest one so far.
    pub times_longest_pulse: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(5 * 60),
            unknown_pulse: Duration::from_secs(2 * 60 * 60),
            steady_pulse: Duration::from_secs(15 * 60),
            times_longest_pulse: 20,
        }
    }
}

/// What a heartbeat says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beat {
    pub(super) step: u64,
    pub(super) phase: Option<Phase>,
    pub(super) pulse: u64,
}

/// Whether the worker's process is allowed to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// It is.
    Runs,
    /// Somebody has paused it (SIGSTOP, a debugger) and may let it go on.
    Paused,
}

/// Why a worker is taken for dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stall {
    /// Its process does not answer.
    Silent { since: Duration },
    /// Its process lives, and its work does not get on.
    Stuck { since: Duration, phase: Option<Phase>, step: u64 },
}

/// The signs of life of one worker.
#[derive(Debug)]
pub(super) struct Watch {
    patience: Patience,
    last_beat: Instant,
    last_pulse: Instant,
    beat: Option<Beat>,
    longest_pulse: Duration,
    n_pulses: u32,
    last_look: Instant,
}

impl Watch {
    /// Of a worker that is started now.
    pub(super) fn new(patience: Patience, now: Instant) -> Self {
        Self {
            patience,
            last_beat: now,
            last_pulse: now,
            beat: None,
            longest_pulse: Duration::ZERO,
            n_pulses: 0,
            last_look: now,
        }
    }

    /// How often [`look`](Self::look) is to be called, so that nothing takes much longer than it may.
    pub(super) fn period(&self) -> Duration {
        self.patience.heartbeat.min(self.patience.steady_pulse).div_f64(8.0).min(Duration::from_secs(2))
    }

    /// The worker said something else than a heartbeat: it gets on.
    pub(super) fn heard(&mut self, now: Instant) {
        self.last_beat = now;
        self.last_pulse = now;
    }

    /// The worker's heart has beaten.
    pub(super) fn beat(&mut self, beat: Beat, now: Instant) {
        self.last_beat = now;
        let before = self.beat.replace(beat);
        if before.is_some_and(|before| before.pulse == beat.pulse && before.phase == beat.phase) {
            return;
        }
        // Within a phase alone: what lies between two phases is no microbatch.
        if before.is_some_and(|before| before.phase == beat.phase) && is_steady(beat.phase) {
            self.longest_pulse = self.longest_pulse.max(now - self.last_pulse);
            self.n_pulses = self.n_pulses.saturating_add(1);
        }
        self.last_pulse = now;
    }

    /// Whether the worker is to be given up. Called once in each [`period`](Self::period).
    pub(super) fn look(&mut self, condition: Condition, now: Instant) -> Option<Stall> {
        let unseen = now - self.last_look;
        self.last_look = now;
        // Whoever was paused itself has not seen the signs that there were.
        let has_slept = unseen > self.period() * 5;
        if condition == Condition::Paused || has_slept {
            self.heard(now);
            return None;
        }
        let silent = now - self.last_beat;
        if silent > self.patience.heartbeat {
            return Some(Stall::Silent { since: silent });
        }
        // Before the first heartbeat it waits for an earlier worker's lock; that has an end by itself.
        let beat = self.beat?;
        let since = now - self.last_pulse;
        (since > self.limit(beat.phase)).then_some(Stall::Stuck { since, phase: beat.phase, step: beat.step })
    }

    fn limit(&self, phase: Option<Phase>) -> Duration {
        let Patience { heartbeat: _, unknown_pulse, steady_pulse, times_longest_pulse } = self.patience;
        if is_steady(phase) && self.n_pulses >= PULSES_OF_A_MEASURE {
            steady_pulse.max(self.longest_pulse.saturating_mul(times_longest_pulse))
        } else {
            unknown_pulse
        }
    }
}

/// Whether one pulse of a phase takes about as long as another.
fn is_steady(phase: Option<Phase>) -> bool {
    match phase {
        Some(Phase::Training | Phase::Evaluating | Phase::Sampling) => true,
        Some(
            Phase::Validating
            | Phase::Planning
            | Phase::Downloading
            | Phase::Loading
            | Phase::Tokenizing
            | Phase::Saving
            | Phase::Exporting,
        )
        | None => false,
    }
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent { since } => write!(f, "the worker gave no sign of life for {}", length(*since)),
            Self::Stuck { since, phase, step } => {
                write!(f, "the worker did not get on for {}", length(*since))?;
                phase.map_or(Ok(()), |phase| write!(f, " while {phase}"))?;
                if *step > 0 { write!(f, ", after step {step}") } else { Ok(()) }
            }
        }
    }
}

impl Stall {
    /// What a person is told.
    pub(super) fn problem(self) -> Problem {
        let hint = "it goes on from its newest checkpoint; if this happens again, look for errors of the GPU or the disk \
                    in the system's log (`journalctl -k`)";
        Problem::new(ProblemKind::Worker, format!("{self}, and was ended")).hint(hint)
    }
}

fn length(duration: Duration) -> String {
    match duration.as_secs() {
        0..120 => format!("{} seconds", duration.as_secs()),
        seconds @ 120..7_200 => format!("{} minutes", seconds / 60),
        seconds => format!("{} hours", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        heartbeat: Duration::from_secs(60),
        unknown_pulse: Duration::from_secs(1_000),
        steady_pulse: Duration::from_secs(100),
        times_longest_pulse: 20,
    };

    /// A worker whose clock is a number of seconds.
    struct Story {
        watch: Watch,
        start: Instant,
        secs: u64,
    }

    impl Story {
        fn new() -> Self {
            let start = Instant::now();
            Self { watch: Watch::new(PATIENCE, start), start, secs: 0 }
        }

        fn now(&self) -> Instant {
            self.start + Duration::from_secs(self.secs)
        }

        /// Lets seconds pass in which it is looked at, with a heartbeat every second where there is one.
        fn pass(&mut self, secs: u64, beat: Option<Beat>, condition: Condition) -> Option<Stall> {
            for _ in 0..secs {
                self.secs += 1;
                if let Some(beat) = beat {
                    self.watch.beat(beat, self.now());
                }
                let stall = self.watch.look(condition, self.now());
                if stall.is_some() {
                    return stall;
                }
            }
            None
        }
    }

    fn beat(phase: Phase, pulse: u64) -> Option<Beat> {
        Some(Beat { step: 7, phase: Some(phase), pulse })
    }

    #[test]
    fn silence_is_a_stall_and_a_paused_process_is_not() {
        let mut story = Story::new();
        assert_eq!(story.pass(500, None, Condition::Paused), None);
        let stall = story.pass(500, None, Condition::Runs);
        assert_eq!(stall, Some(Stall::Silent { since: Duration::from_secs(61) }));
        assert_eq!(
            stall.expect("a stall").problem().message,
            "the worker gave no sign of life for 61 seconds, and was ended"
        );
    }

    #[test]
    fn hearts_that_beat_without_a_pulse_are_given_much_time_before_steps_were_seen() {
        let mut story = Story::new();
        assert_eq!(story.pass(999, beat(Phase::Loading, 3), Condition::Runs), None);
        let stall = story.pass(10, beat(Phase::Loading, 3), Condition::Runs).expect("a stall");
        assert!(matches!(stall, Stall::Stuck { phase: Some(Phase::Loading), .. }), "{stall:?}");
        assert_eq!(stall.to_string(), "the worker did not get on for 16 minutes while loading, after step 7");
    }

    #[test]
    fn steps_that_were_seen_are_the_measure() {
        for (pulse_secs, limit_secs) in [(1, 100), (30, 600)] {
            let mut story = Story::new();
            for pulse in 0..5 {
                assert_eq!(story.pass(pulse_secs, beat(Phase::Training, pulse), Condition::Runs), None);
            }
            // The last pulse was seen at the first of its seconds.
            let left = limit_secs - (pulse_secs - 1);
            assert_eq!(story.pass(left, beat(Phase::Training, 4), Condition::Runs), None, "{pulse_secs}");
            let stall = story.pass(2, beat(Phase::Training, 4), Condition::Runs);
            assert!(matches!(stall, Some(Stall::Stuck { .. })), "{pulse_secs}: {stall:?}");
        }
    }

    #[test]
    fn a_new_phase_and_an_event_are_signs_that_it_gets_on() {
        let mut story = Story::new();
        for pulse in 0..5 {
            story.pass(1, beat(Phase::Training, pulse), Condition::Runs);
        }
        assert_eq!(story.pass(90, beat(Phase::Training, 4), Condition::Runs), None);
        story.watch.heard(story.now());
        assert_eq!(story.pass(90, beat(Phase::Training, 4), Condition::Runs), None);
        assert_eq!(story.pass(900, beat(Phase::Saving, 4), Condition::Runs), None);
        assert_eq!(story.pass(90, beat(Phase::Training, 4), Condition::Runs), None);
        assert!(story.pass(20, beat(Phase::Training, 4), Condition::Runs).is_some());
    }

    #[test]
    fn a_service_that_slept_does_not_blame_the_worker() {
        let mut story = Story::new();
        story.pass(10, beat(Phase::Training, 1), Condition::Runs);
        story.secs += 100_000;
        assert_eq!(story.watch.look(Condition::Runs, story.now()), None);
        assert_eq!(story.pass(50, None, Condition::Runs), None);
        assert!(story.pass(20, None, Condition::Runs).is_some());
    }
}
