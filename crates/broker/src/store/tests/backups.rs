use super::{
    disk::{genesis, root},
    *,
};

#[tokio::test]
async fn a_backup_of_a_running_store_is_whole_and_restores() {
    let home = TempDir::new().unwrap();
    let (first, second) = (home.path().join("first"), home.path().join("second"));
    let copy = home.path().join("copy.redb");
    let (store, _) = Store::open(&first, genesis(), &root()).unwrap();
    store.set_envelope("root-key", b"wrapped").unwrap();
    store.commit(manifest(1)).await.unwrap();
    // Others go on writing meanwhile.
    let writer = store.clone();
    let writing = tokio::spawn(async move {
        for n in 1..=200u64 {
            let mut change = put("model_key", &n.to_be_bytes(), n);
            change.audit.push(n.to_be_bytes().to_vec());
            writer.commit(change).await.unwrap();
        }
    });
    while store.head().audit_size < 20 {
        tokio::task::yield_now().await;
    }
    let backed_up = store.clone();
    let to = copy.clone();
    tokio::task::spawn_blocking(move || backed_up.backup(&to)).await.unwrap().unwrap();
    assert_eq!(store.backup(&copy).unwrap_err().code(), "store-exists");
    writing.await.unwrap();

    assert_eq!(restore(&copy, &first).unwrap_err().code(), "store-in-use");
    assert_eq!(restore(&copy, &second).unwrap(), genesis());
    let (restored, loaded) = Store::open(&second, genesis(), &root()).unwrap();
    assert!(!loaded.planned && loaded.unconfirmed, "what comes from a backup is confirmed by an owner");
    let size = restored.head().audit_size;
    assert!((20..200).contains(&size), "{size}");
    assert_eq!(values(&loaded), [("model_key".to_owned(), Some(size.to_be_bytes().to_vec()), size)]);
    assert_eq!(restored.record_hash(size).unwrap(), store.record_hash(size).unwrap());
    assert_eq!(restored.envelope("root-key").unwrap().unwrap(), b"wrapped");
    let bytes = std::fs::read(&copy).unwrap();
    assert!(!bytes.windows(9).any(|window| window == b"model_key"));
    assert_eq!(restore(&copy, &second).unwrap_err().code(), "store-in-use");
    drop(restored);
    assert_eq!(restore(&copy, &second).unwrap_err().code(), "store-exists");
    // The same backup restores again.
    assert_eq!(restore(&copy, &home.path().join("third")).unwrap(), genesis());
}

#[tokio::test]
async fn a_store_at_rest_is_backed_up_without_its_key() {
    let home = TempDir::new().unwrap();
    let (first, second, copy) =
        (home.path().join("first"), home.path().join("second"), home.path().join("copy.redb"));
    assert_eq!(backup(&first, &copy).unwrap_err().code(), "store-no-state");
    let (store, _) = Store::open(&first, genesis(), &root()).unwrap();
    store.commit(put("model_key", b"sesame", 1)).await.unwrap();
    assert_eq!(backup(&first, &copy).unwrap_err().code(), "store-in-use");
    store.close().await.unwrap();
    drop(store);
    assert_eq!(backup(&first, &copy).unwrap(), genesis());
    assert_eq!(restore(&copy, &second).unwrap(), genesis());
    let (_, loaded) = Store::open(&second, genesis(), &root()).unwrap();
    assert!(loaded.unconfirmed, "even of a store that was shut down in good order");
    // The original knows nothing of it.
    assert!(!Store::open(&first, genesis(), &root()).unwrap().1.unconfirmed);
}

#[test]
fn what_is_no_backup_is_not_restored() {
    let home = TempDir::new().unwrap();
    let (state, copy) = (home.path().join("state"), home.path().join("copy.redb"));
    assert_eq!(restore(&copy, &state).unwrap_err().code(), "store-no-state");
    for contents in [&b""[..], b"x", &[0; 10_000]] {
        std::fs::write(&copy, contents).unwrap();
        let error = restore(&copy, &state).unwrap_err();
        assert_eq!(error.code(), "store-not-state", "{error}");
        assert!(error.to_string().contains("copy.redb"), "{error}");
    }
    drop(Store::open(&state, genesis(), &root()).unwrap());
    std::fs::remove_file(&copy).unwrap();
    backup(&state, &copy).unwrap();
    let good = std::fs::read(&copy).unwrap();
    let flipped: Vec<u8> =
        good.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at % 512 == 300)).collect();
    std::fs::write(&copy, flipped).unwrap();
    let other = home.path().join("other");
    assert_eq!(restore(&copy, &other).unwrap_err().code(), "store-damaged");
    let left: Vec<_> = std::fs::read_dir(&other).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"], "nothing is left of the attempt");
}
