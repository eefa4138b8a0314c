//! Answers of models from a worker process that is kept and used again.

mod worker_support;

use std::fs;
use std::path::Path;

use ftl_core::inference::{ChatMessage, FinishReason, InferencePart, Prompt, SamplingSpec};
use ftl_server::error::ServiceError;
use ftl_server::worker::{InferTask, Workers};
use futures_util::StreamExt;
use tempfile::TempDir;
use worker_support::{PATIENCE, base_model, workers};

fn question(text: &str, max_new_tokens: u64) -> InferTask {
    InferTask {
        model: base_model(),
        adapter: None,
        prompt: Prompt::Text(text.to_owned()),
        sampling: SamplingSpec { max_new_tokens: Some(max_new_tokens), ..SamplingSpec::default() },
        device: Some("cpu".to_owned()),
    }
}

/// All parts of an answer.
async fn parts(workers: &Workers, task: InferTask) -> Vec<Result<InferencePart, ServiceError>> {
    let all = async { workers.infer(task).await.expect("a device").collect().await };
    tokio::time::timeout(PATIENCE, all).await.expect("an answer")
}

/// A whole answer: its text, its end, and how many pieces the text came in.
async fn answer(workers: &Workers, task: InferTask) -> (String, InferencePart, usize) {
    let mut parts: Vec<InferencePart> =
        parts(workers, task).await.into_iter().map(|part| part.expect("a part")).collect();
    let last = parts.pop().expect("an end");
    let InferencePart::Started { device, prompt_tokens } = parts.remove(0) else { panic!("no beginning") };
    assert_eq!(device, "cpu");
    assert!(prompt_tokens > 0);
    let n_pieces = parts.len();
    let text = parts.into_iter().map(|part| match part {
        InferencePart::Text { text } => text,
        other => panic!("{other:?}"),
    });
    (text.collect(), last, n_pieces)
}

async fn refused(workers: &Workers, task: InferTask) -> String {
    match &parts(workers, task).await[..] {
        [Err(ServiceError::Invalid(problems))] => problems[0].to_string(),
        other => panic!("{other:?}"),
    }
}

/// The logs of workers: one for each that answers, named by its first question.
fn logs(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir.join("workers")).expect("a directory").flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn an_answer_comes_in_pieces_and_the_worker_is_used_again() {
    let dir = TempDir::new().expect("a directory");
    let workers = workers(dir.path());
    let (text, last, n_pieces) = answer(&workers, question("The", 12)).await;
    assert!(n_pieces > 1 && !text.is_empty(), "{n_pieces} pieces: {text}");
    assert!(
        matches!(last, InferencePart::Finished { new_tokens, .. } if (1..=12).contains(&new_tokens)),
        "{last:?}"
    );
    assert_eq!(answer(&workers, question("The", 12)).await.0, text);
    let drawn = |seed| InferTask {
        sampling: SamplingSpec {
            temperature: Some(2.0),
            seed: Some(seed),
            max_new_tokens: Some(12),
            ..SamplingSpec::default()
        },
        ..question("The", 12)
    };
    assert_ne!(answer(&workers, drawn(1)).await.0, answer(&workers, drawn(2)).await.0);
    assert_eq!(logs(dir.path()), ["infer-1.log"], "another worker was started");

    let chat = vec![ChatMessage { role: "user".to_owned(), content: "Hello".to_owned() }];
    let (_, last, _) =
        answer(&workers, InferTask { prompt: Prompt::Messages(chat), ..question("", 1) }).await;
    let InferencePart::Finished { stop_reason, new_tokens, .. } = last else { panic!("{last:?}") };
    assert_eq!((stop_reason, new_tokens), (FinishReason::MaxNewTokens, 1));
    assert_eq!(logs(dir.path()), ["infer-1.log"]);
}

