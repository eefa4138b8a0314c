//! How CubeCL and burn work in this program. Both would read files (`cubecl.toml`, `burn.toml`) from the directory that the
//! program was started in and from those above: what a user keeps there must not change a run.

use std::path::PathBuf;

use burn::BurnConfig;
use cubecl::config::cache::CacheConfig;
use cubecl::config::compilation::CompilationConfig;
use cubecl::config::environment::EnvironmentConfig;
use cubecl::config::streaming::{StreamPolicy, StreamingConfig};
use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};

/// Sets both, unless the program that embeds the engine has done so. Called before either is used.
pub(super) fn apply() {
    // Each stream has memory of its own that it never gives back. A run is one stream of work, from whatever thread.
    let streaming = StreamingConfig { max_streams: 1, policy: StreamPolicy::Single, ..Default::default() };
    // Compiled kernels and the fastest choices are kept: compiling takes up to a few seconds for each kernel.
    let compilation = CompilationConfig { cache: true, ..Default::default() };
    let path = kernel_directory().map_or(CacheConfig::Global, CacheConfig::Directory);
    let environment = EnvironmentConfig { path, ..Default::default() };
    let config = CubeClRuntimeConfig { streaming, compilation, environment, ..Default::default() };
    // Their variables (`CUBECL_DEBUG_LOG` and others) still count: they are set on purpose.
    let _is_ours = CubeClRuntimeConfig::try_set(config.override_from_env());
    let _is_ours = BurnConfig::try_set(BurnConfig::default().override_from_env());
}

/// Where compiled kernels are kept: `ftl/kernels` in the user's cache directory.
pub(super) fn kernel_directory() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    Some(cache.or_else(home)?.join("ftl").join("kernels"))
}
