//! Lists that the service gives in pages, put together again.

use ftl_client::ClientError;
use ftl_core::{Page, PageRequest};

/// The beginning of a list.
pub struct Items<T> {
    /// In the service's order.
    pub items: Vec<T>,
    /// Whether there are more.
    pub rest: Rest,
}

/// What a list has beyond what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing.
    Nothing,
    /// More.
    More,
}

/// The first `limit` items.
pub async fn first<T>(
    limit: usize,
    mut page: impl AsyncFnMut(PageRequest) -> Result<Page<T>, ClientError>,
) -> Result<Items<T>, ClientError> {
    let mut items = Vec::new();
    let mut page_token = None;
    loop {
        let missing = u32::try_from(limit - items.len()).unwrap_or(u32::MAX).min(PageRequest::MAX_SIZE);
        let Page { items: more, next_page_token } =
            page(PageRequest { page_size: missing, page_token }).await?;
        items.extend(more);
        if next_page_token.is_none() || items.len() >= limit {
            let rest =
                if next_page_token.is_some() || items.len() > limit { Rest::More } else { Rest::Nothing };
            items.truncate(limit);
            return Ok(Items { items, rest });
        }
        page_token = next_page_token;
    }
}

/// All items.
pub async fn all<T>(
    page: impl AsyncFnMut(PageRequest) -> Result<Page<T>, ClientError>,
) -> Result<Vec<T>, ClientError> {
    Ok(first(usize::MAX, page).await?.items)
}
