//! What rows mean: every format in the ways that real files write it, and every refusal.

use ftl_core::dataset::Code;
use ftl_core::spec::resolved::DataFormat;
use ftl_trainer::data::fault::Fault;
use ftl_trainer::data::format::{Asked, Example, FileFormat, Message, Role, RowLayout, example};
use ftl_trainer::data::sample::Sample;
use serde_json::{Value, json};

fn read(row: &Value, format: DataFormat) -> Result<(Example, Vec<Fault>), Fault> {
    example(row, &RowLayout::of(format))
}

/// Reads a row that nothing is to be said of.
fn plain(row: &Value, format: DataFormat) -> Example {
    match read(row, format) {
        Ok((example, notices)) if notices.is_empty() => example,
        other => panic!("{row}: {other:?}"),
    }
}

/// `role: content` of each message, with `*` where it is learned and `()` around the functions that it calls.
fn turns(example: &Example) -> String {
    let Example::Conversation(conversation) = example else { panic!("no conversation: {example:?}") };
    let turn = |message: &Message| {
        let json = message.json();
        let calls = json["tool_calls"].as_array().into_iter().flatten();
        let calls: String =
            calls.map(|call| format!("({})", call["function"]["name"].as_str().unwrap())).collect();
        let learned = if message.is_trained() { "*" } else { "" };
        format!("{learned}{}: {}{calls}", message.role, message.content())
    };
    conversation.messages.iter().map(turn).collect::<Vec<_>>().join(" | ")
}

fn detected(rows: &[Value]) -> Result<FileFormat, Fault> {
    FileFormat::detect(rows, &Asked::of(DataFormat::Auto))
}

#[test]
fn formats_are_told_by_their_keys() {
    let said = json!([{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]);
    let chat = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]);
    for (row, expected) in [
        (json!({"messages": []}), DataFormat::Messages),
        (chat.clone(), DataFormat::Messages),
        (said.clone(), DataFormat::Sharegpt),
        (json!({"conversations": chat}), DataFormat::Messages),
        (json!({"conversations": said}), DataFormat::Sharegpt),
        (json!({"conversation": said}), DataFormat::Sharegpt),
        (json!({"dialogue": chat}), DataFormat::Messages),
        (json!({"chat": said, "id": 1}), DataFormat::Sharegpt),
        // A table holds lists as text.
        (json!({"messages": chat.to_string()}), DataFormat::Messages),
        (
            json!({"messages": [{"role": "human", "content": "a"}, {"role": "bot", "content": "b"}]}),
            DataFormat::Sharegpt,
        ),
        (json!({"instruction": "a", "output": "b"}), DataFormat::Alpaca),
        (json!({"instruction": "a", "output": "b", "text": "c"}), DataFormat::Alpaca),
        (json!({"instruction": "a", "response": "b"}), DataFormat::Alpaca),
        (json!({"instruction": "a", "context": "", "response": "b", "category": "c"}), DataFormat::Alpaca),
        (json!({"prompt": "a", "completion": "b"}), DataFormat::PromptCompletion),
        (json!({"prompt": "a", "response": "b"}), DataFormat::PromptCompletion),
        (json!({"question": "a", "answer": "b"}), DataFormat::QuestionAnswer),
        (json!({"Question": "a", "Answer": "b"}), DataFormat::QuestionAnswer),
        (json!({"q": "a", "a": "b"}), DataFormat::QuestionAnswer),
        (json!({"text": "a"}), DataFormat::Text),
        (json!({"content": "a", "url": "b"}), DataFormat::Text),
        (json!({"dialogue": "a text", "text": "b"}), DataFormat::Text),
        (json!({"prompt": "a", "chosen": "b", "rejected": "c"}), DataFormat::Preference),
        (json!({"prompt": "a", "chosen": chat, "rejected": chat, "messages": chat}), DataFormat::Preference),
        (json!({"input_ids": [1]}), DataFormat::Tokens),
        (json!({"chosen_input_ids": [1]}), DataFormat::Preference),
    ] {
        let found = detected(std::slice::from_ref(&row)).unwrap_or_else(|fault| panic!("{row}: {fault}"));
        assert_eq!((found.layout.format, found.confidence), (expected, 1.0), "{row}");
    }
}