#[tokio::test]
async fn other_weights_get_another_worker() {
    let dir = TempDir::new().expect("a directory");
    let workers = workers(dir.path());
    let model = dir.path().join("model");
    fs::create_dir(&model).expect("a directory");
    for entry in fs::read_dir(base_model()).expect("a model").flatten() {
        fs::copy(entry.path(), model.join(entry.file_name())).expect("a copy");
    }
    let copied = || InferTask { model: model.clone(), ..question("The", 4) };
    let text = answer(&workers, question("The", 4)).await.0;
    assert_eq!(answer(&workers, copied()).await.0, text);
    assert_eq!(logs(dir.path()), ["infer-2.log"]);
    assert_eq!(answer(&workers, copied()).await.0, text);
    assert_eq!(logs(dir.path()), ["infer-2.log"]);
    // Written anew under the same name.
    fs::write(model.join("README.md"), "changed").expect("a file");
    assert_eq!(answer(&workers, copied()).await.0, text);
    assert_eq!(logs(dir.path()), ["infer-4.log"]);
}

#[tokio::test]
async fn an_answer_that_nobody_wants_ends_and_the_next_is_whole() {
    let dir = TempDir::new().expect("a directory");
    let workers = workers(dir.path());
    let whole = answer(&workers, question("The", 6)).await.0;
    for _ in 0..3 {
        let mut stream = workers.infer(question("The", 1_000_000)).await.expect("a device");
        while !matches!(stream.next().await, Some(Ok(InferencePart::Text { .. }))) {}
        drop(stream);
        assert_eq!(answer(&workers, question("The", 6)).await.0, whole);
    }
    assert_eq!(logs(dir.path()), ["infer-1.log"], "another worker was started");
}

#[tokio::test]
async fn questions_wait_for_each_other() {
    let dir = TempDir::new().expect("a directory");
    let workers = workers(dir.path());
    let ask = || answer(&workers, question("The", 8));
    let ((one, ..), (two, ..), (three, ..)) = tokio::join!(ask(), ask(), ask());
    assert_eq!((&one, &two), (&two, &three));
    assert_eq!(logs(dir.path()).len(), 1);
}

#[tokio::test]
async fn a_question_that_is_refused_leaves_the_worker_for_the_next() {
    let dir = TempDir::new().expect("a directory");
    let workers = workers(dir.path());
    let hot = SamplingSpec { temperature: Some(-1.0), ..SamplingSpec::default() };
    let expected = "temperature: a temperature of -1 is out of range; choose one above 0, or 0 for greedy";
    assert_eq!(refused(&workers, InferTask { sampling: hot, ..question("The", 4) }).await, expected);
    let long = refused(&workers, question(&"word ".repeat(20_000), 4)).await;
    assert!(long.contains("leaves no room in the model's context"), "{long}");
    let messages = Prompt::Messages(Vec::new());
    assert_eq!(
        refused(&workers, InferTask { prompt: messages, ..question("", 4) }).await,
        "messages: the conversation has no messages"
    );
    let huge = refused(&workers, question(&"x".repeat(5 << 20), 4)).await;
    assert!(huge.starts_with("the request has 5"), "{huge}");
    answer(&workers, question("The", 4)).await;
    assert_eq!(logs(dir.path()), ["infer-1.log"]);
}

#[tokio::test]
async fn weights_that_can_not_be_loaded_are_refused() {
    let dir = TempDir::new().expect("a directory");
    let workers = workers(dir.path());
    let missing = InferTask { model: dir.path().join("nothing"), ..question("The", 4) };
    let message = refused(&workers, missing).await;
    assert!(message.contains("nothing"), "{message}");
    assert_eq!(logs(dir.path()), [""; 0]);
    let nowhere = workers.infer(InferTask { device: Some("tpu".to_owned()), ..question("The", 4) }).await;
    let Err(error) = nowhere else { panic!("a device that does not exist") };
    assert_eq!(
        error.to_string(),
        "device: `tpu` is not a device; use `auto`, `cpu`, `cuda`, `vulkan` or, for the second GPU, `cuda:1`"
    );
}
