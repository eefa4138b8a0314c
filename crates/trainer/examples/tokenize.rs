//! How fast data become tokens: the whole way against the tokenizers library alone, on the same texts and all cores.
//!
//! ```text
//! cargo run --release -p ftl-trainer --features cli --example tokenize -- MODEL DATA [TEMPLATE]
//! ```

#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::path::PathBuf;
use std::time::Instant;

use ftl_core::job::Phase;
use ftl_core::spec::resolved::{DataFormat, ExcessLength};
use ftl_core::{Event, StopSignal};
use ftl_trainer::data::cache::Cache;
use ftl_trainer::data::encode::Encoder;
use ftl_trainer::data::format::Example;
use ftl_trainer::data::judge::Spellings;
use ftl_trainer::data::load::{Request, prepare};
use ftl_trainer::data::pass::{Broken, Consumer, Input, Judged, Opened, Pass, Wanted};
use ftl_trainer::data::report::plain;
use ftl_trainer::data::template::Ending;
use rayon::prelude::*;
use serde_json::json;

/// Each is measured so often; the best counts.
const N_TIMES: usize = 3;

#[derive(Default)]
struct Examples(Vec<Example>);

impl Consumer for Examples {
    fn begin(&mut self, _input: &Input<'_>) {}
    fn opened(&mut self, _opened: &Opened) {}
    fn broken(&mut self, _broken: Broken) {
        panic!("the file is no good");
    }
    fn closed(&mut self, _notes: Vec<String>) {}
    fn row(&mut self, row: Judged) {
        self.0.extend(row.example);
    }
}

/// The best of some times, in seconds, and what came of the last.
fn timed<T>(mut act: impl FnMut() -> T) -> (f64, T) {
    let mut best = f64::INFINITY;
    let mut last = None;
    for _ in 0..N_TIMES {
        let start = Instant::now();
        last = Some(act());
        best = best.min(start.elapsed().as_secs_f64());
    }
    (best, last.expect("it was done"))
}

fn main() {
    let mut paths = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(model), Some(file)) = (paths.next(), paths.next()) else {
        panic!("usage: tokenize MODEL DATA [TEMPLATE]");
    };
    let encoder = Encoder::load(&model, paths.next().as_deref()).expect("a tokenizer");
    let library = tokenizers::Tokenizer::from_file(model.join("tokenizer.json")).expect("a tokenizer");
    let mut data = plain([file.clone()], DataFormat::Auto);
    data.excess_length_strategy = ExcessLength::Truncate;

    let pass = Pass {
        spellings: Spellings::none(),
        model: None,
        wanted: Wanted::Examples,
        phase: Phase::Tokenizing,
    };
    let quiet = &mut |_: &Event| {};
    let (judging, examples) = timed(|| {
        let mut examples = Examples::default();
        pass.all(&data, &mut examples, (quiet, &StopSignal::new()));
        examples.0
    });
    let render = |example: &Example| match (example, &encoder.template) {
        (Example::Conversation(conversation), Some(template)) => template
            .render(conversation, Ending::Complete, &encoder.arguments)
            .map(|rendered| rendered.text)
            .ok(),
        (Example::Text(text), _) => Some(text.clone()),
        (Example::PromptCompletion { prompt, completion }, _) => Some(format!("{prompt}{completion}")),
        _ => None,
    };
    let (rendering, texts) = timed(|| examples.par_iter().filter_map(render).collect::<Vec<String>>());
    let n_bytes: usize = texts.iter().map(String::len).sum();
    let (with_offsets, batch) = timed(|| library.encode_batch(texts.clone(), false).expect("tokens"));
    let n_tokens: usize = batch.iter().map(|encoding| encoding.get_ids().len()).sum();
    drop(batch);
    let (fast, _) = timed(|| library.encode_batch_fast(texts.clone(), false).expect("tokens"));
    let one_by_one = |text: &String| library.encode(text.as_str(), false).expect("tokens").get_ids().len();
    let (each, _) = timed(|| texts.par_iter().map(one_by_one).sum::<usize>());

    let dir = std::env::temp_dir().join(format!("ftl-tokenize-{}", std::process::id()));
    let kept = Cache::Dir { path: dir.clone(), limit_bytes: u64::MAX };
    let request = |cache| Request {
        data: &data,
        encoder: &encoder,
        max_length: 2048,
        vocab_size: usize::MAX,
        seed: 0,
        n_prompts: 0,
        cache,
    };
    let mut all = |cache| {
        prepare(&request(cache), quiet, &StopSignal::new())
            .expect("samples")
            .expect("nobody stops it")
            .train
            .len()
    };
    let (whole, n_samples) = timed(|| all(&Cache::Off));
    all(&kept);
    let (cached, _) = timed(|| all(&kept));
    // What was made for the measurement is of no use to anyone.
    let _ = std::fs::remove_dir_all(&dir);
    let mb = |secs: f64| n_bytes as f64 / 1e6 / secs;
    println!(
        "{}",
        json!({
            "file": file, "model": model, "threads": rayon::current_num_threads(),
            "rows": examples.len(), "texts": texts.len(), "samples": n_samples,
            "rendered_bytes": n_bytes, "tokens": n_tokens,
            "judging_secs": judging, "rendering_secs": rendering,
            "library_encode_batch_secs": with_offsets, "library_encode_batch_fast_secs": fast,
            "library_encode_each_secs": each,
            "prepare_secs": whole, "prepare_from_cache_secs": cached,
            "library_mb_per_sec": mb(with_offsets), "prepare_mb_per_sec": mb(whole),
        })
    );
}
