//! Tokens to a tree. Recursive descent; depth and length are bounded, as the text is anybody's.

use crate::ast::{Call, Element, Entry, Expr, Kind, Literal, StructField};
use crate::error::{CompileError, Issues};
use crate::lexer::{Lexeme, Token, lex, unquote};
use crate::limits::{MAX_DEPTH, MAX_EXPRESSION};
use crate::macros::{Expanded, expand};

/// How deep a tree may be.
const MAX_TREE_DEPTH: usize = 200;

/// What an expression may start with, as upstream lists it.
const EXPECTED: &str =
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "package",
    "namespace",
    "null",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// The operators between two operands by their level, from the loosest.
const BINARY: &[&[(&str, &str)]] = &[
    &[("||", "_||_")],
    &[("&&", "_&&_")],
    &[("<", "_<_"), ("<=", "_<=_"), (">=", "_>=_"), (">", "_>_"), ("==", "_==_"), ("!=", "_!=_"), ("in", "@in")],
    &[("+", "_+_"), ("-", "_-_")],
    &[("*", "_*_"), ("/", "_/_"), ("%", "_%_")],
];

pub(crate) struct Parser {
    tokens: Vec<Lexeme>,
    next: usize,
    depth: usize,
    ids: usize,
    /// Mistakes that do not end parsing: where and what.
    found: Vec<(usize, String)>,
}

/// Parsing cannot go on; the mistake is noted.
struct Stop;
type Result<T> = std::result::Result<T, Stop>;

/// The tree of an expression and how many nodes it has.
pub(crate) fn parse(text: &str) -> std::result::Result<(Expr, usize), CompileError> {
    let size = text.chars().count();
    if size > MAX_EXPRESSION {
        let why = format!("expression code point size exceeds limit: size: {size}, limit {MAX_EXPRESSION}");
        return Err(CompileError::plain(why));
    }
    let mut issues = Issues::new(text);
    let tokens = lex(text, &mut issues);
    let mut parser = Parser { tokens, next: 0, depth: 0, ids: 0, found: Vec::new() };
    let parsed = parser.start();
    for (at, message) in parser.found {
        issues.add(at, message);
    }
    match parsed {
        Ok(expr) if issues.is_empty() => Ok((expr, parser.ids)),
        _ => Err(issues.into_error()),
    }
}

impl Parser {
    pub fn expr(&mut self, at: usize, kind: Kind) -> Expr {
        self.ids += 1;
        let mut depth = kind.depth() + 1;
        let mut kind = kind;
        if depth > MAX_TREE_DEPTH {
            if self.found.is_empty() {
                self.too_deep(at);
            }
            (depth, kind) = (1, Kind::Literal(Literal::Null));
        }
        Expr { id: self.ids - 1, at, depth, constant: false, kind }
    }
    pub fn literal(&mut self, at: usize, literal: Literal) -> Expr {
        self.expr(at, Kind::Literal(literal))
    }
    pub fn call(&mut self, at: usize, function: &str, args: Vec<Expr>) -> Expr {
        self.expr(at, Kind::Call(Call { function: function.into(), target: None, args, resolved: None, unique: false }))
    }
    pub fn member_call(&mut self, at: usize, function: &str, target: Expr, args: Vec<Expr>) -> Expr {
        let target = Some(Box::new(target));
        self.expr(at, Kind::Call(Call { function: function.into(), target, args, resolved: None, unique: false }))
    }

    fn too_deep(&mut self, at: usize) {
        self.found.push((at, format!("expression recursion limit exceeded: {MAX_DEPTH}")));
    }

