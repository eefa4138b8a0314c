use ftl_core::ProblemKind::{self, InvalidValue, MissingKey};
use ftl_core::spec::{Field, JobSpec};
use serde_json::{Value, json};

use super::{lines, patched};

/// Checks `patch` on the minimal spec and compares the only problem.
fn refused(patch: Value, kind: ProblemKind, expected: &str) {
    let problems = patched(&patch).check().expect_err(&format!("{patch} should be refused"));
    assert_eq!(lines(&problems), [expected], "{patch}");
    assert_eq!(problems[0].kind, kind, "{patch}");
}

#[test]
fn required_keys_are_asked_for_all_at_once() {
    let problems = JobSpec::default().check().expect_err("an empty spec");
    assert_eq!(
        lines(&problems),
        [
            "model.path: this key must be given; give a Hugging Face model directory, as in \
             `path = \"models/Qwen3-0.6B\"`",
            "data.train: this key must be given; name at least one file, as in `train = [\"data/train.jsonl\"]`",
            "method.kind: this key must be given; choose `sft` to learn answers, `cpt` to learn plain text, `dpo` or \
             `orpo` to learn from preferences",
            "adapter.kind: this key must be given; choose `lora`, or `none` for full fine-tuning",
        ]
    );
    assert!(problems.iter().all(|problem| problem.kind == MissingKey));
    let empty_list = "data.train: this key must be given; name at least one file, as in \
                      `train = [\"data/train.jsonl\"]`";
    refused(json!({ "data": { "train": [] } }), MissingKey, empty_list);
}

#[test]
fn columns_hold_one_thing_each_that_the_format_has_a_place_for() {
    for (data, expected) in [
        (
            json!({ "columns": { "output": " " } }),
            "data.columns.output: the name of the column is empty; give its name, or drop the key",
        ),
        (
            json!({ "columns": { "instruction": "q", "output": "q" } }),
            "data.columns.output: the column `q` is `instruction` already; drop one of the two",
        ),
        (
            json!({ "format": "text", "train": [{ "path": "/a", "columns": { "output": "q" } }] }),
            "data.train[0].columns.output: this key has no effect with `data.format` = `text`; drop it",
        ),
    ] {
        refused(json!({ "data": data }), InvalidValue, expected);
    }
    let fine = json!({ "data": { "columns": { "instruction": "data.prompt", "output": "b" } } });
    let checked = patched(&fine).check().expect("columns");
    assert_eq!(checked.data.columns.get(Field::Instruction), Some("data.prompt"));
}

#[test]
fn a_field_that_no_format_has_is_refused_with_the_nearest() {
    let problems =
        JobSpec::from_value(json!({ "data": { "columns": { "instuction": "q", "outptu": "r" } } }))
            .expect_err("unknown fields");
    assert_eq!(
        lines(&problems),
        [
            "data.columns.instuction: unknown key; did you mean `instruction`?",
            "data.columns.outptu: unknown key; did you mean `output`?",
        ]
    );
}

#[test]
fn functions_that_are_not_there_may_be_turned_off() {
    let off = json!({
        "model": { "dtype": "f32" },
        "data": { "train": [{ "path": "/a", "weight": 1 }], "packing": false },
        "method": { "label_smoothing": 0 },
        "adapter": {
            "use_rslora": false, "use_dora": false, "rank_pattern": {}, "alpha_pattern": {}, "modules_to_save": []
        },
        "quantization": { "kind": "none", "double_quant": false },
        "train": {
            "optim": "adamw", "neftune_noise_alpha": 0, "load_best_model_at_end": false, "early_stopping_patience": 0,
            "eval_steps": 0,
        },
        "predictions": { "count": 0 },
    });
    patched(&off).check().expect("off asks for nothing");
}

