//! Lists in pages.

use ftl_core::job::State;
use ftl_core::{JobId, PageRequest};
use ftl_store::StoreError;

use crate::given::{created, created_in, store, to};

fn page(page_size: u32, page_token: Option<&str>) -> PageRequest {
    PageRequest { page_size, page_token: page_token.map(str::to_owned) }
}

#[test]
fn pages_hold_every_job_once_newest_first() {
    let given = store();
    let mut ids: Vec<JobId> = (1..=7).map(|bits| created(&given.store, bits).id).collect();
    ids.reverse();
    for size in [1, 2, 3, 6, 7, 8] {
        let (mut found, mut token) = (Vec::new(), None);
        loop {
            let page = given.store.jobs(&page(size, token.as_deref()), &[]).wait().unwrap();
            assert!(!page.items.is_empty(), "{size} jobs a page");
            found.extend(page.items.into_iter().map(|job| job.id));
            token = page.next_page_token;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(found, ids, "{size} jobs a page");
    }
}

#[test]
fn an_empty_list_is_one_page() {
    let given = store();
    for token in [None, Some("")] {
        let page = given.store.jobs(&page(0, token), &[]).wait().unwrap();
        assert_eq!((page.items, page.next_page_token), (Vec::new(), None));
    }
}

#[test]
fn a_page_goes_on_where_the_one_before_ended_whatever_came_and_went() {
    let given = store();
    let ids: Vec<JobId> = (1..=6).map(|bits| created(&given.store, bits).id).collect();
    let first = given.store.jobs(&page(2, None), &[]).wait().unwrap();
    // New ones, and the last of the first page is removed.
    created(&given.store, 7);
    given.store.transition(&ids[4], to(State::Cancelled)).wait().unwrap();
    given.store.delete_job(&ids[4]).wait().unwrap();
    created(&given.store, 8);
    let second = given.store.jobs(&page(2, first.next_page_token.as_deref()), &[]).wait().unwrap();
    let found: Vec<JobId> = second.items.into_iter().map(|job| job.id).collect();
    assert_eq!(found, [ids[3].clone(), ids[2].clone()]);
}

#[test]
fn pages_by_state_leave_out_the_others() {
    let given = store();
    let mut failed = Vec::new();
    for bits in (1..=9).step_by(3) {
        created(&given.store, bits);
        failed.push(created_in(&given.store, bits + 1, State::Failed).id);
        created(&given.store, bits + 2);
    }
    let states = [State::Failed, State::Stopped];
    let first = given.store.jobs(&page(2, None), &states).wait().unwrap();
    let second = given.store.jobs(&page(2, first.next_page_token.as_deref()), &states).wait().unwrap();
    let found: Vec<JobId> = first.items.into_iter().chain(second.items).map(|job| job.id).collect();
    failed.reverse();
    assert_eq!(found, failed);
    assert_eq!(second.next_page_token, None);
}

#[test]
fn a_token_that_was_not_given_out_is_refused() {
    let given = store();
    for bits in 1..=3 {
        created(&given.store, bits);
    }
    let token = given.store.jobs(&page(1, None), &[]).wait().unwrap().next_page_token.unwrap();
    let mistyped = format!("{}{}", if token.starts_with('1') { '2' } else { '1' }, &token[1..]);
    let tokens = [
        "x",
        "1",
        "ü",
        "öööööööööööööööö",
        "0100000000000000020000",
        &token[1..],
        &mistyped,
        &format!("{token}0"),
    ];
    for token in tokens {
        let error = given.store.jobs(&page(1, Some(token)), &[]).wait().unwrap_err();
        assert!(matches!(error, StoreError::BadPageToken), "`{token}`");
        assert_eq!(
            error.to_string(),
            "the page token was not given out for this list; begin with the first page"
        );
    }
    // Of another list.
    assert!(matches!(given.store.datasets(&page(1, Some(&token))).wait(), Err(StoreError::BadPageToken)));
    assert!(matches!(given.store.models(&page(1, Some(&token))).wait(), Err(StoreError::BadPageToken)));
    assert!(matches!(given.store.configs(&page(1, Some(&token))).wait(), Err(StoreError::BadPageToken)));
}
