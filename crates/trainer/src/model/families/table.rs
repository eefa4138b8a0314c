//! The table of families, one row each. Values are those of transformers 5.23, `configuration_<family>.py` and
//! `modeling_<family>.py`.

use super::{
    ActivationRule, BiasRule, BiasRules, BlockNorms, Defaults, EmbeddingScale, Family, Gelu, LayerLinear,
    QkNorms, Rotary, ScoreScale, Softcap, Windows,
};
use crate::model::config::Head;
use crate::ops::gated_mlp::Activation;
use crate::ops::norm::NormWeight;

/// Every family, in the order in which they are listed to the user.
pub static FAMILIES: &[Family] =
    &[LLAMA, MISTRAL, QWEN2, QWEN3, GEMMA, GEMMA2, GEMMA3_TEXT, PHI3, SMOLLM3, OLMO2];

const LLAMA: Family = Family {
    model_type: "llama",
    architecture: "LlamaForCausalLM",
    linears: &[
        LayerLinear::Q,
        LayerLinear::K,
        LayerLinear::V,
        LayerLinear::O,
        LayerLinear::Gate,
        LayerLinear::Up,
        LayerLinear::Down,
    ],
    norms: BlockNorms {
        before_attention: Some("input_layernorm"),
        after_attention: None,
        before_mlp: Some("post_attention_layernorm"),
        after_mlp: None,
    },
    norm_weight: NormWeight::Factor,
    qk_norm: QkNorms::Absent,
    biases: BiasRules {
        qkv: BiasRule::Key("attention_bias"),
        o: BiasRule::Key("attention_bias"),
        mlp: BiasRule::Key("mlp_bias"),
    },
    activation: ActivationRule { key: "hidden_act", default: Activation::Silu, gelu: Gelu::Exact },
    embedding_scale: EmbeddingScale::One,
    windows: Windows::Never,
    rotary: Rotary::Whole,
    score_scale: ScoreScale::HeadDim,
    attention_softcap: Softcap::Never,
    final_softcap: Softcap::Never,
    defaults: Defaults {
        vocab_size: 32_000,
        hidden_size: 4096,
        intermediate_size: 11_008,
        n_layers: 32,
        n_heads: 32,
        n_kv_heads: None,
        head_dim: None,
        max_positions: 2048,
        original_max_positions: None,
        sliding_window: None,
        rms_norm_eps: 1e-6,
        rope_theta: 10_000.0,
        initializer_range: 0.02,
        head: Head::Separate,
        bos_token_id: Some(1),
        eos_token_id: Some(2),
        pad_token_id: None,
    },
};

const MISTRAL: Family = Family {
    model_type: "mistral",
    architecture: "MistralForCausalLM",
    biases: BiasRules { qkv: BiasRule::Never, o: BiasRule::Never, mlp: BiasRule::Never },
    windows: Windows::Always,
    defaults: Defaults {
        intermediate_size: 14_336,
        n_kv_heads: Some(8),
        max_positions: 131_072,
        sliding_window: Some(4096),
        ..LLAMA.defaults
    },
    ..LLAMA
};

const QWEN2: Family = Family {
    model_type: "qwen2",
    architecture: "Qwen2ForCausalLM",
    biases: BiasRules { qkv: BiasRule::Always, o: BiasRule::Never, mlp: BiasRule::Never },
    windows: Windows::FromLayer { default: 28 },
    defaults: Defaults {
        vocab_size: 151_936,
        intermediate_size: 22_016,
        n_kv_heads: Some(32),
        max_positions: 32_768,
        sliding_window: Some(4096),
        bos_token_id: None,
        eos_token_id: None,
        ..LLAMA.defaults
    },
    ..LLAMA
};

const QWEN3: Family = Family {
    model_type: "qwen3",
    architecture: "Qwen3ForCausalLM",
    qk_norm: QkNorms::PerHead,
    biases: BiasRules { mlp: BiasRule::Never, ..LLAMA.biases },
    defaults: Defaults { head_dim: Some(128), ..QWEN2.defaults },
    ..QWEN2
};

const GEMMA: Family = Family {
    model_type: "gemma",
    architecture: "GemmaForCausalLM",
    norm_weight: NormWeight::OnePlus,
    biases: BiasRules { mlp: BiasRule::Never, ..LLAMA.biases },
    activation: ActivationRule { key: "hidden_act", default: Activation::GeluTanh, gelu: Gelu::Tanh },
    embedding_scale: EmbeddingScale::SqrtHidden,
    defaults: Defaults {
        vocab_size: 256_000,
        hidden_size: 3072,
        intermediate_size: 24_576,
        n_layers: 28,
        n_heads: 16,
        n_kv_heads: Some(16),
        head_dim: Some(256),
        max_positions: 8192,
        head: Head::Tied,
        bos_token_id: Some(2),
        eos_token_id: Some(1),
        pad_token_id: Some(0),
        ..LLAMA.defaults
    },
    ..LLAMA
};

