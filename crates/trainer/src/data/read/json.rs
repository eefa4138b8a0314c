//! One row of JSON: its value, or what is wrong with it in words for a person.
//!
//! A key that an object has twice keeps its last value, as in Python's `json`. Numbers are as in JSON: no NaN.

use ftl_core::dataset::Code;
use serde_json::Value;

use super::limits::MAX_VALUE_BYTES;
use super::{Fault, explain, lot, scan};

/// Rows below this can't take too much memory, whatever they hold.
const CHECKED_FROM_BYTES: usize = 1 << 20;

/// Parses a row. `first_line` is the line of the file that it begins in, where it may extend over several.
///
/// # Errors
/// The end of a sentence that begins with the row's name.
pub(super) fn parse(written: &[u8], first_line: Option<u64>) -> Result<Value, Fault> {
    let text = std::str::from_utf8(written).map_err(|error| not_utf8(written, error.valid_up_to()))?;
    if written.len() >= CHECKED_FROM_BYTES && scan::bytes_in_memory(written) > MAX_VALUE_BYTES {
        return Err(lot::too_large());
    }
    serde_json::from_str(text).map_err(|error| explain::fault(text, &error, first_line))
}

/// Bytes that are no UTF-8, with a guess at what they are.
pub(super) fn not_utf8(written: &[u8], index: usize) -> Fault {
    let bad = &written[index..];
    // The way UTF-8 would write half of a surrogate pair, which the reader of UTF-16 passes on.
    if let [0xED, 0xA0..=0xBF, ..] = bad {
        let what = format!("has half of a surrogate pair at byte {}, which is no character", index + 1);
        return Fault::new(Code::LoneSurrogate, what);
    }
    let (shown, _) = encoding_rs::WINDOWS_1252.decode_without_bom_handling(&bad[..1]);
    let guess = match bad[0] {
        byte @ 0x80.. if !shown.starts_with(char::is_control) && !is_cut_off(bad) => {
            format!(" (0x{byte:02X}, in Windows-1252 `{shown}`)")
        }
        byte => format!(" (0x{byte:02X})"),
    };
    Fault::new(Code::NotUtf8, format!("is not UTF-8 at byte {}{guess}", index + 1))
}

/// Whether a character begins and does not end.
fn is_cut_off(bytes: &[u8]) -> bool {
    std::str::from_utf8(&bytes[..bytes.len().min(4)]).is_err_and(|error| error.error_len().is_none())
        || bytes.get(1).is_some_and(|next| (0x80..0xC0).contains(next))
}
