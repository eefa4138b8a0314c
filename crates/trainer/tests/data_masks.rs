//! What is trained of a conversation, with templates of all kinds written for this purpose.

use std::path::{Path, PathBuf};

use ftl_core::ProblemKind;
use ftl_core::dataset::Code;
use ftl_core::spec::BUILT_IN_TEMPLATES;
use ftl_core::spec::resolved::LossOn;
use ftl_trainer::data::encode::{Encoder, Refusal, Words};
use ftl_trainer::data::format::{Conversation, Example};
use ftl_trainer::data::sample::{IGNORED, Sample};
use ftl_trainer::data::template::{ChatTemplate, Ending};
use ftl_trainer::data::tokenize::{Specials, Tokenizer};
use serde_json::{Map, Value, json};

fn tokenizer_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers/chatml")
}

fn encoder(template: Option<&str>) -> Encoder {
    let tokenizer = Tokenizer::load(&tokenizer_dir()).expect("a tokenizer");
    let template = template
        .map(|source| ChatTemplate::new(source, "a test", tokenizer.special_tokens()).expect("compiles"));
    Encoder { tokenizer, template, arguments: Map::new() }
}

fn conversation(messages: Value) -> Conversation {
    Conversation::from_parts(&messages, None).expect("valid")
}

/// The trained stretches of text.
fn trained(encoder: &Encoder, conversation: &Conversation) -> Vec<String> {
    let view = encoder.view(conversation, Ending::Complete, Words::Text).expect("a view");
    stretches(encoder, &view.ids, &view.mask)
}

fn stretches(encoder: &Encoder, ids: &[u32], mask: &[bool]) -> Vec<String> {
    let tokens: Vec<(&u32, &bool)> = ids.iter().zip(mask).collect();
    tokens
        .chunk_by(|(_, left), (_, right)| left == right)
        .filter(|run| *run[0].1)
        .map(|run| {
            let ids: Vec<u32> = run.iter().map(|(id, _)| **id).collect();
            encoder.tokenizer.decode(&ids, Specials::Shown).expect("decodes")
        })
        .collect()
}

fn chat() -> Conversation {
    conversation(json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Hello is long"},
        {"role": "assistant", "content": "Yo"},
        {"role": "user", "content": "Bye"},
    ]))
}

