//! Whatever a conversation says: written in any format it reads back as the same; and no row makes the reader panic.

use ftl_core::spec::resolved::DataFormat;
use ftl_trainer::data::format::{Asked, Conversation, Example, FileFormat, RowLayout, example};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const FORMATS: [DataFormat; 8] = [
    DataFormat::Messages,
    DataFormat::Sharegpt,
    DataFormat::Alpaca,
    DataFormat::PromptCompletion,
    DataFormat::QuestionAnswer,
    DataFormat::Text,
    DataFormat::Preference,
    DataFormat::Tokens,
];

/// One exchange: what is asked, a call and its result in between, what is answered.
#[derive(Clone, Debug)]
struct Exchange {
    asked: String,
    call: Option<(String, i64, String)>,
    answered: String,
    weight: Option<bool>,
}

/// Text that says something, with all that JSON has to escape.
fn text() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|text| format!("a{text}"))
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let call = prop::option::weighted(0.3, ("[a-z_]{1,8}", any::<i64>(), text()));
    (text(), call, text(), prop::option::of(any::<bool>()))
        .prop_map(|(asked, call, answered, weight)| Exchange { asked, call, answered, weight })
}

fn dialogue() -> impl Strategy<Value = (Option<String>, Vec<Exchange>)> {
    (prop::option::of(text()), prop::collection::vec(exchange(), 1..4))
}

/// The conversation as OpenAI writes it.
fn openai(system: Option<&str>, exchanges: &[Exchange]) -> Vec<Value> {
    let mut messages: Vec<Value> =
        system.map(|text| json!({"role": "system", "content": text})).into_iter().collect();
    for Exchange { asked, call, answered, weight } in exchanges {
        messages.push(json!({"role": "user", "content": asked}));
        if let Some((name, x, result)) = call {
            let call = json!({"type": "function", "function": {"name": name, "arguments": {"x": x}}});
            messages.push(json!({"role": "assistant", "content": "", "tool_calls": [call]}));
            messages.push(json!({"role": "tool", "content": result}));
        }
        let mut answer = json!({"role": "assistant", "content": answered});
        if let Some(weight) = weight {
            answer["weight"] = json!(u8::from(*weight));
        }
        messages.push(answer);
    }
    messages
}

/// The same turns as ShareGPT writes them, without the system message.
fn sharegpt(exchanges: &[Exchange]) -> Vec<Value> {
    let mut turns = Vec::new();
    for Exchange { asked, call, answered, weight } in exchanges {
        turns.push(json!({"from": "human", "value": asked}));
        if let Some((name, x, result)) = call {
            let call = json!({"name": name, "arguments": {"x": x}}).to_string();
            turns.push(json!({"from": "function_call", "value": call}));
            turns.push(json!({"from": "observation", "value": result}));
        }
        let mut answer = json!({"from": "gpt", "value": answered});
        if let Some(weight) = weight {
            answer["weight"] = json!(u8::from(*weight));
        }
        turns.push(answer);
    }
    turns
}

