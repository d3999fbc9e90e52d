//! Certificate authorities, certificates, kubeconfigs and service-account keys.
