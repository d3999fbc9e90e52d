//! Errors of compilation, with the pointer into the text, and of evaluation.

use std::fmt;

/// One mistake in an expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Issue {
    pub message: String,
    /// Counted from one.
    pub line: usize,
    /// Counted from zero, in characters; -1 where the text is empty.
    pub column: isize,
}

/// Why an expression did not compile; displays as upstream does, each mistake with the line and a pointer under it.
#[derive(Clone, Debug, PartialEq)]
pub struct CompileError {
    pub issues: Vec<Issue>,
    lines: Vec<String>,
}

/// More mistakes than this are counted only.
const MAX_ISSUES: usize = 100;
/// Longer lines are not shown.
const MAX_SNIPPET: usize = 16384;

/// Collects mistakes by their offset.
pub(crate) struct Issues<'a> {
    text: &'a str,
    found: Vec<(String, usize)>,
}

impl<'a> Issues<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, found: Vec::new() }
    }
    pub fn add(&mut self, at: usize, message: impl Into<String>) {
        self.found.push((message.into(), at));
    }
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }
    pub fn into_error(self) -> CompileError {
        let lines: Vec<String> = self.text.split('\n').map(str::to_string).collect();
        let mut starts = vec![0];
        for line in &lines {
            starts.push(starts[starts.len() - 1] + line.chars().count() + 1);
        }
        let mut issues: Vec<Issue> = self
            .found
            .into_iter()
            .map(|(message, at)| {
                if self.text.is_empty() {
                    return Issue { message, line: 1, column: -1 };
                }
                let line = starts.partition_point(|s| *s <= at).clamp(1, lines.len());
                Issue { message, line, column: (at - starts[line - 1]) as isize }
            })
            .collect();
        issues.sort_by_key(|i| (i.line, i.column));
        CompileError { issues, lines }
    }
}

impl CompileError {
    /// An error without a place in the text.
    pub fn plain(message: impl Into<String>) -> Self {
        Self { issues: vec![Issue { message: message.into(), line: 0, column: -1 }], lines: Vec::new() }
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, issue) in self.issues.iter().take(MAX_ISSUES).enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            if issue.line == 0 {
                f.write_str(&issue.message)?;
                continue;
            }
            write!(f, "ERROR: <input>:{}:{}: {}", issue.line, issue.column + 1, issue.message)?;
            let line = self.lines.get(issue.line - 1).map(String::as_str).unwrap_or_default();
            if issue.column >= 0 && line.len() <= MAX_SNIPPET {
                write!(f, "\n | {}\n | ", line.replace('\t', " "))?;
                let mut chars = line.chars();
                for c in chars.by_ref().take(issue.column as usize) {
                    f.write_str(if c.len_utf8() > 1 { "．" } else { "." })?;
                }
                f.write_str(if chars.next().is_some_and(|c| c.len_utf8() > 1) { "＾" } else { "^" })?;
            }
        }
        if self.issues.len() > MAX_ISSUES {
            write!(f, "\n{} more errors were truncated", self.issues.len() - MAX_ISSUES)?;
        }
        Ok(())
    }
}

impl std::error::Error for CompileError {}

/// Why an evaluation has no result.
#[derive(Clone, Debug, PartialEq)]
pub enum EvalError {
    /// The expression cost more than it may.
    CostExceeded,
    /// Anything else; the text is upstream's.
    Failed(String),
}

impl EvalError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }
    pub(crate) fn no_such_overload() -> Self {
        Self::new("no such overload")
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CostExceeded => f.write_str("operation cancelled: actual cost limit exceeded"),
            Self::Failed(m) => f.write_str(m),
        }
    }
}

impl std::error::Error for EvalError {}
