//! The loop of a run and what it does between steps.

use std::path::Path;
use std::time::Instant;

use ftl_core::job::{Phase, State};
use ftl_core::metrics::{Rewards, Stepped};
use ftl_core::spec::resolved::{Every, FinalWeights, PredictionTimes};
use ftl_core::{CheckedSpec, Event, Observer, Problem, ProblemKind, Signals, StopSignal};

use crate::adapter::peft::AdapterConfig;
use crate::checkpoint::layout::{DIGESTS_JSONL, EVENTS_JSONL, checkpoint_name};
use crate::checkpoint::{Checkpoint, retain_newest, save};
use crate::data::load::Prepared;
use crate::data::order::{Plan, Pool};
use crate::device::OpenDevice;
use crate::error::TrainError;
use crate::kernels::Precision;
use crate::methods::reference::DataPart;
use crate::methods::{Method, Microbatch, Onto, Tally, Totals};
use crate::model::decoder::{Decoder, Keep, TrainPass};
use crate::ops::dropout::Key;
use crate::ops::neftune::Noise;
use crate::ops::param::{Gradients, Param};
use crate::optim::schedule::LearningRate;
use crate::plan::Planner;
use crate::plan::verify::{Base, rehearse};
use crate::train::best;
use crate::train::digests::{Digests, StepDigest};
use crate::train::eval::{Scores, evaluate};
use crate::train::finish::write_final;
use crate::train::meter::{Meter, StepResult};
use crate::train::moments_file::{read_optimizer, write_optimizer};
use crate::train::optimizer::Optimizer;
use crate::train::predict::{Answered, Predictor};
use crate::train::preflight::Ready;
use crate::train::reference;
use crate::train::report::{Reporter, note, phase, warn};
use crate::train::snapshot::{self, Identity};
use crate::train::start::Start;
use crate::train::{MemoryUse, Outcome, Summary};
use crate::train::{memory_limit, memory_plan};

/// The stream of a microbatch's noise on the embeddings; those of dropout are numbered by layer, from 0.
const NOISE: u64 = u64::MAX;

/// A run under way. Steps count from 0 inside and from 1 where users see them.
pub struct Run<'a, 'b> {
    pub(super) spec: &'a CheckedSpec,
    pub(super) out: &'a Path,
    pub(super) device: OpenDevice,
    pub(super) decoder: Decoder,
    pub(super) adapter: Option<AdapterConfig>,
    pub(super) data: Prepared,
    pub(super) plan: Plan,
    pub(super) identity: Identity,
    pub(super) scores: Scores,
    pub(super) method: Method,
    /// Steps that were taken when the run began: those of the checkpoint of another run, or none.
    start: u64,
    /// Steps taken.
    pub(super) step: u64,
    /// The steps taken when the last checkpoint was written.
    saved: Option<u64>,
    predictor: Option<Predictor>,
    /// The steps taken when held-out prompts were answered last.
    predicted: Option<u64>,
    schedule: LearningRate,
    optimizer: Optimizer,
    gradients: Gradients,
    keep: Keep,
    pub(super) planner: Planner,
    /// What the process had taken before the run.
    pub(super) base: Base,
    history: Vec<serde_json::Value>,
    digests: Digests,
    pub(super) reporter: &'a mut Reporter<'b>,
}

impl<'a, 'b> Run<'a, 'b> {
    /// At step 0.
    ///
    /// # Errors
    /// The refusal of a run that would not fit into memory.
    pub fn new(
        (spec, out): (&'a CheckedSpec, &'a Path),
        ready: Ready,
        identity: Identity,
        reporter: &'a mut Reporter<'b>,
    ) -> Result<Self, TrainError> {
        let Ready { device, decoder, adapter, mut data, predictor, max_length, memory } = ready;
        let train = &spec.train;
        let lengths = data.train.lengths().collect();
        let plan = Plan::new(Pool::of(&spec.data, lengths, &data.per_file, max_length), train);
        data.report.steps = Some(plan.steps());
        if let Some(message) = plan.packing() {
            note(reporter, message);
        }
        let (config, of_adapter) = (&decoder.config, adapter.as_ref());
        let parts = memory_plan::Parts { spec, config, adapter: of_adapter, data: &data, plan: &plan };
        let (planner, keep) = memory_plan::choose(&parts, (device.name, memory.budget), reporter)?;
        Ok(Self {
            schedule: LearningRate::new(
                &train.schedule,
                train.learning_rate,
                train.warmup,
                plan.total_steps(),
            ),
            optimizer: Optimizer::new(&decoder, (train.adamw, train.moments), train.max_grad_norm),
            gradients: decoder.zero_gradients(),
            method: Method::of(spec.method),
            scores: Scores::default(),
            predictor,
            predicted: None,
            start: 0,
            step: 0,
            saved: None,
            history: Vec::new(),
            digests: Digests::default(),
            spec,
            out,
            device,
            decoder,
            adapter,
            data,
            plan,
            identity,
            keep,
            planner,
            base: memory.base,
            reporter,
        })
    }

