//! core → wire → bytes → wire → core is the identity.

use std::fmt::Debug;

use ftl_client::wire::config::{verdict, verdict_response};
use ftl_client::wire::inference::InferenceCall;
use ftl_client::wire::storage::{sample_filter, samples_request};
use ftl_client::wire::{Numbered, v1};
use ftl_core::inference::InferenceRequest;
use ftl_core::job::{
    Artifact, Attempt, Checkpoint, Exit, Job, JobEvent, Move, Prediction, QueueSettings, StartFrom,
};
use ftl_core::metrics::Evaluated;
use ftl_core::plan::MemoryPlan;
use ftl_core::spec::resolved::Checkpointing;
use ftl_core::spec::{AdapterKind, JobSpec, QuantizationKind};
use ftl_core::system::{GpuSample, Storage};
use ftl_core::{Event, EventRecord, Problem, ProblemKind};
use proptest::prelude::{ProptestConfig, proptest};
use prost::Message;

use crate::draw::{Draw, full, random};

/// What comes back of a value that was sent as a `W`.
fn there_and_back<W, C>(value: &C) -> C
where
    W: Message + Default + From<C>,
    C: Clone + TryFrom<W>,
    C::Error: Debug,
{
    let bytes = W::from(value.clone()).encode_to_vec();
    let wire = W::decode(bytes.as_slice()).expect("its own bytes");
    C::try_from(wire).expect("its own message")
}

/// Compares as shown: NaN is NaN.
fn assert_same<C: Debug>(back: &C, value: &C) {
    assert_eq!(format!("{back:?}"), format!("{value:?}"));
}

