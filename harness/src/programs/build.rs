//! Builds the programs into the user's cache folder, so that a fresh clone on the same machine finds them there.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use super::{KUBERNETES, Program};
use crate::process::{Process, tail};

/// How often a build that takes minutes says that it is still at work.
const HEARTBEAT: Duration = Duration::from_mins(1);

/// The pause between two looks at a running build.
const POLL: Duration = Duration::from_millis(100);

/// The first Go that can fetch the toolchain a go.mod asks for.
const OLDEST_GO: (u32, u32) = (1, 21);

/// What decides what a build gives.
struct Recipe {
    module_dir: PathBuf,
    go_mod: String,
    kubernetes: String,
    go: String,
    cache: PathBuf,
}

impl Recipe {
    fn read() -> Result<Self> {
        let module_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/control-plane");
        let read = |name: &str| {
            let path = module_dir.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
        };
        let (go_mod, go_sum) = (read("go.mod")?, read("go.sum")?);
        let kubernetes = version_of(&go_mod, KUBERNETES)?.to_owned();
        let go = go_version(&module_dir, &go_mod)?;
        let mut hash = Sha256::new();
        for part in [&go_mod, &go_sum, &ldflags(&kubernetes)?, &go] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        // Eight bytes tell the few recipes of one machine apart, and keep paths short.
        let key = hash.finalize().iter().take(8).fold(String::new(), |key, byte| format!("{key}{byte:02x}"));
        Ok(Self { module_dir, go_mod, kubernetes, go, cache: cache_root()?.join(key) })
    }

    fn version(&self, program: Program) -> Result<&str> {
        Ok(version_of(&self.go_mod, program.module)?.trim_start_matches('v'))
    }
}

/// The folder of the cache that belongs to this go.mod, go.sum, set of flags and Go.
///
/// # Errors
/// When Go is missing or too old.
pub fn cache_dir() -> Result<PathBuf> {
    Ok(Recipe::read()?.cache)
}

/// The paths of the programs in the cache, after building those that it lacks.
pub(super) fn cached_or_built(programs: &[Program]) -> Result<Vec<(&'static str, PathBuf)>> {
    let recipe = Recipe::read()?;
    let missing = |program: &&Program| !recipe.cache.join(program.name).is_file();
    if programs.iter().any(|program| missing(&program)) {
        std::fs::create_dir_all(&recipe.cache)
            .with_context(|| format!("making {}", recipe.cache.display()))?;
        let _lock = lock(&recipe.cache)?;
        // Another run may have built some of them while this one waited.
        let wanted: Vec<Program> = programs.iter().filter(missing).copied().collect();
        if !wanted.is_empty() {
            eprintln!("control plane: building with {} into {}", recipe.go, recipe.cache.display());
        }
        for (done, program) in wanted.iter().enumerate() {
            build(&recipe, *program, done + 1, wanted.len())?;
        }
    }
    Ok(programs.iter().map(|program| (program.name, recipe.cache.join(program.name))).collect())
}

fn build(recipe: &Recipe, program: Program, number: usize, of: usize) -> Result<()> {
    let Program { name, package, usually, .. } = program;
    let version = recipe.version(program)?;
    eprintln!(
        "control plane: building {name} {version} ({number} of {of}), usually {usually} on 2 cores with nothing cached …"
    );
    let start = Instant::now();
    let partial = recipe.cache.join(format!("{name}.partial"));
    let log = recipe.cache.join(format!("{name}.log"));
    let mut command = Command::new("go");
    command
        .args(["build", "-ldflags", &ldflags(&recipe.kubernetes)?, "-o"])
        .arg(&partial)
        .arg(package)
        .current_dir(&recipe.module_dir);
    let mut process = Process::spawn("go build", &mut command, &log)?;
    let mut heartbeat = HEARTBEAT;
    let status = loop {
        if let Some(status) = process.exit_status()? {
            break status;
        }
        if start.elapsed() > heartbeat {
            eprintln!("control plane:   … {name}: {}", minutes(start.elapsed()));
            heartbeat += HEARTBEAT;
        }
        std::thread::sleep(POLL);
    };
    if !status.success() {
        bail!("building {name} failed ({status}). The end of {}:\n{}", log.display(), tail(&log));
    }
    // A rename is atomic: a program in the cache is a whole one, even after a build that was interrupted.
    std::fs::rename(&partial, recipe.cache.join(name))
        .with_context(|| format!("moving {name} into the cache"))?;
    std::fs::remove_file(&log).ok();
    eprintln!("control plane: built {name} in {} ({number} of {of})", minutes(start.elapsed()));
    Ok(())
}

