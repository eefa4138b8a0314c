//! Messages without a meaning, and the texts that say so.

use ftl_client::wire::config::verdict;
use ftl_client::wire::{WireError, required, v1};
use ftl_core::config::{Config, Preset};
use ftl_core::dataset::{CheckPart, Dataset, DatasetReport};
use ftl_core::inference::{InferencePart, InferenceRequest, WeightsRef};
use ftl_core::job::{Artifact, Attempt, Checkpoint, Exit, Job, JobEvent};
use ftl_core::model::Model;
use ftl_core::spec::JobSpec;
use ftl_core::spec::resolved::TargetModules;
use ftl_core::system::{Gpus, SystemInfo};
use ftl_core::{Problem, ProblemKind};
use prost_types::Timestamp;

use crate::draw::{Draw, full};

/// The message of the refusal.
fn refusal<C, W>(message: W) -> String
where
    C: TryFrom<W, Error = WireError>,
{
    match C::try_from(message) {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// The message of the refusal of a spec that was changed on the wire.
fn spec_refusal(change: impl Fn(&mut v1::JobSpec)) -> String {
    let mut spec = v1::JobSpec::from(full(Draw::spec));
    change(&mut spec);
    refusal::<JobSpec, _>(spec)
}

fn job_refusal(change: impl Fn(&mut v1::Job)) -> String {
    let mut job = v1::Job::from(full(Draw::job));
    change(&mut job);
    refusal::<Job, _>(job)
}

#[test]
fn a_number_that_an_enum_does_not_have_is_refused_by_name() {
    let section = "every section is there";
    let cases: [(String, &str); 12] = [
        (
            spec_refusal(|spec| spec.model.as_mut().expect(section).dtype = 99),
            "JobSpec.model.dtype: `ModelSpec.Dtype` has no value 99, expected 1 to 4",
        ),
        (
            spec_refusal(|spec| spec.model.as_mut().expect(section).init = -1),
            "JobSpec.model.init: `ModelSpec.Init` has no value -1, expected 1 to 2",
        ),
        (
            spec_refusal(|spec| spec.data.as_mut().expect(section).format = 10),
            "JobSpec.data.format: `DataFormat` has no value 10, expected 1 to 9",
        ),
        (
            spec_refusal(|spec| spec.data.as_mut().expect(section).excess_length_strategy = 5),
            "JobSpec.data.excess_length_strategy: `DataSpec.ExcessLengthStrategy` has no value 5, expected 1 to 4",
        ),
        (
            spec_refusal(|spec| spec.method.as_mut().expect(section).kind = 5),
            "JobSpec.method.kind: `MethodSpec.Kind` has no value 5, expected 1 to 4",
        ),
        (
            spec_refusal(|spec| spec.method.as_mut().expect(section).loss_type = 5),
            "JobSpec.method.loss_type: `MethodSpec.LossType` has no value 5, expected 1 to 4",
        ),
        (
            spec_refusal(|spec| spec.adapter.as_mut().expect(section).kind = 3),
            "JobSpec.adapter.kind: `AdapterSpec.Kind` has no value 3, expected 1 to 2",
        ),
        (
            spec_refusal(|spec| spec.quantization.as_mut().expect(section).kind = 3),
            "JobSpec.quantization.kind: `QuantizationSpec.Kind` has no value 3, expected 1 to 2",
        ),
        (
            spec_refusal(|spec| spec.train.as_mut().expect(section).optim = 3),
            "JobSpec.train.optim: `TrainSpec.Optim` has no value 3, expected 1 to 2",
        ),
        (
            spec_refusal(|spec| spec.train.as_mut().expect(section).gradient_checkpointing = 4),
            "JobSpec.train.gradient_checkpointing: `TrainSpec.GradientCheckpointing` has no value 4, expected 1 to 3",
        ),
        (
            spec_refusal(|spec| spec.train.as_mut().expect(section).lr_scheduler_type = 10),
            "JobSpec.train.lr_scheduler_type: `TrainSpec.LrSchedulerType` has no value 10, expected 1 to 9",
        ),
        (
            spec_refusal(|spec| {
                let kwargs = spec.train.as_mut().expect(section).lr_scheduler_kwargs.as_mut();
                kwargs.expect(section).decay_type = 4;
            }),
            "JobSpec.train.lr_scheduler_kwargs.decay_type: `LrSchedulerKwargs.WsdShape` has no value 4, expected 1 to 3",
        ),
    ];
    for (refusal, expected) in cases {
        assert_eq!(refusal, expected);
    }
}

#[test]
fn a_spec_as_it_was_sent_is_accepted() {
    assert_eq!(spec_refusal(|_| {}), "accepted");
    assert_eq!(job_refusal(|_| {}), "accepted");
}

#[test]
fn jobs_without_what_every_job_has_are_refused() {
    let cases = [
        (
            job_refusal(|job| job.id = "data-0000000000".to_owned()),
            "Job.id: `data-0000000000` is no id of this kind, expected `job-` and 10 digits or letters",
        ),
        (job_refusal(|job| job.spec = None), "Job.spec: must be given"),
        (job_refusal(|job| job.state = 0), "Job.state: must be given"),
        (job_refusal(|job| job.state = 10), "Job.state: `JobState` has no value 10, expected 1 to 9"),
        (job_refusal(|job| job.phase = 11), "Job.phase: `JobPhase` has no value 11, expected 1 to 10"),
        (job_refusal(|job| job.create_time = None), "Job.create_time: must be given"),
        (job_refusal(|job| job.problems[1].kind = 0), "Job.problems[1].kind: must be given"),
        (
            job_refusal(|job| job.problems[0].kind = 19),
            "Job.problems[0].kind: `Problem.Kind` has no value 19, expected 1 to 18",
        ),
        (
            job_refusal(|job| job.spec.as_mut().expect("it has one").method.as_mut().expect("too").kind = 7),
            "Job.spec.method.kind: `MethodSpec.Kind` has no value 7, expected 1 to 4",
        ),
    ];
    for (refusal, expected) in cases {
        assert_eq!(refusal, expected);
    }
}

#[test]
fn moments_outside_of_the_calendar_are_refused() {
    let cases = [
        (-1, 0, "1 seconds before 1970 are too early, 1970 is the first year"),
        (i64::MIN, 0, "9223372036854775808 seconds before 1970 are too early, 1970 is the first year"),
        (253_402_300_800, 0, "253402300800 seconds after 1970 are after the year 9999"),
        (0, -1, "-1 is no number of nanoseconds, expected 0 to 999999999"),
        (0, 1_000_000_000, "1000000000 is no number of nanoseconds, expected 0 to 999999999"),
    ];
    for (seconds, nanos, expected) in cases {
        for field in ["create_time", "start_time", "end_time"] {
            let refused = job_refusal(|job| {
                let time = match field {
                    "create_time" => &mut job.create_time,
                    "start_time" => &mut job.start_time,
                    _ => &mut job.end_time,
                };
                *time = Some(Timestamp { seconds, nanos });
            });
            assert_eq!(refused, format!("Job.{field}: {expected}"));
        }
    }
}

#[test]
fn parts_of_a_millisecond_are_cut_off() {
    let time = Timestamp { seconds: 1, nanos: 2_999_999 };
    let checkpoint = v1::Checkpoint { create_time: Some(time), ..full(Draw::checkpoint).into() };
    assert_eq!(Checkpoint::try_from(checkpoint).expect("it is a moment").created_unix_ms, 1_002);
}

#[test]
fn messages_without_their_kind_are_refused() {
    let device = |kind| v1::Weights { kind };
    let cases = [
        (
            refusal::<JobEvent, _>(v1::JobEvent { event: None, ..full(Draw::event).into() }),
            "JobEvent.event: must be given",
        ),
        (
            refusal::<JobEvent, _>(v1::JobEvent { time: None, ..full(Draw::event).into() }),
            "JobEvent.time: must be given",
        ),
        (
            refusal::<TargetModules, _>(v1::TargetModules { kind: None }),
            "TargetModules.kind: must be given, `all_linear` or `named`",
        ),
        (
            refusal::<TargetModules, _>(v1::TargetModules {
                kind: Some(v1::target_modules::Kind::AllLinear(false)),
            }),
            "TargetModules.all_linear: must be true; give `named` instead",
        ),
        (
            refusal::<Model, _>(v1::Model { source: None, ..full(Draw::model).into() }),
            "Model.source: must be given, `imported` or `hugging_face_cache`",
        ),
        (refusal::<WeightsRef, _>(device(None)), "Weights.kind: must be given, `model` or `job`"),
        (
            refusal::<InferencePart, _>(v1::InferencePart { kind: None }),
            "InferencePart.kind: must be given, `started`, `text` or `finished`",
        ),
        (refusal::<Gpus, _>(v1::Gpus { kind: None }), "Gpus.kind: must be given, `absent` or `driver`"),
        (
            refusal::<InferenceRequest, _>(v1::GenerateRequest::default()),
            "GenerateRequest.weights: must be given",
        ),
        (refusal::<InferenceRequest, _>(v1::ChatRequest::default()), "ChatRequest.weights: must be given"),
    ];
    for (refusal, expected) in cases {
        assert_eq!(refusal, expected);
    }
}

#[test]
fn events_name_the_field_of_their_kind() {
    use v1::job_event::Event;
    let cases = [
        (Event::State(v1::StateEvent::default()), "JobEvent.state.state: must be given"),
        (
            Event::Phase(v1::PhaseEvent { phase: 12, ..v1::PhaseEvent::default() }),
            "JobEvent.phase.phase: `JobPhase` has no value 12, expected 1 to 10",
        ),
        (
            Event::Note(v1::NoteEvent { level: 3, message: String::new() }),
            "JobEvent.note.level: `NoteEvent.Level` has no value 3, expected 1 to 2",
        ),
    ];
    for (event, expected) in cases {
        let event = v1::JobEvent { event: Some(event), ..full(Draw::event).into() };
        assert_eq!(refusal::<JobEvent, _>(event), expected);
    }
}

#[test]
fn exits_are_refused_that_say_two_things() {
    let exit = |exit_class, signal, code| refusal::<Exit, _>(v1::AttemptExit { exit_class, signal, code });
    let crashed = v1::attempt_exit::Class::Crashed as i32;
    let lost = v1::attempt_exit::Class::Lost as i32;
    assert_eq!(exit(crashed, Some(9), Some(1)), "accepted");
    assert_eq!(exit(lost, None, None), "accepted");
    assert_eq!(exit(0, None, None), "AttemptExit.exit_class: must be given");
    assert_eq!(
        exit(11, None, None),
        "AttemptExit.exit_class: `AttemptExit.Class` has no value 11, expected 1 to 10"
    );
    assert_eq!(
        exit(lost, Some(9), None),
        "AttemptExit.signal: 9 stands beside CLASS_LOST, only CLASS_CRASHED has it"
    );
    assert_eq!(
        exit(lost, None, Some(0)),
        "AttemptExit.code: 0 stands beside CLASS_LOST, only CLASS_CRASHED has it"
    );
    let attempt = v1::Attempt {
        exit: Some(v1::AttemptExit { exit_class: 11, signal: None, code: None }),
        ..full(Draw::attempt).into()
    };
    assert_eq!(
        refusal::<Attempt, _>(attempt),
        "Attempt.exit.exit_class: `AttemptExit.Class` has no value 11, expected 1 to 10"
    );
}

#[test]
fn every_topic_names_its_message() {
    let cases = [
        (
            refusal::<Attempt, _>(v1::Attempt { start_time: None, ..full(Draw::attempt).into() }),
            "Attempt.start_time: must be given",
        ),
        (
            refusal::<Checkpoint, _>(v1::Checkpoint { create_time: None, ..full(Draw::checkpoint).into() }),
            "Checkpoint.create_time: must be given",
        ),
        (
            refusal::<Checkpoint, _>(v1::Checkpoint { state: 0, ..full(Draw::checkpoint).into() }),
            "Checkpoint.state: must be given",
        ),
        (
            refusal::<Artifact, _>(v1::Artifact { create_time: None, ..full(Draw::artifact).into() }),
            "Artifact.create_time: must be given",
        ),
        (
            refusal::<Dataset, _>(v1::Dataset { format: 0, ..full(Draw::dataset).into() }),
            "Dataset.format: must be given",
        ),
        (
            refusal::<Dataset, _>(v1::Dataset { id: String::new(), ..full(Draw::dataset).into() }),
            "Dataset.id: `` is no id of this kind, expected `data-` and 10 digits or letters",
        ),
        (
            refusal::<Config, _>(v1::Config { update_time: None, ..full(Draw::config).into() }),
            "Config.update_time: must be given",
        ),
        (
            refusal::<Config, _>(v1::Config { spec: None, ..full(Draw::config).into() }),
            "Config.spec: must be given",
        ),
        (
            refusal::<Preset, _>(v1::Preset { spec: None, ..full(Draw::preset).into() }),
            "Preset.spec: must be given",
        ),
        (
            refusal::<SystemInfo, _>(v1::SystemInfo { start_time: None, ..full(Draw::system_info).into() }),
            "SystemInfo.start_time: must be given",
        ),
        (
            refusal::<SystemInfo, _>(v1::SystemInfo {
                jobs: vec![v1::JobCount { state: 10, job_count: 1 }],
                ..full(Draw::system_info).into()
            }),
            "SystemInfo.jobs[0].state: `JobState` has no value 10, expected 1 to 9",
        ),
        (
            refusal::<WeightsRef, _>(v1::Weights {
                kind: Some(v1::weights::Kind::Job(v1::JobWeights { id: "x".to_owned(), which: 0 })),
            }),
            "Weights.job.id: `x` is no id of this kind, expected `job-` and 10 digits or letters",
        ),
        (
            refusal::<WeightsRef, _>(v1::Weights {
                kind: Some(v1::weights::Kind::Job(v1::JobWeights {
                    id: "job-0000000000".to_owned(),
                    which: 3,
                })),
            }),
            "Weights.job.which: `JobWeights.Which` has no value 3, expected 1 to 2",
        ),
        (
            refusal::<InferencePart, _>(v1::InferencePart {
                kind: Some(v1::inference_part::Kind::Finished(v1::InferenceFinished::default())),
            }),
            "InferencePart.finished.reason: must be given",
        ),
    ];
    for (refusal, expected) in cases {
        assert_eq!(refusal, expected);
    }
}

#[test]
fn unspecified_weights_of_a_job_are_those_that_it_made() {
    let job = v1::JobWeights { id: "job-0000000000".to_owned(), which: 0 };
    let weights = v1::Weights { kind: Some(v1::weights::Kind::Job(job)) };
    match WeightsRef::try_from(weights).expect("it has a meaning") {
        WeightsRef::Job { id: _, weights } => assert_eq!(weights, ftl_core::inference::JobWeights::Trained),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_verdict_is_one_of_two() {
    let said = |resolved, problems| match verdict(v1::ValidateConfigResponse { resolved, problems }) {
        Ok(verdict) => format!("{}", verdict.is_ok()),
        Err(error) => error.to_string(),
    };
    let problem = v1::Problem { kind: 1, ..v1::Problem::default() };
    assert_eq!(said(Some(v1::JobSpec::default()), Vec::new()), "true");
    assert_eq!(said(None, vec![problem.clone()]), "false");
    assert_eq!(said(None, Vec::new()), "ValidateConfigResponse.resolved: must be given");
    assert_eq!(
        said(Some(v1::JobSpec::default()), vec![problem]),
        "ValidateConfigResponse.resolved: stands beside problems"
    );
    assert_eq!(
        said(None, vec![v1::Problem::default()]),
        "ValidateConfigResponse.problems[0].kind: must be given"
    );
}

#[test]
fn the_sender_is_told_the_field_of_the_request() {
    let method = v1::MethodSpec { kind: 9, ..v1::MethodSpec::default() };
    let spec = v1::JobSpec { method: Some(method), ..v1::JobSpec::default() };
    let error = required::<_, JobSpec>("CreateJobRequest", "spec", Some(spec)).expect_err("9 is no method");
    assert_eq!(
        error.to_string(),
        "CreateJobRequest.spec.method.kind: `MethodSpec.Kind` has no value 9, expected 1 to 4"
    );
    let expected =
        Problem::new(ProblemKind::InvalidValue, "`MethodSpec.Kind` has no value 9, expected 1 to 4")
            .at("spec.method.kind");
    assert_eq!(Problem::from(error), expected);
    let missing = required::<v1::JobSpec, JobSpec>("CreateJobRequest", "spec", None).expect_err("it must");
    assert_eq!(Problem::from(missing).to_string(), "spec: must be given");
}

fn report_refusal(change: impl Fn(&mut v1::DatasetReport)) -> String {
    let mut report = v1::DatasetReport::from(full(Draw::report));
    change(&mut report);
    refusal::<DatasetReport, _>(report)
}

#[test]
fn reports_with_what_nobody_knows_are_refused() {
    let cases: [(String, &str); 8] = [
        (
            report_refusal(|report| report.findings[1].code = "cosmic_ray".to_owned()),
            "DatasetReport.findings[1].code: `cosmic_ray` is no code that is known here",
        ),
        (
            report_refusal(|report| report.counts[0].severity = 4),
            "DatasetReport.counts[0].severity: `Severity` has no value 4, expected 1 to 3",
        ),
        (
            report_refusal(|report| report.files[0].layout.as_mut().expect("it is there").container = 0),
            "DatasetReport.files[0].layout.container: must be given",
        ),
        (
            report_refusal(|report| report.files[0].layout.as_mut().expect("it is there").encoding = 5),
            "DatasetReport.files[0].layout.encoding: `DataLayout.Encoding` has no value 5, expected 1 to 4",
        ),
        (
            report_refusal(|report| report.files[0].layout.as_mut().expect("it is there").compression = 3),
            "DatasetReport.files[0].layout.compression: `DataLayout.Compression` has no value 3, expected 1 to 2",
        ),
        (report_refusal(|report| report.rows = None), "DatasetReport.rows: must be given"),
        (
            report_refusal(|report| report.tokens.as_mut().expect("it is there").cut = None),
            "DatasetReport.tokens.cut: must be given",
        ),
        (
            refusal::<CheckPart, _>(v1::ValidateDatasetResponse { kind: None }),
            "ValidateDatasetResponse.kind: must be given, `progress` or `report`",
        ),
    ];
    for (message, expected) in cases {
        assert_eq!(message, expected);
    }
}
