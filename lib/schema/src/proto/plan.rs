//! The fields of a message by number. Structs that Go inlines are flat in JSON, but messages of their own in protobuf.

use crate::types::Struct;

/// What a field number of a message holds.
pub(super) enum Entry {
    /// Index in the struct's fields.
    Field(u32, usize),
    /// An inlined struct.
    Inline(u32, Vec<Entry>),
}

impl Entry {
    pub(super) fn number(&self) -> u32 {
        match self {
            Entry::Field(n, _) | Entry::Inline(n, _) => *n,
        }
    }
}

pub(super) fn plan(st: &Struct) -> Vec<Entry> {
    let mut root = Vec::new();
    for (i, f) in st.fields.iter().enumerate() {
        let Some((number, _)) = f.proto else { continue };
        let mut at = &mut root;
        for n in &f.proto_path {
            let found = at.iter().position(|e: &Entry| matches!(e, Entry::Inline(m, _) if m == n));
            let i = found.unwrap_or_else(|| {
                at.push(Entry::Inline(*n, Vec::new()));
                at.len() - 1
            });
            let Entry::Inline(_, inner) = &mut at[i] else { unreachable!("position found an inlined struct") };
            at = inner;
        }
        at.push(Entry::Field(number, i));
    }
    sort(&mut root);
    root
}

fn sort(entries: &mut [Entry]) {
    entries.sort_by_key(Entry::number);
    for e in entries {
        if let Entry::Inline(_, inner) = e {
            sort(inner);
        }
    }
}
