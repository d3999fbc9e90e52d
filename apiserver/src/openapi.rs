//! `/openapi/v2` and `/openapi/v3`.

use crate::context::RequestCx;
use crate::http::body::Body;
use crate::http::respond;
use http::Response;

#[derive(Default)]
pub struct OpenApi;

impl OpenApi {
    pub async fn serve(&self, _path: &str, _cx: &RequestCx) -> Response<Body> {
        respond::page_not_found()
    }
}