#[test]
fn values_out_of_range_are_refused() {
    let cases = [
        (json!({ "name": " " }), "name: the name is empty; give a name, or drop the key to have one made"),
        (json!({ "name": "x".repeat(101) }), "name: the name has 101 characters, at most 100; shorten it"),
        (
            json!({ "name": "a\nb" }),
            "name: the name holds a line break or another control character; keep it to one line",
        ),
        (json!({ "model": { "path": "" } }), "model.path: the path is empty; give a path, or drop the key"),
        (
            json!({ "data": { "train": ["/a", ""] } }),
            "data.train[1].path: the path is empty; give a path, or drop the key",
        ),
        (
            json!({ "data": { "train": [{ "path": "/a", "max_samples": 0 }] } }),
            "data.train[0].max_samples: 0 is out of range, expected 1 to 1099511627776; drop the key to read all",
        ),
        (
            json!({ "data": { "max_samples": 0 } }),
            "data.max_samples: 0 is out of range, expected 1 to 1099511627776; drop the key to read all",
        ),
        (
            json!({ "data": { "max_length": 1 } }),
            "data.max_length: 1 is out of range, expected 2 to 16777216; drop the key to take the model's context",
        ),
        (
            json!({ "data": { "eval": { "fraction": 1 } } }),
            "data.eval.fraction: 1 is out of range, expected more than 0 and less than 1; 0.05 holds out a twentieth",
        ),
        (
            json!({ "adapter": { "r": 0 } }),
            "adapter.r: 0 is out of range, expected 1 to 65536; 8 to 64 is usual",
        ),
        (
            json!({ "adapter": { "lora_alpha": 0 } }),
            "adapter.lora_alpha: 0 is out of range, expected more than 0; twice `adapter.r` is usual",
        ),
        (
            json!({ "adapter": { "lora_dropout": 1 } }),
            "adapter.lora_dropout: 1 is out of range, expected at least 0 and less than 1; 0 turns it off, 0.05 is usual",
        ),
        (
            json!({ "adapter": { "target_modules": [] } }),
            "adapter.target_modules: the list is empty, so that nothing would be trained; name modules such as `q_proj`, or give \"all-linear\"",
        ),
        (
            json!({ "adapter": { "target_modules": "" } }),
            "adapter.target_modules: a name in the list is empty; name modules such as `q_proj`, or give \"all-linear\"",
        ),
        (
            json!({ "adapter": { "target_modules": ["all-linear"] } }),
            "adapter.target_modules: `all-linear` stands in a list of names; give it alone, without a list",
        ),
        (
            json!({ "adapter": { "target_modules": ["q", "q"] } }),
            "adapter.target_modules: `q` is given twice; drop one of the two",
        ),
        (
            json!({ "adapter": { "init_from": "" } }),
            "adapter.init_from: the path is empty; give a path, or drop the key",
        ),
        (
            json!({ "adapter": { "rank_pattern": { "q_proj": 0 } } }),
            "adapter.rank_pattern.q_proj: 0 is out of range, expected 1 to 65536; 8 to 64 is usual",
        ),
        (
            json!({ "adapter": { "rank_pattern": { " ": 4 } } }),
            "adapter.rank_pattern: a name is empty; name modules such as `q_proj` or `layers.0.self_attn.q_proj`",
        ),
        (
            json!({ "adapter": { "alpha_pattern": { "v_proj": -1 } } }),
            "adapter.alpha_pattern.v_proj: -1 is out of range, expected more than 0; twice `adapter.r` is usual",
        ),
        (
            json!({ "adapter": { "layers_to_transform": [] } }),
            "adapter.layers_to_transform: the list is empty, so that no layer would get an adapter; name layers by index, counted from 0, or drop the key to adapt all",
        ),
        (
            json!({ "adapter": { "layers_to_transform": [1, 0, 1] } }),
            "adapter.layers_to_transform: layer 1 is given twice; drop one of the two",
        ),
        (
            json!({ "adapter": { "modules_to_save": [""] } }),
            "adapter.modules_to_save: a name in the list is empty; name modules such as `lm_head`",
        ),
        (
            json!({ "adapter": { "modules_to_save": ["norm", "norm"] } }),
            "adapter.modules_to_save: `norm` is given twice; drop one of the two",
        ),
        (
            json!({ "adapter": { "target_modules": ["q_proj", "lm_head"], "modules_to_save": ["lm_head"] } }),
            "adapter.modules_to_save: `lm_head` stands in `adapter.target_modules` too; train it in full or give it an adapter, not both",
        ),
        (
            json!({ "train": { "num_train_epochs": 0 } }),
            "train.num_train_epochs: 0 is out of range, expected more than 0 and at most 1000000; 3 is usual, 0.5 is half the data",
        ),
        (
            json!({ "train": { "max_steps": 0 } }),
            "train.max_steps: 0 is out of range, expected 1 to 1099511627776; drop the key to go by epochs",
        ),
        (
            json!({ "train": { "per_device_train_batch_size": 0 } }),
            "train.per_device_train_batch_size: 0 is out of range, expected 1 to 1048576; 1 takes the least memory",
        ),
        (
            json!({ "train": { "gradient_accumulation_steps": 0 } }),
            "train.gradient_accumulation_steps: 0 is out of range, expected 1 to 1048576; 1 updates after each microbatch",
        ),
        (
            json!({ "train": { "learning_rate": -1e-4, "lr_scheduler_type": "polynomial" } }),
            "train.learning_rate: -0.0001 is out of range, expected more than 0 and at most 1; 1e-5 to 5e-4 is usual",
        ),
        (
            json!({ "train": { "learning_rate": 1e300 } }),
            "train.learning_rate: 1e300 is out of range, expected more than 0 and at most 1; 1e-5 to 5e-4 is usual",
        ),
        (
            json!({ "train": { "warmup_steps": -1 } }),
            "train.warmup_steps: -1 is out of range, expected at least 0 and at most 1099511627776; give a whole number of steps, or a share of all steps below 1",
        ),
        (
            json!({ "train": { "warmup_steps": 1.5 } }),
            "train.warmup_steps: 1.5 is neither a number of steps nor a share of all steps; give a whole number of steps, or a share of all steps below 1",
        ),
        (
            json!({ "train": { "warmup_steps": 1e300 } }),
            "train.warmup_steps: 1e300 is out of range, expected at least 0 and at most 1099511627776; give a whole number of steps, or a share of all steps below 1",
        ),
        (
            json!({ "train": { "adam_beta1": 1 } }),
            "train.adam_beta1: 1 is out of range, expected at least 0 and less than 1; 0.9 is usual",
        ),
        (
            json!({ "train": { "adam_beta2": -0.1 } }),
            "train.adam_beta2: -0.1 is out of range, expected at least 0 and less than 1; 0.999 is usual",
        ),
        (
            json!({ "train": { "adam_epsilon": 0 } }),
            "train.adam_epsilon: 0 is out of range, expected more than 0; 1e-8 is usual",
        ),
        (
            json!({ "train": { "neftune_noise_alpha": -1 } }),
            "train.neftune_noise_alpha: -1 is out of range, expected at least 0; 5 to 15 are usual, 0 means no noise",
        ),
        (
            json!({ "train": { "weight_decay": -1 } }),
            "train.weight_decay: -1 is out of range, expected at least 0; 0 turns it off",
        ),
        (
            json!({ "train": { "max_grad_norm": -1 } }),
            "train.max_grad_norm: -1 is out of range, expected at least 0; 1 is usual, 0 turns clipping off",
        ),
        (
            json!({ "train": { "seed": u64::MAX } }),
            "train.seed: 18446744073709551615 is out of range, expected 0 to 9223372036854775807; any smaller one will do",
        ),
        (
            json!({ "train": { "save_steps": u64::MAX } }),
            "train.save_steps: 18446744073709551615 is out of range, expected 0 to 1099511627776; 0 means never",
        ),
        (
            json!({ "train": { "save_total_limit": 0 } }),
            "train.save_total_limit: 0 is out of range, expected 1 to 1099511627776; 1 keeps only the last and the best; `train.save_steps` = 0 writes none",
        ),
        (
            json!({ "device": { "kind": "gpu" } }),
            "device.kind: `gpu` is not a device; use `auto`, `cpu`, `cuda`, `vulkan` or, for the second GPU, `cuda:1`",
        ),
    ];
    for (patch, expected) in cases {
        refused(patch, InvalidValue, expected);
    }
}

