//! The volumes of the pod as folders of the host, written the way kubelet writes them.
//!
//! A volume's files are links to `..data/FILE`, and `..data` is a link to a folder with a time in its name. An update writes a new
//! folder and renames a new `..data` over the old one, so that a reader sees all files of one state or all of the other.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapProjection, ConfigMapVolumeSource, KeyToPath, Secret, SecretProjection,
    SecretVolumeSource, Volume, VolumeProjection,
};
use kube::Api;

use super::pod::PodFacts;
use crate::Cluster;

/// Kubernetes' default for the files of a volume.
const FILE_MODE: i32 = 0o644;

/// What a volume holds: content and mode by relative path.
type Files = BTreeMap<String, (Vec<u8>, u32)>;

/// One volume of the pod.
#[derive(Debug, Clone)]
pub(super) struct Mounted {
    volume: Volume,
    pub(super) dir: PathBuf,
}

impl Mounted {
    /// Makes the volume's folder, with what the cluster holds for it right now.
    pub(super) async fn create(
        cluster: &Cluster,
        facts: &PodFacts,
        volume: Volume,
        dir: PathBuf,
    ) -> Result<Self> {
        std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        let mounted = Self { volume, dir };
        mounted.sync(cluster, facts).await?;
        Ok(mounted)
    }

    /// Brings the files up to date. Says whether anything had changed; tokens are left as they are.
    pub(super) async fn sync(&self, cluster: &Cluster, facts: &PodFacts) -> Result<bool> {
        let context = || format!("volume {}", self.volume.name);
        match files(cluster, facts, &self.volume, &self.dir).await.with_context(context)? {
            Some(files) => write(&self.dir, &files).with_context(context),
            None => Ok(false),
        }
    }
}

/// What a volume should hold, or `None` for one that belongs to the container (emptyDir).
async fn files(cluster: &Cluster, facts: &PodFacts, volume: &Volume, dir: &Path) -> Result<Option<Files>> {
    let mut files = Files::new();
    if volume.empty_dir.is_some() {
        return Ok(None);
    } else if let Some(SecretVolumeSource { secret_name, items, optional, default_mode }) = &volume.secret {
        let name = secret_name.as_deref().context("without secretName")?;
        let data = secret(cluster, facts, name, *optional).await?;
        select(&mut files, data, items.as_deref(), *optional, default_mode.unwrap_or(FILE_MODE))?;
    } else if let Some(ConfigMapVolumeSource { name, items, optional, default_mode }) = &volume.config_map {
        let data = config_map(cluster, facts, name, *optional).await?;
        select(&mut files, data, items.as_deref(), *optional, default_mode.unwrap_or(FILE_MODE))?;
    } else if let Some(projected) = &volume.projected {
        let mode = projected.default_mode.unwrap_or(FILE_MODE);
        for source in projected.sources.iter().flatten() {
            project(cluster, facts, source, mode, dir, &mut files).await?;
        }
    } else {
        bail!(
            "the harness has no volumes of this kind; it knows emptyDir, secret, configMap and projected ones"
        );
    }
    Ok(Some(files))
}

async fn project(
    cluster: &Cluster,
    facts: &PodFacts,
    source: &VolumeProjection,
    mode: i32,
    dir: &Path,
    files: &mut Files,
) -> Result<()> {
    let VolumeProjection {
        secret: from_secret,
        config_map: from_config_map,
        service_account_token,
        downward_api,
        ..
    } = source;
    if let Some(SecretProjection { name, items, optional }) = from_secret {
        select(files, secret(cluster, facts, name, *optional).await?, items.as_deref(), *optional, mode)
    } else if let Some(ConfigMapProjection { name, items, optional }) = from_config_map {
        select(files, config_map(cluster, facts, name, *optional).await?, items.as_deref(), *optional, mode)
    } else if let Some(token) = service_account_token {
        // It outlives the test; kubelet too writes a new one only when the old one is about to expire.
        let content = if let Ok(current) = std::fs::read(dir.join(&token.path)) {
            current
        } else {
            let audiences: Vec<String> = token.audience.iter().cloned().collect();
            let PodFacts { namespace, service_account, .. } = facts;
            cluster.service_account_token(namespace, service_account, &audiences).await?.into_bytes()
        };
        files.insert(token.path.clone(), (content, 0o600));
        Ok(())
    } else if let Some(downward) = downward_api {
        for item in downward.items.iter().flatten() {
            let field =
                item.field_ref.as_ref().context("the harness knows only fieldRef of the downward API")?;
            files.insert(
                item.path.clone(),
                (facts.field(&field.field_path)?.into_bytes(), u32::try_from(mode)?),
            );
        }
        Ok(())
    } else {
        bail!("the harness doesn't know a source of this projected volume")
    }
}

/// The data of a Secret that pods of this namespace can mount.
pub(super) async fn secret(
    cluster: &Cluster,
    facts: &PodFacts,
    name: &str,
    optional: Option<bool>,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let api: Api<Secret> = Api::namespaced(cluster.client(), &facts.namespace);
    match api.get_opt(name).await.with_context(|| format!("reading Secret {name}"))? {
        Some(secret) => {
            Ok(secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect())
        }
        None if optional == Some(true) => Ok(BTreeMap::new()),
        None => bail!("no Secret {}/{name}: the pod would wait for it", facts.namespace),
    }
}

