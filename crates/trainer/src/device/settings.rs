//! How CubeCL and burn work in this program. Both would read files (`cubecl.toml`, `burn.toml`) from the directory that the
//! program was started in and from those above: what a user keeps there must not change a run.

use burn::BurnConfig;
use cubecl::config::streaming::{StreamPolicy, StreamingConfig};
use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};

/// Sets both, unless the program that embeds the engine has done so. Called before either is used.
pub(super) fn apply() {
    // Each stream has memory of its own that it never gives back. A run is one stream of work, from whatever thread.
    let streaming = StreamingConfig { max_streams: 1, policy: StreamPolicy::Single, ..Default::default() };
    let config = CubeClRuntimeConfig { streaming, ..Default::default() };
    // Their variables (`CUBECL_DEBUG_LOG` and others) still count: they are set on purpose.
    let _is_ours = CubeClRuntimeConfig::try_set(config.override_from_env());
    let _is_ours = BurnConfig::try_set(BurnConfig::default().override_from_env());
}
