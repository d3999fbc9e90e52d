//! Text to tokens.

use crate::error::Issues;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Int,
    Uint,
    Float,
    String,
    Bytes,
    Ident,
    /// An identifier in backquotes.
    Escaped,
    /// Operators, brackets and the words `in`, `true`, `false`, `null`.
    Symbol(&'static str),
    End,
}

#[derive(Clone, Debug)]
pub(crate) struct Lexeme {
    pub token: Token,
    pub text: String,
    /// Offset in characters.
    pub at: usize,
}

const SYMBOLS: &[&str] = &[
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":", "+", "*", "/", "%",
];

/// The tokens of a text; what is none is reported.
pub(crate) fn lex(text: &str, issues: &mut Issues) -> Vec<Lexeme> {
    let chars: Vec<char> = text.chars().collect();
    let mut out = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        let c = chars[i];
        if matches!(c, '\t' | ' ' | '\r' | '\n' | '\u{c}') {
            i += 1;
            continue;
        }
        if c == '/' && chars.get(i + 1) == Some(&'/') {
            while i < chars.len() && chars[i] != '\n' {
                i += 1;
            }
            continue;
        }
        let (token, len) = match one(&chars[i..]) {
            Ok(t) => t,
            Err(len) => {
                let bad: String = chars[i..i + len].iter().collect();
                let shown = bad.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t");
                let shown = if bad.contains('\n') { bad.clone() } else { shown };
                issues.add(i, format!("Syntax error: token recognition error at: '{shown}'"));
                i += len;
                continue;
            }
        };
        let text = chars[i..i + len].iter().collect();
        out.push(Lexeme { token, text, at: i });
        i += len;
    }
    out.push(Lexeme { token: Token::End, text: "<EOF>".into(), at: chars.len() });
    out
}

/// The token at the front and its length; or the length of what is none.
fn one(s: &[char]) -> Result<(Token, usize), usize> {
    let c = s[0];
    if c.is_ascii_digit() || (c == '.' && s.get(1).is_some_and(char::is_ascii_digit)) {
        return Ok(number(s));
    }
    if let Some((token, quote_at)) = string_start(s) {
        return string(s, quote_at).map(|len| (token, len));
    }
    if c.is_ascii_alphabetic() || c == '_' {
        let len = s.iter().take_while(|c| c.is_ascii_alphanumeric() || **c == '_').count();
        let word: String = s[..len].iter().collect();
        let token = match word.as_str() {
            "in" => Token::Symbol("in"),
            "true" => Token::Symbol("true"),
            "false" => Token::Symbol("false"),
            "null" => Token::Symbol("null"),
            _ => Token::Ident,
        };
        return Ok((token, len));
    }
    if c == '`' {
        let len = s[1..].iter().take_while(|c| c.is_ascii_alphanumeric() || "_.-/ ".contains(**c)).count();
        return if len > 0 && s.get(len + 1) == Some(&'`') { Ok((Token::Escaped, len + 2)) } else { Err(1 + len) };
    }
    for symbol in SYMBOLS {
        if symbol.chars().enumerate().all(|(n, c)| s.get(n) == Some(&c)) {
            return Ok((Token::Symbol(symbol), symbol.len()));
        }
    }
    // A lone `=`, `&` or `|` takes the character that made it none with it.
    Err(if matches!(c, '=' | '&' | '|') { 2.min(s.len()) } else { 1 })
}

fn number(s: &[char]) -> (Token, usize) {
    let digits = |from: usize| s[from..].iter().take_while(|c| c.is_ascii_digit()).count();
    if s[0] == '0' && s.get(1) == Some(&'x') && s.get(2).is_some_and(char::is_ascii_hexdigit) {
        let len = 2 + s[2..].iter().take_while(|c| c.is_ascii_hexdigit()).count();
        return if matches!(s.get(len), Some('u' | 'U')) { (Token::Uint, len + 1) } else { (Token::Int, len) };
    }
    let mut len = digits(0);
    let mut float = false;
    if s.get(len) == Some(&'.') && s.get(len + 1).is_some_and(char::is_ascii_digit) {
        len += 1 + digits(len + 1);
        float = true;
    }
    if matches!(s.get(len), Some('e' | 'E')) {
        let sign = usize::from(matches!(s.get(len + 1), Some('+' | '-')));
        let exponent = if len + 1 + sign < s.len() { digits(len + 1 + sign) } else { 0 };
        if exponent > 0 {
            len += 1 + sign + exponent;
            float = true;
        }
    }
    if float {
        (Token::Float, len)
    } else if matches!(s.get(len), Some('u' | 'U')) {
        (Token::Uint, len + 1)
    } else {
        (Token::Int, len)
    }
}

