//! Specs to start from. Each passes [`JobSpec::check`] once a model and data are named.

use ftl_core::config::Preset;
use ftl_core::spec::resolved::{Checkpointing, ExcessLength, Warmup};
use ftl_core::spec::{
    AdapterKind, AdapterSpec, DataSpec, EvalSpec, JobSpec, LrSchedulerType, MethodKind, MethodSpec,
    QuantizationKind, QuantizationSpec, TrainSpec,
};

/// Share of the data that is held out: enough for a loss that says something, little enough not to be missed.
const EVAL_FRACTION: f64 = 0.05;
/// Share of all steps in which the rate rises, as in most published recipes.
const WARMUP: Warmup = Warmup::Fraction(0.03);

/// All presets, the most useful first.
pub fn presets() -> Vec<Preset> {
    vec![
        preset("lora", "the place to start: a low-rank adapter on all linears, a twentieth held out", lora()),
        preset(
            "qlora",
            "`lora` beside a model in 4 bits: for models whose weights are most of the memory",
            qlora(),
        ),
        preset(
            "lora-quick",
            "see in minutes whether model and data work: a small adapter, 60 steps, short samples",
            lora_quick(),
        ),
        preset(
            "lora-thorough",
            "for much data, or when `lora` learns too little: four times the rank, a lower rate, dropout",
            lora_thorough(),
        ),
        preset(
            "lora-low-memory",
            "when `lora` does not fit: one sample at a time, activations computed again, the same effective batch",
            lora_low_memory(),
        ),
        preset(
            "full",
            "all weights train: for small models and much data; takes some four times the memory of the model",
            full(),
        ),
        preset(
            "dpo",
            "learn from pairs which of two answers is better, after `lora` or another tuning",
            dpo(),
        ),
        preset(
            "continued-pretraining",
            "teach a language or field from plain text: every token counts, long texts are split",
            continued_pretraining(),
        ),
    ]
}

fn preset(name: &str, description: &str, spec: JobSpec) -> Preset {
    Preset { name: name.to_owned(), description: description.to_owned(), spec }
}

fn lora() -> JobSpec {
    JobSpec {
        data: DataSpec {
            eval: Some(EvalSpec { fraction: Some(EVAL_FRACTION), path: None }),
            ..DataSpec::default()
        },
        method: MethodSpec { kind: Some(MethodKind::Sft), ..MethodSpec::default() },
        adapter: adapter(16, 32.0),
        train: TrainSpec {
            num_train_epochs: Some(3.0),
            per_device_train_batch_size: Some(4),
            gradient_accumulation_steps: Some(4),
            learning_rate: Some(2e-4),
            lr_scheduler_type: Some(LrSchedulerType::Cosine),
            warmup_steps: Some(WARMUP),
            ..TrainSpec::default()
        },
        ..JobSpec::default()
    }
}

fn qlora() -> JobSpec {
    let quantization = QuantizationSpec { kind: Some(QuantizationKind::Nf4), ..QuantizationSpec::default() };
    JobSpec { quantization, ..lora() }
}

fn dpo() -> JobSpec {
    let base = lora();
    JobSpec {
        method: MethodSpec { kind: Some(MethodKind::Dpo), ..MethodSpec::default() },
        train: TrainSpec { num_train_epochs: Some(1.0), learning_rate: Some(5e-6), ..base.train },
        ..base
    }
}

fn lora_quick() -> JobSpec {
    let base = lora();
    JobSpec {
        data: DataSpec {
            eval: None,
            max_length: Some(512),
            excess_length_strategy: Some(ExcessLength::Truncate),
            ..base.data
        },
        adapter: adapter(8, 16.0),
        train: TrainSpec {
            num_train_epochs: None,
            max_steps: Some(60),
            gradient_accumulation_steps: Some(1),
            warmup_steps: Some(Warmup::Steps(5)),
            ..base.train
        },
        ..base
    }
}

fn lora_thorough() -> JobSpec {
    let base = lora();
    JobSpec {
        adapter: AdapterSpec { lora_dropout: Some(0.05), ..adapter(64, 128.0) },
        train: TrainSpec { learning_rate: Some(1e-4), ..base.train },
        ..base
    }
}

fn lora_low_memory() -> JobSpec {
    let base = lora();
    JobSpec {
        train: TrainSpec {
            per_device_train_batch_size: Some(1),
            gradient_accumulation_steps: Some(16),
            gradient_checkpointing: Some(Checkpointing::Block),
            ..base.train
        },
        ..base
    }
}

fn full() -> JobSpec {
    let base = lora();
    JobSpec {
        adapter: AdapterSpec { kind: Some(AdapterKind::None), ..AdapterSpec::default() },
        train: TrainSpec {
            learning_rate: Some(2e-5),
            per_device_train_batch_size: Some(1),
            gradient_accumulation_steps: Some(16),
            gradient_checkpointing: Some(Checkpointing::Block),
            ..base.train
        },
        ..base
    }
}

fn continued_pretraining() -> JobSpec {
    let base = lora();
    JobSpec {
        data: DataSpec { excess_length_strategy: Some(ExcessLength::Split), ..base.data },
        method: MethodSpec { kind: Some(MethodKind::Cpt), ..MethodSpec::default() },
        adapter: adapter(64, 128.0),
        train: TrainSpec { num_train_epochs: Some(1.0), learning_rate: Some(1e-4), ..base.train },
        ..base
    }
}

fn adapter(r: u64, lora_alpha: f64) -> AdapterSpec {
    AdapterSpec {
        kind: Some(AdapterKind::Lora),
        r: Some(r),
        lora_alpha: Some(lora_alpha),
        ..AdapterSpec::default()
    }
}
