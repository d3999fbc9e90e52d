//! DynamicResources is not built: a pod with resource claims is refused, not placed where its devices may not be.

use crate::change::Change;
use crate::framework::{Cycle, FilterPlugin, PreFilter};
use crate::listers::Listers;
use crate::pod::PodInfo;
use crate::status::Status;

const NAME: &str = "DynamicResources";

pub struct DynamicResources;

impl FilterPlugin for DynamicResources {
    fn name(&self) -> &'static str {
        NAME
    }
    fn pre_filter<'a>(&'a self, _: Cycle<'a>, pod: &'a PodInfo) -> PreFilter<'a> {
        if pod.spec().resource_claims.as_ref().is_none_or(|c| c.is_empty()) {
            return PreFilter::Skip;
        }
        PreFilter::Reject(Status::unresolvable(NAME, "this scheduler does not allocate resource claims"))
    }
    fn may_help(&self, _: &Change, _: &PodInfo, _: &Listers) -> bool {
        false
    }
}
