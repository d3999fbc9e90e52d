//! Which rules belong to which kind. A kind that is not named here is ruled by its schema alone.

use crate::names::{self, NameRule};
use crate::strategy::Strategy;
use crate::{
    admission_registration, api_extensions, api_registration, apps, autoscaling, batch, certificates, core, devices,
    flow_control, networking, rbac, scheduling, storage,
};

/// The strategy of a kind whose schema says everything.
struct SchemaOnly(NameRule);

impl Strategy for SchemaOnly {
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::check(self.0, name, prefix)
    }
}

static SCHEMA_ONLY: SchemaOnly = SchemaOnly(NameRule::Subdomain);

/// Group, kind, rules.
static KINDS: &[(&str, &str, &dyn Strategy)] = &[
    ("", "ConfigMap", &core::config_map::CONFIG_MAP),
    ("", "Endpoints", &core::endpoints::ENDPOINTS),
    ("", "Event", &core::event::EVENT),
    ("", "LimitRange", &core::limit_range::LIMIT_RANGE),
    ("", "Namespace", &core::namespace::Namespace),
    ("", "Node", &core::node::NODE),
    ("", "PersistentVolume", &core::persistent_volume::PERSISTENT_VOLUME),
    ("", "PersistentVolumeClaim", &core::persistent_volume_claim::PersistentVolumeClaim),
    ("", "Pod", &core::pod::Pod),
    ("", "PodTemplate", &core::pod_template::POD_TEMPLATE),
    ("", "ReplicationController", &core::replication_controller::REPLICATION_CONTROLLER),
    ("", "ResourceQuota", &core::resource_quota::RESOURCE_QUOTA),
    ("", "Secret", &core::secret::SECRET),
    ("", "Service", &core::service::SERVICE),
    ("", "ServiceAccount", &core::service_account::SERVICE_ACCOUNT),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy", &admission_registration::MUTATING_POLICY),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding", &admission_registration::MUTATING_POLICY_BINDING),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration", &admission_registration::MUTATING),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", &admission_registration::VALIDATING_POLICY),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding", &admission_registration::VALIDATING_POLICY_BINDING),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", &admission_registration::VALIDATING),
    ("apiextensions.k8s.io", "CustomResourceDefinition", &api_extensions::CUSTOM_RESOURCE_DEFINITION),
    ("apiregistration.k8s.io", "APIService", &api_registration::API_SERVICE),
    ("apps", "ControllerRevision", &apps::controller_revision::CONTROLLER_REVISION),
    ("apps", "DaemonSet", &apps::daemon_set::DAEMON_SET),
    ("apps", "Deployment", &apps::deployment::DEPLOYMENT),
    ("apps", "ReplicaSet", &apps::replica_set::REPLICA_SET),
    ("apps", "StatefulSet", &apps::stateful_set::STATEFUL_SET),
    ("autoscaling", "HorizontalPodAutoscaler", &autoscaling::HORIZONTAL_POD_AUTOSCALER),
    ("batch", "CronJob", &batch::cron_job::CRON_JOB),
    ("batch", "Job", &batch::job::JOB),
    ("certificates.k8s.io", "CertificateSigningRequest", &certificates::CertificateSigningRequest),
    ("coordination.k8s.io", "Lease", &scheduling::LEASE),
    ("discovery.k8s.io", "EndpointSlice", &networking::endpoint_slice::ENDPOINT_SLICE),
    ("events.k8s.io", "Event", &core::event::EVENT),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema", &flow_control::FLOW_SCHEMA),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", &flow_control::PRIORITY_LEVEL),
    ("networking.k8s.io", "IPAddress", &networking::addresses::IP_ADDRESS),
    ("networking.k8s.io", "Ingress", &networking::ingress::INGRESS),
    ("networking.k8s.io", "IngressClass", &networking::ingress::INGRESS_CLASS),
    ("networking.k8s.io", "NetworkPolicy", &networking::network_policy::NETWORK_POLICY),
    ("networking.k8s.io", "ServiceCIDR", &networking::addresses::SERVICE_CIDR),
    ("node.k8s.io", "RuntimeClass", &scheduling::RUNTIME_CLASS),
    ("policy", "PodDisruptionBudget", &scheduling::POD_DISRUPTION_BUDGET),
    ("rbac.authorization.k8s.io", "ClusterRole", &rbac::CLUSTER_ROLE),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", &rbac::CLUSTER_ROLE_BINDING),
    ("rbac.authorization.k8s.io", "Role", &rbac::ROLE),
    ("rbac.authorization.k8s.io", "RoleBinding", &rbac::ROLE_BINDING),
    ("resource.k8s.io", "ResourceClaim", &devices::RESOURCE_CLAIM),
    ("resource.k8s.io", "ResourceClaimTemplate", &devices::RESOURCE_CLAIM_TEMPLATE),
    ("resource.k8s.io", "ResourceSlice", &devices::RESOURCE_SLICE),
    ("scheduling.k8s.io", "PriorityClass", &scheduling::PRIORITY_CLASS),
    ("storage.k8s.io", "CSIDriver", &storage::CSI_DRIVER),
    ("storage.k8s.io", "CSINode", &storage::CSI_NODE),
    ("storage.k8s.io", "CSIStorageCapacity", &storage::CSI_STORAGE_CAPACITY),
    ("storage.k8s.io", "StorageClass", &storage::STORAGE_CLASS),
    ("storage.k8s.io", "VolumeAttachment", &storage::VOLUME_ATTACHMENT),
    ("storage.k8s.io", "VolumeAttributesClass", &storage::VOLUME_ATTRIBUTES_CLASS),
];

/// The rules of a kind; the same for all its versions, on objects in the storage version.
pub fn strategy_for(group: &str, kind: &str) -> &'static dyn Strategy {
    KINDS.iter().find(|(g, k, _)| *g == group && *k == kind).map_or(&SCHEMA_ONLY as &dyn Strategy, |(_, _, s)| *s)
}

/// Every kind with rules of its own.
pub fn kinds_with_rules() -> impl Iterator<Item = (&'static str, &'static str)> {
    KINDS.iter().map(|(g, k, _)| (*g, *k))
}
