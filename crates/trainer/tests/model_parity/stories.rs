//! A trained model, stories260K, stored in f32, in bf16 and in f16 shards, with its tokenizer on real text.

use std::fs;
use std::path::{Path, PathBuf};

use ftl_trainer::data::batch::Batch;
use ftl_trainer::data::tokenize::{Around, Specials, Tokenizer};
use ftl_trainer::model::decoder::Decoder;
use serde_json::Value;

use crate::golden::{self, directory, greedy, ids, json, numbers};
use crate::outcome::{difference_of, values};

/// The golden gives six digits after the point.
const LOSS_TOLERANCE: f64 = 2e-6;
/// The golden gives five digits after the point; 1e-4 is what the random models suggest.
const LOGIT_TOLERANCE: f64 = 1e-4;

struct Form {
    name: &'static str,
    /// What rounding the weights to the form's type moves, in nats; the goldens are those of f32.
    loss_tolerance: f64,
}

const FORMS: [Form; 3] = [
    Form { name: "stories260K", loss_tolerance: LOSS_TOLERANCE },
    Form { name: "stories260K-f16-sharded", loss_tolerance: 5e-4 },
    Form { name: "stories260K-bf16", loss_tolerance: 5e-3 },
];

struct Stories {
    data: PathBuf,
    golden: Value,
}

impl Stories {
    fn find() -> Option<Self> {
        let data = directory("FTL_DATA")?;
        let golden = json(&data.join("models/stories260K/GOLDEN.json"));
        Some(Self { data, golden })
    }

    fn dir(&self, form: &Form) -> PathBuf {
        self.data.join("models").join(form.name)
    }

    fn perplexity(&self, index: usize) -> Perplexity {
        let entry = &self.golden["perplexity"][index];
        Perplexity {
            tokens: entry["tokens"].as_u64().expect("a count") as usize,
            loss: entry["loss"].as_f64().expect("a number"),
        }
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.data.join("datasets/text").join(name)).expect("the text is there")
    }
}

struct Perplexity {
    tokens: usize,
    loss: f64,
}

/// Predicted tokens, and their mean loss.
fn score(decoder: &Decoder, tokenizer: &Tokenizer, texts: &[String]) -> Perplexity {
    let (mut tokens, mut sum) = (0, 0.0);
    for text in texts {
        let mut ids = tokenizer.encode(text, Around::Specials).expect("text can be tokenized");
        ids.truncate(decoder.config.max_positions);
        let labels: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
        let mut batch = Batch::default();
        batch.push(&ids, &labels);
        let scores = decoder.score(&batch);
        tokens += scores.len();
        sum += scores.iter().map(|score| f64::from(score.nll_nats)).sum::<f64>();
    }
    Perplexity { tokens, loss: sum / tokens as f64 }
}

fn load(dir: &Path) -> (Decoder, Tokenizer) {
    (golden::decoder(dir), Tokenizer::load(dir).expect("the tokenizer loads"))
}

/// Windows of `n_chars` characters, one after the other.
fn windows(text: &str, n_chars: usize, n_windows: usize) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    chars.chunks(n_chars).take(n_windows).map(|window| window.iter().collect()).collect()
}

#[test]
fn every_form_has_the_loss_of_transformers_on_stories() {
    let Some(stories) = Stories::find() else { return };
    let text = stories.text("tinystories_v2_sample.txt");
    let texts: Vec<String> =
        text.split("<|endoftext|>").map(|story| story.trim().to_owned()).filter(|s| !s.is_empty()).collect();
    let want = stories.perplexity(0);
    for form in &FORMS {
        let (decoder, tokenizer) = load(&stories.dir(form));
        let got = score(&decoder, &tokenizer, &texts);
        println!("{}: {:.6} for {:.6}", form.name, got.loss, want.loss);
        assert_eq!(got.tokens, want.tokens);
        assert!((got.loss - want.loss).abs() < form.loss_tolerance, "{}: {}", form.name, got.loss);
        let without_one = score(&decoder, &tokenizer, &texts[1..]);
        assert!((without_one.loss - want.loss).abs() > form.loss_tolerance);
    }
}

#[test]
fn other_texts_have_the_losses_of_transformers() {
    let Some(stories) = Stories::find() else { return };
    let (decoder, tokenizer) = load(&stories.dir(&FORMS[0]));
    for (index, name, n_chars, n_windows) in
        [(1, "tinystories_train_part1.txt", 1000, 60), (3, "tinyshakespeare.txt", 600, 100)]
    {
        let texts = windows(&stories.text(name), n_chars, n_windows);
        let (got, want) = (score(&decoder, &tokenizer, &texts), stories.perplexity(index));
        println!("{name}: {:.6} for {:.6}", got.loss, want.loss);
        assert_eq!(got.tokens, want.tokens, "{name}");
        assert!((got.loss - want.loss).abs() < LOSS_TOLERANCE * want.loss, "{name}: {}", got.loss);
    }
}

#[test]
fn every_form_tells_the_story_of_transformers() {
    let Some(stories) = Stories::find() else { return };
    let want = ids(&stories.golden["greedy_from_bos_ids"]);
    let text = stories.golden["greedy_from_bos_text"].as_str().expect("a text");
    let prompted = ids(&stories.golden["prompt_greedy_ids"]);
    let prompt = ids(&stories.golden["prompt_ids"]);
    for form in &FORMS {
        let (decoder, tokenizer) = load(&stories.dir(form));
        let said = [want[..1].to_vec(), greedy(&decoder, &want[..1], want.len() - 1)].concat();
        let same = said.iter().zip(&want).take_while(|(said, want)| said == want).count();
        println!("{}: {same} of {} tokens", form.name, want.len());
        // Rounded weights may choose another word where two were close; until then the story is the same.
        if form.loss_tolerance == LOSS_TOLERANCE {
            assert_eq!(said, want);
            assert_eq!(tokenizer.decode(&said, Specials::Hidden).expect("ids are in the vocabulary"), text);
            let rest = greedy(&decoder, &prompt, prompted.len() - prompt.len());
            assert_eq!([prompt.clone(), rest].concat(), prompted);
        } else {
            assert!(same > want.len() / 4, "{}: {same}", form.name);
        }
        assert_ne!(greedy(&decoder, &[want[1]], 20), want[1..21]);
    }
}

#[test]
fn logits_after_a_prompt_are_those_of_transformers() {
    let Some(stories) = Stories::find() else { return };
    let (decoder, tokenizer) = load(&stories.dir(&FORMS[0]));
    let prompt = stories.golden["logit_check_prompt"].as_str().expect("a text");
    let prompt = tokenizer.encode(prompt, Around::Specials).expect("text can be tokenized");
    assert_eq!(prompt, ids(&stories.golden["logit_check_ids"]));
    let logits = values(&decoder.next_logits(&prompt, &mut decoder.cache()));
    let first = numbers(&stories.golden["last_position_logits_first8"]);
    assert!(difference_of(&logits[..8], &first) < LOGIT_TOLERANCE);
    assert!(difference_of(&logits[1..9], &first) > LOGIT_TOLERANCE);
    for pair in stories.golden["last_position_top5"].as_array().expect("a list") {
        let pair = numbers(pair);
        assert!((logits[pair[0] as usize] - pair[1]).abs() < LOGIT_TOLERANCE * pair[1]);
    }
}
