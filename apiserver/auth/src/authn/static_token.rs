//! `--token-auth-file`: lines of token, user, uid and (quoted) groups. Upstream: apiserver/pkg/authentication/token/tokenfile.

use super::{Authenticated, TokenAuthenticator};
use crate::UserInfo;
use async_trait::async_trait;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// Tokens by their hash, so that comparing takes the same time whatever is guessed.
#[derive(Default)]
pub struct StaticTokens(HashMap<[u8; 32], UserInfo>);

impl StaticTokens {
    /// Parses the file's text. An error names the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = HashMap::new();
        for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
            let fields = fields(line);
            let [token, name, uid, rest @ ..] = fields.as_slice() else {
                return Err(format!("line {}: needs a token, a user name and a user uid", i + 1));
            };
            if token.is_empty() {
                return Err(format!("line {}: empty token", i + 1));
            }
            let groups = rest.first().map_or("", String::as_str).split(',').map(str::trim);
            let groups = groups.filter(|g| !g.is_empty()).map(str::to_owned).collect();
            tokens.insert(hash(token), UserInfo { name: name.clone(), uid: uid.clone(), groups, ..UserInfo::default() });
        }
        Ok(Self(tokens))
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// The fields of a CSV line, with double quotes around those that hold commas.
fn fields(line: &str) -> Vec<String> {
    let (mut out, mut field, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => out.push(std::mem::take(&mut field).trim().to_owned()),
            c => field.push(c),
        }
    }
    out.push(field.trim().to_owned());
    out
}

#[async_trait]
impl TokenAuthenticator for StaticTokens {
    async fn authenticate(&self, token: &str, audiences: &[String]) -> Result<Option<Authenticated>, String> {
        let found = self.0.get(&hash(token));
        Ok(found.map(|u| Authenticated { user: u.clone(), audiences: audiences.to_vec() }))
    }
}
