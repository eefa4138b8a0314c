//! Settings.

use crate::given::store;

#[test]
fn a_setting_is_what_it_was_set_to_last() {
    let given = store();
    assert_eq!(given.store.setting("telemetry").wait().unwrap(), None);
    given.store.set_setting("telemetry", "off").wait().unwrap();
    given.store.set_setting("other", "").wait().unwrap();
    assert_eq!(given.store.setting("telemetry").wait().unwrap().as_deref(), Some("off"));
    given.store.set_setting("telemetry", "still off").wait().unwrap();
    let given = given.reopened();
    assert_eq!(given.store.setting("telemetry").wait().unwrap().as_deref(), Some("still off"));
    assert_eq!(given.store.setting("other").wait().unwrap().as_deref(), Some(""));
}