#[test]
fn conversations_are_read_in_both_dialects() {
    let call = json!({"name": "f", "arguments": {"x": 1}});
    for (row, format, expected) in [
        (
            json!({"messages": [{"role": "developer", "content": "d"}, {"role": "user", "content": "a", "name": "Ann"},
                                {"role": "Assistant", "content": "b", "weight": 0}, {"role": "user", "content": "c"},
                                {"role": "assistant", "content": "e", "train": true}]}),
            DataFormat::Messages,
            "developer: d | user: a | assistant: b | user: c | *assistant: e",
        ),
        (
            json!({"system": "s", "conversations": [{"from": "human", "value": "a"}, {"from": "ChatGPT", "value": "b"}]}),
            DataFormat::Sharegpt,
            "system: s | user: a | *assistant: b",
        ),
        (
            json!({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b", "weight": 0},
                                     {"from": "human", "text": "c"}, {"role": "bing", "content": "d"}]}),
            DataFormat::Sharegpt,
            "user: a | assistant: b | user: c | *assistant: d",
        ),
        // A tool's turns are kept, and the call is learned.
        (
            json!({"conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": call.to_string()},
                                     {"from": "observation", "value": "1"}, {"from": "gpt", "value": "b"}]}),
            DataFormat::Sharegpt,
            "user: a | *assistant: (f) | tool: 1 | *assistant: b",
        ),
        (
            json!({"conversations": [{"from": "human", "value": "a"},
                                     {"from": "function_call", "value": format!("<think>t</think>\n[{call}, {call}]")}]}),
            DataFormat::Sharegpt,
            "user: a | *assistant: <think>t</think>(f)(f)",
        ),
        (
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": null, "function_call": call},
                                {"role": "function", "name": "f", "content": "1"}, {"role": "assistant", "content": "b"}]}),
            DataFormat::Messages,
            "user: a | *assistant: (f) | tool: 1 | *assistant: b",
        ),
        (
            json!({"messages": [{"role": "user", "content": ["a", {"type": "text", "text": "b"}]},
                                {"role": "assistant", "content": [{"type": "text", "value": "c"}, {"type": "tool_call", "value": call.to_string()}]}]}),
            DataFormat::Messages,
            "user: ab | *assistant: c(f)",
        ),
    ] {
        assert_eq!(turns(&plain(&row, format)), expected, "{row}");
    }
}

#[test]
fn thoughts_are_kept_for_the_template_and_nulls_of_tables_are_not() {
    let row = json!({"messages": [
        {"role": "user", "content": "a", "tool_calls": null, "name": null},
        {"role": "assistant", "content": [{"type": "reasoning", "value": "r"}, {"type": "text", "value": "b"}]},
        {"role": "assistant", "content": "c", "thinking": "t"},
    ]});
    let Example::Conversation(conversation) = plain(&row, DataFormat::Messages) else {
        panic!("a conversation")
    };
    let messages: Vec<Value> = conversation.messages.iter().map(Message::json).collect();
    assert_eq!(
        json!(messages),
        json!([
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b", "reasoning_content": "r"},
            {"role": "assistant", "content": "c", "thinking": "t"},
        ])
    );
}