    fn peek(&self) -> &Lexeme {
        // The last token is the end and is never passed.
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }
    fn at(&self) -> usize {
        self.peek().at
    }
    fn is(&self, symbol: &str) -> bool {
        matches!(self.peek().token, Token::Symbol(s) if s == symbol)
    }
    fn advance(&mut self) -> Lexeme {
        let lexeme = self.peek().clone();
        if lexeme.token != Token::End {
            self.next += 1;
        }
        lexeme
    }
    /// Passes the symbol if it is next.
    fn take(&mut self, symbol: &str) -> bool {
        let is = self.is(symbol);
        if is {
            self.next += 1;
        }
        is
    }
    fn wrong<T>(&mut self, message: String) -> Result<T> {
        let at = self.at();
        self.found.push((at, format!("Syntax error: {message}")));
        Err(Stop)
    }
    fn expect(&mut self, symbol: &str) -> Result<()> {
        if self.take(symbol) {
            return Ok(());
        }
        let text = self.peek().text.clone();
        match self.peek().token {
            Token::End => self.wrong(format!("missing '{symbol}' at '{text}'")),
            _ => self.wrong(format!("mismatched input '{text}' expecting '{symbol}'")),
        }
    }
    /// Runs one level deeper.
    fn deeper<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == MAX_DEPTH {
            let at = self.at();
            self.too_deep(at);
            return Err(Stop);
        }
        self.depth += 1;
        let out = f(self);
        self.depth -= 1;
        out
    }

    fn start(&mut self) -> Result<Expr> {
        let expr = self.conditional()?;
        if self.peek().token != Token::End {
            let text = self.peek().text.clone();
            return self.wrong(format!("extraneous input '{text}' expecting <EOF>"));
        }
        Ok(expr)
    }

    fn conditional(&mut self) -> Result<Expr> {
        self.deeper(|p| {
            let condition = p.binary(0)?;
            let at = p.at();
            if !p.take("?") {
                return Ok(condition);
            }
            let yes = p.binary(0)?;
            p.expect(":")?;
            let no = p.conditional()?;
            Ok(p.call(at, "_?_:_", vec![condition, yes, no]))
        })
    }

    /// `&&` and `||` are made into balanced trees, as upstream makes them.
    fn binary(&mut self, level: usize) -> Result<Expr> {
        let mut terms = vec![if level == 0 { self.binary(1)? } else { self.arithmetic(2)? }];
        let mut ops: Vec<(usize, &'static str)> = Vec::new();
        while let Some((_, function)) = BINARY[level].iter().find(|(symbol, _)| self.is(symbol)) {
            ops.push((self.advance().at, function));
            terms.push(if level == 0 { self.binary(1)? } else { self.arithmetic(2)? });
        }
        Ok(self.balanced(terms, &ops))
    }

    /// The other operators lean to the left; by precedence climbing, so that nesting takes few frames.
    fn arithmetic(&mut self, level: usize) -> Result<Expr> {
        let mut left = self.unary()?;
        loop {
            let found = (level..BINARY.len()).find_map(|l| BINARY[l].iter().find(|(s, _)| self.is(s)).map(|(_, f)| (l, *f)));
            let Some((found, function)) = found else { return Ok(left) };
            let at = self.advance().at;
            let right = self.arithmetic(found + 1)?;
            left = self.call(at, function, vec![left, right]);
        }
    }

    fn balanced(&mut self, mut terms: Vec<Expr>, ops: &[(usize, &'static str)]) -> Expr {
        let middle = ops.len() / 2;
        let Some((at, function)) = ops.get(middle) else { return terms.remove(0) };
        let right = terms.split_off(middle + 1);
        let left = self.balanced(terms, &ops[..middle]);
        let right = self.balanced(right, &ops[middle + 1..]);
        self.call(*at, function, vec![left, right])
    }

    fn unary(&mut self) -> Result<Expr> {
        for (symbol, function) in [("!", "!_"), ("-", "-_")] {
            let at = self.at();
            if symbol == "-"
                && self.is("-")
                && matches!(self.tokens.get(self.next + 1).map(|t| &t.token), Some(Token::Int | Token::Float))
            {
                break;
            }
            let mut count = 0;
            while self.take(symbol) {
                count += 1;
            }
            if count > 0 {
                let operand = self.member()?;
                return Ok(if count % 2 == 0 { operand } else { self.call(at, function, vec![operand]) });
            }
        }
        self.member()
    }

    fn member(&mut self) -> Result<Expr> {
        let mut out = self.primary()?;
        loop {
            let at = self.at();
            if !self.is(".") && !self.is("[") {
                return Ok(out);
            }
            out = if self.take(".") { self.selected(at, out)? } else { self.indexed(at, out)? };
        }
    }

    fn selected(&mut self, at: usize, operand: Expr) -> Result<Expr> {
        let optional = self.take("?");
        let name = self.advance();
        let field = match name.token {
            Token::Ident | Token::Symbol("in") if (name.text != "in") => name.text,
            Token::Escaped => {
                self.found.push((at, "unsupported syntax: '`'".into()));
                return Err(Stop);
            }
            _ => {
                self.next = self.next.saturating_sub(usize::from(name.token != Token::End));
                let text = match name.token {
                    Token::End => "<EOF>".to_string(),
                    _ => name.text,
                };
                return self.wrong(if matches!(text.as_str(), "true" | "false" | "null" | "in") {
                    format!("mismatched input '{text}' expecting IDENTIFIER")
                } else {
                    format!("no viable alternative at input '.{text}'")
                });
            }
        };
        if optional {
            return Ok(self.expr(at, Kind::OptSelect(Box::new(operand), field)));
        }
        let open = self.at();
        if !self.take("(") {
            return Ok(self.expr(at, Kind::Select(Box::new(operand), field)));
        }
        let args = self.arguments()?;
        self.called(open, field, Some(Box::new(operand)), args)
    }

    fn indexed(&mut self, at: usize, operand: Expr) -> Result<Expr> {
        self.expect("[")?;
        let function = if self.take("?") { "_[?_]" } else { "_[_]" };
        let index = self.conditional()?;
        self.expect("]")?;
        Ok(self.call(at, function, vec![operand, index]))
    }

    fn called(&mut self, at: usize, function: String, target: Option<Box<Expr>>, args: Vec<Expr>) -> Result<Expr> {
        let kind = match expand(self, at, &function, target, args) {
            Expanded::Done(kind) => kind,
            Expanded::Wrong(place, message) => {
                self.found.push((place, message));
                Kind::Literal(Literal::Null)
            }
            Expanded::Call(target, args) => Kind::Call(Call { function, target, args, resolved: None, unique: false }),
        };
        Ok(self.expr(at, kind))
    }

    /// The arguments after an opened parenthesis, and the closing one.
    fn arguments(&mut self) -> Result<Vec<Expr>> {
        let mut args = Vec::new();
        if self.take(")") {
            return Ok(args);
        }
        loop {
            args.push(self.conditional()?);
            if !self.take(",") {
                self.expect(")")?;
                return Ok(args);
            }
        }
    }

    fn primary(&mut self) -> Result<Expr> {
        let at = self.at();
        let leading = self.is(".");
        if leading {
            self.next += 1;
        }
        let lexeme = self.peek().clone();
        match lexeme.token {
            Token::Ident => return self.identifier(at, leading),
            _ if leading => return self.wrong(format!("mismatched input '{}' expecting IDENTIFIER", lexeme.text)),
            Token::Symbol("(") => {
                self.next += 1;
                let inner = self.conditional()?;
                self.expect(")")?;
                return Ok(inner);
            }
            Token::Symbol("[") => return self.list(),
            Token::Symbol("{") => return self.map(),
            _ => {}
        }
        let literal = self.literal_token()?;
        Ok(self.literal(at, literal))
    }

    fn identifier(&mut self, at: usize, leading: bool) -> Result<Expr> {
        // A name of a message: identifiers, dots and a brace.
        let mut end = self.next + 1;
        let symbol = |p: &Self, i: usize, s: &str| matches!(p.tokens.get(i).map(|t| &t.token), Some(Token::Symbol(x)) if *x == s);
        while symbol(self, end, ".") && matches!(self.tokens.get(end + 1).map(|t| &t.token), Some(Token::Ident)) {
            end += 2;
        }
        let prefix = if leading { "." } else { "" };
        if symbol(self, end, "{") {
            let name: String = self.tokens[self.next..end].iter().map(|t| t.text.as_str()).collect();
            self.next = end;
            return self.message(format!("{prefix}{name}"));
        }
        let name = self.advance();
        if RESERVED.contains(&name.text.as_str()) {
            self.found.push((at, format!("reserved identifier: {}", name.text)));
        }
        let text = format!("{prefix}{}", name.text);
        let open = self.at();
        if self.take("(") {
            let args = self.arguments()?;
            return self.called(open, text, None, args);
        }
        Ok(self.expr(name.at, Kind::Ident(text)))
    }

    fn message(&mut self, name: String) -> Result<Expr> {
        let at = self.at();
        self.expect("{")?;
        let mut fields = Vec::new();
        while !self.take("}") {
            let optional = self.take("?");
            let field = self.advance();
            if field.token != Token::Ident {
                self.next = self.next.saturating_sub(usize::from(field.token != Token::End));
                return self.wrong(format!(
                    "mismatched input '{}' expecting {{'}}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}}",
                    field.text
                ));
            }
            let colon = self.at();
            self.expect(":")?;
            let value = self.conditional()?;
            fields.push(StructField { at: colon, optional, name: field.text, value });
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(self.expr(at, Kind::Struct(name, fields)))
    }

    fn list(&mut self) -> Result<Expr> {
        let at = self.at();
        self.expect("[")?;
        let mut elements = Vec::new();
        while !self.take("]") {
            let optional = self.take("?");
            let value = self.conditional()?;
            elements.push(Element { optional, value });
            if !self.take(",") {
                self.expect("]")?;
                break;
            }
        }
        Ok(self.expr(at, Kind::List(elements)))
    }

    fn map(&mut self) -> Result<Expr> {
        let at = self.at();
        self.expect("{")?;
        let mut entries = Vec::new();
        while !self.take("}") {
            let optional = self.take("?");
            let key = self.conditional()?;
            self.expect(":")?;
            let value = self.conditional()?;
            entries.push(Entry { optional, key, value });
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(self.expr(at, Kind::Map(entries)))
    }

    fn literal_token(&mut self) -> Result<Literal> {
        let sign = if self.is("-") { "-" } else { "" };
        if !sign.is_empty() {
            self.next += 1;
        }
        let lexeme = self.peek().clone();
        let text = lexeme.text.as_str();
        let (digits, radix) = match text.strip_prefix("0x") {
            Some(hex) => (hex, 16),
            None => (text, 10),
        };
        let value = match lexeme.token {
            Token::Int => {
                i64::from_str_radix(&format!("{sign}{digits}"), radix).map(Literal::Int).map_err(|_| "invalid int literal")
            }
            Token::Uint if sign.is_empty() => {
                let digits = digits.trim_end_matches(['u', 'U']);
                u64::from_str_radix(digits, radix).map(Literal::Uint).map_err(|_| "invalid uint literal")
            }
            Token::Float => match format!("{sign}{text}").parse::<f64>() {
                Ok(f) if f.is_finite() => Ok(Literal::Double(f)),
                _ => Err("invalid double literal"),
            },
            Token::String => match unquote(text, false).map(String::from_utf8) {
                Ok(Ok(s)) => Ok(Literal::String(s)),
                Ok(Err(_)) => Err("unable to unescape string"),
                Err(e) => Err(e),
            },
            Token::Bytes => unquote(&text[1..], true).map(Literal::Bytes),
            Token::Symbol("true") => Ok(Literal::Bool(true)),
            Token::Symbol("false") => Ok(Literal::Bool(false)),
            Token::Symbol("null") => Ok(Literal::Null),
            Token::End => return self.wrong(format!("mismatched input '<EOF>' expecting {EXPECTED}")),
            _ => return self.wrong(format!("extraneous input '{text}' expecting {EXPECTED}")),
        };
        self.next += 1;
        Ok(value.unwrap_or_else(|message| {
            self.found.push((lexeme.at, message.into()));
            Literal::Null
        }))
    }
}
