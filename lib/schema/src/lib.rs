//! Tables of the built-in kinds: fields, defaults, list keys, protobuf numbers; OpenAPI and the protobuf transcoder.

pub mod crd;
pub mod decode;
pub mod openapi;
pub mod proto;
pub mod registry;
pub mod resources;
pub mod types;

pub use crd::CustomTypes;
pub use decode::{DecodeError, Mode, Problem, decode, normalize, parse, strict_error};
pub use proto::{Codec, ProtoError};
pub use registry::{Kind, Registry};
pub use resources::{Resource, Scope, Subresource};
pub use types::{Field, Form, ListType, PatchStrategy, Struct, StructId, TypeRef, Typed, Types, Wire};

/// The release that the tables are of.
pub const KUBERNETES_VERSION: &str = "v1.36.3";