    /// Puts the memory plan to the test, where that is worth its time; changes nothing.
    ///
    /// # Errors
    /// The refusal, if more was taken than is available.
    pub fn verify_memory(&mut self) -> Result<(), TrainError> {
        if !memory_plan::is_tested(&self.planner) {
            return Ok(());
        }
        phase(self.reporter, Phase::Planning);
        let work = self.planner.workload(self.keep);
        let state = (&mut self.gradients, self.optimizer.moments.as_mut_slice());
        rehearse(&mut self.decoder, state, &work, pass(self.spec, self.keep, Key::new(self.spec.train.seed)));
        memory_plan::judge(&self.planner, &self.base, self.reporter)
    }

    /// Goes on where a checkpoint ended; its weights are in place already.
    ///
    /// # Errors
    /// A checkpoint of another run.
    pub fn restore(&mut self, checkpoint: &Path) -> Result<(), TrainError> {
        let state = snapshot::read_state(checkpoint)?;
        self.identity.check(&state, checkpoint)?;
        self.take_over(checkpoint, &state)?;
        self.start = state.start;
        self.saved = Some(state.step);
        self.scores = state.scores;
        self.predicted = state.predicted;
        best::check(best::checkpoint(self.spec, (self.out, self.step), &self.scores).as_deref())?;
        Ok(())
    }

    /// Starts where a checkpoint of another run ended; its weights are in place already.
    ///
    /// # Errors
    /// A checkpoint after which the spec asks for no step more, or whose moments can't be read.
    pub fn start_from(&mut self, start: &Start) -> Result<(), TrainError> {
        start.check_steps(self.spec, self.plan.total_steps())?;
        self.take_over(&start.checkpoint, &snapshot::read_state(&start.checkpoint)?)?;
        self.start = self.step;
        Ok(())
    }

    /// Takes over what the optimizer knew, and the steps.
    fn take_over(&mut self, checkpoint: &Path, state: &snapshot::State) -> Result<(), TrainError> {
        read_optimizer(checkpoint, &self.decoder.device, &mut self.optimizer)?;
        self.history = snapshot::read_history(checkpoint);
        self.step = state.step;
        self.optimizer.n_steps = state.step;
        self.optimizer.loss_scale = self.optimizer.loss_scale.resumed_from(state.loss_scale);
        Ok(())
    }

    /// Begins to write `events.jsonl` and `digests.jsonl`.
    ///
    /// # Errors
    /// [`TrainError::File`] if the operating system refuses.
    pub fn open_log(&mut self) -> Result<(), TrainError> {
        self.digests = Digests::open(&self.out.join(DIGESTS_JSONL), self.step)?;
        self.reporter.open(&self.out.join(EVENTS_JSONL))
    }

    /// Reports an event.
    pub fn observe(&mut self, event: Event) {
        self.reporter.observe(&event);
    }