#[test]
fn options_that_the_schedule_does_not_have_are_refused() {
    let schedule = |kind: &str, kwargs: Value| json!({ "train": { "lr_scheduler_type": kind, "lr_scheduler_kwargs": kwargs, "max_steps": 100 } });
    let cases = [
        (
            schedule("linear", json!({ "power": 2 })),
            InvalidValue,
            "power: the schedule `linear` has no option `power`; it takes no options",
        ),
        (
            schedule("constant", json!({ "num_cycles": 2 })),
            InvalidValue,
            "num_cycles: the schedule `constant` has no option `num_cycles`; it takes no options",
        ),
        (
            schedule("cosine", json!({ "min_lr_rate": 0.1 })),
            InvalidValue,
            "min_lr_rate: the schedule `cosine` has no option `min_lr_rate`; it has: num_cycles",
        ),
        (
            schedule("polynomial", json!({ "timescale": 3 })),
            InvalidValue,
            "timescale: the schedule `polynomial` has no option `timescale`; it has: power, lr_end",
        ),
        (
            schedule("cosine", json!({ "num_cycles": 0 })),
            InvalidValue,
            "num_cycles: 0 is out of range, expected more than 0; 0.5 falls once",
        ),
        (
            schedule("cosine_with_restarts", json!({ "num_cycles": 1.5 })),
            InvalidValue,
            "num_cycles: 1.5 is not a whole number of restarts; 1 falls once",
        ),
        (
            schedule("cosine_with_restarts", json!({ "num_cycles": 0.5 })),
            InvalidValue,
            "num_cycles: 0.5 is out of range, expected at least 1 and at most 1099511627776; 1 falls once",
        ),
        (
            schedule("cosine_with_min_lr", json!({})),
            MissingKey,
            "min_lr_rate: this key must be given; `cosine_with_min_lr` needs its floor, as in `min_lr_rate = 0.1`",
        ),
        (
            schedule("cosine_with_min_lr", json!({ "min_lr": 1e-5, "min_lr_rate": 0.1 })),
            InvalidValue,
            "min_lr_rate: both `min_lr` and `min_lr_rate` are given, expected one of them; drop one of them",
        ),
        (
            schedule("cosine_with_min_lr", json!({ "min_lr": 1 })),
            InvalidValue,
            "min_lr: 1 is out of range, expected at least 0 and at most 0.0002; the floor is at most `train.learning_rate`",
        ),
        (
            schedule("cosine_with_min_lr", json!({ "min_lr_rate": 2 })),
            InvalidValue,
            "min_lr_rate: 2 is out of range, expected at least 0 and at most 1; 0.1 ends at a tenth of the peak",
        ),
        (
            schedule("polynomial", json!({ "lr_end": 1e-3 })),
            InvalidValue,
            "lr_end: 0.001 is out of range, expected at least 0 and less than 0.0002; the floor must be below `train.learning_rate`",
        ),
        (
            schedule("polynomial", json!({ "power": 0 })),
            InvalidValue,
            "power: 0 is out of range, expected more than 0; 1 is a line",
        ),
        (
            schedule("inverse_sqrt", json!({ "timescale": 0 })),
            InvalidValue,
            "timescale: 0 is out of range, expected 1 to 1099511627776; drop it to take the warm-up's length",
        ),
        (
            schedule("wsd", json!({})),
            MissingKey,
            "num_decay_steps: this key must be given; `wsd` needs the length of its decay, as in `num_decay_steps = 100`",
        ),
        (
            schedule("wsd", json!({ "num_decay_steps": 101 })),
            InvalidValue,
            "num_decay_steps: the decay of 101 steps is longer than the run of 100; shorten the decay, or raise `train.max_steps`",
        ),
        (
            schedule("wsd", json!({ "num_decay_steps": 9, "min_lr_ratio": 2 })),
            InvalidValue,
            "min_lr_ratio: 2 is out of range, expected at least 0 and at most 1; 0 falls to 0",
        ),
    ];
    for (patch, kind, expected) in cases {
        refused(patch, kind, &format!("train.lr_scheduler_kwargs.{expected}"));
    }
}