/// The data of a `ConfigMap`, text and binary.
pub(super) async fn config_map(
    cluster: &Cluster,
    facts: &PodFacts,
    name: &str,
    optional: Option<bool>,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let api: Api<ConfigMap> = Api::namespaced(cluster.client(), &facts.namespace);
    match api.get_opt(name).await.with_context(|| format!("reading ConfigMap {name}"))? {
        Some(map) => {
            let text = map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
            let binary = map.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
            Ok(text.chain(binary).collect())
        }
        None if optional == Some(true) => Ok(BTreeMap::new()),
        None => bail!("no ConfigMap {}/{name}: the pod would wait for it", facts.namespace),
    }
}

/// Adds the keys that `items` names, or all.
fn select(
    files: &mut Files,
    mut data: BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    mode: i32,
) -> Result<()> {
    let Some(items) = items else {
        let mode = u32::try_from(mode)?;
        files.extend(data.into_iter().map(|(key, content)| (key, (content, mode))));
        return Ok(());
    };
    for KeyToPath { key, path, mode: own } in items {
        match data.remove(key) {
            Some(content) => {
                files.insert(path.clone(), (content, u32::try_from(own.unwrap_or(mode))?));
            }
            None if optional == Some(true) => {}
            None => bail!("no key {key}: the pod would wait for it"),
        }
    }
    Ok(())
}

/// Writes a new state of a volume, unless it is the one that is there.
fn write(volume: &Path, files: &Files) -> Result<bool> {
    let data = volume.join("..data");
    if data.exists() && read(&data, files.keys())? == *files && visible(volume)? == heads(files) {
        return Ok(false);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("a clock before 1970")?.as_nanos();
    let name = format!("..{now}");
    for (path, (content, mode)) in files {
        let file = volume.join(&name).join(path);
        if let Some(dir) = file.parent() {
            std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        }
        std::fs::write(&file, content).with_context(|| format!("writing {}", file.display()))?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(*mode))
            .context("setting a file's mode")?;
    }
    std::fs::create_dir_all(volume.join(&name)).context("making the data folder")?;
    let old = std::fs::read_link(&data).ok();
    let new_link = volume.join("..data_tmp");
    std::fs::remove_file(&new_link).ok();
    symlink(&name, &new_link).context("linking the new data")?;
    std::fs::rename(&new_link, &data).context("swapping ..data")?;
    for head in heads(files) {
        let link = volume.join(&head);
        if link.symlink_metadata().is_err() {
            symlink(Path::new("..data").join(&head), &link)
                .with_context(|| format!("linking {}", link.display()))?;
        }
    }
    for gone in visible(volume)?.iter().filter(|head| !heads(files).contains(head)) {
        std::fs::remove_file(volume.join(gone)).with_context(|| format!("removing {gone}"))?;
    }
    if let Some(old) = old {
        std::fs::remove_dir_all(volume.join(old)).context("removing the old data")?;
    }
    Ok(true)
}

/// The first parts of the paths: what is linked in the volume's folder.
fn heads(files: &Files) -> Vec<String> {
    let mut heads: Vec<String> =
        files.keys().filter_map(|path| path.split('/').next()).map(ToOwned::to_owned).collect();
    heads.dedup();
    heads
}

fn visible(volume: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(volume).with_context(|| format!("listing {}", volume.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn read<'a>(data: &Path, paths: impl Iterator<Item = &'a String>) -> Result<Files> {
    let mut files = Files::new();
    for path in paths {
        let file = data.join(path);
        if let Ok(content) = std::fs::read(&file) {
            let mode = file.metadata().context("reading a file's mode")?.permissions().mode() & 0o777;
            files.insert(path.clone(), (content, mode));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(files: &[(&str, &str)]) -> Files {
        files
            .iter()
            .map(|(path, content)| ((*path).to_owned(), (content.as_bytes().to_vec(), 0o644)))
            .collect()
    }

    #[test]
    fn an_update_replaces_all_files_at_once_and_leaves_no_rest() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path();
        assert!(write(volume, &state(&[("token", "old"), ("sub/ca.crt", "ca")])).unwrap());
        assert!(
            !write(volume, &state(&[("token", "old"), ("sub/ca.crt", "ca")])).unwrap(),
            "nothing had changed"
        );
        let first = std::fs::read_link(volume.join("..data")).unwrap();

        assert!(write(volume, &state(&[("token", "new")])).unwrap());
        assert_eq!(std::fs::read_to_string(volume.join("token")).unwrap(), "new");
        assert_eq!(visible(volume).unwrap(), ["token"]);
        assert!(!volume.join(&first).exists());
        assert_ne!(std::fs::read_link(volume.join("..data")).unwrap(), first);
        assert_eq!(std::fs::read_link(volume.join("token")).unwrap(), Path::new("..data/token"));
    }

    #[test]
    fn a_key_that_goes_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &state(&[("a", "1"), ("b", "2")])).unwrap();
        assert!(write(dir.path(), &state(&[("a", "1")])).unwrap());
        assert_eq!(visible(dir.path()).unwrap(), ["a"]);
    }
}
