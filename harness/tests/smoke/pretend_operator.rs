//! The operator of the fixture chart: tells over HTTP what it was given and what it may do.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub(crate) fn run() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match runtime.block_on(serve()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let flag =
        |name: &str| args.iter().find_map(|arg| arg.strip_prefix(&format!("--{name}=")).map(str::to_owned));
    let address = flag("health-address").context("--health-address")?;
    let credential = flag("credential-file").context("--credential-file")?;
    let motto = args.iter().skip_while(|arg| *arg != "--motto-file").nth(1).context("--motto-file")?;
    let api_server = ask_the_api_server().await?;
    let listener = tokio::net::TcpListener::bind(&address).await?;
    println!("listening at {address}");
    loop {
        let (mut stream, _) = listener.accept().await?;
        let mut request = [0; 1024];
        let length = stream.read(&mut request).await?;
        let path =
            String::from_utf8_lossy(&request[..length]).split(' ').nth(1).unwrap_or_default().to_owned();
        let body = match path.as_str() {
            "/state" => state(&credential, motto, &api_server)?.to_string(),
            _ => "ok".to_owned(),
        };
        stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{body}").as_bytes()).await?;
    }
}

fn state(credential: &str, motto: &str, api_server: &str) -> Result<Value> {
    let env: BTreeMap<String, String> = std::env::vars().collect();
    Ok(json!({
        "env": env,
        "credential": std::fs::read_to_string(credential)?,
        "motto": std::fs::read_to_string(motto)?,
        "api_server": api_server,
    }))
}

async fn ask_the_api_server() -> Result<String> {
    keeptrusts_harness::install_crypto_provider();
    let client = Client::try_default().await?;
    let release = std::env::var("POD_NAMESPACE")?;
    let config_maps: Api<ConfigMap> = Api::namespaced(client, &release);
    let code = match config_maps.get(&format!("{release}-settings")).await {
        Ok(_) => 200,
        Err(kube::Error::Api(status)) => status.code,
        Err(error) => return Err(error.into()),
    };
    Ok(format!("{code} as seen with the ServiceAccount's token"))
}
