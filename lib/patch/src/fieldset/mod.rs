//! Sets of field paths: what a manager owns. The shape of structured-merge-diff's `fieldpath.Set`.

mod codec;
mod element;
#[cfg(test)]
mod tests;

pub use element::{Element, Scalar, path_string};

use std::collections::BTreeMap;

/// A set of paths, as a tree: each node may itself be a member, and have members below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    pub(crate) nodes: BTreeMap<Element, Node>,
}

/// One step of a path. A node that is neither a member nor has children is never kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    pub member: bool,
    pub children: Set,
}

impl Node {
    fn insert(&mut self, rest: &[Element]) {
        if rest.is_empty() {
            self.member = true;
        } else {
            self.children.insert(rest);
        }
    }
    fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }
}

impl Set {
    pub fn new() -> Self {
        Self::default()
    }
    /// A set of dotted field paths; `metadata.name`. For the server's own constant sets.
    pub fn of_fields(paths: &[&str]) -> Self {
        let mut s = Self::new();
        for p in paths {
            let path: Vec<Element> = p.split('.').map(Element::field).collect();
            s.insert(&path);
        }
        s
    }
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
    /// Adds a path; the empty path is nothing.
    pub fn insert(&mut self, path: &[Element]) {
        let Some((first, rest)) = path.split_first() else { return };
        // Most of a path is there already, and a step is costly to copy.
        match self.nodes.get_mut(first) {
            Some(node) => node.insert(rest),
            None => {
                let mut node = Node::default();
                node.insert(rest);
                self.nodes.insert(first.clone(), node);
            }
        }
    }
    /// Adds what is at and below a path.
    pub(crate) fn graft(&mut self, path: &[Element], branch: Node) {
        let Some((first, rest)) = path.split_first() else {
            self.union_with(&branch.children);
            return;
        };
        match self.nodes.get_mut(first) {
            Some(node) if rest.is_empty() => {
                node.member |= branch.member;
                node.children.union_with(&branch.children);
            }
            Some(node) => node.children.graft(rest, branch),
            None if rest.is_empty() => {
                self.nodes.insert(first.clone(), branch);
            }
            None => {
                let mut node = Node::default();
                node.children.graft(rest, branch);
                self.nodes.insert(first.clone(), node);
            }
        }
    }
    pub fn has(&self, path: &[Element]) -> bool {
        let Some((last, way)) = path.split_last() else { return false };
        let mut s = self;
        for e in way {
            match s.nodes.get(e) {
                Some(n) => s = &n.children,
                None => return false,
            }
        }
        s.nodes.get(last).is_some_and(|n| n.member)
    }
    /// Whether the one-step path is a member.
    pub(crate) fn has_element(&self, e: &Element) -> bool {
        self.nodes.get(e).is_some_and(|n| n.member)
    }
    /// Members below a step.
    pub(crate) fn below(&self, e: &Element) -> Option<&Self> {
        self.nodes.get(e).map(|n| &n.children).filter(|c| !c.is_empty())
    }

    /// Adds all of `other`.
    pub fn union_with(&mut self, other: &Self) {
        for (e, n) in &other.nodes {
            match self.nodes.get_mut(e) {
                Some(mine) => {
                    mine.member |= n.member;
                    mine.children.union_with(&n.children);
                }
                None => {
                    self.nodes.insert(e.clone(), n.clone());
                }
            }
        }
    }
    /// Both sets together.
    pub fn union(mut self, other: &Self) -> Self {
        self.union_with(other);
        self
    }
    /// Paths that are in both.
    pub fn intersection(&self, other: &Self) -> Self {
        let both = self.nodes.iter().filter_map(|(e, a)| {
            let b = other.nodes.get(e)?;
            let n = Node { member: a.member && b.member, children: a.children.intersection(&b.children) };
            (!n.is_empty()).then(|| (e.clone(), n))
        });
        Self { nodes: both.collect() }
    }
    /// Removes the paths of `other`; what lies below them stays.
    pub fn subtract(&mut self, other: &Self) {
        self.remove(other, false);
    }
    /// Removes the paths of `other` and everything below them.
    pub fn subtract_recursive(&mut self, other: &Self) {
        self.remove(other, true);
    }
    fn remove(&mut self, other: &Self, recursive: bool) {
        if other.is_empty() {
            return;
        }
        self.nodes.retain(|e, n| {
            let Some(o) = other.nodes.get(e) else { return true };
            if o.member {
                if recursive {
                    return false;
                }
                n.member = false;
            }
            n.children.remove(&o.children, recursive);
            !n.is_empty()
        });
    }
    /// This set without `other`.
    pub fn difference(mut self, other: &Self) -> Self {
        self.subtract(other);
        self
    }

    /// Calls `f` with each path: members of a level first, then what lies below them.
    pub fn for_each(&self, mut f: impl FnMut(&[Element])) {
        self.walk(&mut Vec::new(), &mut f);
    }
    fn walk(&self, path: &mut Vec<Element>, f: &mut impl FnMut(&[Element])) {
        for (e, _) in self.nodes.iter().filter(|(_, n)| n.member) {
            path.push(e.clone());
            f(path);
            path.pop();
        }
        for (e, n) in self.nodes.iter().filter(|(_, n)| !n.children.is_empty()) {
            path.push(e.clone());
            n.children.walk(path, f);
            path.pop();
        }
    }
}
