//! The dataset report: what it finds in real files that are good and in ones that are not, and that its numbers are those
//! of a run.

#![expect(clippy::print_stdout, reason = "a test says that it is skipped")]

mod counts;
mod datasets;
mod dirty;
mod job;
mod page;
mod pitfalls;
mod split;

use std::path::{Path, PathBuf};

use ftl_core::dataset::{Code, DatasetReport};
use ftl_core::spec::resolved::{Data, DataFormat};
use ftl_core::{Event, StopSignal};
use ftl_trainer::data::encode::Encoder;
use ftl_trainer::data::pass::Model;
use ftl_trainer::data::report::{CheckRequest, Fingerprint, check, plain};
use ftl_trainer::data::template::ChatTemplate;
use ftl_trainer::data::tokenize::Tokenizer;
use serde_json::Map;
use tempfile::TempDir;

/// Real files, where they are there.
fn real_files() -> Option<PathBuf> {
    let dir = std::env::var_os("FTL_DATA").map(PathBuf::from);
    if dir.is_none() {
        println!("skipped: FTL_DATA is not set");
    }
    dir
}

fn report_on(data: &Data, model: Option<Model<'_>>) -> DatasetReport {
    let request = CheckRequest { data, model, train: None, seed: 42, fingerprint: Fingerprint::Absent };
    check(&request, &mut |_: &Event| {}, &StopSignal::new()).expect("a report")
}

/// The report on one file, without a model.
fn report_of(path: &Path) -> DatasetReport {
    report_on(&plain([path.to_owned()], DataFormat::Auto), None)
}

/// The report on a file of this content.
fn report_of_text(name: &str, text: &str) -> DatasetReport {
    let dir = TempDir::new().expect("a directory");
    report_of(&file(&dir, name, text))
}

fn file(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).expect("written");
    path
}

fn count(report: &DatasetReport, code: Code) -> u64 {
    report.counts.iter().find(|count| count.code == code).map_or(0, |count| count.rows)
}

/// The rows in which a code was found.
fn rows_with(report: &DatasetReport, code: Code) -> Vec<u64> {
    report.findings.iter().filter(|finding| finding.code == code).filter_map(|finding| finding.row).collect()
}

/// The rows that are refused.
fn refused(report: &DatasetReport) -> Vec<u64> {
    let is_error =
        |finding: &&ftl_core::dataset::Finding| finding.severity == ftl_core::dataset::Severity::Error;
    report.findings.iter().filter(is_error).filter_map(|finding| finding.row).collect()
}

/// A small tokenizer, and a template that marks no answers.
fn encoder() -> Encoder {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers/chatml");
    let tokenizer = Tokenizer::load(&dir).expect("a tokenizer");
    let source = "{% for m in messages %}<|im_start|>{{ m.role + '\n' + m.content }}<|im_end|>{{ '\n' }}{% endfor %}\
                  {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    let template = ChatTemplate::new(source, "a test", tokenizer.special_tokens()).expect("compiles");
    Encoder { tokenizer, template: Some(template), arguments: Map::new() }
}

fn model<'a>(encoder: &'a Encoder, data: &Data, max_length: usize) -> Model<'a> {
    let (strategy, loss_on) = (data.excess_length_strategy, data.loss_on);
    Model { encoder, max_length, strategy, loss_on, vocab_size: 512 }
}