fn assert_survives<W, C>(value: &C)
where
    W: Message + Default + From<C>,
    C: Clone + Debug + TryFrom<W>,
    C::Error: Debug,
{
    assert_same(&there_and_back::<W, C>(value), value);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn specs_come_back(spec in random(Draw::spec)) {
        assert_survives::<v1::JobSpec, _>(&spec);
    }

    #[test]
    fn jobs_come_back(job in random(Draw::job)) {
        assert_survives::<v1::Job, _>(&job);
    }

    #[test]
    fn events_come_back(event in random(Draw::event)) {
        assert_survives::<v1::JobEvent, _>(&event);
    }

    #[test]
    fn attempts_checkpoints_and_artifacts_come_back(
        attempt in random(Draw::attempt),
        checkpoint in random(Draw::checkpoint),
        artifact in random(Draw::artifact),
    ) {
        assert_survives::<v1::Attempt, Attempt>(&attempt);
        assert_survives::<v1::Checkpoint, Checkpoint>(&checkpoint);
        assert_survives::<v1::Artifact, Artifact>(&artifact);
    }

    #[test]
    fn moves_and_beginnings_come_back(change in random(Draw::change_of_order), from in random(Draw::start_from)) {
        assert_survives::<v1::MoveJobRequest, Move>(&change);
        assert_survives::<v1::StartFrom, StartFrom>(&from);
        let settings = QueueSettings { min_free_disk_bytes: from.step.unwrap_or(0) };
        assert_survives::<v1::QueueSettings, QueueSettings>(&settings);
    }

    #[test]
    fn datasets_and_rows_come_back(dataset in random(Draw::dataset), row in random(Draw::row)) {
        assert_survives::<v1::Dataset, _>(&dataset);
        assert_survives::<v1::PreviewRow, _>(&row);
    }

    #[test]
    fn reports_come_back(kept in random(Draw::kept_report), part in random(Draw::check_part)) {
        assert_survives::<v1::KeptDatasetReport, _>(&kept);
        assert_survives::<v1::ValidateDatasetResponse, _>(&part);
    }

    #[test]
    fn uploads_and_rendered_rows_come_back(upload in random(Draw::upload), row in random(Draw::rendered_row)) {
        assert_survives::<v1::Upload, _>(&upload);
        assert_survives::<v1::RenderedRow, _>(&row);
    }

    #[test]
    fn models_come_back(model in random(Draw::model), facts in random(Draw::facts)) {
        assert_survives::<v1::Model, _>(&model);
        assert_survives::<v1::ModelFacts, _>(&facts);
    }

    #[test]
    fn configs_and_presets_come_back(config in random(Draw::config), preset in random(Draw::preset)) {
        assert_survives::<v1::Config, _>(&config);
        assert_survives::<v1::Preset, _>(&preset);
    }

    #[test]
    fn questions_and_answers_come_back(
        request in random(Draw::inference_request),
        part in random(Draw::inference_part),
    ) {
        let back: InferenceRequest = match InferenceCall::from(request.clone()) {
            InferenceCall::Generate(call) => {
                let bytes = call.encode_to_vec();
                v1::GenerateRequest::decode(bytes.as_slice()).expect("its own bytes").try_into()
            }
            InferenceCall::Chat(call) => {
                let bytes = call.encode_to_vec();
                v1::ChatRequest::decode(bytes.as_slice()).expect("its own bytes").try_into()
            }
        }
        .expect("its own message");
        assert_same(&back, &request);
        assert_survives::<v1::InferencePart, _>(&part);
    }

    #[test]
    fn machines_come_back(info in random(Draw::system_info), gpus in random(Draw::gpus)) {
        assert_survives::<v1::SystemInfo, _>(&info);
        assert_survives::<v1::Gpus, _>(&gpus);
    }

    #[test]
    fn what_is_kept_beside_jobs_comes_back(
        sample in random(Draw::gpu_sample),
        storage in random(Draw::storage),
        prediction in random(Draw::prediction),
    ) {
        assert_survives::<v1::GpuSample, GpuSample>(&sample);
        assert_survives::<v1::Storage, Storage>(&storage);
        assert_survives::<v1::Prediction, Prediction>(&prediction);
    }

    #[test]
    fn filters_of_samples_come_back(filter in random(Draw::sample_filter)) {
        let request = samples_request(filter.clone(), 7, "token".to_owned());
        let v1::ListGpuSamplesRequest { job_id, start_time, end_time, page_size: 7, page_token } = request else {
            panic!("{request:?}")
        };
        assert_same(&sample_filter(job_id, start_time, end_time).expect("its own message"), &filter);
        assert_eq!(page_token, "token");
    }

    #[test]
    fn memory_plans_come_back(plan in random(Draw::memory_plan)) {
        assert_survives::<v1::MemoryPlan, _>(&plan);
    }

    #[test]
    fn verdicts_come_back(spec in random(Draw::spec), problem in random(Draw::problem)) {
        for told in [Ok(spec), Err(vec![problem.clone(), problem])] {
            let back = verdict(verdict_response(told.clone())).expect("its own message");
            assert_same(&back, &told);
        }
    }

    #[test]
    fn problems_come_back(problem in random(Draw::problem)) {
        assert_survives::<v1::Problem, Problem>(&problem);
        assert_survives::<v1::ProblemList, Vec<Problem>>(&vec![problem.clone(), problem]);
    }
}

#[test]
fn every_kind_of_problem_has_its_number() {
    for number in 1..=18 {
        let kind = ProblemKind::from_number(number).expect("a number").expect("specified");
        assert_eq!(kind.number(), number);
        let name = v1::problem::Kind::try_from(number).expect("the same number").as_str_name();
        let core_name = serde_json::to_value(kind).expect("JSON");
        assert_eq!(name.strip_prefix("KIND_").map(str::to_lowercase).as_deref(), core_name.as_str());
    }
    assert_eq!(ProblemKind::from_number(0), Ok(None));
    assert_eq!(ProblemKind::from_number(19), Err(18));
}