const PLAIN: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n\
                     {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// A newline that Jinja's trim_blocks would take is written as an expression.
fn plain() -> String {
    PLAIN.replace("<|im_end|>\n", "<|im_end|>{{ '\\n' }}").replace("assistant\n{", "assistant{{ '\\n' }}{")
}

#[test]
fn every_answer_is_trained_and_no_other_turn() {
    assert_eq!(trained(&encoder(Some(&plain())), &chat()), ["Hello<|im_end|>", "Yo<|im_end|>"]);
}

#[test]
fn generation_blocks_rule_where_the_template_has_them() {
    let marked = "{% for m in messages %}<|im_start|>{{ m.role + '\n' }}{% if m.role == 'assistant' %}\
                  {% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}<|im_end|>\
                  {% endfor %}";
    assert_eq!(trained(&encoder(Some(marked)), &chat()), ["Hello", "Yo"]);
    // In a macro and in a captured block too.
    let inside = "{% macro say(m) %}{% generation %}{{ m.content }}{% endgeneration %}{% endmacro %}\
                  {% for m in messages %}{% set text %}{% if m.role == 'assistant' %}{{ say(m) }}{% else %}\
                  {{ m.content }}{% endif %}{% endset %}<|im_start|>{{ m.role }} {{ text | trim }}<|im_end|>{% endfor %}";
    assert_eq!(trained(&encoder(Some(inside)), &chat()), ["Hello", "Yo"]);
}

#[test]
fn a_template_without_generation_prompt_trains_the_header_it_does_not_give() {
    let without = plain().split("{% if add_generation_prompt").next().expect("a part").to_owned();
    assert_eq!(
        trained(&encoder(Some(&without)), &chat()),
        ["<|im_start|>assistant\nHello<|im_end|>", "<|im_start|>assistant\nYo<|im_end|>"]
    );
}

#[test]
fn a_template_that_ends_every_rendering_trains_each_turns_own_end() {
    let ended = plain().replace(
        "{% if add_generation_prompt %}",
        "{% if not add_generation_prompt %}<|endoftext|>{% endif %}{% if add_generation_prompt %}",
    );
    assert_eq!(trained(&encoder(Some(&ended)), &chat()), ["Hello<|im_end|>", "Yo<|im_end|>"]);
}

#[test]
fn thoughts_that_a_template_leaves_out_later_are_found_where_they_stand() {
    // As Qwen3 does: only what follows the last user message keeps its thought, an empty one if there is none.
    let thinking = "{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}\
                    {% set ns.last = loop.index0 %}{% endif %}{% endfor %}{% for m in messages %}\
                    {% set content = m.content.split('</think>')[-1] %}\
                    <|im_start|>{{ m.role + '\n' }}{% if m.role == 'assistant' and loop.index0 > ns.last %}\
                    {{ '<think>' + m.content.split('</think>')[0].split('<think>')[-1] + '</think>' }}{% endif %}\
                    {{ content }}<|im_end|>{{ '\n' }}{% endfor %}\
                    {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    let encoder = encoder(Some(thinking));
    let said = conversation(json!([
        {"role": "user", "content": "Is 9 prime?"},
        {"role": "assistant", "content": "<think>3*3</think>No"},
        {"role": "user", "content": "And 7?"},
        {"role": "assistant", "content": "<think>odd</think>Yes"},
        {"role": "tool", "content": "checked"},
        {"role": "assistant", "content": "<think>so</think>Sure"},
    ]));
    assert_eq!(
        trained(&encoder, &said),
        ["No<|im_end|>", "<think>odd</think>Yes<|im_end|>", "<think>so</think>Sure<|im_end|>"]
    );
}

#[test]
fn answers_that_equal_other_texts_are_told_apart() {
    let same = conversation(json!([
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "assistant\na"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "a"},
    ]));
    assert_eq!(trained(&encoder(Some(&plain())), &same), ["a<|im_end|>", "<|im_end|>"]);
}

#[test]
fn an_answer_may_come_first() {
    let first = conversation(json!([
        {"role": "assistant", "content": "Welcome"},
        {"role": "user", "content": "Thanks"},
    ]));
    assert_eq!(trained(&encoder(Some(&plain())), &first), ["Welcome<|im_end|>"]);
}

#[test]
fn data_may_choose_the_answers_that_are_learned() {
    let chosen = conversation(json!([
        {"role": "user", "content": "1"},
        {"role": "assistant", "content": "one", "weight": 0},
        {"role": "user", "content": "2"},
        {"role": "assistant", "content": "two", "train": true},
    ]));
    assert_eq!(trained(&encoder(Some(&plain())), &chosen), ["two<|im_end|>"]);
    let marked = plain().replace("{{ m.content }}", "{% generation %}{{ m.content }}{% endgeneration %}");
    assert_eq!(trained(&encoder(Some(&marked)), &chosen), ["two<|im_end|>"]);
}

#[test]
fn calls_belong_to_the_answer() {
    let calling = plain().replace(
        "{{ m.content }}",
        "{{ m.content or '' }}{% for call in m.tool_calls or [] %}{{ call.function | tojson }}{% endfor %}",
    );
    let calls = conversation(json!([
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"type": "function", "function": {"name": "f", "arguments": "{\"town\":\"Oslo\"}"}}]},
        {"role": "tool", "content": "4"},
        {"role": "assistant", "content": "Cold"},
    ]));
    assert_eq!(
        trained(&encoder(Some(&calling)), &calls),
        [r#"{"name": "f", "arguments": {"town": "Oslo"}}<|im_end|>"#, "Cold<|im_end|>"]
    );
}

