//! The state file.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use keeptrusts_emulator::{Emulator, IdOnRotate, Options};

use crate::client::{Client, text};

pub(crate) async fn from_file(file: &Path) -> (Emulator, Client) {
    let options = Options {
        state_file: Some(file.to_owned()),
        credential: Some("kt_live_credential_of_the_operator".into()),
        ..Options::default()
    };
    let emulator = Emulator::start(options).await.unwrap();
    let client = Client::new(&emulator.url(), &emulator.credential());
    (emulator, client)
}

#[tokio::test]
async fn tokens_outlive_a_restart_and_values_are_not_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    let (emulator, client) = from_file(&file).await;
    emulator.behaviour(|it| it.tokens.id_on_rotate = IdOnRotate::New);
    let (rotated, old) = client.created("checkout-api").await;
    let new = text(&client.rotate(&rotated).await.unwrap().json()["token"]);
    let (revoked, dead) = client.created("search-api").await;
    client.revoke(&revoked).await.unwrap();
    let before = emulator.tokens();
    // It is killed rather than stopped: what was answered is in the file.
    drop(emulator);

    let (emulator, client) = from_file(&file).await;
    assert_eq!(emulator.tokens(), before);
    assert_eq!(
        (client.whoami(&new).await, client.whoami(&old).await, client.whoami(&dead).await),
        (200, 401, 401)
    );
    assert_eq!(client.listed().await, ["checkout-api"]);
    let again = client.rotate(&before[0].id).await.unwrap();
    assert_eq!(again.status, 200);
    assert_eq!(client.whoami(&new).await, 401);

    let stored = std::fs::read_to_string(&file).unwrap();
    for value in [&old, &new, &dead, &text(&again.json()["token"]), &emulator.credential()] {
        assert!(!stored.contains(&value[..20]));
    }
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no half-written file is left");
}

#[tokio::test]
async fn a_restored_token_is_in_lists_that_lag() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    let (emulator, client) = from_file(&file).await;
    client.created("checkout-api").await;
    drop(emulator);
    let (emulator, client) = from_file(&file).await;
    emulator.behaviour(|it| it.lists.lag_milliseconds = 600_000);
    assert_eq!(client.listed().await, ["checkout-api"]);
}

#[tokio::test]
async fn a_file_that_is_none_is_an_error_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    for content in ["half a {", "{}", r#"{"version": 99, "tokens": []}"#] {
        std::fs::write(&file, content).unwrap();
        let options = Options { state_file: Some(file.clone()), ..Options::default() };
        assert!(Emulator::start(options).await.is_err(), "{content}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), content);
    }
}

#[tokio::test]
async fn what_cannot_be_kept_is_not_promised() {
    let folder = tempfile::tempdir().unwrap();
    let (emulator, client) = from_file(&folder.path().join("state.json")).await;
    drop(folder);
    assert_eq!(client.create("checkout-api").await.unwrap().status, 500);
    assert_eq!(emulator.calls()[0].status, Some(500));
}