#[test]
fn tools_of_sharegpt_become_what_templates_expect() {
    let said = json!([{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]);
    let (bare, full) = (
        json!({"name": "f", "parameters": {}}),
        json!({"type": "function", "function": {"name": "f", "parameters": {}}}),
    );
    for tools in [json!([bare]), json!(json!([bare]).to_string()), json!([full])] {
        let Example::Conversation(read) =
            plain(&json!({"conversations": said, "tools": tools}), DataFormat::Sharegpt)
        else {
            panic!("a conversation")
        };
        assert_eq!(read.tools, Some(json!([full])));
    }
    let fault = read(&json!({"conversations": said, "tools": "{"}), DataFormat::Sharegpt).unwrap_err();
    assert_eq!(fault.code, Code::BadTools);
}

#[test]
fn what_stands_before_an_instruction_makes_a_conversation_of_it() {
    for (row, format, expected) in [
        (
            json!({"instruction": "a", "input": "b", "output": "c", "system": "s", "history": [["d", "e"]]}),
            DataFormat::Alpaca,
            "system: s | user: d | *assistant: e | user: a\n\nb | *assistant: c",
        ),
        (
            json!({"instruction": "a", "output": "c", "history": [{"role": "user", "content": "d"}, {"role": "assistant", "content": "e"}]}),
            DataFormat::Alpaca,
            "user: d | *assistant: e | user: a | *assistant: c",
        ),
        (
            json!({"question": "a", "answer": "b", "system_prompt": "s"}),
            DataFormat::QuestionAnswer,
            "system: s | user: a | *assistant: b",
        ),
        (
            json!({"question": "a", "context": "x", "answer": "b"}),
            DataFormat::QuestionAnswer,
            "user: a\n\nx | *assistant: b",
        ),
        (
            json!({"prompt": "a", "response": "b", "system": "s"}),
            DataFormat::PromptCompletion,
            "system: s | user: a | *assistant: b",
        ),
        (
            json!({"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}],
                   "completion": [{"role": "assistant", "content": "d"}]}),
            DataFormat::PromptCompletion,
            "user: a | assistant: b | user: c | *assistant: d",
        ),
        (
            json!({"prompt": [{"role": "user", "content": "a"}], "completion": "d"}),
            DataFormat::PromptCompletion,
            "user: a | *assistant: d",
        ),
    ] {
        assert_eq!(turns(&plain(&row, format)), expected, "{row}");
    }
    let dolly = json!({"instruction": "a", "context": "b", "response": "c", "category": "d", "system": "", "history": []});
    let (instruction, input, output) = ("a".to_owned(), "b".to_owned(), "c".to_owned());
    assert_eq!(plain(&dolly, DataFormat::Alpaca), Example::Instruction { instruction, input, output });
}

#[test]
fn rows_that_can_not_be_read_say_why() {
    let said = |from: &str, value: &str| json!({"conversations": [{"from": "human", "value": "a"}, {"from": from, "value": value}]});
    for (row, format, code, expected) in [
        (
            json!({"a": 1, "b": 2}),
            DataFormat::Messages,
            Code::MissingField,
            "has no `messages`; it has the keys `a`, `b`",
        ),
        (
            json!({}),
            DataFormat::Text,
            Code::MissingField,
            "has no `text`; it has no keys at all, expected `text`",
        ),
        (json!("a"), DataFormat::Text, Code::NotAnObject, "is a string; expected an object with `text`"),
        (json!({"text": 5}), DataFormat::Text, Code::WrongType, "has a number as `text`; expected text"),
        (json!({"text": " \n"}), DataFormat::Text, Code::EmptyField, "has an empty `text`"),
        (
            json!({"instruction": "a"}),
            DataFormat::Alpaca,
            Code::MissingField,
            "has no `output`; it has the key `instruction`, expected `instruction`, `input` and `output`",
        ),
        (
            json!({"instruction": " ", "output": "b"}),
            DataFormat::Alpaca,
            Code::EmptyField,
            "has an empty `instruction`",
        ),
        (
            json!({"instruction": "a", "output": ""}),
            DataFormat::Alpaca,
            Code::EmptyField,
            "has an empty `output`",
        ),
        (
            json!({"instruction": "a", "output": null}),
            DataFormat::Alpaca,
            Code::WrongType,
            "has null as `output`; expected text",
        ),
        (
            json!({"instruction": "a", "output": "b", "history": [["c"]]}),
            DataFormat::Alpaca,
            Code::BadMessage,
            "has a turn 1 in its `history` that is not a pair of two texts",
        ),
        (
            json!({"prompt": "a", "completion": ""}),
            DataFormat::PromptCompletion,
            Code::EmptyField,
            "has an empty `completion`",
        ),
        (
            json!({"prompt": [{"role": "user", "content": "a"}], "completion": []}),
            DataFormat::PromptCompletion,
            Code::NoAnswer,
            "has no assistant message in `completion`",
        ),
        (
            json!({"prompt": 1, "completion": []}),
            DataFormat::PromptCompletion,
            Code::WrongType,
            "has a `prompt` and a `completion` that are neither texts nor lists of messages",
        ),
        (json!({"conversations": []}), DataFormat::Sharegpt, Code::NoMessages, "has no messages"),
        (
            json!({"messages": "not a list"}),
            DataFormat::Messages,
            Code::WrongType,
            "has a string as `messages`; expected a list",
        ),
        (
            said("narrator", "b"),
            DataFormat::Sharegpt,
            Code::UnknownRole,
            "has a message 2 that has the role `narrator`; expected one of: system, human, gpt, function_call, observation, \
             or one of their other names",
        ),
        (
            said("function_call", "f(1)"),
            DataFormat::Sharegpt,
            Code::BadMessage,
            "has a message 2 that has a call that is not JSON: expected ident at line 1 column 2",
        ),
        (
            json!({"messages": [{"role": "user", "content": "a"}]}),
            DataFormat::Messages,
            Code::NoAnswer,
            "has no message of the assistant, so there is nothing to learn",
        ),
        (
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]}),
            DataFormat::Messages,
            Code::EmptyField,
            "has an empty answer: the assistant says nothing in its messages",
        ),
        (
            json!({"messages": [{"role": "user", "content": "<image>a"}, {"role": "assistant", "content": "b"}], "images": ["a.png"]}),
            DataFormat::Messages,
            Code::NotText,
            "has `images`; only text can be trained on",
        ),
        (
            said("gpt", "b"),
            DataFormat::Alpaca,
            Code::OtherFormat,
            "is in the format `sharegpt`, but its file is read as `alpaca`",
        ),
        (
            json!({"question": "a", "answer": "b"}),
            DataFormat::Text,
            Code::OtherFormat,
            "is in the format `question_answer`, but its file is read as `text`",
        ),
        (json!({"input_ids": []}), DataFormat::Tokens, Code::EmptyField, "has no tokens in `input_ids`"),
        (
            json!({"input_ids": [1, -2]}),
            DataFormat::Tokens,
            Code::UnusableField,
            "has -2 at place 1 of `input_ids`; expected token ids",
        ),
        (
            json!({"input_ids": [1, 2], "labels": [1]}),
            DataFormat::Tokens,
            Code::UnusableField,
            "has 1 `labels` for 2 tokens",
        ),
        (
            json!({"input_ids": [1], "labels": [-1]}),
            DataFormat::Tokens,
            Code::UnusableField,
            "has -1 at place 0 of `labels`; expected token ids, or -100 for what is not learned",
        ),
        (
            json!({"input_ids": [1, 2, 3], "attention_mask": [1, 0, 1]}),
            DataFormat::Tokens,
            Code::UnusableField,
            "has an `attention_mask` with a hole at place 1; only padding at the start or the end may be 0",
        ),
        (
            json!({"input_ids": [1], "attention_mask": [0]}),
            DataFormat::Tokens,
            Code::UnusableField,
            "has only padding: `attention_mask` is 0 throughout",
        ),
    ] {
        let fault = read(&row, format).expect_err("a fault");
        assert_eq!((fault.code, fault.what.as_str()), (code, expected), "{row}");
    }
}