    /// Takes the steps that are left, then writes the result.
    ///
    /// # Errors
    /// A loss that is no number any more, and files that can't be written.
    pub fn all_steps(&mut self, signals: &Signals) -> Result<Outcome, TrainError> {
        let Signals { stop, save } = signals;
        let total_steps = self.plan.total_steps();
        let mut loss_nats = None;
        if !reference::make_ready(self, stop)? {
            return self.stop();
        }
        self.evaluate_if_due(stop);
        self.predict_if_due(stop)?;
        memory_limit::hold(self)?;
        self.training();
        let mut compiling = self.device.compiles_kernels().then(Instant::now);
        while !self.is_over() {
            let Some(stepped) = self.take_step(stop)? else {
                return self.stop();
            };
            if let Some(start) = compiling.take() {
                let secs = start.elapsed().as_secs_f64();
                note(
                    self.reporter,
                    format!("the first step took {secs:.1} s, in which kernels were compiled"),
                );
            }
            loss_nats = Some(stepped.loss_nats);
            if due(self.spec.train.logging, self.step, &self.plan) || self.step == total_steps {
                self.observe(Event::Stepped(stepped));
            }
            memory_limit::hold(self)?;
            if self.evaluate_if_due(stop) {
                self.training();
            }
            // Taken in any case, so that what is saved by the spec counts as what was asked for.
            let is_asked = save.take();
            if is_asked || due(self.spec.train.save, self.step, &self.plan) || self.has_new_best() {
                self.save()?;
            }
            // After saving, so that long answers put no step at risk.
            if self.predict_if_due(stop)? {
                self.training();
            }
            // What came after the step takes memory, too.
            memory_limit::hold(self)?;
            self.reporter.check()?;
        }
        if stop.raised().is_some() {
            return self.stop();
        }
        self.tell_end();
        phase(self.reporter, Phase::Exporting);
        let path = write_final(self)?;
        let kind = if self.adapter.is_some() { "peft" } else { "model" };
        self.observe(Event::Exported { path: path.display().to_string(), kind: kind.to_owned() });
        self.reporter.check()?;
        let memory =
            MemoryUse { planned_bytes: self.planner.peak_bytes(), peak_bytes: self.base.peak_bytes() };
        let summary = Summary::new(self.spec, self.state(), loss_nats, path);
        Ok(Outcome::Finished(Summary { memory: Some(memory), ..summary }))
    }

    /// Whether no step is left, or none that would be taken.
    fn is_over(&self) -> bool {
        self.step >= self.plan.total_steps() || best::is_exhausted(self.spec, &self.scores)
    }

    fn is_early(&self) -> bool {
        self.step < self.plan.total_steps() && best::is_exhausted(self.spec, &self.scores)
    }

    /// Whether these weights are the best so far and would be lost: the result may be made of them.
    fn has_new_best(&self) -> bool {
        let is_best = self.scores.best.as_ref().is_some_and(|best| best.step == self.step);
        self.spec.train.result == FinalWeights::Best && is_best && self.saved != Some(self.step)
    }

    /// Says what is particular about how the run ended.
    fn tell_end(&mut self) {
        if self.is_early() {
            let (done, unit) = (Some(self.step), Some("steps".to_owned()));
            self.observe(Event::Phase { phase: Phase::Training, done, total: done, unit });
            if let Some(why) = best::why_early(self.step, &self.scores) {
                note(self.reporter, why);
            }
        }
        if let Some(doubt) = best::doubt(self.spec, &self.scores) {
            warn(self.reporter, doubt);
        }
    }

