//! The program: what it prints, what it reads, and how it ends.

use std::process::Stdio;
use std::time::Duration;

use keeptrusts_emulator::{AdminClient, Effect, Fault, Operation, Stage};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::client::{Client, text};

/// Far more than starting or stopping takes.
const PATIENCE: Duration = Duration::from_secs(20);

struct Program {
    child: Child,
    url: String,
    credential: Option<String>,
}

async fn run(args: &[&str], environment: &[(&str, &str)], generated: bool) -> Program {
    let mut child = Command::new(env!("CARGO_BIN_EXE_keeptrusts-emulator"))
        .args(args)
        .env_remove("RUST_LOG")
        .env_remove("KEEPTRUSTS_EMULATOR_CREDENTIAL")
        .env("KEEPTRUSTS_EMULATOR_ADDRESS", "127.0.0.1:0")
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
    let url = first.strip_prefix("listening on ").unwrap().to_owned();
    let credential = if generated {
        let second = lines.next_line().await.unwrap().unwrap();
        Some(second.strip_prefix("credential ").unwrap().to_owned())
    } else {
        None
    };
    Program { child, url, credential }
}

/// Ends it with a signal; gives its exit status and its log.
async fn end(mut program: Program, signal: &str) -> (bool, String) {
    let id = program.child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-s", signal, &id]).status().await.unwrap().success());
    let status = tokio::time::timeout(PATIENCE, program.child.wait()).await.unwrap().unwrap();
    let mut log = String::new();
    program.child.stderr.take().unwrap().read_to_string(&mut log).await.unwrap();
    (status.success(), log)
}

#[tokio::test]
async fn it_makes_a_credential_up_and_logs_calls_without_values() {
    let program = run(&[], &[], true).await;
    let credential = program.credential.clone().unwrap();
    let client = Client::new(&program.url, &credential);
    let admin = AdminClient::new(&program.url);
    let fault = admin.add_fault(&Fault::new(Effect::cut(Stage::After)).times(1)).await.unwrap();
    assert!(client.create("lost").await.is_err());
    let (id, value) = client.created("checkout-api").await;
    client.revoke(&value).await.unwrap();
    let (success, log) = end(program, "TERM").await;
    assert!(success, "{log}");
    for part in ["POST", "/v1/tokens", "create", "201", "revoke", "404", &format!("cut#{fault}")] {
        assert!(log.contains(part), "{part} isn't in\n{log}");
    }
    assert!(!log.contains('\u{1b}'), "colours in a file");
    assert!(!log.contains(&id), "this id was in no path");
    for secret in [&value, &credential] {
        assert!(!log.contains(&secret[..20]), "a secret is in the log");
    }
}

#[tokio::test]
async fn it_takes_its_credential_from_where_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credential");
    std::fs::write(&file, "from-a-file\n").unwrap();
    let path = file.to_str().unwrap();
    for (args, environment, expected) in [
        (vec!["--credential", "from-the-line"], vec![], "from-the-line"),
        (vec!["--credential-file", path], vec![], "from-a-file"),
        (vec![], vec![("KEEPTRUSTS_EMULATOR_CREDENTIAL", "from-outside")], "from-outside"),
    ] {
        let program = run(&args, &environment, false).await;
        let client = Client::new(&program.url, expected);
        assert_eq!(client.whoami(expected).await, 200);
        assert!(end(program, "INT").await.0);
    }
}

#[tokio::test]
async fn it_ends_at_once_though_a_call_is_held() {
    let program = run(&["--credential", "demo"], &[], false).await;
    let admin = AdminClient::new(&program.url);
    admin.add_fault(&Fault::new(Effect::hold(Stage::Before)).on(Operation::List)).await.unwrap();
    let client = Client::new(&program.url, "demo");
    let call = tokio::spawn(async move { client.list().await.is_err() });
    while admin.faults().await.unwrap()[0].held == 0 {}
    assert!(end(program, "TERM").await.0);
    assert!(call.await.unwrap());
}

#[tokio::test]
async fn it_starts_with_a_behaviour_and_keeps_its_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let behaviour = folder.path().join("behaviour.json");
    std::fs::write(&behaviour, r#"{"answers": {"value_field": "api_key"}}"#).unwrap();
    let state = folder.path().join("state.json");
    let args = [
        "--credential",
        "demo",
        "--no-admin",
        "--behaviour-file",
        behaviour.to_str().unwrap(),
        "--state-file",
        state.to_str().unwrap(),
    ];
    let program = run(&args, &[], false).await;
    let client = Client::new(&program.url, "demo");
    let value = text(&client.create("checkout-api").await.unwrap().json()["api_key"]);
    assert_eq!(client.get("/admin/tokens").await.unwrap().status, 404);
    assert!(end(program, "TERM").await.0);
    let program = run(&args, &[], false).await;
    let client = Client::new(&program.url, "demo");
    assert_eq!(client.whoami(&value).await, 200);
    assert_eq!(client.listed().await, ["checkout-api"]);
}

#[tokio::test]
async fn help_explains_and_hides_the_credential() {
    let output = Command::new(env!("CARGO_BIN_EXE_keeptrusts-emulator"))
        .arg("--help")
        .env("KEEPTRUSTS_EMULATOR_CREDENTIAL", "kt_live_in_the_environment")
        .output()
        .await
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for part in
        ["/v1/tokens", "/v1/gateway-keys", "/admin/faults", "--no-admin", "on this machine", "retry_after"]
    {
        assert!(help.contains(part), "{part}");
    }
    assert!(!help.contains("in_the_environment"));
}

#[tokio::test]
async fn two_credentials_are_one_too_many() {
    let output = Command::new(env!("CARGO_BIN_EXE_keeptrusts-emulator"))
        .args(["--credential", "one", "--credential-file", "two"])
        .output()
        .await
        .unwrap();
    assert!(!output.status.success());
}