#[test]
fn padding_of_token_rows_is_left_out() {
    let row =
        json!({"input_ids": [0, 5, 6, 0], "attention_mask": [0, 1, 1, 0], "labels": [-100, -100, 6, -100]});
    assert_eq!(plain(&row, DataFormat::Tokens), Example::Tokens(Sample::new(vec![5, 6], vec![-100, 6])));
}

#[test]
fn a_pair_of_whole_conversations_heeds_no_messages_beside_them() {
    let chat =
        |answer: &str| json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": answer}]);
    // As ultrafeedback_binarized has it.
    let row = json!({"prompt": "a", "prompt_id": "1", "chosen": chat("b"), "rejected": chat("c"), "messages": chat("b"),
                     "score_chosen": 1.0, "score_rejected": 0.5});
    let Example::Pair { chosen, rejected } = plain(&row, DataFormat::Preference) else { panic!("a pair") };
    assert_eq!(turns(&chosen), "user: a | *assistant: b");
    assert_eq!(turns(&rejected), "user: a | *assistant: c");
}

#[test]
fn labelled_answers_are_explained_unless_the_format_was_named() {
    let chat = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]);
    for (row, format) in [
        (json!({"messages": chat, "label": true}), DataFormat::Messages),
        (json!({"messages": chat, "kto_tag": false}), DataFormat::Messages),
        (json!({"prompt": "a", "completion": "b", "label": false}), DataFormat::PromptCompletion),
        (json!({"prompt": "a", "completion": "b", "label": "True"}), DataFormat::PromptCompletion),
    ] {
        let found = detected(std::slice::from_ref(&row)).expect("a format");
        assert_eq!(found.layout.format, format, "{row}");
        let fault = example(&row, &found.layout).expect_err("explained");
        assert_eq!(fault.code, Code::Kto);
        assert!(fault.hint.expect("a way out").contains(&format!("`data.format` = \"{}\"", format.name())));
        let (_, notices) = read(&row, format).expect("read without its label");
        assert_eq!(notices.iter().map(|notice| notice.code).collect::<Vec<_>>(), [Code::LabelIgnored]);
    }
    // A class of something else is no label of that sort.
    plain(&json!({"prompt": "a", "completion": "b", "label": 3}), DataFormat::PromptCompletion);
}

