//! What the models of jobs answered to held-out prompts.

use ftl_core::event::Sampled;
use ftl_core::job::Prediction;

use super::time::{timestamp, unix_ms};
use super::{WireError, v1};

impl From<Prediction> for v1::Prediction {
    fn from(prediction: Prediction) -> Self {
        let Prediction { seq, attempt, time_unix_ms, sampled } = prediction;
        let Sampled { step, prompt, text, reference } = sampled;
        Self { seq, attempt, time: Some(timestamp(time_unix_ms)), step, prompt, text, reference }
    }
}

impl TryFrom<v1::Prediction> for Prediction {
    type Error = WireError;

    fn try_from(prediction: v1::Prediction) -> Result<Self, WireError> {
        let v1::Prediction { seq, attempt, time, step, prompt, text, reference } = prediction;
        Ok(Self {
            seq,
            attempt,
            time_unix_ms: unix_ms("Prediction", "time", time)?,
            sampled: Sampled { step, prompt, text, reference },
        })
    }
}