#[test]
fn the_loss_may_count_all_tokens() {
    let encoder = encoder(Some(&plain()));
    let sample = |loss_on| encoder.sample(&Example::Conversation(chat()), loss_on).expect("a sample").sample;
    assert!(sample(LossOn::AllTokens).labels.iter().all(|label| *label != IGNORED));
    assert!(sample(LossOn::AssistantTokens).labels.contains(&IGNORED));
    assert_eq!(sample(LossOn::AllTokens).ids, sample(LossOn::AssistantTokens).ids);
}

#[test]
fn what_can_not_be_trained_is_refused() {
    let cases: [(&str, Value, &str, Code); 5] = [
        (
            "{{ messages[0].content }}",
            json!([{"role": "user", "content": "a"}]),
            "has no assistant message, so there is nothing to learn",
            Code::NoAnswer,
        ),
        (
            "{{ messages[0].content }}",
            json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]),
            "has no assistant message that is to be learned, so there is nothing to learn",
            Code::NothingToLearn,
        ),
        (
            "{% for m in messages if m.role != 'tool' %}{{ m.content }}{% endfor %}",
            json!([{"role": "tool", "content": "a"}, {"role": "assistant", "content": "b"}]),
            "has a message 1 (role `tool`) that the chat template leaves out",
            Code::TemplateLeavesOut,
        ),
        (
            // Says the messages backwards, so that no turn stands where it is asked for.
            "{{ messages | length }}{% for m in messages | reverse %}{{ m.content }}{% endfor %}",
            json!([
                {"role": "user", "content": "Q"}, {"role": "assistant", "content": "x"},
                {"role": "user", "content": "P"}, {"role": "assistant", "content": "y"},
            ]),
            "has a message 4 that can't be found in what the chat template makes of the conversation",
            Code::TemplateFails,
        ),
        (
            "{{ raise_exception('No, thanks.') }}",
            json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]),
            "can't be rendered: the chat template refuses the conversation: No, thanks.",
            Code::TemplateFails,
        ),
    ];
    for (template, messages, expected, code) in cases {
        let refusal = encoder(Some(template))
            .sample(&Example::Conversation(conversation(messages)), LossOn::AssistantTokens)
            .expect_err("refused");
        let Refusal::Row(fault) = refusal else { panic!("{refusal:?}") };
        assert_eq!((fault.code, fault.what.as_str()), (code, expected));
    }
}

#[test]
fn a_missing_template_is_the_jobs_fault_and_the_refusal_names_the_built_in_ones() {
    let chat = Example::Conversation(chat());
    let refusal = encoder(None).sample(&chat, LossOn::AssistantTokens).expect_err("refused");
    let Refusal::Job(problem) = refusal else { panic!("{refusal:?}") };
    assert_eq!(problem.message, "the model has no chat template, which messages need");
    assert_eq!(
        (problem.kind, problem.field.as_deref()),
        (ProblemKind::BadTemplate, Some("data.chat_template"))
    );
    let hint = problem.hint.expect("a hint");
    assert!(BUILT_IN_TEMPLATES.into_iter().all(|name| hint.contains(name)), "{hint}");
}

#[test]
fn prompts_are_given_and_completions_learned_with_their_end() {
    let encoder = encoder(None);
    let example = Example::PromptCompletion { prompt: "The cat".to_owned(), completion: " sat.".to_owned() };
    let sample = encoder.sample(&example, LossOn::AssistantTokens).expect("a sample").sample;
    let learned: Vec<bool> = sample.labels.iter().map(|label| *label != IGNORED).collect();
    assert_eq!(stretches(&encoder, &sample.ids, &learned), [" sat.<|im_end|>"]);
    assert_eq!(
        encoder.tokenizer.decode(&sample.ids, Specials::Shown).expect("decodes"),
        "The cat sat.<|im_end|>"
    );
    let all = encoder.sample(&example, LossOn::AllTokens).expect("a sample").sample;
    assert!(all.labels.iter().all(|label| *label != IGNORED));
}

