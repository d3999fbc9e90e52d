//! Deployments, StatefulSets, DaemonSets, Services, namespaces, garbage.

use crate::harness::Cluster;
use client::Object;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Namespace, Node, PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use serde_json::{Value, json};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

fn deployment(replicas: i32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template("one")}})
}

fn is_complete(d: &Deployment, replicas: i32) -> bool {
    let s = d.status.clone().unwrap_or_default();
    let all = |n: Option<i32>| n.unwrap_or(0) == replicas;
    s.observed_generation == d.metadata.generation && all(s.replicas) && all(s.updated_replicas) && all(s.available_replicas)
}

#[tokio::test]
async fn a_deployment_rolls_out_scales_and_goes_back() {
    let mut c = Cluster::start().await;
    c.run_pods().await;
    c.apply(DEPLOYMENTS, deployment(3)).await;
    let d = c.until_one::<Deployment>("web", "three available", |d| is_complete(d, 3)).await;
    assert_eq!(d.annotation("deployment.kubernetes.io/revision"), Some("1"));
    c.until_event("ScalingReplicaSet", "from 0 to 3").await;
    let first = c.until::<ReplicaSet>("one set", |l| l.len() == 1).await[0].clone();
    let hash = first.label("pod-template-hash").expect("a hash");
    assert_eq!(first.name(), format!("web-{hash}"));

    c.patch::<Deployment>("web", json!({"spec": {"replicas": 5}})).await;
    c.until_one::<Deployment>("web", "five available", |d| is_complete(d, 5)).await;
    c.until_event("ScalingReplicaSet", "from 3 to 5").await;

    c.patch::<Deployment>("web", json!({"spec": {"template": template("two")}})).await;
    c.until_one::<Deployment>("web", "second revision", |d| {
        is_complete(d, 5) && d.annotation("deployment.kubernetes.io/revision") == Some("2")
    })
    .await;
    c.until::<ReplicaSet>("the old set is empty", |l| {
        l.len() == 2 && l.iter().filter(|r| r.spec.as_ref().and_then(|s| s.replicas) == Some(0)).count() == 1
    })
    .await;
    let progressing = |d: &Deployment| {
        let all = d.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
        all.iter().any(|c| c.type_ == "Progressing" && c.reason.as_deref() == Some("NewReplicaSetAvailable"))
    };
    c.until_one::<Deployment>("web", "progress noted", progressing).await;

    // What `kubectl rollout undo` does: the old template again.
    c.patch::<Deployment>("web", json!({"spec": {"template": template("one")}})).await;
    c.until_one::<Deployment>("web", "third revision", |d| {
        is_complete(d, 5) && d.annotation("deployment.kubernetes.io/revision") == Some("3")
    })
    .await;
    let sets = c.until::<ReplicaSet>("still two sets", |l| l.len() == 2).await;
    let back = sets.iter().find(|r| r.uid() == first.uid()).expect("the first set");
    assert_eq!(back.annotation("deployment.kubernetes.io/revision-history"), Some("1"));

    c.delete::<Deployment>("web", "Background").await;
    c.until::<Pod>("all pods collected", <[_]>::is_empty).await;
    c.until::<ReplicaSet>("all sets collected", <[_]>::is_empty).await;
    c.stop().await;
}

#[tokio::test]
async fn deletion_policies() {
    let mut c = Cluster::start().await;
    c.run_pods().await;
    for policy in ["Foreground", "Orphan"] {
        c.apply(DEPLOYMENTS, deployment(2)).await;
        c.until_one::<Deployment>("web", "two available", |d| is_complete(d, 2)).await;
        c.delete::<Deployment>("web", policy).await;
        c.until::<Deployment>("the deployment is gone", <[_]>::is_empty).await;
        if policy == "Foreground" {
            c.until::<Pod>("pods went first", <[_]>::is_empty).await;
        } else {
            let sets = c.until::<ReplicaSet>("the set is an orphan", |l| l.len() == 1 && l[0].controller().is_none()).await;
            // A new Deployment adopts it.
            c.apply(DEPLOYMENTS, deployment(2)).await;
            c.until::<ReplicaSet>("adopted", |l| l.len() == 1 && l[0].controller().is_some()).await;
            assert_eq!(sets[0].uid(), c.until::<ReplicaSet>("same", |l| l.len() == 1).await[0].uid());
        }
    }
    c.stop().await;
}

