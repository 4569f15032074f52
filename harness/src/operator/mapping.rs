//! From the container to the host: paths, ports, variables. Pure; no I/O here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// What the host has in the place of what the container had.
#[derive(Debug, Clone, Default)]
pub(super) struct Mapping {
    /// Mount paths and the folders or files that stand for them.
    pub(super) paths: BTreeMap<String, PathBuf>,
    /// Ports of the container and those of 127.0.0.1 that stand for them.
    pub(super) ports: BTreeMap<u16, u16>,
}

impl Mapping {
    /// Maps one argument or the value of one variable.
    pub(super) fn apply(&self, text: &str) -> String {
        let (head, value) = split_flag(text);
        if let Some(mapped) = self.ports.iter().find_map(|(from, to)| map_address(value, *from, *to)) {
            return format!("{head}{mapped}");
        }
        // The longest first: /etc/tokens/ca before /etc/tokens.
        let mut paths: Vec<_> = self.paths.iter().collect();
        paths.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
        for (from, to) in paths {
            if let Some(mapped) = map_path(text, from, to) {
                return mapped;
            }
        }
        text.to_owned()
    }

    /// A port that nothing listens on by what `texts` (arguments and values) say. It can't be moved, and two operators would clash.
    pub(super) fn unmapped_port(&self, texts: &[String]) -> Option<u16> {
        let mentions =
            |port: u16| texts.iter().any(|text| map_address(split_flag(text).1, port, 0).is_some());
        self.ports.keys().copied().find(|port| !mentions(*port))
    }
}

/// `--flag=value` into `--flag=` and `value`; anything else is a value.
fn split_flag(text: &str) -> (&str, &str) {
    match text.find('=') {
        Some(at) if text.starts_with('-') => text.split_at(at + 1),
        _ => ("", text),
    }
}

/// `0.0.0.0:8081`, `[::]:8081`, `:8081`, `127.0.0.1:8081` and `localhost:8081` are places to listen at, and so is a bare `8081`; all
/// become the port's stand-in on 127.0.0.1. A host name with that port is somebody else's.
fn map_address(value: &str, from: u16, to: u16) -> Option<String> {
    if value == from.to_string() {
        return Some(to.to_string());
    }
    let host = value.strip_suffix(&format!(":{from}"))?;
    ["", "0.0.0.0", "[::]", "127.0.0.1", "[::1]", "localhost", "*"]
        .contains(&host)
        .then(|| format!("127.0.0.1:{to}"))
}

/// Replaces every `from` that is a whole path or the head of one: `/etc/keys` in `/etc/keys/token`, never in `/etc/keys-old`.
fn map_path(text: &str, from: &str, to: &Path) -> Option<String> {
    let boundary_before = |c: char| "=:,;'\" ".contains(c);
    let boundary_after = |c: char| "/:,;'\" ".contains(c);
    let mut mapped = String::new();
    let mut rest = text;
    let mut found = false;
    while let Some(at) = rest.find(from) {
        let (before, tail) = rest.split_at(at);
        let after = &tail[from.len()..];
        // What was written already counts as what comes before.
        let previous = before.chars().next_back().or_else(|| mapped.chars().next_back());
        mapped.push_str(before);
        if previous.is_none_or(boundary_before) && after.chars().next().is_none_or(boundary_after) {
            mapped.push_str(&to.to_string_lossy());
            found = true;
        } else {
            mapped.push_str(from);
        }
        rest = after;
    }
    mapped.push_str(rest);
    found.then_some(mapped)
}

/// Expands `$(NAME)` as kubelet does: unknown names stay as they are, `$$(NAME)` is a literal `$(NAME)`.
pub(super) fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        if let Some(after) = tail.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = tail.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            // An unknown name is written back: `$(`, the name, `)`.
            let unknown = &tail[..name.len() + 2];
            match variables.get(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.extend(["$", unknown]),
            }
            rest = after;
        } else {
            expanded.push('$');
            rest = tail;
        }
    }
    expanded.push_str(rest);
    expanded
}

/// The arguments after the program's name. The program itself is the host's; but a name that the image doesn't have is an error here,
/// as it would be one there.
pub(super) fn arguments(command: &[String], args: &[String], program: &str) -> Result<Vec<String>> {
    let Some((first, rest)) = command.split_first() else { return Ok(args.to_vec()) };
    let named =
        if program.contains('/') { first == program } else { first.rsplit('/').next() == Some(program) };
    if !named {
        bail!("the Deployment's command is {first}, but the program in the image is {program}");
    }
    Ok(rest.iter().chain(args).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping() -> Mapping {
        let paths = [("/etc/keys", "/h/keys"), ("/etc/keys/ca", "/h/ca")];
        Mapping {
            paths: paths.map(|(from, to)| (from.to_owned(), PathBuf::from(to))).into(),
            ports: [(8081, 21_000)].into(),
        }
    }

    #[test]
    fn paths_and_ports_of_the_container_become_those_of_the_host() {
        for (container, host) in [
            ("/etc/keys", "/h/keys"),
            ("/etc/keys/token", "/h/keys/token"),
            ("--file=/etc/keys/token", "--file=/h/keys/token"),
            ("--file=/etc/keys/ca/root.pem", "--file=/h/ca/root.pem"),
            ("/etc/keys/a:/etc/keys/b", "/h/keys/a:/h/keys/b"),
            ("/etc/keys-old/token", "/etc/keys-old/token"),
            ("/srv/etc/keys/token", "/srv/etc/keys/token"),
            ("https://example.com/etc/keys", "https://example.com/etc/keys"),
            ("--health-address=0.0.0.0:8081", "--health-address=127.0.0.1:21000"),
            ("[::]:8081", "127.0.0.1:21000"),
            (":8081", "127.0.0.1:21000"),
            ("--port=8081", "--port=21000"),
            ("http://api.example.com:8081", "http://api.example.com:8081"),
            ("--period=80810", "--period=80810"),
        ] {
            assert_eq!(mapping().apply(container), host, "{container}");
        }
    }

    #[test]
    fn a_port_that_no_argument_names_is_found() {
        assert_eq!(mapping().unmapped_port(&["--health-address=0.0.0.0:8081".into()]), None);
        assert_eq!(mapping().unmapped_port(&["--other=1".into()]), Some(8081));
    }

    #[test]
    fn variables_expand_as_kubelet_does_it() {
        let variables = [("A".to_owned(), "x".to_owned())].into();
        for (text, expanded) in [
            ("$(A)-$(B)", "x-$(B)"),
            ("$$(A)", "$(A)"),
            ("a$b $", "a$b $"),
            ("$(A", "$(A"),
            ("$(A)$(A)", "xx"),
        ] {
            assert_eq!(expand(text, &variables), expanded, "{text}");
        }
    }

    #[test]
    fn the_command_names_the_program_of_the_image() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let command = words(&["/usr/bin/operator", "run"]);
        assert_eq!(arguments(&command, &words(&["--x"]), "operator").unwrap(), ["run", "--x"]);
        assert_eq!(arguments(&command, &[], "/usr/bin/operator").unwrap(), ["run"]);
        assert_eq!(arguments(&[], &words(&["run"]), "operator").unwrap(), ["run"]);
        assert!(arguments(&command, &[], "/bin/operator").is_err());
        assert!(arguments(&command, &[], "manager").is_err());
    }
}
