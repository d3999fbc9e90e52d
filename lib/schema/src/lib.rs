//! Tables of the built-in kinds: fields, defaults, list keys, protobuf numbers; OpenAPI and the protobuf transcoder.

pub mod resources;
pub mod types;

pub use resources::{Resource, Scope, Subresource};
pub use types::{Field, ListType, PatchStrategy, Struct, StructId, TypeRef, Typed, Types, Wire};
