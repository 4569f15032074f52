//! The first start of the two servers that need ports.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use kube::Client;

use super::access::Access;
use super::components::{Component, Folder};
use super::{Options, START};
use crate::Programs;
use crate::net::{free_port, http_get};
use crate::process::{Process, tail};
use crate::wait::{eventually, hopeless};

/// A port can be taken between our look and the server's; three times in a row isn't chance.
const PORT_ATTEMPTS: usize = 3;

/// etcd, ready, and its port.
pub(super) async fn start_etcd(programs: &Programs, folder: &Folder) -> Result<(Process, u16)> {
    for attempt in 1.. {
        let (client_port, peer_port) = (free_port()?, free_port()?);
        let log = folder.log(Component::Etcd);
        let mut process = Process::spawn("etcd", &mut folder.etcd(programs, client_port, peer_port), &log)?;
        let ready = eventually(START, "etcd is ready", async || {
            process.ensure_running().map_err(hopeless)?;
            match http_get(([127, 0, 0, 1], client_port).into(), "/readyz").await? {
                (200, _) => Ok(()),
                (status, body) => bail!("{status}: {body}"),
            }
        })
        .await;
        match ready {
            Ok(()) => return Ok((process, client_port)),
            Err(error) if attempt == PORT_ATTEMPTS || !port_was_taken(&log) => return Err(error),
            Err(_) => {}
        }
    }
    unreachable!("the loop ends with a return")
}

/// The API server, ready, its port, and what its administrator needs.
pub(super) async fn start_api_server(
    programs: &Programs,
    folder: &Folder,
    options: &Options,
    etcd_port: u16,
    token: String,
) -> Result<(Process, u16, Access)> {
    for attempt in 1.. {
        let port = free_port()?;
        let log = folder.log(Component::ApiServer);
        let mut command = folder.api_server(programs, port, etcd_port, &options.api_server_args);
        let mut process = Process::spawn("kube-apiserver", &mut command, &log)?;
        let server = format!("https://127.0.0.1:{port}");
        let access = eventually(START, "the API server is ready", async || {
            process.ensure_running().map_err(hopeless)?;
            // It makes its certificate itself, early on; half a file fails to parse and is read again.
            let certificate = std::fs::read(folder.certificate()).context("the API server's certificate")?;
            let access = Access { server: server.clone(), certificate, token: token.clone() };
            ready(&access.client().await?).await?;
            Ok(access)
        })
        .await;
        match access {
            Ok(access) => return Ok((process, port, access)),
            Err(error) if attempt == PORT_ATTEMPTS || !port_was_taken(&log) => return Err(error),
            Err(_) => {}
        }
    }
    unreachable!("the loop ends with a return")
}

/// Asks whether the API server is ready: that includes the hooks after the start, among them the one that writes the roles of RBAC.
pub(super) async fn ready(client: &Client) -> Result<()> {
    let request = http::Request::get("/readyz").body(Vec::new()).context("building a request")?;
    client.request_text(request).await.context("GET /readyz")?;
    Ok(())
}

fn port_was_taken(log: &Path) -> bool {
    tail(log).contains("address already in use")
}
