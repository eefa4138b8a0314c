//! In which type a device computes: what was asked for if it can, else its fastest.
//!
//! bf16 has tensor cores from compute capability 8.0 on. Before it there are only those for f16.

use ftl_core::spec::resolved::ModelDtype;
use ftl_core::{Problem, ProblemKind};

use super::judge::Capability;
use crate::kernels::Precision;

/// From here on a card multiplies in bf16.
const BF16_CAPABILITY: Capability = Capability(8, 0);

/// What an NVIDIA card computes in.
///
/// # Errors
/// The card has no bf16.
#[cfg_attr(
    not(any(feature = "cuda", test)),
    expect(dead_code, reason = "called where there are NVIDIA cards")
)]
pub(super) fn of_card(
    (name, capability): (&str, Capability),
    asked: ModelDtype,
) -> Result<Precision, Problem> {
    let has_bf16 = capability >= BF16_CAPABILITY;
    match asked {
        ModelDtype::F32 => Ok(Precision::F32),
        ModelDtype::F16 => Ok(Precision::F16),
        ModelDtype::Auto if has_bf16 => Ok(Precision::Bf16),
        ModelDtype::Auto => Ok(Precision::F16),
        ModelDtype::Bf16 if has_bf16 => Ok(Precision::Bf16),
        ModelDtype::Bf16 => {
            let message = format!(
                "`{name}` has compute capability {capability} and does not compute in `bf16`, which begins at {BF16_CAPABILITY}"
            );
            Err(refused(message, "use `auto` or `f32`"))
        }
    }
}

/// The CPU's kernels are written for f32.
///
/// # Errors
/// Anything else.
pub(super) fn of_cpu(asked: ModelDtype) -> Result<(), Problem> {
    only_f32("the CPU", asked)
}

/// Vulkan's bf16 is an extension that few drivers have.
///
/// # Errors
/// Anything but f32.
#[cfg_attr(not(any(feature = "vulkan", test)), expect(dead_code, reason = "called where there is Vulkan"))]
pub(super) fn of_vulkan(asked: ModelDtype) -> Result<(), Problem> {
    only_f32("Vulkan", asked)
}

fn only_f32(what: &str, asked: ModelDtype) -> Result<(), Problem> {
    let name = match asked {
        ModelDtype::Auto | ModelDtype::F32 => return Ok(()),
        ModelDtype::Bf16 => "bf16",
        ModelDtype::F16 => "f16",
    };
    Err(refused(format!("{what} computes in f32 only, not in `{name}`"), "use `auto` or `f32` there"))
}

fn refused(message: impl Into<String>, hint: &str) -> Problem {
    Problem::new(ProblemKind::Device, message).at("model.dtype").hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_computes_in_the_fastest_type_that_it_has() {
        let (t4, h100) = (("Tesla T4", Capability(7, 5)), ("H100", Capability(9, 0)));
        for (card, asked, want) in [
            (h100, ModelDtype::Auto, Precision::Bf16),
            (h100, ModelDtype::Bf16, Precision::Bf16),
            (h100, ModelDtype::F16, Precision::F16),
            (h100, ModelDtype::F32, Precision::F32),
            (t4, ModelDtype::Auto, Precision::F16),
            (t4, ModelDtype::F16, Precision::F16),
            (t4, ModelDtype::F32, Precision::F32),
        ] {
            assert_eq!(of_card(card, asked), Ok(want), "{card:?}, {asked:?}");
        }
        assert_eq!(
            of_card(t4, ModelDtype::Bf16).expect_err("no bf16").to_string(),
            "model.dtype: `Tesla T4` has compute capability 7.5 and does not compute in `bf16`, which begins at 8.0; use \
             `auto` or `f32`"
        );
    }

    #[test]
    fn the_cpu_and_vulkan_compute_in_f32_only() {
        for asked in [ModelDtype::Auto, ModelDtype::F32] {
            assert_eq!((of_cpu(asked), of_vulkan(asked)), (Ok(()), Ok(())));
        }
        let message = |refused: Result<(), Problem>| refused.expect_err("a narrow type").to_string();
        assert_eq!(
            message(of_cpu(ModelDtype::Bf16)),
            "model.dtype: the CPU computes in f32 only, not in `bf16`; use `auto` or `f32` there"
        );
        assert!(
            message(of_vulkan(ModelDtype::F16))
                .starts_with("model.dtype: Vulkan computes in f32 only, not in `f16`")
        );
    }
}
