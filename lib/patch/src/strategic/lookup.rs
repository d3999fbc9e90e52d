//! Patch strategies and merge keys, looked up in the type on the way down.

use super::{Error, Result};
use machinery::quote::Quoted;
use schema::types::{Field, PatchStrategy, StructId, TypeRef, Typed, Types};

/// A place in the type, and the field that leads to it.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    types: &'a Types,
    shape: Shape<'a>,
    field: Option<&'a Field>,
}

#[derive(Clone, Copy)]
enum Shape<'a> {
    Struct(StructId),
    Type(&'a TypeRef),
    /// Below a value that has no type.
    Any,
}

impl<'a> Place<'a> {
    pub fn root(t: Typed<'a>) -> Self {
        Self { types: t.types, shape: Shape::Struct(t.root), field: None }
    }

    fn to(self, ty: &'a TypeRef, field: Option<&'a Field>) -> Self {
        let shape = match ty {
            TypeRef::Struct(id) => Shape::Struct(*id),
            TypeRef::Json | TypeRef::RawExtension | TypeRef::FieldsV1 => Shape::Any,
            ty => Shape::Type(ty),
        };
        Self { types: self.types, shape, field }
    }

    /// The field or entry `name`.
    pub fn field(self, name: &str) -> Result<Self> {
        match self.shape {
            Shape::Struct(id) => {
                let def = self.types.get(id);
                match def.field(name) {
                    Some(f) => Ok(self.to(&f.ty, Some(f))),
                    None if def.preserve_unknown => Ok(Self { shape: Shape::Any, field: None, ..self }),
                    None => {
                        let short = def.name.rsplit('.').next().unwrap_or_default();
                        Err(Error::Other(format!(
                            "unable to find api field in struct {short} for the json field {}",
                            Quoted(name)
                        )))
                    }
                }
            }
            Shape::Type(TypeRef::Map(item)) => Ok(self.to(item, None)),
            Shape::Any => Ok(Self { field: None, ..self }),
            Shape::Type(_) => Err(Error::Other("merging an object in json but data type is not struct".into())),
        }
    }

    /// An item of the list here.
    pub fn item(self) -> Result<Self> {
        match self.shape {
            Shape::Type(TypeRef::Array(item)) => Ok(self.to(item, self.field)),
            Shape::Any => Ok(self),
            _ => Err(Error::Other("expected slice or array type".into())),
        }
    }
    pub fn strategy(&self) -> PatchStrategy {
        self.field.map(|f| f.patch).unwrap_or_default()
    }
    /// Empty where the list has none.
    pub fn merge_key(&self) -> &'a str {
        self.field.and_then(|f| f.patch_key.as_deref()).unwrap_or("")
    }
}