    /// One optimizer step; `None` if asked to stop before its end, and then it has changed nothing.
    fn take_step(&mut self, stop: &StopSignal) -> Result<Option<Stepped>, TrainError> {
        let step_index = self.step;
        let mut meter = Meter::start();
        let microbatches: Vec<Microbatch> = self
            .plan
            .step(step_index)
            .iter()
            .map(|indexes| self.method.microbatch(DataPart::Train, &self.data.train, indexes))
            .collect();
        meter.data_ready(&microbatches);

        let key = Key::new(self.spec.train.seed).fold(step_index);
        let totals = Totals::of(&microbatches, self.optimizer.loss_scale.factor());
        let mut tally = Tally::new(&self.method);
        let learning_rate = self.schedule.at(step_index);
        let (spec, keep) = (self.spec, self.keep);
        let pass = |index| pass(spec, keep, key.fold(index));
        if let ([microbatch], true) =
            (&microbatches[..], self.optimizer.can_step_in_parts(microbatches.len()))
        {
            if stop.raised().is_some() {
                return Ok(None);
            }
            let mut step = self.optimizer.begin_step(&self.decoder, learning_rate);
            let update = &mut |param: &mut Param, gradients: &mut Gradients| step.update(param, gradients);
            let onto = Onto::Weights { decoder: &mut self.decoder, update };
            self.method.backward(onto, microbatch, (&totals, pass(0)), (&mut self.gradients, &mut tally));
            let (loss, grad_norm) = ((tally.loss_nats(), tally.rewards()), step.finish());
            return self.end_step(meter, (loss, grad_norm, learning_rate)).map(Some);
        }
        loop {
            let totals = Totals { loss_scale: self.optimizer.loss_scale.factor(), ..totals };
            let mut tally = Tally::new(&self.method);
            self.gradients.clear();
            for (index, microbatch) in microbatches.iter().enumerate() {
                if stop.raised().is_some() {
                    return Ok(None);
                }
                self.method.backward(
                    Onto::Gradients(&self.decoder),
                    microbatch,
                    (&totals, pass(index as u64)),
                    (&mut self.gradients, &mut tally),
                );
            }
            let loss_nats = tally.loss_nats();
            let grad_norm = self.optimizer.step(&mut self.decoder, &mut self.gradients, learning_rate);
            // The same step once more, if its gradients alone were too large for f16.
            if loss_nats.is_finite() && !grad_norm.is_finite() && self.optimizer.loss_scale.overflowed() {
                continue;
            }
            self.optimizer.loss_scale.held();
            return self.end_step(meter, ((loss_nats, tally.rewards()), grad_norm, learning_rate)).map(Some);
        }
    }

    /// Counts a step whose update was taken.
    fn end_step(
        &mut self,
        meter: Meter,
        ((loss_nats, rewards), grad_norm, learning_rate): ((f64, Option<Rewards>), f64, f64),
    ) -> Result<Stepped, TrainError> {
        let step_index = self.step;
        if !loss_nats.is_finite() || !grad_norm.is_finite() {
            let problem = diverged(step_index + 1, (loss_nats, grad_norm), self.device.precision);
            return Err(TrainError::Diverged(problem));
        }
        self.step += 1;
        let digest = StepDigest::of(self.step, (loss_nats, grad_norm), &self.decoder);
        if let Some(difference) = self.digests.record(&digest)? {
            warn(self.reporter, difference.of_a_step_taken_again());
        }
        let epoch = self.plan.epochs_after(step_index);
        let result = StepResult { step: self.step, epoch, loss_nats, grad_norm, learning_rate, rewards };
        let stepped = meter.stop(result);
        self.history.push(snapshot::history_entry(&stepped));
        Ok(stepped)
    }

    /// Says that steps are being taken, and how many are done.
    fn training(&mut self) {
        let (done, total) = (Some(self.step), Some(self.plan.total_steps()));
        self.observe(Event::Phase { phase: Phase::Training, done, total, unit: Some("steps".to_owned()) });
    }

    /// Scores the held-out samples where that is asked for here: before the first step, as the spec says, and after
    /// the last step. A resumed run scores where the uninterrupted one does, so that both know the same best.
    fn evaluate_if_due(&mut self, stop: &StopSignal) -> bool {
        if !self.evaluates_here() || self.data.eval.is_empty() || self.scores.after(self.step).is_some() {
            return false;
        }
        // No more at once than a microbatch has, so that scoring never takes more memory than training.
        let (model, how) = ((&self.decoder, &self.method), (self.plan.most_tokens(), self.step));
        let evaluated = evaluate(model, &self.data.eval, how, (&mut *self.reporter, stop));
        if let Some(evaluated) = evaluated {
            self.scores.add(evaluated.clone(), self.start);
            self.observe(Event::Evaluated(evaluated));
        }
        true
    }

    fn evaluates_here(&self) -> bool {
        let asked = self.spec.train.eval;
        let ends = self.step == self.start || self.step == self.plan.total_steps();
        asked != Every::Never && (ends || due(asked, self.step, &self.plan))
    }