fn read(row: &Value, format: DataFormat) -> Example {
    match example(row, &RowLayout::of(format)) {
        Ok((example, notices)) if notices.is_empty() => example,
        other => panic!("{row}: {other:?}"),
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "messages",
        "conversations",
        "role",
        "from",
        "content",
        "value",
        "tools",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "instruction",
        "output",
        "input",
        "history",
        "system",
        "prompt",
        "completion",
        "question",
        "answer",
        "text",
        "chosen",
        "rejected",
        "label",
        "input_ids",
        "labels",
        "weight",
        "type",
        "x",
        "Text",
    ]);
    let word = prop::sample::select(vec![
        "",
        " ",
        "a",
        "user",
        "gpt",
        "human",
        "assistant",
        "function_call",
        "text",
        "image",
        "[",
        "[{\"role\":\"user\"}]",
        "{\"name\":\"f\"}",
        "<think>",
        "true",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2i64..5).prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|fields| {
                let fields = fields.into_iter().map(|(key, value)| (key.to_owned(), value));
                Value::Object(fields.collect::<Map<_, _>>())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn a_conversation_reads_back_as_the_same_from_each_format((system, exchanges) in dialogue()) {
        let system = system.as_deref();
        let messages = json!(openai(system, &exchanges));
        let expected = Example::Conversation(Conversation::from_json(&messages).expect("a conversation"));
        let turns = json!(openai(None, &exchanges));
        for row in [
            messages.clone(),
            json!({"messages": messages}),
            json!({"conversations": messages, "tools": []}),
            json!({"messages": messages.to_string(), "system": null}),
            json!({"system": system, "messages": turns}),
        ] {
            prop_assert_eq!(&read(&row, DataFormat::Messages), &expected);
        }
        let said = json!(sharegpt(&exchanges));
        for row in [
            json!({"conversations": said, "system": system}),
            json!({"conversation": said.to_string(), "system": system.unwrap_or_default()}),
        ] {
            prop_assert_eq!(&read(&row, DataFormat::Sharegpt), &expected);
            let found = FileFormat::detect([&row], &Asked::of(DataFormat::Auto)).expect("a format");
            prop_assert_eq!(found.layout.format, DataFormat::Sharegpt);
        }
    }

    #[test]
    fn an_instruction_with_turns_before_it_reads_back_as_that_conversation((system, exchanges) in dialogue()) {
        let plain: Vec<Exchange> =
            exchanges.into_iter().map(|exchange| Exchange { call: None, weight: None, ..exchange }).collect();
        let system = system.unwrap_or_else(|| "s".to_owned());
        let messages = json!(openai(Some(&system), &plain));
        let expected = Example::Conversation(Conversation::from_json(&messages).expect("a conversation"));
        let (last, before) = plain.split_last().expect("an exchange");
        let pairs: Vec<Value> = before.iter().map(|exchange| json!([exchange.asked, exchange.answered])).collect();
        for (asked, answered, format) in [
            ("instruction", "output", DataFormat::Alpaca),
            ("prompt", "completion", DataFormat::PromptCompletion),
            ("question", "answer", DataFormat::QuestionAnswer),
        ] {
            let row = json!({asked: last.asked, answered: last.answered, "history": pairs, "system": system});
            prop_assert_eq!(&read(&row, format), &expected);
        }
    }

    #[test]
    fn pairs_read_back_as_their_two_conversations((system, exchanges) in dialogue(), other in text()) {
        let plain: Vec<Exchange> =
            exchanges.into_iter().map(|exchange| Exchange { call: None, weight: None, ..exchange }).collect();
        let (last, before) = plain.split_last().expect("an exchange");
        prop_assume!(last.answered != other);
        let worse = Exchange { answered: other.clone(), ..last.clone() };
        let whole = |last: &Exchange| {
            let all: Vec<Exchange> = before.iter().chain([last]).cloned().collect();
            openai(system.as_deref(), &all)
        };
        let (chosen, rejected) = (whole(last), whole(&worse));
        let n_prompt = chosen.len() - 1;
        let side = |messages: &[Value]| {
            let mut read = Conversation::from_json(&json!(messages)).expect("a conversation");
            read.messages[..n_prompt].iter_mut().for_each(|message| message.weight = 0.0);
            Box::new(Example::Conversation(read))
        };
        let expected = Example::Pair { chosen: side(&chosen), rejected: side(&rejected) };
        let mut said = sharegpt(&plain);
        said.pop();
        let gpt = |text: &str| json!({"from": "gpt", "value": text});
        for row in [
            json!({"chosen": chosen, "rejected": rejected}),
            json!({"chosen_messages": chosen, "rejected_messages": rejected}),
            json!({"prompt": last.asked, "chosen": chosen, "rejected": rejected, "messages": chosen}),
            json!({"prompt": &chosen[..n_prompt], "chosen": &chosen[n_prompt..], "rejected": &rejected[n_prompt..]}),
            json!({"prompt": &chosen[..n_prompt], "chosen": last.answered, "rejected": other}),
            json!({"messages": &chosen[..n_prompt], "chosen": &chosen[n_prompt], "rejected": &rejected[n_prompt]}),
            json!({"conversations": said, "system": system, "chosen": gpt(&last.answered), "rejected": gpt(&other)}),
        ] {
            prop_assert_eq!(&read(&row, DataFormat::Preference), &expected);
        }
    }

    #[test]
    fn any_row_is_read_or_refused(row in any_json()) {
        for format in FORMATS {
            if let Err(fault) = example(&row, &RowLayout::of(format)) {
                prop_assert!(!fault.what.is_empty());
            }
        }
        let found = FileFormat::detect([&row], &Asked::of(DataFormat::Auto));
        if let Ok(found) = found {
            prop_assert!((0.0..=1.0).contains(&found.confidence));
        }
    }
}