#[tokio::test]
async fn services_have_endpoints() {
    let mut c = Cluster::start().await;
    c.run_pods().await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}});
    c.apply("/api/v1/namespaces/default/services", service).await;
    let of_web = |s: &EndpointSlice| s.label("kubernetes.io/service-name") == Some("web");
    let count = |s: &EndpointSlice| s.endpoints.as_ref().map_or(0, Vec::len);
    c.until::<EndpointSlice>("an empty slice", |l| l.iter().any(|s| of_web(s) && count(s) == 0)).await;
    c.apply(DEPLOYMENTS, deployment(3)).await;
    let ready = |s: &EndpointSlice| {
        s.endpoints.iter().flatten().filter(|e| e.conditions.as_ref().is_some_and(|c| c.ready == Some(true))).count()
    };
    let slices = c.until::<EndpointSlice>("three ready", |l| l.iter().any(|s| of_web(s) && ready(s) == 3)).await;
    assert_eq!(slices.iter().filter(|s| of_web(s)).count(), 1, "one slice");
    let e = c.until_one::<Endpoints>("web", "three addresses", |e| {
        e.subsets.iter().flatten().flat_map(|s| s.addresses.iter().flatten()).count() == 3
    });
    let e = e.await;
    assert_eq!(e.subsets.as_ref().and_then(|s| s[0].ports.as_ref()).map(|p| p[0].port), Some(8080));
    c.until_one::<Service>("web", "an ingress address", |s| {
        let ingress = s.status.as_ref().and_then(|s| s.load_balancer.as_ref()).and_then(|l| l.ingress.clone());
        ingress.is_some_and(|i| i[0].ip.as_deref() == Some("192.0.2.1"))
    })
    .await;
    c.delete::<Service>("web", "Background").await;
    c.until::<EndpointSlice>("slices collected", |l| !l.iter().any(|s| of_web(s))).await;
    c.until::<Endpoints>("endpoints deleted", |l| !l.iter().any(|e| e.name() == "web")).await;
    c.stop().await;
}

#[tokio::test]
async fn a_stateful_set_keeps_order_and_identity() {
    let mut c = Cluster::start().await;
    let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
        "spec": {"replicas": 3, "serviceName": "db", "selector": {"matchLabels": {"app": "web"}}, "template": template("one"),
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none",
                "resources": {"requests": {"storage": "1Gi"}}}}]}});
    c.apply("/apis/apps/v1/namespaces/default/statefulsets", set).await;
    let names = |l: &[std::sync::Arc<Pod>]| l.iter().map(|p| p.name().to_owned()).collect::<Vec<_>>();
    let first = c.until::<Pod>("only the first pod while it is not ready", |l| !l.is_empty()).await;
    assert_eq!(names(&first), ["db-0"]);
    assert_eq!(first[0].label("apps.kubernetes.io/pod-index"), Some("0"));
    assert_eq!(first[0].spec.as_ref().and_then(|s| s.subdomain.as_deref()), Some("db"));
    c.run_pods().await;
    let done = |s: &StatefulSet, n: i32| {
        let t = s.status.clone().unwrap_or_default();
        t.ready_replicas == Some(n) && t.updated_replicas == Some(n) && t.current_revision == t.update_revision
    };
    c.until_one::<StatefulSet>("db", "three ready", |s| done(s, 3)).await;
    let claims = c.until::<PersistentVolumeClaim>("three claims", |l| l.len() == 3).await;
    assert_eq!(claims.iter().map(|c| c.name()).collect::<Vec<_>>(), ["data-db-0", "data-db-1", "data-db-2"]);
    c.until_event("SuccessfulCreate", "Create Pod db-2 in StatefulSet db successful").await;
    let before = c.until::<Pod>("three pods", |l| l.len() == 3).await;

    c.patch::<StatefulSet>("db", json!({"spec": {"template": template("two")}})).await;
    c.until::<Pod>("all replaced", |l| {
        l.len() == 3 && l.iter().zip(&before).all(|(a, b)| a.name() == b.name() && a.uid() != b.uid() && !a.is_terminating())
    })
    .await;
    c.until_one::<StatefulSet>("db", "rolled", |s| done(s, 3)).await;
    c.until::<ControllerRevision>("two revisions", |l| l.len() == 2).await;

    c.patch::<StatefulSet>("db", json!({"spec": {"replicas": 1}})).await;
    c.until::<Pod>("highest go first", |l| names(l) == ["db-0"]).await;
    c.until::<PersistentVolumeClaim>("claims are kept", |l| l.len() == 3).await;
    c.stop().await;
}