/// Whether a string starts here, which kind, and where its quote is.
fn string_start(s: &[char]) -> Option<(Token, usize)> {
    let mut i = 0;
    let mut token = Token::String;
    if matches!(s[i], 'b' | 'B') {
        token = Token::Bytes;
        i += 1;
    }
    if matches!(s.get(i), Some('r' | 'R')) {
        i += 1;
    }
    matches!(s.get(i), Some('"' | '\'')).then_some((token, i))
}

/// The length of the string whose quote is at `start`.
fn string(s: &[char], start: usize) -> Result<usize, usize> {
    let quote = s[start];
    let raw = start > 0 && matches!(s[start - 1], 'r' | 'R');
    let triple = s.get(start + 1) == Some(&quote) && s.get(start + 2) == Some(&quote);
    let mut i = start + if triple { 3 } else { 1 };
    while let Some(&c) = s.get(i) {
        if c == '\\' && !raw {
            match escape(&s[i + 1..]) {
                Some(len) => i += 1 + len,
                None => return Err((i + 2).min(s.len())),
            }
        } else if c == quote && (!triple || (s.get(i + 1) == Some(&quote) && s.get(i + 2) == Some(&quote))) {
            return Ok(i + if triple { 3 } else { 1 });
        } else if !triple && matches!(c, '\n' | '\r') {
            return Err(i + 1);
        } else {
            i += 1;
        }
    }
    Err(s.len())
}

/// The length of what follows a backslash, if it is an escape.
fn escape(s: &[char]) -> Option<usize> {
    let hex = |n: usize| (s.len() > n && s[1..=n].iter().all(char::is_ascii_hexdigit)).then_some(n + 1);
    match s.first()? {
        'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '"' | '\'' | '\\' | '?' | '`' => Some(1),
        'x' | 'X' => hex(2),
        'u' => hex(4),
        'U' => hex(8),
        '0'..='3' => (s.len() > 2 && s[1..3].iter().all(|c| ('0'..='7').contains(c))).then_some(3),
        _ => None,
    }
}

/// The value of a string token (without a leading `b`), escapes resolved; bytes, which are UTF-8 unless the token is of bytes.
pub(crate) fn unquote(text: &str, bytes: bool) -> Result<Vec<u8>, &'static str> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let raw = text.starts_with(['r', 'R']);
    let body = if raw { &text[1..] } else { &text };
    let quotes = if body.len() >= 6 && (body.starts_with("'''") || body.starts_with("\"\"\"")) { 3 } else { 1 };
    let body = &body[quotes..body.len() - quotes];
    if raw || !body.contains('\\') {
        return Ok(body.as_bytes().to_vec());
    }
    let mut out = Vec::with_capacity(body.len());
    let mut chars = body.chars();
    while let Some(c) = chars.next() {
        let push = |out: &mut Vec<u8>, c: char| out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        if c != '\\' {
            push(&mut out, c);
            continue;
        }
        let bad = "unable to unescape string";
        let letter = chars.next().ok_or("unable to unescape string, found '\\' as last character")?;
        let mut number = |digits: usize, radix: u32, first: &str| {
            let text: String = first.chars().chain(chars.by_ref().take(digits)).collect();
            u32::from_str_radix(&text, radix).map_err(|_| bad)
        };
        let code = match letter {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'v' => 11,
            '\\' | '\'' | '"' | '`' | '?' => letter as u32,
            'x' | 'X' => number(2, 16, "")?,
            'u' if !bytes => number(4, 16, "")?,
            'U' if !bytes => number(8, 16, "")?,
            '0'..='3' => number(2, 8, &letter.to_string())?,
            _ => return Err(bad),
        };
        match u8::try_from(code) {
            Ok(byte) if bytes => out.push(byte),
            _ => push(&mut out, char::from_u32(code).ok_or("invalid unicode code point")?),
        }
    }
    Ok(out)
}
