//! Tests of names, versions and labels. Models that answer are in tests/.

use super::*;

#[test]
fn names_come_in_the_configurations_order() {
    let models = Models::default();
    assert!(!models.all_ready(), "no model at all is not ready");
    models.configure(vec!["z".to_owned(), "a".to_owned()]);
    assert_eq!(models.names(), ["z", "a"]);
    models.declare("a");
    models.declare("m");
    assert_eq!(models.names(), ["z", "a", "m"]);
    models.configure(vec!["m".to_owned()]);
    assert_eq!(models.names(), ["m"]);
}

#[test]
fn labels_choose_versions() {
    let models = Models::default();
    let label = VersionChoice::Label("stable".to_owned());
    let error = models.servable("m", &label).err().unwrap();
    assert_eq!(error.code(), "version-label");
    models.set("m", 3, VersionState::Loading);
    models.set("m", 4, VersionState::End(None));
    models.set_labels("m", [("stable".to_owned(), 3)].into());
    assert_eq!(models.servable("m", &label).err().unwrap().code(), "model-loading");
    let status = models.status("m", &label).unwrap();
    assert_eq!(status.iter().map(|status| status.version).collect::<Vec<_>>(), [3]);
    models.set_labels("m", BTreeMap::new());
    assert_eq!(models.status("m", &label).err().unwrap().code(), "version-label");
    assert_eq!(models.status("m", &VersionChoice::Latest).unwrap().len(), 2);
}

#[test]
fn in_a_session_a_version_that_is_over_is_not_found_and_a_new_one_waits_for_the_next_session() {
    let models = Models::default();
    models.set("m", 1, VersionState::End(None));
    let session = models.in_session(&Arc::new(models.pin()), &Answered::default());
    let code = |version| session.servable("m", &VersionChoice::Number(version)).err().unwrap().code();
    assert_eq!(code(1), "servable-not-found");
    assert_eq!(session.servable("m", &VersionChoice::Latest).err().unwrap().code(), "servable-not-found");
    models.set("m", 2, VersionState::Loading);
    assert_eq!(code(2), "model-not-in-session");
    assert_eq!(code(3), "servable-not-found");
    assert_eq!(session.servable("m", &VersionChoice::Latest).err().unwrap().code(), "model-not-in-session");
}
