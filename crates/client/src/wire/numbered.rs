//! Enums, which messages carry as numbers.

use super::WireError;

/// An enum of core's that messages carry as a number; 0 is "unspecified".
pub trait Numbered: Copy {
    /// Its name in `proto/`.
    const NAME: &'static str;

    /// Its number.
    fn number(self) -> i32;

    /// What a number means; `None`: unspecified.
    ///
    /// # Errors
    /// The highest number that has a meaning.
    fn from_number(number: i32) -> Result<Option<Self>, i32>;

    /// The value of a field; `None`: unspecified.
    ///
    /// # Errors
    /// [`WireError`] if the number has no meaning.
    fn optional(message: &'static str, field: &str, number: i32) -> Result<Option<Self>, WireError> {
        Self::from_number(number).map_err(|highest| {
            let name = Self::NAME;
            WireError::new(message, field, format!("`{name}` has no value {number}, expected 1 to {highest}"))
        })
    }

    /// The value of a field that must be given.
    ///
    /// # Errors
    /// [`WireError`] if the number has no meaning, or is 0.
    fn required(message: &'static str, field: &str, number: i32) -> Result<Self, WireError> {
        Self::optional(message, field, number)?.ok_or_else(|| WireError::missing(message, field))
    }
}

/// The number of a value that may be absent.
pub(super) fn number_or_unspecified<E: Numbered>(value: Option<E>) -> i32 {
    value.map_or(0, E::number)
}

/// Implements [`Numbered`] for an enum of core's whose variants have the names of the generated one. Both matches
/// list every variant, so that a new one on either side stops the compiler.
macro_rules! numbered {
    ($core:ty, $wire:ty, $name:literal: $($variant:ident),+ $(,)?) => {
        impl $crate::wire::Numbered for $core {
            const NAME: &'static str = $name;

            fn number(self) -> i32 {
                match self {
                    $(Self::$variant => <$wire>::$variant as i32,)+
                }
            }

            fn from_number(number: i32) -> Result<Option<Self>, i32> {
                let highest = [$(<$wire>::$variant as i32),+].into_iter().fold(0, i32::max);
                match <$wire>::try_from(number).map_err(|_| highest)? {
                    <$wire>::Unspecified => Ok(None),
                    $(<$wire>::$variant => Ok(Some(Self::$variant)),)+
                }
            }
        }
    };
}

pub(super) use numbered;