/// Held while building. The operating system lets go of it when the process ends, so none is ever left behind.
fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("lock");
    let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("control plane: waiting for another run that is building it …");
            file.lock().with_context(|| format!("locking {}", path.display()))?;
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("locking {}", path.display()));
        }
    }
    Ok(file)
}

/// Without the stamped version, kubectl and helm refuse the server (it calls itself v0.0.0-master).
fn ldflags(version: &str) -> Result<String> {
    let mut parts = version.trim_start_matches('v').split('.');
    let (Some(major), Some(minor)) = (parts.next(), parts.next()) else { bail!("not a version: {version}") };
    let stamp = "-X k8s.io/component-base/version";
    Ok(format!("-s -w {stamp}.gitVersion={version} {stamp}.gitMajor={major} {stamp}.gitMinor={minor}"))
}

/// The version that a go.mod requires of a module.
fn version_of<'a>(go_mod: &'a str, module: &str) -> Result<&'a str> {
    go_mod
        .lines()
        .filter_map(|line| line.trim().trim_start_matches("require ").split_once(' '))
        .find(|(name, version)| *name == module && version.starts_with('v'))
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .with_context(|| format!("go.mod requires no version of {module}"))
}

/// Which Go builds here, after it has chosen its toolchain.
fn go_version(module_dir: &Path, go_mod: &str) -> Result<String> {
    let needed =
        go_mod.lines().find_map(|line| line.strip_prefix("go ")).context("go.mod names no Go version")?;
    let install = format!(
        "Go {needed} or later builds the control plane of the tests (https://go.dev/dl/; Go 1.21 or later fetches the right one itself)"
    );
    let found =
        run_go(module_dir, &["version"]).with_context(|| format!("no Go found in PATH. {install}"))?;
    let found = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    if parse_go_version(&found).is_some_and(|version| version < OLDEST_GO) {
        bail!("{found} is too old. {install}");
    }
    let chosen = run_go(module_dir, &["env", "GOVERSION", "GOOS", "GOARCH"])?;
    if !chosen.status.success() {
        let why = String::from_utf8_lossy(&chosen.stderr).trim().to_owned();
        bail!("{found} can't be used: {why}. {install}");
    }
    Ok(String::from_utf8_lossy(&chosen.stdout).split_whitespace().collect::<Vec<_>>().join(" "))
}

fn run_go(dir: &Path, args: &[&str]) -> Result<Output> {
    Command::new("go").args(args).current_dir(dir).output().context("running go")
}

/// Major and minor number in `go version go1.26.8 linux/amd64`; a development version has none.
fn parse_go_version(text: &str) -> Option<(u32, u32)> {
    let version =
        text.split_whitespace().find_map(|word| word.strip_prefix("go1.").map(|rest| ("1", rest)))?;
    let minor = version.1.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((version.0.parse().ok()?, minor.parse().ok()?))
}

fn cache_root() -> Result<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache =
        absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache"))).context(
            "neither XDG_CACHE_HOME nor HOME is set: there is no place for the control plane's programs",
        )?;
    Ok(cache.join("keeptrusts-operator/control-plane"))
}

fn minutes(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    if seconds < 60 { format!("{seconds} s") } else { format!("{} min {} s", seconds / 60, seconds % 60) }
}

#[cfg(test)]
mod tests {
    use super::super::PROGRAMS;
    use super::*;

    const GO_MOD: &str = "module x\n\ngo 1.26.0\n\nreplace k8s.io/kubernetes => ./x\n\nrequire (\n\tk8s.io/kubernetes v1.37.2 // indirect\n)\n";

    #[test]
    fn a_version_is_what_go_mod_requires() {
        assert_eq!(version_of(GO_MOD, KUBERNETES).unwrap(), "v1.37.2");
        assert!(version_of(GO_MOD, "k8s.io/kube").is_err());
    }

    #[test]
    fn the_committed_go_mod_names_a_version_of_every_program() {
        let go_mod = std::fs::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/control-plane/go.mod"),
        );
        let go_mod = go_mod.unwrap();
        for program in PROGRAMS {
            version_of(&go_mod, program.module).unwrap();
            assert!(go_mod.lines().any(|line| line.trim() == program.package), "{}", program.package);
        }
    }

    #[test]
    fn the_version_is_stamped_with_its_parts() {
        let flags = ldflags("v1.37.2").unwrap();
        assert!(flags.contains("gitVersion=v1.37.2 ") && flags.ends_with("gitMinor=37"), "{flags}");
    }

    #[test]
    fn go_tells_its_version() {
        assert_eq!(parse_go_version("go version go1.26.8 linux/amd64"), Some((1, 26)));
        assert_eq!(parse_go_version("go version go1.19 linux/amd64"), Some((1, 19)));
        assert_eq!(parse_go_version("go version devel +abc linux/amd64"), None);
    }
}
