//! The files of the connection: read at the start, and watched.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::server::{CREDENTIAL, Fixture, Server, client, client_with, settings};
use crate::token_api::{Client, SettingsError};

const PERIOD: Duration = Duration::from_millis(10);

fn watch(fixture: &Fixture) -> tokio_util::sync::DropGuard {
    let stop = CancellationToken::new();
    let (client, stopped) = (Arc::clone(&fixture.client), stop.clone());
    tokio::spawn(async move { client.watch_files_every(PERIOD, stopped).await });
    stop.drop_guard()
}

/// Puts a file in place as kubelet does: the name is a symbolic link into a folder that is swapped as a whole.
fn swap(folder: &Path, version: &str, content: &str) {
    std::fs::create_dir(folder.join(version)).unwrap();
    std::fs::write(folder.join(version).join("token"), content).unwrap();
    let link = folder.join("next");
    std::os::unix::fs::symlink(version, &link).unwrap();
    std::fs::rename(&link, folder.join("..data")).unwrap();
}

#[tokio::test]
async fn a_credential_that_kubelet_swaps_is_used_at_once_and_told() {
    let server = Server::saying(200, "{}").await;
    let fixture = client_with(&server.url, |settings| {
        let folder = settings.token_file.parent().unwrap();
        swap(folder, "v1", "first");
        settings.token_file = folder.join("link");
        std::os::unix::fs::symlink("..data/token", &settings.token_file).unwrap();
    });
    let _watch = watch(&fixture);
    let mut changes = fixture.client.credential_changes();
    let before = fixture.client.credential_version();
    fixture.client.whoami().await.unwrap();
    swap(fixture.folder.path(), "v2", "second\n");
    changes.changed().await.unwrap();
    assert_eq!(fixture.client.credential_version(), before + 1);
    fixture.client.whoami().await.unwrap();
    let sent: Vec<_> = server.seen().iter().map(|seen| seen.headers["authorization"].clone()).collect();
    assert_eq!(sent, ["Bearer first", "Bearer second"]);
}

#[tokio::test]
async fn a_credential_that_is_gone_or_empty_leaves_the_old_one_in_force() {
    let server = Server::saying(200, "{}").await;
    let fixture = client(&server.url);
    let file = fixture.folder.path().join("token");
    let connection = &fixture.client.connection;
    for spoil in ["", " \n", "two words"] {
        std::fs::write(&file, spoil).unwrap();
        assert!(connection.reload_credential().is_err(), "{spoil:?}");
    }
    std::fs::remove_file(&file).unwrap();
    assert!(connection.reload_credential().is_err());
    fixture.client.whoami().await.unwrap();
    // The same again, written anew, is no change.
    std::fs::write(&file, CREDENTIAL).unwrap();
    assert!(!connection.reload_credential().unwrap());
    assert_eq!(fixture.client.credential_version(), 1);
    std::fs::write(&file, "another").unwrap();
    assert!(connection.reload_credential().unwrap());
    assert_eq!(fixture.client.credential_version(), 2);
    assert_eq!(server.seen()[0].headers["authorization"], format!("Bearer {CREDENTIAL}"));
}

#[test]
fn each_refused_setting_names_its_flag_and_shows_nothing_secret() {
    let folder = tempfile::tempdir().unwrap();
    let good = settings("https://127.0.0.1:1", &folder);
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let missing = folder.path().join("missing");
    let garbled = "-----BEGIN CERTIFICATE-----\nY2FuYXJ5\n-----END CERTIFICATE-----\n";
    let tokens =
        [missing.clone(), file("empty", ""), file("words", "canary canary"), folder.path().to_owned()];
    for token_file in tokens {
        let refused = crate::token_api::Settings { token_file, ..good.clone() };
        let error = Client::new(&refused).unwrap_err();
        assert!(error.to_string().contains("--api-token-file"), "{error}");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    }
    for ca_file in [missing, file("no-pem", "canary"), file("garbled", garbled)] {
        let refused = crate::token_api::Settings { ca_file: Some(ca_file), ..good.clone() };
        let error = Client::new(&refused).unwrap_err();
        assert!(matches!(error, SettingsError::CaFile { .. } | SettingsError::Ca(_)), "{error:?}");
        assert!(error.to_string().contains("--api-ca-file"), "{error}");
    }
}
