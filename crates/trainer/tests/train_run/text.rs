//! From text and conversations to a loss that falls.

use std::fmt::Write;
use std::fs;

use ftl_trainer::train::Begin;
use serde_json::json;

use crate::job::Job;

const CHAT: &str = "{% for m in messages %}<|im_start|>{{ m.role + '\n' + m.content }}<|im_end|>{{ '\n' }}\
                    {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

#[test]
fn loss_falls_on_a_text_file_in_pieces() {
    let job = Job::small(1)
        .set("data", json!({"train": ["text.txt"], "max_length": 32, "excess_length_strategy": "split", "eval": {"fraction": 0.1}}))
        .set("method.kind", "cpt")
        .set("adapter", json!({"kind": "none"}))
        .set("train.num_train_epochs", 4);
    let text = "The cat sat on the mat, and the dog sat on the log. Then the cat and the dog ran away. ";
    job.write("text.txt", &text.repeat(40));
    let summary = job.finish("out", Begin::New);
    let (before, after) = (summary.eval_before.expect("scores"), summary.eval_after.expect("scores"));
    assert!(after.loss_nats < 0.5 * before.loss_nats, "{before:?}, {after:?}");
    let steps = job.steps("out");
    assert!(steps[steps.len() - 1].loss_nats < 0.5 * steps[0].loss_nats, "{steps:?}");
    // Continued pre-training counts every token but the first of a piece.
    assert!(steps.iter().all(|s| s.supervised_tokens == s.tokens - s.samples), "{:?}", steps[0]);
}

#[test]
fn loss_falls_on_conversations_and_prompts_are_not_counted() {
    let mut job = Job::small(1)
        .set("data", json!({"train": ["chat.jsonl"]}))
        .set("adapter", json!({"kind": "none"}))
        .set("train.num_train_epochs", 6);
    job.write("model/chat_template.jinja", CHAT);
    let mut rows = String::new();
    for n in 0..20 {
        let messages = json!([
            {"role": "user", "content": format!("What comes after {n}?")},
            {"role": "assistant", "content": format!("After {n} comes {}.", n + 1)},
        ]);
        let _ = writeln!(rows, "{}", json!({"messages": messages}));
    }
    job.write("chat.jsonl", &rows);
    job.finish("answers", Begin::New);
    let answers = job.steps("answers");
    let (first, last) = (answers[0].loss_nats, answers[answers.len() - 1].loss_nats);
    assert!(last < 0.5 * first, "{first} to {last}");
    job.change("data.assistant_only_loss", false);
    job.finish("all", Begin::New);
    let all = job.steps("all");
    assert_eq!(answers[0].tokens, all[0].tokens);
    assert!(answers[0].supervised_tokens < all[0].supervised_tokens);
    assert_ne!(job.weights("answers"), job.weights("all"));
}

#[test]
fn messages_count_by_their_weights() {
    let job = Job::small(1)
        .set("data", json!({"train": ["chat.jsonl"], "shuffle": false}))
        .set("train.max_steps", 4);
    job.write("model/chat_template.jinja", CHAT);
    let run = |out: &str, weight: fn(usize) -> Option<f64>| {
        let rows = (0..8).fold(String::new(), |mut rows, n| {
            let mut answer = json!({"role": "assistant", "content": format!("After {n} comes {}.", n + 1)});
            if let Some(weight) = weight(n) {
                answer["weight"] = json!(weight);
            }
            let question = json!({"role": "user", "content": format!("What comes after {n}?")});
            let _ = writeln!(rows, "{}", json!({"messages": [question, answer]}));
            rows
        });
        job.write("chat.jsonl", &rows);
        job.finish(out, Begin::New);
        job.steps(out).iter().map(|step| step.loss_nats).collect::<Vec<f64>>()
    };
    let plain = run("plain", |_| None);
    // The mean is by weight, so all alike are as none.
    let alike = run("alike", |_| Some(0.5));
    let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(near(&plain, &alike), "{plain:?} {alike:?}");
    assert_eq!(job.steps("plain")[0].supervised_tokens, job.steps("alike")[0].supervised_tokens);
    // Of two in a batch, one that counts for nothing but a trace is as good as left out.
    let one = run("one", |n| Some(if n % 2 == 0 { 1.0 } else { 0.0001 }));
    assert!(!near(&plain[..1], &one[..1]), "{plain:?} {one:?}");
}

#[test]
fn the_specs_own_template_goes_with_the_result() {
    let job = Job::small(1)
        .set("data", json!({"train": ["chat.jsonl"], "chat_template": "own.jinja"}))
        .set("train.num_train_epochs", 1);
    job.write("model/chat_template.jinja", "{{ messages[0].content }}");
    job.write("own.jinja", CHAT);
    let messages = json!([{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Hello."}]);
    job.write("chat.jsonl", &format!("{}\n", json!({"messages": messages})));
    job.finish("out", Begin::New);
    let written = fs::read_to_string(job.path("out/final/chat_template.jinja")).expect("a template");
    assert_eq!(written, CHAT);
}
