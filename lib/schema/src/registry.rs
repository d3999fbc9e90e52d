//! The built-in kinds: reads the tables that `hack/schema-gen` wrote, once per process, and answers look-ups by
//! (group, version, resource) and by (group, version, kind).

use crate::resources::{Resource, Scope, Subresource};
use crate::types::{Field, Form, ListType, Struct, StructId, TypeRef, Typed, Types, Wire};
use std::sync::LazyLock;

static TYPES: &str = include_str!("../data/types.tsv");
static RESOURCES: &str = include_str!("../data/resources.tsv");

/// Types and resources that are compiled in.
#[derive(Debug)]
pub struct Registry {
    types: Types,
    /// Sorted by group, version, resource.
    resources: Vec<Resource>,
    /// Sorted by group, version, kind.
    kinds: Vec<Kind>,
}

/// A kind and its struct.
#[derive(Clone, Debug)]
pub struct Kind {
    pub group: Box<str>,
    pub version: Box<str>,
    pub kind: Box<str>,
    pub ty: StructId,
}

/// A row of a table that does not read. The tables are compiled in, so only a generator bug can cause it.
#[derive(Debug, thiserror::Error)]
#[error("{table} line {line}: {what}")]
pub struct TableError {
    table: &'static str,
    line: usize,
    what: String,
}

impl Registry {
    /// The tables of this release, read at first use.
    pub fn builtin() -> &'static Registry {
        static BUILTIN: LazyLock<Registry> =
            LazyLock::new(|| Registry::parse(TYPES, RESOURCES).unwrap_or_else(|e| panic!("embedded tables: {e}")));
        &BUILTIN
    }

    /// Reads tables.
    pub fn parse(types: &str, resources: &str) -> Result<Registry, TableError> {
        let (types, mut kinds) = parse_types(types)?;
        kinds.sort_by(|a, b| (&a.group, &a.version, &a.kind).cmp(&(&b.group, &b.version, &b.kind)));
        let mut registry = Registry { types, resources: Vec::new(), kinds };
        registry.resources = parse_resources(resources, &registry)?;
        Ok(registry)
    }

    pub fn types(&self) -> &Types {
        &self.types
    }
    /// Sorted by group, version and resource.
    pub fn resources(&self) -> &[Resource] {
        &self.resources
    }
    /// Every kind with a group and version, lists, options and reviews included.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }
    pub fn resource(&self, group: &str, version: &str, resource: &str) -> Option<&Resource> {
        let i = self.resources.binary_search_by(|r| (&*r.group, &*r.version, &*r.resource).cmp(&(group, version, resource)));
        i.ok().map(|i| &self.resources[i])
    }
    /// The resource that serves `kind`.
    pub fn resource_of_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Resource> {
        self.resources.iter().find(|r| &*r.kind == kind && &*r.group == group && &*r.version == version)
    }
    /// The struct of a kind. Options and watch events belong to every group and version.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<StructId> {
        let find = |group: &str, version: &str| {
            let i = self.kinds.binary_search_by(|k| (&*k.group, &*k.version, &*k.kind).cmp(&(group, version, kind)));
            i.ok().map(|i| self.kinds[i].ty)
        };
        find(group, version).or_else(|| {
            let everywhere = kind == "WatchEvent" || kind == "Status" || kind.ends_with("Options");
            everywhere.then(|| find("meta.k8s.io", "v1").or_else(|| find("", "v1"))).flatten()
        })
    }
    pub fn typed(&self, root: StructId) -> Typed<'_> {
        Typed { types: &self.types, root }
    }
    /// [`Self::kind`] with its arena.
    pub fn typed_kind(&self, group: &str, version: &str, kind: &str) -> Option<Typed<'_>> {
        self.kind(group, version, kind).map(|root| self.typed(root))
    }
}

/// Splits `apps/v1` and `v1`.
fn group_version(s: &str) -> (&str, &str) {
    s.rsplit_once('/').unwrap_or(("", s))
}

fn list(s: &str) -> Vec<Box<str>> {
    s.split(',').filter(|x| !x.is_empty()).map(Into::into).collect()
}

