//! Answers.

use ftl_core::StopSignal;
use ftl_trainer::generate::{GenerateOptions, Prompt, Sampling, generate};
use ftl_trainer::model::open::{Start, open_decoder};

use crate::device::devices;
use crate::golden::directory;

#[test]
fn a_model_answers_in_every_type_of_numbers() {
    let Some(fixtures) = directory("FTL_FIXTURES") else { return };
    for (device, _) in devices() {
        let mut decoder =
            open_decoder(&fixtures.join("models/llama"), Start::Pretrained, device).expect("a golden model");
        let options = GenerateOptions { max_new_tokens: 3, sampling: Sampling::Greedy, stop_ids: Vec::new() };
        decoder.reserve_positions(8);
        let prompt = Prompt { ids: &[5, 6, 7, 8], index: 0 };
        let answer = generate(&decoder, prompt, &options, (&mut |_: u32| {}, &StopSignal::new()));
        let answer = answer.expect("a prompt with room for an answer");
        assert_eq!(answer.ids.len(), 3, "{} on {}", device.precision, device.name);
    }
}
