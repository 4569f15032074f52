//! Command lines as a reader can type them: quoted for a POSIX shell, and broken where they are long. Pure; no I/O here.

/// How long a line may be, without the indentation of the narration.
const WIDTH: usize = 104;

/// The indentation of a continued line.
const CONTINUED: &str = "    ";

/// A word as a POSIX shell takes it. Of `--flag=value` only the value is quoted.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let (flag, value) = match word.find('=') {
        Some(at) if word.starts_with("--") && word[..at].chars().all(plain) => word.split_at(at + 1),
        _ => ("", word),
    };
    format!("{flag}'{}'", value.replace('\'', r"'\''"))
}

/// The lines of a command. A flag stays with what follows it.
pub(crate) fn laid_out(words: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let mut unit = quoted(word);
        let takes_a_value = word.starts_with('-') && !word.contains('=');
        if let Some(value) = words.next_if(|next| takes_a_value && !next.starts_with('-')) {
            unit = format!("{unit} {}", quoted(value));
        }
        if line.is_empty() {
            line = unit;
        } else if line.len() + unit.len() < WIDTH {
            line = format!("{line} {unit}");
        } else {
            lines.push(format!("{line} \\"));
            line = format!("{CONTINUED}{unit}");
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_read_more_into_them() {
        for (word, expected) in [
            ("kubectl", "kubectl"),
            ("--from-file=token=target/demo/api-token", "--from-file=token=target/demo/api-token"),
            ("", "''"),
            ("it's", r"'it'\''s'"),
            ("{{.data}}", "'{{.data}}'"),
            ("--for=jsonpath={.a}=b", "--for='jsonpath={.a}=b'"),
            ("watchNamespaces={shop}", "'watchNamespaces={shop}'"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }

    #[test]
    fn a_long_command_is_broken_before_a_flag_and_never_between_it_and_its_value() {
        let url = format!("api.url=http://127.0.0.1:{}", "4".repeat(40));
        let words = ["helm", "install", "keeptrusts-operator", "--set", &url, "--set", "log.level=debug"];
        let lines = laid_out(&words);
        assert_eq!(
            lines,
            [format!("helm install keeptrusts-operator --set {url} \\"), "    --set log.level=debug".into()]
        );
        assert_eq!(laid_out(&["kubectl", "version"]), ["kubectl version"]);
    }
}
