//! Everything between a socket and a parsed request, and between an answer and its bytes.

pub mod body;
pub mod negotiate;
pub mod query;
pub mod request_info;
pub mod respond;
pub mod websocket;

pub use body::{Body, BoxError};
pub use negotiate::{Accept, Format, Transform};
pub use query::Query;
pub use request_info::RequestInfo;
