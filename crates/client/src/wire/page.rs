//! Pages: an empty `page_token` stands for the first page, an empty `next_page_token` for the last.

use ftl_core::{Page, PageRequest};

use super::{WireError, each};

/// What a request asks for.
pub fn request(page_size: u32, page_token: String) -> PageRequest {
    PageRequest { page_size, page_token: some_text(page_token) }
}

/// The `page_token` of a request, or the `next_page_token` of an answer.
pub fn token(token: Option<String>) -> String {
    token.unwrap_or_default()
}

/// The page of an answer whose items stand at `field`.
///
/// # Errors
/// [`WireError`] for the first item that has no meaning.
pub fn page<W, C>(
    message: &'static str,
    field: &str,
    items: Vec<W>,
    next_page_token: String,
) -> Result<Page<C>, WireError>
where
    C: TryFrom<W>,
    C::Error: Into<WireError>,
{
    Ok(Page { items: each(message, field, items)?, next_page_token: some_text(next_page_token) })
}

/// Text of a field where empty means absent.
pub fn some_text(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}