    /// Answers the held-out prompts where that is asked for here, and before the first step and after the last one.
    fn predict_if_due(&mut self, stop: &StopSignal) -> Result<bool, TrainError> {
        let Some(predictor) = &self.predictor else { return Ok(false) };
        let is_asked = match predictor.times() {
            PredictionTimes::Evaluations => self.evaluates_here(),
            PredictionTimes::Steps(n) => self.step.is_multiple_of(n),
        };
        let wanted = is_asked || self.step == self.start || self.is_over();
        if !wanted || self.predicted == Some(self.step) || stop.raised().is_some() {
            return Ok(false);
        }
        match predictor.answer(&mut self.decoder, self.step, (&mut *self.reporter, stop))? {
            Answered::All => self.predicted = Some(self.step),
            Answered::Some => {}
        }
        Ok(true)
    }

    /// Writes a checkpoint, then deletes those that are too many.
    fn save(&mut self) -> Result<(), TrainError> {
        phase(self.reporter, Phase::Saving);
        self.digests.sync()?;
        let state = self.state();
        let saved = save(self.out, &checkpoint_name(self.step), |dir| {
            snapshot::write_weights(dir, &self.decoder, self.adapter.as_ref(), self.spec)?;
            write_optimizer(dir, &self.optimizer)?;
            snapshot::write_state(dir, &state, (&self.history, self.plan.total_steps()))
        })?;
        let path = saved.path.display().to_string();
        self.observe(Event::Saved { step: self.step, path, bytes: saved.n_bytes });
        if let Some(limit) = self.spec.train.save_total_limit {
            let best = self.scores.best.as_ref().map(|best| self.out.join(checkpoint_name(best.step)));
            let reporter = &mut *self.reporter;
            retain_newest(self.out, limit, best.as_slice(), &mut |Checkpoint { step, path }| {
                reporter.observe(&Event::Removed { step: *step, path: path.display().to_string() });
            })?;
        }
        self.saved = Some(self.step);
        self.training();
        Ok(())
    }

    fn stop(&mut self) -> Result<Outcome, TrainError> {
        self.observe(Event::State { state: State::Stopping, reason: None });
        self.save_the_rest()?;
        let checkpoint = (self.step > 0).then(|| self.out.join(checkpoint_name(self.step)));
        self.reporter.check()?;
        Ok(Outcome::Stopped { step: self.step, checkpoint })
    }

    /// Writes a checkpoint of the steps taken, unless this attempt has done so.
    pub(super) fn save_the_rest(&mut self) -> Result<(), TrainError> {
        // A directory of this name may be a damaged one of an earlier attempt: what was saved now counts.
        if self.step > 0 && self.saved != Some(self.step) { self.save() } else { Ok(()) }
    }

    /// The state that goes with the result.
    pub(super) fn state(&self) -> snapshot::State {
        let state = self.identity.state((self.start, self.step), self.scores.clone());
        let (predicted, loss_scale) = (self.predicted, self.optimizer.loss_scale);
        snapshot::State { stopped_early: self.is_early(), predicted, loss_scale, ..state }
    }
}

/// How a microbatch with this random stream goes through the model.
fn pass(spec: &CheckedSpec, keep: Keep, key: Key) -> TrainPass {
    let noise = spec.train.neftune_noise_alpha.map(|alpha| Noise { alpha, key: key.fold(NOISE) });
    TrainPass { keep, dropout: Some(key), noise }
}

/// Whether something happens after `step`, counted from 1.
fn due(every: Every, step: u64, plan: &Plan) -> bool {
    match every {
        Every::Never => false,
        Every::Epoch => plan.ends_epoch(step - 1),
        Every::Steps(n) => step.is_multiple_of(n),
    }
}

fn diverged(step: u64, (loss_nats, grad_norm): (f64, f64), precision: Precision) -> Problem {
    let message = format!("step {step} has a loss of {loss_nats} and a gradient norm of {grad_norm}");
    let hint = "lower `train.learning_rate`, or lengthen `train.warmup_steps`; resume from a checkpoint before the loss rose";
    let problem = Problem::new(ProblemKind::Diverged, message);
    match precision {
        Precision::F32 | Precision::Bf16 => problem.hint(hint),
        // Some models (Gemma's larger ones) have activations beyond 65504, the largest number of f16.
        Precision::F16 => {
            problem.hint(format!("if it is the first step, set `model.dtype` to `f32`; else {hint}"))
        }
    }
}
