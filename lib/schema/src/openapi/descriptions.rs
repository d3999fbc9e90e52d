//! Descriptions of types and fields: compressed in the binary, unpacked only while a document is made.

use std::collections::HashMap;
use std::io::Read;

static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.gz"));

pub(super) struct Descriptions {
    text: String,
    /// Where each type's lines are in the text.
    types: HashMap<String, (usize, usize)>,
}

impl Descriptions {
    pub(super) fn load() -> Self {
        let mut text = String::new();
        if let Err(e) = flate2::read::GzDecoder::new(PACKED).read_to_string(&mut text) {
            // Compiled in, so it cannot be damaged; documents without descriptions are still valid.
            debug_assert!(false, "descriptions: {e}");
            text.clear();
        }
        let mut types = HashMap::new();
        let mut at = 0;
        for block in text.split("\n=") {
            let block_at = at;
            at += block.len() + 2;
            let name = block.split('\t').next().unwrap_or_default().trim_start_matches('=');
            types.insert(name.to_owned(), (block_at, block_at + block.len()));
        }
        Self { text, types }
    }

    /// Of a type, or with `field` of a field of it.
    pub(super) fn of(&self, name: &str, field: Option<&str>) -> Option<String> {
        let (from, to) = *self.types.get(name)?;
        let mut lines = self.text.get(from..to)?.lines();
        let head = lines.next();
        let line = match field {
            None => head,
            Some(field) => lines.find(|l| l.split('\t').next() == Some(field)),
        };
        let text = line?.split_once('\t')?.1;
        (!text.is_empty()).then(|| text.replace("\\n", "\n").replace("\\\\", "\\"))
    }
}