#[test]
fn messages_count_by_their_weights() {
    let weighed = conversation(json!([
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello", "weight": 0.25},
        {"role": "user", "content": "Bye", "loss_weight": 0},
        {"role": "assistant", "content": "Yo", "weight": 2},
        {"role": "user", "content": "What"},
        {"role": "assistant", "content": "No", "train": false},
    ]));
    let encoder = encoder(Some(&plain()));
    let with = |wanted: f32, sample: &Sample| {
        let weights = sample.weights.as_deref().expect("weights");
        let mask: Vec<bool> =
            weights.iter().zip(&sample.labels).map(|(w, l)| *w == wanted && *l != IGNORED).collect();
        stretches(&encoder, &sample.ids, &mask)
    };
    let sample =
        |loss_on| encoder.sample(&Example::Conversation(weighed.clone()), loss_on).expect("a sample").sample;
    let assistant = sample(LossOn::AssistantTokens);
    assert_eq!(with(0.25, &assistant), ["Hello<|im_end|>"]);
    assert_eq!(with(2.0, &assistant), ["Yo<|im_end|>"]);
    assert_eq!(with(1.0, &assistant), [""; 0]);
    // Where all tokens count, the data still say how much some do.
    let all = sample(LossOn::AllTokens);
    assert_eq!(with(0.25, &all), ["Hello<|im_end|>"]);
    assert_eq!(with(2.0, &all), ["Yo<|im_end|>"]);
    let learned: Vec<bool> = all.labels.iter().map(|label| *label != IGNORED).collect();
    let said = stretches(&encoder, &all.ids, &learned).concat();
    assert!(
        said.contains("Hi") && said.contains("What") && !said.contains("Bye") && !said.contains("No"),
        "{said}"
    );

    // A generation block can't say how much.
    let marked = "{% for m in messages %}<|im_start|>{{ m.role + '\n' }}{% if m.role == 'assistant' %}\
                  {% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}<|im_end|>\
                  {% endfor %}";
    let encoder = self::encoder(Some(marked));
    let sample =
        encoder.sample(&Example::Conversation(weighed), LossOn::AssistantTokens).expect("a sample").sample;
    assert!(sample.weights.is_some());

    // Weights of 0 and 1 take no memory.
    let usual =
        encoder.sample(&Example::Conversation(chat()), LossOn::AssistantTokens).expect("a sample").sample;
    assert_eq!(usual.weights, None);
}

#[test]
fn running_text_is_learned_with_its_end() {
    let encoder = encoder(None);
    for text in ["The cat sat.", "The cat sat.<|im_end|>"] {
        let sample = encoder
            .sample(&Example::Text(text.to_owned()), LossOn::AssistantTokens)
            .expect("a sample")
            .sample;
        assert_eq!(
            encoder.tokenizer.decode(&sample.ids, Specials::Shown).expect("decodes"),
            "The cat sat.<|im_end|>"
        );
        assert!(sample.labels.iter().all(|label| *label != IGNORED));
    }
}

#[test]
fn instructions_use_the_chat_template_or_alpacas_own_prompt() {
    let example = Example::Instruction {
        instruction: "Add.".to_owned(),
        input: "1 2".to_owned(),
        output: "3".to_owned(),
    };
    let text = |encoder: &Encoder| {
        let sample = encoder.sample(&example, LossOn::AssistantTokens).expect("a sample").sample;
        let learned: Vec<bool> = sample.labels.iter().map(|label| *label != IGNORED).collect();
        let learned = stretches(encoder, &sample.ids, &learned);
        assert_eq!(learned, ["3<|im_end|>"]);
        encoder.tokenizer.decode(&sample.ids, Specials::Shown).expect("decodes")
    };
    assert_eq!(
        text(&encoder(Some(&plain()))),
        "<|im_start|>user\nAdd.\n\n1 2<|im_end|>\n<|im_start|>assistant\n3<|im_end|>\n"
    );
    assert_eq!(
        text(&encoder(None)),
        "Below is an instruction that describes a task, paired with an input that provides further context. Write a \
         response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n1 2\n\n\
         ### Response:\n3<|im_end|>"
    );
}
