//! The manifest for Kubernetes against the types of its API, and against what the
//! image and the server need.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Probe, Service};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const MANIFEST: &str = include_str!("../../../deploy/kubernetes/fedra.yaml");

/// The objects of the manifest.
fn objects() -> Vec<Value> {
    let documents = serde_norway::Deserializer::from_str(MANIFEST);
    documents.map(|document| Value::deserialize(document).expect("YAML")).collect()
}

/// The object of this kind. It must have no field that the API does not have: such
/// a field is lost on the way through the API's type.
fn typed<T: DeserializeOwned + serde::Serialize>(kind: &str) -> T {
    let objects = objects();
    let object = objects.iter().find(|object| object["kind"] == kind).expect("one of this kind");
    let typed: T =
        serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{kind}: {error}"));
    assert_eq!(&serde_json::to_value(&typed).expect("plain data"), object, "{kind}");
    typed
}

#[test]
fn every_object_is_as_the_api_describes_it() {
    typed::<ConfigMap>("ConfigMap");
    typed::<PersistentVolumeClaim>("PersistentVolumeClaim");
    typed::<Service>("Service");
    typed::<Deployment>("Deployment");
    assert_eq!(objects().len(), 4);
}

#[test]
fn one_server_at_a_time_has_the_store_and_ends_in_its_own_time() {
    let spec = typed::<Deployment>("Deployment").spec;
    assert_eq!(spec.replicas, Some(1));
    assert_eq!(spec.strategy.and_then(|strategy| strategy.type_).as_deref(), Some("Recreate"));
    let config = typed::<ConfigMap>("ConfigMap").data.expect("data").remove("fedra.toml");
    let config = config.expect("a config");
    let drain = config
        .lines()
        .find_map(|line| line.strip_prefix("drain_timeout = \"")?.strip_suffix("s\""));
    let drain: i64 = drain.expect("a time").parse().expect("seconds");
    let grace = spec.template.spec.expect("a pod").termination_grace_period_seconds;
    assert!(grace.expect("a time") >= drain + 20, "OPERATIONS asks for 20 s more");
}

#[test]
fn probes_ask_what_the_server_answers() {
    let spec = typed::<Deployment>("Deployment").spec;
    let pod = spec.template.spec.expect("a pod");
    let [container] = pod.containers.as_slice() else { panic!("one container") };
    let path = |probe: &Option<Probe>| {
        probe.as_ref().and_then(|probe| probe.http_get.as_ref()?.path.clone()).expect("a path")
    };
    assert_eq!(path(&container.startup_probe), "/healthz");
    assert_eq!(path(&container.liveness_probe), "/healthz");
    assert_eq!(path(&container.readiness_probe), "/readyz");
    // What the image says: its user, its port, its folders.
    let dockerfile = include_str!("../../../deploy/Dockerfile");
    let user = pod.security_context.and_then(|context| context.run_as_user).expect("a user");
    assert!(dockerfile.contains(&format!("USER {user}:{user}")));
    let port = container.ports.as_ref().expect("ports")[0].container_port;
    assert!(dockerfile.contains(&format!("EXPOSE {port}")));
    for mount in container.volume_mounts.as_ref().expect("mounts") {
        let folder = &mount.mount_path;
        let is_known = dockerfile.contains(folder.as_str()) || folder == "/run/secrets/fedra";
        assert!(is_known, "{folder}");
        let volumes = pod.volumes.as_ref().expect("volumes");
        assert!(volumes.iter().any(|volume| volume.name == mount.name), "{folder}");
    }
}