#[test]
fn preference_methods_refuse_what_pairs_can_not_be() {
    let dpo = |method: Value, data: Value| {
        let mut spec = json!({ "method": { "kind": "dpo" }, "data": data });
        method.as_object().expect("keys").iter().for_each(|(key, value)| spec["method"][key] = value.clone());
        spec
    };
    let cases = [
        (
            dpo(json!({ "beta": 0 }), json!({})),
            "method.beta: 0 is out of range, expected more than 0; 0.1 is usual",
        ),
        (
            dpo(json!({ "loss_type": "cdpo", "label_smoothing": 0.5 }), json!({})),
            "method.label_smoothing: 0.5 is out of range, expected at least 0 and less than 0.5; 0.1 is usual",
        ),
        (
            dpo(json!({ "loss_type": "sigmoid", "label_smoothing": 0.1 }), json!({})),
            "method.label_smoothing: this key has no effect with anything but `method.loss_type` = `cdpo`; drop it",
        ),
        (
            dpo(json!({ "kind": "orpo", "loss_type": "ipo" }), json!({})),
            "method.loss_type: this key has no effect with `method.kind` = `orpo`; drop it",
        ),
        (
            dpo(json!({}), json!({ "format": "messages" })),
            "data.format: `dpo` learns from pairs, which the format `messages` does not have; set it to `preference`, \
             or drop the key",
        ),
        (
            dpo(json!({}), json!({ "excess_length_strategy": "split" })),
            "data.excess_length_strategy: a pair can't be split: its two answers are compared as wholes; choose drop or \
             truncate",
        ),
        (
            dpo(json!({ "kind": "orpo" }), json!({ "assistant_only_loss": false })),
            "data.assistant_only_loss: `orpo` compares answers, not prompts; drop the key",
        ),
        (
            json!({ "data": { "format": "preference" } }),
            "data.format: pairs of a chosen and a rejected answer are learned by `dpo` and `orpo` only; set \
             `method.kind` to one of them, or give data of single answers",
        ),
    ];
    for (patch, expected) in cases {
        refused(patch, InvalidValue, expected);
    }
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    let with_none = |key: &str, value: Value| json!({ "adapter": { "kind": "none", key: value } });
    let cases = [
        (
            json!({ "method": { "beta": 0.1 } }),
            "method.beta: this key has no effect with `method.kind` = `sft`; drop it",
        ),
        (
            json!({ "method": { "loss_type": "ipo" } }),
            "method.loss_type: this key has no effect with `method.kind` = `sft`; drop it",
        ),
        (
            json!({ "method": { "label_smoothing": 0.1 } }),
            "method.label_smoothing: this key has no effect with anything but `method.loss_type` = `cdpo`; drop it",
        ),
        (with_none("r", json!(8)), "adapter.r: this key has no effect with `adapter.kind` = `none`; drop it"),
        (
            with_none("lora_alpha", json!(8)),
            "adapter.lora_alpha: this key has no effect with `adapter.kind` = `none`; drop it",
        ),
        (
            with_none("lora_dropout", json!(0)),
            "adapter.lora_dropout: this key has no effect with `adapter.kind` = `none`; drop it",
        ),
        (
            with_none("target_modules", json!("all-linear")),
            "adapter.target_modules: this key has no effect with `adapter.kind` = `none`; drop it",
        ),
        (
            with_none("init_from", json!("/a")),
            "adapter.init_from: this key has no effect with `adapter.kind` = `none`; drop it",
        ),
        (
            json!({ "quantization": { "double_quant": true } }),
            "quantization.double_quant: this key has no effect with `quantization.kind` = `none`; drop it",
        ),
        (
            json!({ "predictions": { "count": 0, "every_steps": 5 } }),
            "predictions.every_steps: this key has no effect with `predictions.count` = 0; drop it",
        ),
        (
            json!({ "predictions": {} }),
            "predictions: nothing is held out whose prompts could be answered; set `data.eval`, or drop the section",
        ),
        (
            json!({ "data": { "eval": { "fraction": 0.1 } }, "predictions": { "every_steps": 0 } }),
            "predictions.every_steps: 0 is out of range, expected 1 to 1099511627776; drop the key to answer at every evaluation",
        ),
        (
            json!({ "data": { "eval": { "fraction": 0.1 } }, "predictions": { "count": 1001 } }),
            "predictions.count: 1001 is out of range, expected 0 to 1000; 5 show what changes",
        ),
        (
            json!({ "data": { "eval": { "fraction": 0.1 } }, "predictions": { "max_new_tokens": 0 } }),
            "predictions.max_new_tokens: 0 is out of range, expected 1 to 16777216; 256 are usual",
        ),
        (
            json!({ "train": { "eval_steps": 5 } }),
            "train.eval_steps: nothing is held out to be scored every 5 steps; set `data.eval`, or drop the key",
        ),
        (
            json!({ "train": { "group_by_length": true }, "data": { "packing": true } }),
            "train.group_by_length: this key has no effect with `data.packing`, whose rows are all about as long; drop it",
        ),
        (
            json!({ "train": { "group_by_length": true }, "data": { "shuffle": false } }),
            "train.group_by_length: samples can't be grouped by length and stay in the order of the files (`data.shuffle` = false); drop one of the two",
        ),
        (
            json!({ "train": { "load_best_model_at_end": true } }),
            "train.load_best_model_at_end: nothing is held out whose loss would say which weights are better; set `data.eval`, or drop the key",
        ),
        (
            json!({ "train": { "early_stopping_patience": 3 } }),
            "train.early_stopping_patience: nothing is held out whose loss would say which weights are better; set `data.eval`, or drop the key",
        ),
        (
            json!({ "data": { "eval": { "fraction": 0.1 } }, "train": { "early_stopping_patience": 3, "eval_steps": 0 } }),
            "train.early_stopping_patience: the held-out data is never scored (`train.eval_steps` = 0); drop one of the two",
        ),
        (
            json!({ "data": { "eval": { "fraction": 0.1 } }, "train": { "load_best_model_at_end": true, "eval_steps": 0 } }),
            "train.load_best_model_at_end: the held-out data is never scored (`train.eval_steps` = 0); drop one of the two",
        ),
        (
            json!({ "train": { "lr_scheduler_type": "constant", "warmup_steps": 5 } }),
            "train.warmup_steps: the schedule `constant` has no warm-up; set `train.lr_scheduler_type` to `constant_with_warmup`, or drop the key",
        ),
        (
            json!({ "data": { "eval": {} } }),
            "data.eval: neither `fraction` nor `path` is given, expected one of them; give `{ fraction = 0.05 }` or `{ path = \"data/eval.jsonl\" }`, or drop `eval`",
        ),
        (
            json!({ "data": { "eval": { "fraction": 0.1, "path": "/e" } } }),
            "data.eval: both `fraction` and `path` are given, expected one of them; give `{ fraction = 0.05 }` or `{ path = \"data/eval.jsonl\" }`, or drop `eval`",
        ),
        (
            json!({ "data": { "eval": { "path": "/data/train.jsonl" } } }),
            "data.eval.path: `/data/train.jsonl` is trained on too, so that its loss would say nothing; name another file, or hold out a `fraction`",
        ),
        (
            json!({ "method": { "kind": "cpt" }, "data": { "assistant_only_loss": true } }),
            "data.assistant_only_loss: continued pre-training counts every token, there is no assistant in its text; drop the key, or set `method.kind` to `sft`",
        ),
        (
            json!({ "data": { "format": "text", "chat_template": "/t" } }),
            "data.chat_template: this key has no effect with `data.format` = `text`; drop it",
        ),
        (
            json!({ "data": { "format": "tokens", "chat_template": "/t" } }),
            "data.chat_template: this key has no effect with `data.format` = `tokens`; drop it",
        ),
    ];
    for (patch, expected) in cases {
        refused(patch, InvalidValue, expected);
    }
    let packed = patched(&json!({ "method": { "kind": "dpo" }, "data": { "packing": true } })).check();
    assert!(lines(&packed.expect_err("packed pairs")).contains(
        &"data.packing: `dpo` compares pairs of answers, which rows of packed samples do not keep together; drop it"
            .to_owned()
    ));
    let quantized =
        patched(&json!({ "adapter": { "kind": "none" }, "quantization": { "kind": "nf4" } })).check();
    assert!(lines(&quantized.expect_err("full fine-tuning of nf4")).contains(
        &"quantization.kind: quantized weights can't be trained, and `adapter.kind` = `none` trains all of them; set \
          `adapter.kind` to `lora`, or drop `quantization`"
            .to_owned()
    ));
}

