//! The first kernel on a device: proof that it computes.
//!
//! CubeCL panics where a device fails while it is opened, in whichever thread it works. Here that becomes a [`Problem`].

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::{Device, Tensor};
use ftl_core::Problem;

use super::{DeviceName, unusable};
use crate::kernels::cube::attention;

/// Compiles and runs a kernel and reads what it wrote.
///
/// # Errors
/// What went wrong, or what the environment asks of kernels that there is not.
pub(super) fn run(device: &Device, name: DeviceName) -> Result<(), Problem> {
    attention::most()?;
    let failed = |reason: String| {
        unusable(format!("the first kernel on {name} failed: {reason}"), "see what `ftl-train doctor` finds")
    };
    let doubled = caught(|| {
        let ones = Tensor::<1>::ones([WIDTH], device);
        (ones.clone() + ones).try_into_data().map_err(|error| error.to_string())
    });
    let values = doubled.and_then(|data| data).map_err(|reason| failed(one_line(&reason)))?;
    let values: Vec<f32> = values.iter::<f32>().collect();
    if values != [2.0; WIDTH] {
        return Err(failed("1 + 1 was not 2".to_owned()));
    }
    Ok(())
}

/// Values of the first kernel.
const WIDTH: usize = 64;

/// Runs what may panic inside CubeCL.
///
/// # Errors
/// The panic's message.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        one_line(text.unwrap_or("it panicked"))
    })
}

/// The beginning of a text of many lines, which may hold the source of a kernel.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().take(60).collect();
    words.join(" ").trim_end_matches('.').to_owned()
}