fn parse_types(text: &str) -> Result<(Types, Vec<Kind>), TableError> {
    let mut types = Types::default();
    let mut kinds = Vec::new();
    for row in text.lines().filter_map(|l| l.strip_prefix('=')) {
        let mut columns = row.split('\t');
        let name = columns.next().unwrap_or_default();
        let of = columns.next().unwrap_or_default();
        let ty = types.add(Struct {
            name: name.into(),
            atomic: columns.next().is_some_and(|flags| flags.contains('a')),
            ..Struct::default()
        });
        for gvk in of.split(',').filter(|x| !x.is_empty()) {
            let (gv, kind) = group_version(gvk);
            let (group, version) = group_version(gv);
            kinds.push(Kind { group: group.into(), version: version.into(), kind: kind.into(), ty });
        }
    }
    let mut at = None;
    let mut fields = Vec::new();
    for (i, row) in text.lines().enumerate() {
        if row.starts_with('#') {
            continue;
        }
        if row.starts_with('=') {
            let next = at.map_or(0, |id: StructId| id.0 + 1);
            if let Some(id) = at.replace(StructId(next)) {
                types.get_mut(id).fields = std::mem::take(&mut fields);
            }
            continue;
        }
        let field = parse_field(row, &types).map_err(|what| TableError { table: "types", line: i + 1, what })?;
        fields.push(field);
    }
    if let Some(id) = at {
        types.get_mut(id).fields = fields;
    }
    for id in (0u32..).take(types.len()) {
        types.get_mut(StructId(id)).fields.shrink_to_fit();
    }
    Ok((types, kinds))
}

fn parse_field(row: &str, types: &Types) -> Result<Field, String> {
    let mut columns = row.split('\t');
    let mut next = || columns.next().unwrap_or_default();
    let mut f = Field { json: next().into(), ..Field::default() };
    (f.ty, f.form) = parse_type(next(), types)?;
    for flag in next().chars() {
        match flag {
            'p' => f.pointer = true,
            'o' => f.omitempty = true,
            'z' => f.omitzero = true,
            'r' => f.required = true,
            'w' => f.form = Form::Wrapped,
            other => return Err(format!("flag {other}")),
        }
    }
    let proto = next();
    if let Some(wire) = proto.chars().last() {
        let wire = match wire {
            'v' => Wire::Varint,
            'b' => Wire::Bytes,
            '4' => Wire::Fixed32,
            '8' => Wire::Fixed64,
            other => return Err(format!("wire type {other}")),
        };
        let numbers = proto[..proto.len() - 1].split('.').map(str::parse).collect::<Result<Vec<u32>, _>>();
        let mut numbers = numbers.map_err(|e| format!("protobuf number {proto}: {e}"))?;
        f.proto = numbers.pop().map(|n| (n, wire));
        f.proto_path = numbers.into();
    }
    let list_type = next();
    let (kind, keys) = list_type.split_once(':').unwrap_or((list_type, ""));
    f.list_keys = list(keys);
    let is_list = matches!(f.ty, TypeRef::Array(_) | TypeRef::Bytes);
    match kind {
        "" => {}
        "granular" => f.granular = true,
        "atomic" if is_list => f.list_type_stated = true,
        "atomic" => f.atomic = true,
        "set" | "map" => {
            f.list_type = if kind == "set" { ListType::Set } else { ListType::Map };
            f.list_type_stated = true;
        }
        other => return Err(format!("list type {other}")),
    }
    let patch = next();
    let (strategies, key) = patch.split_once(':').unwrap_or((patch, ""));
    for s in strategies.split(',') {
        match s {
            "" => {}
            "merge" => f.patch.merge = true,
            "replace" => f.patch.replace = true,
            "retainKeys" => f.patch.retain_keys = true,
            other => return Err(format!("patch strategy {other}")),
        }
    }
    f.patch_key = (!key.is_empty()).then(|| key.into());
    let default = next();
    if !default.is_empty() {
        f.default = Some(serde_json::from_str(default).map_err(|e| format!("default {default}: {e}"))?);
    }
    f.enum_values = list(next());
    let go = next();
    f.go_type = (!go.is_empty()).then(|| go.into());
    let path = next();
    f.go_path = (!path.is_empty()).then(|| path.into());
    Ok(f)
}

fn parse_type(s: &str, types: &Types) -> Result<(TypeRef, Form), String> {
    if let Some(elem) = s.strip_prefix("[]") {
        let (ty, form) = parse_type(elem, types)?;
        return Ok((TypeRef::Array(Box::new(ty)), form));
    }
    if let Some(elem) = s.strip_prefix("{}") {
        let (ty, form) = parse_type(elem, types)?;
        return Ok((TypeRef::Map(Box::new(ty)), form));
    }
    let ty = match s {
        "string" => TypeRef::String,
        "bool" => TypeRef::Bool,
        "int32" => TypeRef::Int32,
        "int64" => TypeRef::Int64,
        "float64" => TypeRef::Float64,
        "bytes" => TypeRef::Bytes,
        "Time" => TypeRef::Time,
        "MicroTime" => TypeRef::MicroTime,
        "Duration" => TypeRef::Duration,
        "Quantity" => TypeRef::Quantity,
        "IntOrString" => TypeRef::IntOrString,
        "RawExtension" => TypeRef::RawExtension,
        "FieldsV1" => TypeRef::FieldsV1,
        "JSON" => TypeRef::Json,
        "SchemaOrBool" => return Ok((TypeRef::Json, Form::SchemaOrBool)),
        "SchemaOrArray" => return Ok((TypeRef::Json, Form::SchemaOrArray)),
        "SchemaOrStringArray" => return Ok((TypeRef::Json, Form::SchemaOrStringArray)),
        name => TypeRef::Struct(types.by_name(name).ok_or_else(|| format!("no type {name}"))?),
    };
    Ok((ty, Form::Plain))
}