#[tokio::test]
async fn a_daemon_set_follows_nodes() {
    let mut c = Cluster::start().await;
    c.run_pods().await;
    let set = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template("one")}});
    c.apply("/apis/apps/v1/namespaces/default/daemonsets", set).await;
    let ready = |d: &DaemonSet, n: i32| {
        let s = d.status.clone().unwrap_or_default();
        s.desired_number_scheduled == n && s.number_ready == n && s.updated_number_scheduled == Some(n)
    };
    c.until_one::<DaemonSet>("agent", "one ready", |d| ready(d, 1)).await;
    let pods = c.until::<Pod>("one pod", |l| l.len() == 1).await;
    c.patch::<DaemonSet>("agent", json!({"spec": {"template": template("two")}})).await;
    c.until::<Pod>("replaced", |l| l.len() == 1 && l[0].uid() != pods[0].uid() && !l[0].is_terminating()).await;
    c.until_one::<DaemonSet>("agent", "rolled", |d| ready(d, 1)).await;
    c.until::<ControllerRevision>("two revisions", |l| l.len() == 2).await;
    c.client
        .patch::<Node>(
            "",
            crate::harness::NODE,
            &client::Patch::Merge(json!({"spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}})),
        )
        .await
        .expect("taint");
    c.until::<Pod>("evicted", <[_]>::is_empty).await;
    c.until_one::<DaemonSet>("agent", "none desired", |d| d.status.as_ref().is_some_and(|s| s.desired_number_scheduled == 0))
        .await;
    c.stop().await;
}

#[tokio::test]
async fn namespaces_are_furnished_and_emptied() {
    let mut c = Cluster::start().await;
    c.run_pods().await;
    c.apply("/api/v1/namespaces", json!({"metadata": {"name": "team"}})).await;
    c.until::<ServiceAccount>("a service account", |l| l.iter().any(|a| a.namespace() == "team" && a.name() == "default")).await;
    c.until::<ConfigMap>("the root certificate", |l| l.iter().any(|m| m.namespace() == "team" && m.name() == "kube-root-ca.crt"))
        .await;
    c.apply("/apis/apps/v1/namespaces/team/deployments", deployment(2)).await;
    c.until::<Pod>("pods", |l| l.len() == 2).await;
    c.client.delete::<Namespace>("", "team", &Default::default()).await.expect("delete");
    c.until::<Namespace>("the namespace is gone", |l| !l.iter().any(|n| n.name() == "team")).await;
    c.until::<Pod>("with its pods", <[_]>::is_empty).await;
    let node = c.until::<Node>("a range of addresses", |l| l[0].spec.as_ref().is_some_and(|s| s.pod_cidr.is_some())).await;
    assert_eq!(node[0].spec.as_ref().and_then(|s| s.pod_cidr.as_deref()), Some("10.244.0.0/24"));
    c.stop().await;
}

#[tokio::test]
async fn an_autoscaler_without_metrics_says_so_and_keeps_bounds() {
    let mut c = Cluster::start().await;
    c.run_pods().await;
    c.apply(DEPLOYMENTS, deployment(1)).await;
    c.until_one::<Deployment>("web", "one available", |d| is_complete(d, 1)).await;
    let scaler = |name: &str, target: &str, min: i32| {
        json!({"metadata": {"name": name}, "spec": {"minReplicas": min, "maxReplicas": 5,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}}})
    };
    const SCALERS: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let has = |h: &HorizontalPodAutoscaler, kind: &str, status: &str, reason: &str| {
        let all = h.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
        all.iter().any(|c| c.type_ == kind && c.status == status && c.reason.as_deref() == Some(reason))
    };
    c.apply(SCALERS, scaler("web", "web", 1)).await;
    c.until_one::<HorizontalPodAutoscaler>("web", "no metrics", |h| {
        has(h, "AbleToScale", "True", "SucceededGetScale") && has(h, "ScalingActive", "False", "FailedGetResourceMetric")
    })
    .await;
    c.until_event("FailedGetResourceMetric", "unable to fetch metrics from resource metrics API").await;
    c.patch::<HorizontalPodAutoscaler>("web", json!({"spec": {"minReplicas": 3}})).await;
    c.until_one::<Deployment>("web", "the minimum", |d| is_complete(d, 3)).await;
    c.until_event("SuccessfulRescale", "New size: 3; reason: Current number of replicas below Spec.MinReplicas").await;
    c.apply(SCALERS, scaler("lost", "nothing", 1)).await;
    c.until_one::<HorizontalPodAutoscaler>("lost", "no target", |h| has(h, "AbleToScale", "False", "FailedGetScale")).await;
    c.stop().await;
}

#[tokio::test]
async fn a_service_range_goes_when_it_is_free() {
    // The controllers' clock is ahead: to them the deletion is known everywhere by now.
    let ahead = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(1);
    let c = Cluster::start_at(client::Clock::starting_at(ahead)).await;
    let range = json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["203.0.113.0/24"]}});
    c.apply("/apis/networking.k8s.io/v1/servicecidrs", range).await;
    let ready = |r: &ServiceCIDR, status: &str| {
        let all = r.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
        all.iter().any(|c| c.type_ == "Ready" && c.status == status)
    };
    c.until_one::<ServiceCIDR>("more", "ready and protected", |r| ready(r, "True") && r.metadata.finalizers.is_some()).await;
    let service = json!({"metadata": {"name": "far"}, "spec": {"clusterIP": "203.0.113.10", "ports": [{"port": 80}]}});
    c.apply("/api/v1/namespaces/default/services", service).await;
    c.until::<IPAddress>("an address", |l| l.iter().any(|a| a.name() == "203.0.113.10")).await;
    c.client.delete::<ServiceCIDR>("", "more", &Default::default()).await.expect("delete");
    c.until_one::<ServiceCIDR>("more", "held by an address", |r| r.is_terminating() && ready(r, "False")).await;
    c.delete::<Service>("far", "Background").await;
    c.until::<ServiceCIDR>("gone", |l| !l.iter().any(|r| r.name() == "more")).await;
    c.stop().await;
}
