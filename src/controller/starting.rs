//! What has to be there before anything can be watched: the API server and the CRDs. Both are waited for, with a word on
//! what is missing; nobody has to start the operator again. Later both are looked at again whenever a watch has failed.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::health::Health;

use super::kubernetes;

/// How often it is asked whether the CRDs are there.
const LOOK: Duration = Duration::from_secs(2);

/// The uid that stands for the cluster. The API server may not be up yet; nothing if `stop` comes first.
pub(super) async fn cluster_uid(client: &Client, stop: &CancellationToken) -> Option<String> {
    let waits = ExponentialBuilder::new()
        .with_min_delay(Duration::from_secs(1))
        .with_max_delay(Duration::from_secs(30))
        .with_jitter()
        .without_max_times();
    let ask = || {
        let client = client.clone();
        async move { kubernetes::cluster_uid(&client).await }
    };
    let uid = ask
        .retry(waits)
        .notify(|error, wait| tracing::warn!(%error, "can't read the namespace kube-system; trying again in {wait:?}"));
    stop.run_until_cancelled(uid).await?.ok()
}

/// Waits until both kinds are served; nothing if `stop` comes first.
pub(super) async fn crds(client: &Client, health: &Health, stop: &CancellationToken) -> Option<()> {
    let mut told = Vec::new();
    let mut failing = false;
    loop {
        match kubernetes::missing_crds(client).await {
            Ok(missing) if missing.is_empty() => {
                if !told.is_empty() {
                    tracing::info!("the CRDs are there");
                }
                return Some(());
            }
            Ok(missing) => {
                if told != missing {
                    tracing::error!(
                        missing = missing.join(", "),
                        "waiting for the CRDs, without which nothing can be done. They come with the chart (crds.enabled=true), or by: \
                         keeptrusts-operator crds | kubectl apply --server-side -f -"
                    );
                }
                health.lacks_crds(missing.clone());
                told = missing;
                failing = false;
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "can't ask the API server which kinds it serves; it is asked again");
                }
                failing = true;
            }
        }
        stop.run_until_cancelled(tokio::time::sleep(LOOK)).await?;
    }
}

/// Follows, until `stop`, whether the API server answers and still serves both kinds. It is asked from each failure of a watch on until
/// all is well: at rest nothing is asked.
pub(super) async fn follow(client: Client, health: Health, stop: CancellationToken) {
    let mut told = Vec::new();
    while stop.run_until_cancelled(health.doubted()).await.is_some() {
        loop {
            match kubernetes::missing_crds(&client).await {
                Ok(missing) => {
                    if told != missing && missing.is_empty() {
                        tracing::info!("the CRDs are served again");
                    } else if told != missing {
                        let missing = missing.join(", ");
                        tracing::error!(
                            missing,
                            "CRDs aren't served any more: nothing is done for keys of these kinds"
                        );
                    }
                    health.serves_all_but(missing.clone());
                    told = missing;
                    if told.is_empty() {
                        break;
                    }
                }
                Err(_) => health.unreached(),
            }
            if stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
                return;
            }
        }
    }
}