/// A value that differs in one field comes back different: nothing is left out on the way.
#[test]
fn one_field_makes_the_difference() {
    let spec = full(Draw::spec);
    let changes: [fn(&mut JobSpec); 10] = [
        |spec| spec.name = None,
        |spec| spec.model.init = None,
        |spec| spec.data.train[1].weight = Some(0.5),
        |spec| spec.data.format = None,
        |spec| spec.method.kind = None,
        |spec| spec.adapter.layers_to_transform = Some(Vec::new()),
        |spec| spec.quantization.double_quant = None,
        |spec| spec.train.lr_scheduler_kwargs = None,
        |spec| spec.predictions = None,
        |spec| spec.device.max_memory = None,
    ];
    for change in changes {
        let mut changed = spec.clone();
        change(&mut changed);
        let back: JobSpec = there_and_back::<v1::JobSpec, _>(&changed);
        assert_same(&back, &changed);
        assert_ne!(format!("{back:?}"), format!("{spec:?}"));
    }
}

/// A key of the spec that has no field on the wire would be missing here.
#[test]
fn a_full_value_leaves_no_field_of_its_message_empty() {
    let mut job = full(Draw::job);
    // These have a value that is shown as `None`.
    job.spec.adapter.kind = Some(AdapterKind::Lora);
    job.spec.quantization.kind = Some(QuantizationKind::Nf4);
    job.spec.train.gradient_checkpointing = Some(Checkpointing::Block);
    let crashed = Some(Exit::Crashed { signal: Some(11), code: Some(1) });
    let messages = [
        format!("{:?}", v1::Job::from(job)),
        format!("{:?}", v1::Attempt::from(Attempt { exit: crashed, ..full(Draw::attempt) })),
        format!("{:?}", v1::SystemInfo::from(full(Draw::system_info))),
        format!("{:?}", v1::GpuSample::from(full(Draw::gpu_sample))),
        format!("{:?}", v1::Storage::from(full(Draw::storage))),
        format!("{:?}", v1::ModelFacts::from(full(Draw::facts))),
        format!(
            "{:?}",
            v1::MemoryPlan::from(MemoryPlan {
                gradient_checkpointing: Checkpointing::Block,
                ..full(Draw::memory_plan)
            })
        ),
    ];
    for message in messages {
        for empty in [": None", "Unspecified", "[]", "\"\""] {
            assert!(!message.contains(empty), "{empty} in {message}");
        }
    }
}

#[test]
fn an_absent_section_is_an_empty_one() {
    let absent = v1::JobSpec::default();
    assert_eq!(JobSpec::try_from(absent).expect("all may be absent"), JobSpec::default());
    let job = v1::Job { progress: None, ..full(Draw::job).into() };
    assert_eq!(Job::try_from(job).expect("it may be absent").progress, Default::default());
}

#[test]
fn diverged_losses_keep_every_bit() {
    let loss_nats = f64::from_bits(0x7ff8_0000_0000_beef);
    let evaluated = Evaluated {
        step: 1,
        loss_nats,
        perplexity: f64::INFINITY,
        token_accuracy: 0.0,
        tokens: 1,
        rewards: None,
    };
    let record = EventRecord { seq: 1, time_unix_ms: 1, event: Event::Evaluated(evaluated) };
    match there_and_back::<v1::JobEvent, JobEvent>(&JobEvent { attempt: 1, record }).record.event {
        Event::Evaluated(back) => assert_eq!(back.loss_nats.to_bits(), loss_nats.to_bits()),
        other => panic!("{other:?}"),
    }
}

#[cfg(unix)]
#[test]
fn of_a_path_that_is_no_text_the_rest_is_shown() {
    use std::os::unix::ffi::OsStringExt as _;
    let path = std::ffi::OsString::from_vec(b"/runs/\xff/1".to_vec());
    let checkpoint = Checkpoint { path: path.into(), ..full(Draw::checkpoint) };
    assert_eq!(v1::Checkpoint::from(checkpoint).path, "/runs/\u{fffd}/1");
}