const GEMMA2: Family = Family {
    model_type: "gemma2",
    architecture: "Gemma2ForCausalLM",
    norms: BlockNorms {
        before_attention: Some("input_layernorm"),
        after_attention: Some("post_attention_layernorm"),
        before_mlp: Some("pre_feedforward_layernorm"),
        after_mlp: Some("post_feedforward_layernorm"),
    },
    activation: ActivationRule { key: "hidden_activation", default: Activation::GeluTanh, gelu: Gelu::Exact },
    windows: Windows::AllButEvery { n: 2, key: None },
    score_scale: ScoreScale::QueryPreAttnScalar { default: 256.0 },
    attention_softcap: Softcap::Key { key: "attn_logit_softcapping", default: Some(50.0) },
    final_softcap: Softcap::Key { key: "final_logit_softcapping", default: Some(30.0) },
    defaults: Defaults {
        hidden_size: 2304,
        intermediate_size: 9216,
        n_layers: 26,
        n_heads: 8,
        n_kv_heads: Some(4),
        sliding_window: Some(4096),
        ..GEMMA.defaults
    },
    ..GEMMA
};

const GEMMA3_TEXT: Family = Family {
    model_type: "gemma3_text",
    architecture: "Gemma3ForCausalLM",
    qk_norm: QkNorms::PerHead,
    windows: Windows::AllButEvery { n: 6, key: Some("sliding_window_pattern") },
    rotary: Rotary::LocalAndGlobal { local_theta: 10_000.0 },
    // Its config has `attn_logit_softcapping`, too, but its attention does not look at it.
    attention_softcap: Softcap::Never,
    final_softcap: Softcap::Key { key: "final_logit_softcapping", default: None },
    defaults: Defaults {
        vocab_size: 262_208,
        max_positions: 131_072,
        rope_theta: 1_000_000.0,
        ..GEMMA2.defaults
    },
    ..GEMMA2
};

const PHI3: Family = Family {
    model_type: "phi3",
    architecture: "Phi3ForCausalLM",
    linears: &[LayerLinear::Qkv, LayerLinear::O, LayerLinear::GateUp, LayerLinear::Down],
    biases: BiasRules { qkv: BiasRule::Never, o: BiasRule::Never, mlp: BiasRule::Never },
    windows: Windows::Always,
    rotary: Rotary::Partial,
    defaults: Defaults {
        vocab_size: 32_064,
        hidden_size: 3072,
        intermediate_size: 8192,
        max_positions: 4096,
        original_max_positions: Some(4096),
        rms_norm_eps: 1e-5,
        eos_token_id: Some(32_000),
        pad_token_id: Some(32_000),
        ..LLAMA.defaults
    },
    ..LLAMA
};

const SMOLLM3: Family = Family {
    model_type: "smollm3",
    architecture: "SmolLM3ForCausalLM",
    windows: Windows::WithoutRope,
    rotary: Rotary::SomeLayers { interval: 4 },
    defaults: Defaults {
        vocab_size: 128_256,
        hidden_size: 2048,
        n_layers: 36,
        n_heads: 16,
        n_kv_heads: Some(4),
        max_positions: 32_768,
        rope_theta: 2_000_000.0,
        head: Head::Tied,
        bos_token_id: Some(128_000),
        eos_token_id: Some(128_001),
        pad_token_id: Some(128_004),
        ..LLAMA.defaults
    },
    ..LLAMA
};

const OLMO2: Family = Family {
    model_type: "olmo2",
    architecture: "Olmo2ForCausalLM",
    norms: BlockNorms {
        before_attention: None,
        after_attention: Some("post_attention_layernorm"),
        before_mlp: None,
        after_mlp: Some("post_feedforward_layernorm"),
    },
    qk_norm: QkNorms::WholeWidth,
    biases: BiasRules { mlp: BiasRule::Never, ..LLAMA.biases },
    defaults: Defaults {
        vocab_size: 50_304,
        rms_norm_eps: 1e-5,
        bos_token_id: None,
        eos_token_id: Some(50_279),
        pad_token_id: Some(1),
        ..LLAMA.defaults
    },
    ..LLAMA
};