fn parse_resources(text: &str, registry: &Registry) -> Result<Vec<Resource>, TableError> {
    let mut rows: Vec<Resource> = Vec::new();
    for (i, row) in text.lines().enumerate().filter(|(_, l)| !l.starts_with('#')) {
        let fail = |what: String| TableError { table: "resources", line: i + 1, what };
        let mut columns = row.split('\t');
        let mut next = || columns.next().unwrap_or_default();
        let first = next();
        if let Some(name) = first.strip_prefix('/') {
            let (group, version) = group_version(next());
            let of = rows.last_mut().ok_or_else(|| fail("a subresource of nothing".into()))?;
            of.subresources.push(Subresource {
                name: name.into(),
                group: group.into(),
                version: version.into(),
                kind: next().into(),
                verbs: list(next()),
            });
            continue;
        }
        let (group, version) = group_version(first);
        let (resource, singular, kind) = (next(), next(), next());
        let ty = registry.kind(group, version, kind).ok_or_else(|| fail(format!("no type of {first} {kind}")))?;
        rows.push(Resource {
            group: group.into(),
            version: version.into(),
            resource: resource.into(),
            singular: singular.into(),
            kind: kind.into(),
            list_kind: next().into(),
            scope: if next() == "Namespaced" { Scope::Namespaced } else { Scope::Cluster },
            verbs: list(next()),
            short_names: list(next()),
            categories: list(next()),
            storage_version: next().into(),
            storage_prefix: next().into(),
            subresources: Vec::new(),
            ty,
        });
    }
    rows.sort_by(|a, b| (&a.group, &a.version, &a.resource).cmp(&(&b.group, &b.version, &b.resource)));
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_ups() {
        let r = Registry::builtin();
        let pods = r.resource("", "v1", "pods").expect("pods");
        assert_eq!((&*pods.kind, &*pods.list_kind, &*pods.storage_prefix), ("Pod", "PodList", "pods"));
        let paths = [
            ("", "v1", "services", "services/specs"),
            ("", "v1", "nodes", "minions"),
            ("apps", "v1", "deployments", "deployments"),
            ("networking.k8s.io", "v1", "ingresses", "ingress"),
            ("apiregistration.k8s.io", "v1", "apiservices", "apiregistration.k8s.io/apiservices"),
            ("authorization.k8s.io", "v1", "subjectaccessreviews", ""),
        ];
        for (g, v, name, want) in paths {
            assert_eq!(r.resource(g, v, name).map(|r| &*r.storage_prefix), Some(want), "{name}");
        }
        assert_eq!(pods.subresource("eviction").map(|s| (&*s.group, &*s.kind)), Some(("policy", "Eviction")));
        assert_eq!(r.resource("events.k8s.io", "v1", "events").map(Resource::storage_gv), Some(("", "v1")));
        assert!(r.kind("apps", "v1", "DeleteOptions").is_some() && r.kind("apps", "v1", "Nothing").is_none());
    }

    #[test]
    fn facts() {
        let r = Registry::builtin();
        let field = |s: &str, f: &str| {
            let id = r.types().by_name(s).unwrap_or_else(|| panic!("{s}"));
            r.types().get(id).field(f).unwrap_or_else(|| panic!("{s}.{f}")).clone()
        };
        let ports = field("io.k8s.api.core.v1.ServiceSpec", "ports");
        assert_eq!(ports.list_keys, ["port".into(), "protocol".into()]);
        assert_eq!((ports.list_type, ports.patch.merge, ports.patch_key.as_deref()), (ListType::Map, true, Some("port")));
        let replicas = field("io.k8s.api.apps.v1.DeploymentSpec", "replicas");
        assert!(replicas.pointer && replicas.omitempty && replicas.ty == TypeRef::Int32);
        let secret = field("io.k8s.api.core.v1.Volume", "secret");
        assert_eq!((&*secret.proto_path, secret.proto), (&[2][..], Some((6, Wire::Bytes))));
        assert_eq!(field("io.k8s.api.authentication.v1.UserInfo", "extra").form, Form::Wrapped);
        assert_eq!(field("io.k8s.api.core.v1.Pod", "kind").proto, None);
    }
}
