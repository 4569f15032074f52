//! Ports of the loopback interface, and the smallest HTTP client for probes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use rand::RngExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Below the ports that Linux (32768 and up), macOS and the BSDs (49152 and up) give to outgoing connections. A port from *that*
/// range can be taken by any client while the server that owns it restarts, even by a client that tries to reach that very server.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// How many ports are tried before giving up; on a machine in normal use the first is nearly always free.
const ATTEMPTS: usize = 200;

/// Bounds one probe: kubelet's own default for `timeoutSeconds`.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// A port of 127.0.0.1 that nobody listens on. Another program may take it before its user does, so users retry.
///
/// # Errors
/// When no port is free.
pub fn free_port() -> Result<u16> {
    let mut rng = rand::rng();
    for _ in 0..ATTEMPTS {
        let port = rng.random_range(PORTS);
        // Some of our servers listen on all addresses by default, so the port has to be free on all.
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port in {PORTS:?} after {ATTEMPTS} attempts")
}

/// GET over plain HTTP/1.0 (so that the reply isn't chunked): the status and the body.
///
/// # Errors
/// When nothing answers within a second, or not with HTTP.
pub async fn http_get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let exchange = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await?;
        std::io::Result::Ok(reply)
    };
    let reply = tokio::time::timeout(PROBE_TIMEOUT, exchange)
        .await
        .map_err(|_| anyhow!("http://{address}{path} didn't answer within {PROBE_TIMEOUT:?}"))?
        .with_context(|| format!("GET http://{address}{path}"))?;
    let reply = String::from_utf8_lossy(&reply);
    let (head, body) = reply.split_once("\r\n\r\n").context("not an HTTP reply")?;
    let status =
        head.split_whitespace().nth(1).and_then(|code| code.parse().ok()).context("no HTTP status")?;
    Ok((status, body.to_owned()))
}
