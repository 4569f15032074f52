//! What the reader sees: chapters, prose, commands with what came back, and `ok` lines. Everything goes to standard output at once.

use std::io::{self, IsTerminal as _, Write as _};

use crate::command_line;

/// How wide prose is.
const WIDTH: usize = 100;

/// What stands before everything in a chapter.
const INDENT: &str = "   ";

/// How much of one output line is shown.
const LONGEST: usize = 140;

/// Writes the narration.
pub(crate) struct Narrator {
    colour: bool,
    chapters: u32,
    checks: u32,
    /// Whether it is all the same if nobody listens any more.
    carries_on: bool,
}

/// How something is shown on a terminal.
#[derive(Clone, Copy)]
enum Style {
    Bold,
    Dim,
    Green,
    Cyan,
}

impl Narrator {
    /// A narrator that uses colours on a terminal, unless `NO_COLOR` is set.
    pub(crate) fn new() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let colour = io::stdout().is_terminal() && !set("NO_COLOR") && !dumb;
        Self { colour, chapters: 0, checks: 0, carries_on: false }
    }

    /// From now on a reader who has gone away (a closed pipe) is no error: what was begun is ended.
    pub(crate) fn carry_on(&mut self) {
        self.carries_on = true;
    }

    /// How many checks were passed.
    pub(crate) fn checks(&self) -> u32 {
        self.checks
    }

    /// The title of the whole.
    pub(crate) fn title(&self, text: &str) -> io::Result<()> {
        self.write(&format!("{}\n", self.styled(Style::Bold, text)))
    }

    /// The next chapter.
    pub(crate) fn chapter(&mut self, title: &str) -> io::Result<()> {
        self.chapters += 1;
        let title = format!("{}. {title}", self.chapters);
        self.write(&format!("\n{}\n", self.styled(Style::Bold, &title)))
    }

    /// A part without a number.
    pub(crate) fn part(&self, title: &str) -> io::Result<()> {
        self.write(&format!("\n{}\n", self.styled(Style::Bold, title)))
    }

    /// Prose.
    pub(crate) fn tell(&self, text: &str) -> io::Result<()> {
        let lines = wrapped(text, WIDTH - INDENT.len());
        self.lines(lines.iter().map(|line| format!("{INDENT}{line}")))
    }

    /// Lines that are left as they are.
    pub(crate) fn literal(&self, lines: &[String]) -> io::Result<()> {
        self.lines(lines.iter().map(|line| format!("{INDENT}{INDENT}{line}")))
    }

    /// A command, as a reader would type it.
    pub(crate) fn command(&self, words: &[&str]) -> io::Result<()> {
        self.typed(&command_line::laid_out(words))
    }

    /// A command that is laid out already.
    pub(crate) fn typed(&self, lines: &[String]) -> io::Result<()> {
        let mut prompt = "$";
        self.lines(lines.iter().map(|line| {
            let line = format!("{INDENT}{prompt} {}", self.styled(Style::Cyan, line));
            prompt = " ";
            line
        }))
    }

    /// What came back: at most so many lines of it.
    pub(crate) fn output(&self, text: &str, most: usize) -> io::Result<()> {
        self.lines(trimmed(text, most).iter().map(|line| format!("{INDENT}  {line}")))
    }

    /// What is said in the place of an output.
    pub(crate) fn note(&self, text: &str) -> io::Result<()> {
        self.write(&format!("{INDENT}  {}\n", self.styled(Style::Dim, &format!("({text})"))))
    }

    /// Something was checked, and is so.
    pub(crate) fn ok(&mut self, text: &str) -> io::Result<()> {
        self.checks += 1;
        let lines = wrapped(text, WIDTH - INDENT.len() - 4);
        let mut head = self.styled(Style::Green, "ok");
        self.lines(lines.iter().map(|line| {
            let line = format!("{INDENT}{head}  {line}");
            "  ".clone_into(&mut head);
            line
        }))
    }

    fn lines(&self, lines: impl Iterator<Item = String>) -> io::Result<()> {
        let mut text = String::new();
        for line in lines {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        self.write(&text)
    }

    fn styled(&self, style: Style, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match style {
            Style::Bold => "1",
            Style::Dim => "2",
            Style::Green => "1;32",
            Style::Cyan => "36",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        if self.carries_on { Ok(()) } else { written }
    }
}

/// Says what went wrong, on standard error. Nothing is lost if that is closed; a panic would lose the cleaning up.
pub(crate) fn complain(text: &str) {
    writeln!(io::stderr(), "{text}").ok();
}

/// Breaks prose into lines.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().filter(|line| line.is_empty() || fits(line, word, width));
        match last {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

fn fits(line: &str, word: &str, width: usize) -> bool {
    line.chars().count() + 1 + word.chars().count() <= width
}

/// The first lines of an output, long ones cut.
fn trimmed(text: &str, most: usize) -> Vec<String> {
    let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut lines: Vec<String> = all.iter().take(most).map(|line| cut(line)).collect();
    match all.len().saturating_sub(most) {
        0 => {}
        1 => lines.push("… (1 more line)".to_owned()),
        more => lines.push(format!("… ({more} more lines)")),
    }
    lines
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_wrapped_at_words() {
        assert_eq!(wrapped("one two\n  three  four", 9), ["one two", "three", "four"]);
        assert_eq!(wrapped("a-word-longer-than-the-width x", 5), ["a-word-longer-than-the-width", "x"]);
    }

    #[test]
    fn output_is_trimmed_and_says_how_much_is_missing() {
        assert_eq!(trimmed("a\n\nb\nc\n", 2), ["a", "b", "… (1 more line)"]);
        assert_eq!(trimmed("a\nb\nc\nd", 2), ["a", "b", "… (2 more lines)"]);
        assert_eq!(trimmed("a\n", 2), ["a"]);
        assert_eq!(trimmed(&"x".repeat(200), 1)[0].chars().count(), LONGEST + 1);
    }
}