#[test]
fn all_problems_are_told_at_once() {
    let patch = json!({
        "model": { "path": null },
        "data": { "max_length": 0 },
        "adapter": { "r": 0, "layers_to_transform": [] },
        "train": { "learning_rate": 7, "eval_steps": 3, "save_total_limit": 0 },
        "device": { "kind": "tpu" },
    });
    let problems = patched(&patch).check().expect_err("many problems");
    let mut fields: Vec<_> = problems.iter().filter_map(|problem| problem.field.as_deref()).collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "adapter.layers_to_transform",
            "adapter.r",
            "data.max_length",
            "device.kind",
            "model.path",
            "train.eval_steps",
            "train.learning_rate",
            "train.save_total_limit",
        ]
    );
}

#[test]
fn numbers_that_are_none_are_refused_in_a_spec_made_by_a_program() {
    for value in [f64::NAN, f64::INFINITY] {
        let mut spec = patched(&json!({}));
        spec.train.learning_rate = Some(value);
        spec.train.weight_decay = Some(value);
        spec.train.num_train_epochs = Some(value);
        spec.train.warmup_steps = Some(ftl_core::spec::resolved::Warmup::Fraction(value));
        spec.adapter.lora_alpha = Some(value);
        assert_eq!(spec.check().expect_err("no numbers").len(), 5, "{value}");
    }
}
