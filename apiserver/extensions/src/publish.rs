//! What OpenAPI documents say of custom resources.