#[test]
fn what_a_format_has_no_place_for_is_noticed() {
    for (row, format, expected) in [
        (
            json!({"text": "a", "system": "s"}),
            DataFormat::Text,
            "has `system`, which the format `text` does not use",
        ),
        (
            json!({"prompt": "a", "completion": "b", "context": "c"}),
            DataFormat::PromptCompletion,
            "has `context`, which the format `prompt_completion` does not use",
        ),
        (
            json!({"question": "a", "answer": "b", "reasoning": "c"}),
            DataFormat::QuestionAnswer,
            "has `reasoning`, which the format `question_answer` does not use",
        ),
        (
            json!({"system": "s", "messages": [{"role": "system", "content": "t"}, {"role": "user", "content": "a"},
                                               {"role": "assistant", "content": "b"}]}),
            DataFormat::Messages,
            "has a `system`, but its messages begin with another one",
        ),
    ] {
        let (_, notices) = read(&row, format).expect("a row");
        assert_eq!(notices, [Fault::new(Code::FieldIgnored, expected)], "{row}");
    }
    // Keys that nobody would expect to matter are no news.
    plain(&json!({"text": "a", "url": "b", "id": 3}), DataFormat::Text);
}

#[test]
fn keys_in_other_capitals_are_read_and_noticed() {
    let row = json!({"INSTRUCTION": "a", "Input": "", "OUTPUT": "b"});
    let (read, notices) = read(&row, DataFormat::Alpaca).expect("a row");
    let (instruction, input, output) = ("a".to_owned(), String::new(), "b".to_owned());
    assert_eq!(read, Example::Instruction { instruction, input, output });
    assert!(notices.iter().all(|notice| notice.code == Code::KeyCase), "{notices:?}");
    assert!(notices.iter().any(|notice| notice.what == "has `INSTRUCTION` for `instruction`"), "{notices:?}");
    // The exact name beats the other one.
    let Example::Text(text) = plain(&json!({"TEXT": "b", "text": "a"}), DataFormat::Text) else {
        panic!("text")
    };
    assert_eq!(text, "a");
}

#[test]
fn roles_in_an_odd_order_are_no_fault_of_the_format() {
    let turn = |role: &str| json!({"role": role, "content": role});
    for roles in
        [&["assistant", "user"][..], &["user", "user", "assistant"], &["user", "system", "assistant"]]
    {
        let row = json!({"messages": roles.iter().map(|role| turn(role)).collect::<Vec<_>>()});
        plain(&row, DataFormat::Messages);
    }
}

#[test]
fn a_role_of_openai_is_never_guessed() {
    let row =
        json!({"messages": [{"role": "human", "content": "hi"}, {"role": "assistant", "content": "yo"}]});
    assert_eq!(read(&row, DataFormat::Messages).expect_err("unknown").code, Code::UnknownRole);
    let Example::Conversation(read) = plain(&row, DataFormat::Sharegpt) else { panic!("a conversation") };
    assert_eq!(read.messages[0].role, Role::User);
}
