//! Authentication, RBAC and Node authorization, service-account tokens.
