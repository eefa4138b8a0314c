//! Datasets as people publish them.

use ftl_core::dataset::Code;
use ftl_core::spec::resolved::DataFormat;

use crate::{count, real_files, report_of};

#[test]
fn published_datasets_are_recognised_and_none_of_their_rows_is_lost() {
    let Some(dir) = real_files() else { return };
    for (name, format, rows) in [
        ("alpaca/alpaca_en_demo.json", DataFormat::Alpaca, 999),
        ("alpaca/identity.json", DataFormat::Alpaca, 91),
        ("dpo/dpo_en_demo.json", DataFormat::Preference, 300),
        ("openai_messages/sft_messages_from_kto.jsonl", DataFormat::Messages, 150),
        ("openai_messages/reason_tool_use_demo_50.jsonl", DataFormat::Messages, 50),
        ("openai_messages/toy_chat_fine_tuning_first4.jsonl", DataFormat::Messages, 4),
        ("question_answer/gsm8k_train_first2000.jsonl", DataFormat::QuestionAnswer, 2000),
        ("sharegpt/glaive_toolcall_en_demo.json", DataFormat::Sharegpt, 300),
        ("text/c4_demo.jsonl", DataFormat::Text, 300),
        ("text/wiki_demo.txt", DataFormat::Text, 1),
    ] {
        let report = report_of(&dir.join("datasets").join(name));
        assert_eq!(report.files[0].format, Some(format), "{name}");
        assert_eq!((report.rows.read, report.rows.accepted), (rows, rows), "{name}: {:#?}", report.counts);
        assert!(report.is_fit(), "{name}: {:#?}", report.counts);
    }
}

#[test]
fn turns_of_tools_are_kept_and_counted() {
    let Some(dir) = real_files() else { return };
    let report = report_of(&dir.join("datasets/sharegpt/glaive_toolcall_en_demo.json"));
    let of_role =
        |role: &str| report.roles.iter().find(|count| count.role == role).map_or(0, |count| count.messages);
    assert!(of_role("tool") > 0 && of_role("assistant") > of_role("user"), "{:?}", report.roles);
    // Every message of the file has a role in the counts.
    let text =
        std::fs::read_to_string(dir.join("datasets/sharegpt/glaive_toolcall_en_demo.json")).expect("read");
    let n_turns = text.matches("\"from\":").count() as u64;
    assert_eq!(report.roles.iter().map(|count| count.messages).sum::<u64>(), n_turns);
    assert_eq!(report.turns.total, n_turns);
}

#[test]
fn rows_for_kto_are_explained() {
    let Some(dir) = real_files() else { return };
    let report = report_of(&dir.join("datasets/kto/kto_en_demo.json"));
    assert_eq!((report.rows.read, count(&report, Code::Kto)), (300, 300));
    assert_eq!(report.findings.len(), 300);
}

#[test]
fn the_toy_row_without_a_user_is_pointed_out() {
    let Some(dir) = real_files() else { return };
    let report = report_of(&dir.join("datasets/openai_messages/toy_chat_fine_tuning_first4.jsonl"));
    assert_eq!(crate::rows_with(&report, Code::RoleOrder), [4]);
}
