use std::io::Write as _;
use std::process::Stdio;

use ftl_core::ModelId;
use ftl_core::inference::{ChatMessage, InferenceRequest, JobWeights, Prompt, SamplingSpec, WeightsRef};
use ftl_core::job::State;
use ftl_core::model::{Model, ModelSource};
use rustix::process::{Pid, Signal, kill_process};

use super::fake::Fake;
use super::{Ran, ftl, id, job, run, wait_until};

/// The conversation of a request.
pub fn said(request: &InferenceRequest) -> Vec<ChatMessage> {
    match &request.prompt {
        Prompt::Messages(messages) => messages.clone(),
        Prompt::Text(text) => panic!("a text: {text}"),
    }
}

fn one_job() -> Fake {
    let fake = Fake::start();
    fake.world().add(job(1, "x", State::Succeeded));
    fake
}

fn weights(fake: &Fake, args: &[&str]) -> WeightsRef {
    run(fake, &[&["chat", "-m", "hello"], args].concat()).ended(0);
    fake.world().inferences.last().expect("a request").weights.clone()
}

#[test]
fn messages_of_the_command_line_are_said_in_turn() {
    let fake = one_job();
    let args = ["chat", "x", "-m", "one", "--message", "two", "--system", "be brief", "--temperature", "0.5"];
    let ran = run(&fake, &args).ended(0);
    assert_eq!(ran.stdout, "you said one\nyou said two\n");
    let requests = fake.world().inferences.clone();
    let roles = |request: &InferenceRequest| -> Vec<(String, String)> {
        said(request).into_iter().map(|ChatMessage { role, content }| (role, content)).collect()
    };
    let turn = |role: &str, content: &str| (role.to_owned(), content.to_owned());
    assert_eq!(roles(&requests[0]), [turn("system", "be brief"), turn("user", "one")]);
    let second = [
        turn("system", "be brief"),
        turn("user", "one"),
        turn("assistant", "you said one"),
        turn("user", "two"),
    ];
    assert_eq!(roles(&requests[1]), second);
    assert_eq!(requests[0].sampling, SamplingSpec { temperature: Some(0.5), ..SamplingSpec::default() });
}

#[test]
fn json_holds_the_conversation_and_each_answer() {
    let document = run(&one_job(), &["chat", "x", "-m", "one", "--json"]).ended(0).json();
    let answer = &document["answers"][0];
    assert_eq!((&answer["message"], &answer["text"]), (&"one".into(), &"you said one".into()));
    assert_eq!((&answer["stop_reason"], &answer["device"]), (&"eos".into(), &"cpu".into()));
    assert_eq!(document["messages"][1]["role"], "assistant");
}

#[test]
fn each_line_of_a_pipe_is_a_message() {
    let fake = one_job();
    let mut child = ftl(&fake, &["chat", "x"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    child.stdin.take().expect("stdin").write_all("one\n\n/reset\nzwei".as_bytes()).expect("it reads");
    let ran = Ran::from(child.wait_with_output().expect("it ends")).ended(0);
    assert_eq!(ran.stdout, "you said one\nyou said zwei\n");
    let lengths: Vec<usize> = fake.world().inferences.iter().map(|request| said(request).len()).collect();
    assert_eq!(lengths, [1, 1], "an empty line says nothing, and a reset forgets");
}

#[test]
fn refused_message_ends_a_program_that_nobody_watches() {
    let ran = run(&one_job(), &["chat", "x", "-m", "impossible", "-m", "more"]).ended(2);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", "error: messages: it is too long\n"));
}

#[test]
fn interrupt_stops_an_answer_without_a_terminal_and_leaves() {
    let fake = one_job();
    let child = ftl(&fake, &["chat", "x", "-m", "endless"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    wait_until("the model speaks", || fake.world().inferences.len() == 1);
    kill_process(Pid::from_raw(child.id().cast_signed()).expect("a process"), Signal::INT).expect("a signal");
    Ran::from(child.wait_with_output().expect("it ends")).ended(130);
    wait_until("the service knows", || fake.n_dropped_answers() == 1);
}

#[test]
fn job_or_model_is_found_by_what_it_reads_like() {
    let fake = one_job();
    let job_weights = |weights| WeightsRef::Job { id: id(1), weights };
    assert_eq!(weights(&fake, &["x"]), job_weights(JobWeights::Trained));
    assert_eq!(weights(&fake, &["last", "--base"]), job_weights(JobWeights::Base));
    let model = |model: &str, adapter: Option<&str>| WeightsRef::Model {
        model: model.to_owned(),
        adapter: adapter.map(Into::into),
    };
    let dir = fake.dir.path().join("tiny");
    std::fs::create_dir(&dir).expect("a directory");
    let dir = dir.to_str().expect("UTF-8");
    assert_eq!(weights(&fake, &[dir, "--adapter", "/a"]), model(dir, Some("/a")));
    assert_eq!(weights(&fake, &["org/name"]), model("org/name", None));
    let imported = ModelId::from_bits(9);
    assert_eq!(weights(&fake, &[imported.as_str()]), model(imported.as_str(), None));
    fake.world().models.push(Model {
        name: "my-model".to_owned(),
        path: "/m".into(),
        source: ModelSource::HuggingFaceCache { revision: "abc".to_owned() },
    });
    let ran = run(&fake, &["chat", "my-model", "-m", "hello"]).ended(2);
    let expected = "error: `my-model` is no job, no model that the service knows, and no directory";
    assert!(ran.stderr.starts_with(expected), "{ran:?}");
}

#[test]
fn flags_that_do_not_go_with_the_weights_are_refused() {
    let fake = one_job();
    let ran = run(&fake, &["chat", "x", "--adapter", "/a", "-m", "hello"]).ended(2);
    assert_eq!(ran.stderr, "error: --adapter: is for a model; drop it: a job has its own\n");
    let ran = run(&fake, &["chat", "org/name", "--base", "-m", "hello"]).ended(2);
    assert_eq!(ran.stderr, "error: --base: is for a job; drop it: a model is its own base\n");
    run(&fake, &["chat", "x", "--base", "--adapter", "/a"]).ended(2);
}

#[test]
fn text_is_gone_on_with() {
    let fake = one_job();
    let args =
        ["generate", "x", "--prompt", "Once", "--max-new-tokens", "5", "--seed", "3", "--device", "cpu"];
    assert_eq!(run(&fake, &args).ended(0).stdout, "you said Once\n");
    let request = fake.world().inferences[0].clone();
    assert_eq!(request.prompt, Prompt::Text("Once".to_owned()));
    assert_eq!(request.device.as_deref(), Some("cpu"));
    assert_eq!((request.sampling.max_new_tokens, request.sampling.seed), (Some(5), Some(3)));
    let document = run(&fake, &["generate", "x", "--prompt", "Once", "--json"]).ended(0).json();
    assert_eq!((&document["text"], &document["new_tokens"]), (&"you said Once".into(), &2.into()));
    run(&fake, &["generate", "x"]).ended(2);
}

#[test]
fn directory_whose_name_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStrExt as _;
    let fake = one_job();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    std::fs::create_dir_all(fake.dir.path().join(name).join("model")).expect("a directory");
    let mut command = ftl(&fake, &["models", "inspect", "model"]);
    let ran = Ran::from(command.current_dir(fake.dir.path().join(name)).output().expect("it runs")).ended(2);
    assert!(ran.stderr.contains("is not UTF-8; rename it"), "{ran:?}");
}
