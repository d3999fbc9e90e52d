//! The lexer and parser of the string form. The grammar and its corner cases (`a in (,)`, keywords as values) are upstream's.

use super::{Operator, Requirement, SelectorError, check_key};
use crate::field::Path;
use std::collections::BTreeSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Error,
    End,
    ClosedPar,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    Greater,
    Identifier,
    In,
    Less,
    NotEquals,
    NotIn,
    OpenPar,
}

fn keyword(s: &str) -> Option<Token> {
    Some(match s {
        ")" => Token::ClosedPar,
        "," => Token::Comma,
        "!" => Token::Not,
        "==" => Token::DoubleEquals,
        "=" => Token::Equals,
        ">" => Token::Greater,
        "in" => Token::In,
        "<" => Token::Less,
        "!=" => Token::NotEquals,
        "notin" => Token::NotIn,
        "(" => Token::OpenPar,
        _ => return None,
    })
}

fn is_space(c: u8) -> bool {
    matches!(c, b' ' | b'\t' | b'\r' | b'\n')
}
fn is_special(c: u8) -> bool {
    matches!(c, b'=' | b'!' | b'(' | b')' | b',' | b'>' | b'<')
}

fn lex(s: &str) -> Vec<(Token, String)> {
    let b = s.as_bytes();
    let mut out = Vec::new();
    let mut i = 0;
    loop {
        while i < b.len() && is_space(b[i]) {
            i += 1;
        }
        // A NUL ends the text, as it does upstream.
        if i >= b.len() || b[i] == 0 {
            out.push((Token::End, String::new()));
            return out;
        }
        let start = i;
        if is_special(b[i]) {
            let mut last: Option<(Token, usize)> = None;
            while i < b.len() && is_special(b[i]) {
                match keyword(&s[start..=i]) {
                    Some(t) => last = Some((t, i + 1)),
                    None if last.is_some() => break,
                    None => {}
                }
                i += 1;
            }
            match last {
                Some((t, end)) => {
                    i = end;
                    out.push((t, s[start..end].to_owned()));
                }
                None => out.push((Token::Error, format!("error expected: keyword found '{}'", &s[start..i]))),
            }
        } else {
            while i < b.len() && b[i] != 0 && !is_special(b[i]) && !is_space(b[i]) {
                i += 1;
            }
            let word = &s[start..i];
            out.push((keyword(word).unwrap_or(Token::Identifier), word.to_owned()));
        }
    }
}

struct Parser {
    items: Vec<(Token, String)>,
    pos: usize,
}

type Result<T> = std::result::Result<T, String>;

impl Parser {
    /// The next token; `in` and `notin` are identifiers where a value or key may stand.
    fn peek(&self) -> (Token, &str) {
        match self.items.get(self.pos) {
            Some((Token::In | Token::NotIn, s)) => (Token::Identifier, s),
            Some((t, s)) => (*t, s),
            None => (Token::End, ""),
        }
    }
    fn next(&mut self) -> (Token, String) {
        let (t, s) = self.peek();
        let out = (t, s.to_owned());
        self.pos += 1;
        out
    }

    fn requirements(&mut self) -> Result<Vec<Requirement>> {
        let mut out = Vec::new();
        loop {
            match self.peek() {
                (Token::Identifier | Token::Not, _) => {
                    out.push(self.requirement().map_err(|e| format!("unable to parse requirement: {e}"))?);
                    match self.next() {
                        (Token::End, _) => return Ok(out),
                        (Token::Comma, _) => {
                            if let (t, l) = self.peek()
                                && !matches!(t, Token::Identifier | Token::Not)
                            {
                                return Err(format!("found '{l}', expected: identifier after ','"));
                            }
                        }
                        (_, l) => return Err(format!("found '{l}', expected: ',' or 'end of string'")),
                    }
                }
                (Token::End, _) => return Ok(out),
                (_, l) => return Err(format!("found '{l}', expected: !, identifier, or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement> {
        let (mut tok, mut key) = self.next();
        let mut op = None;
        if tok == Token::Not {
            op = Some(Operator::DoesNotExist);
            (tok, key) = self.next();
        }
        if tok != Token::Identifier {
            return Err(format!("found '{key}', expected: identifier"));
        }
        if let Some(e) = check_key(&key, &Path::default()) {
            return Err(e.to_string());
        }
        if matches!(self.peek().0, Token::End | Token::Comma) {
            op = op.or(Some(Operator::Exists));
        }
        let new =
            |op, values: BTreeSet<String>| Requirement::new(&key, op, values.into_iter().collect()).map_err(|SelectorError(e)| e);
        if let Some(op) = op {
            return new(op, BTreeSet::new());
        }
        let op = self.operator()?;
        let values = if matches!(op, Operator::In | Operator::NotIn) { self.values()? } else { self.exact_value()? };
        new(op, values)
    }

    fn operator(&mut self) -> Result<Operator> {
        let (tok, lit) = self.items.get(self.pos).cloned().unwrap_or((Token::End, String::new()));
        self.pos += 1;
        Ok(match tok {
            Token::In => Operator::In,
            Token::Equals => Operator::Equals,
            Token::DoubleEquals => Operator::DoubleEquals,
            Token::Greater => Operator::GreaterThan,
            Token::Less => Operator::LessThan,
            Token::NotIn => Operator::NotIn,
            Token::NotEquals => Operator::NotEquals,
            _ => return Err(format!("found '{lit}', expected: in, notin, =, ==, !=, gt, lt")),
        })
    }

    fn values(&mut self) -> Result<BTreeSet<String>> {
        let (tok, lit) = self.next();
        if tok != Token::OpenPar {
            return Err(format!("found '{lit}' expected: '('"));
        }
        match self.peek() {
            (Token::Identifier | Token::Comma, _) => {
                let set = self.identifiers()?;
                match self.next() {
                    (Token::ClosedPar, _) => Ok(set),
                    (_, l) => Err(format!("found '{l}', expected: ')'")),
                }
            }
            (Token::ClosedPar, _) => {
                self.pos += 1;
                Ok(BTreeSet::from([String::new()]))
            }
            (_, l) => Err(format!("found '{l}', expected: ',', ')' or identifier")),
        }
    }

    fn identifiers(&mut self) -> Result<BTreeSet<String>> {
        let mut set = BTreeSet::new();
        loop {
            match self.next() {
                (Token::Identifier, lit) => {
                    set.insert(lit);
                    match self.peek() {
                        (Token::Comma, _) => {}
                        (Token::ClosedPar, _) => return Ok(set),
                        (_, l) => return Err(format!("found '{l}', expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    if set.is_empty() {
                        set.insert(String::new());
                    }
                    match self.peek().0 {
                        Token::ClosedPar => {
                            set.insert(String::new());
                            return Ok(set);
                        }
                        Token::Comma => {
                            set.insert(String::new());
                        }
                        _ => {}
                    }
                }
                (_, l) => return Err(format!("found '{l}', expected: ',', or identifier")),
            }
        }
    }

    fn exact_value(&mut self) -> Result<BTreeSet<String>> {
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(BTreeSet::from([String::new()]));
        }
        match self.next() {
            (Token::Identifier, lit) => Ok(BTreeSet::from([lit])),
            (_, l) => Err(format!("found '{l}', expected: identifier")),
        }
    }
}

pub(super) fn parse(s: &str) -> std::result::Result<Vec<Requirement>, SelectorError> {
    Parser { items: lex(s), pos: 0 }.requirements().map_err(SelectorError)
}
