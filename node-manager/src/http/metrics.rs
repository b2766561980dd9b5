//! `/metrics`: the load of the host and its VMs in the text format of Prometheus.

use std::{fmt::Write as _, sync::Arc};

use axum::{extract::State, http::header, response::IntoResponse};

use super::Refusal;
use crate::{
    Agent,
    drivers::{HostMetrics, VmMetrics},
};

pub(super) async fn metrics(State(agent): State<Arc<Agent>>) -> Result<impl IntoResponse, Refusal> {
    let host = agent.drivers.host.metrics().await?;
    // A hypervisor that is down must not hide the host's own load; its absence shows as zstack_hypervisor_up 0.
    let vms = agent.drivers.vm.metrics().await;
    let text = render(&host, vms.as_deref().ok(), agent.jobs.running());
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}

type Samples = Vec<(String, f64)>;

fn render(host: &HostMetrics, vms: Option<&[VmMetrics]>, jobs: usize) -> String {
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: Samples| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    };
    let pairs = |list: &[(String, u64, u64)], key: &str, second: bool| -> Samples {
        list.iter().map(|(name, a, b)| (label(&[(key, name)]), number(if second { *b } else { *a }))).collect()
    };
    let cpu = host.cpu_seconds.iter().map(|(mode, seconds)| (label(&[("mode", mode)]), *seconds)).collect();
    family("zstack_host_cpu_seconds_total", "counter", "Time the processors spent per mode.", cpu);
    let one = |value| vec![(String::new(), number(value))];
    family("zstack_host_memory_bytes", "gauge", "Physical memory.", one(host.memory_total));
    family(
        "zstack_host_memory_available_bytes",
        "gauge",
        "Memory available to new programs.",
        one(host.memory_available),
    );
    family(
        "zstack_host_disk_read_bytes_total",
        "counter",
        "Bytes read per device.",
        pairs(&host.disks, "device", false),
    );
    family(
        "zstack_host_disk_written_bytes_total",
        "counter",
        "Bytes written per device.",
        pairs(&host.disks, "device", true),
    );
    family("zstack_host_filesystem_bytes", "gauge", "File system size.", pairs(&host.filesystems, "mount", false));
    family(
        "zstack_host_filesystem_available_bytes",
        "gauge",
        "Room left for unprivileged users.",
        pairs(&host.filesystems, "mount", true),
    );
    let nics = &host.interfaces;
    family(
        "zstack_host_network_receive_bytes_total",
        "counter",
        "Bytes received per interface.",
        pairs(nics, "device", false),
    );
    family(
        "zstack_host_network_transmit_bytes_total",
        "counter",
        "Bytes sent per interface.",
        pairs(nics, "device", true),
    );
    family("zstack_agent_jobs_running", "gauge", "Unfinished jobs.", vec![(String::new(), number(jobs as u64))]);
    family("zstack_hypervisor_up", "gauge", "1 while libvirt answers.", one(u64::from(vms.is_some())));
    let vms = vms.unwrap_or_default();
    let per_vm = |value: fn(&VmMetrics) -> f64| -> Samples {
        vms.iter().map(|vm| (label(&[("vm", &vm.id.to_string())]), value(vm))).collect()
    };
    family("zstack_vm_cpu_seconds_total", "counter", "Processor time.", per_vm(|vm| number(vm.cpu_nanoseconds) / 1e9));
    family("zstack_vm_memory_bytes", "gauge", "Memory of the balloon.", per_vm(|vm| number(vm.memory.as_bytes())));
    family("zstack_vm_disk_read_bytes_total", "counter", "Bytes read.", per_vm(|vm| number(vm.disk_read)));
    family("zstack_vm_disk_written_bytes_total", "counter", "Bytes written.", per_vm(|vm| number(vm.disk_written)));
    family("zstack_vm_network_receive_bytes_total", "counter", "Bytes received.", per_vm(|vm| number(vm.net_received)));
    family("zstack_vm_network_transmit_bytes_total", "counter", "Bytes sent.", per_vm(|vm| number(vm.net_sent)));
    out
}

/// Prometheus numbers are 64-bit floats; above 2^53 the last digits do not matter.
#[allow(clippy::cast_precision_loss)]
fn number(value: u64) -> f64 {
    value as f64
}

fn label(pairs: &[(&str, &str)]) -> String {
    let escape = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let words: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}=\"{}\"", escape(value))).collect();
    format!("{{{}}}", words.join(","))
}

#[cfg(test)]
mod tests {
    use node_manager_types::{ByteSize, VmId};

    use super::*;

    #[test]
    fn families_are_complete_and_labels_escaped() {
        let host = HostMetrics {
            cpu_seconds: vec![("user", 1.5)],
            memory_total: 1024,
            filesystems: vec![("/a\"b".to_owned(), 10, 5)],
            ..HostMetrics::default()
        };
        let id: VmId = "36c27e8ff05c4780bf6d2fa65700f22e".parse().unwrap();
        let vm = VmMetrics {
            id,
            cpu_nanoseconds: 2_500_000_000,
            memory: ByteSize::mib(1),
            disk_read: 1,
            disk_written: 2,
            net_received: 3,
            net_sent: 4,
        };
        let text = render(&host, Some(&[vm]), 7);
        assert!(text.contains(
            "# TYPE zstack_host_cpu_seconds_total counter\nzstack_host_cpu_seconds_total{mode=\"user\"} 1.5\n"
        ));
        assert!(text.contains("zstack_host_filesystem_available_bytes{mount=\"/a\\\"b\"} 5\n"), "{text}");
        assert!(text.contains("zstack_vm_cpu_seconds_total{vm=\"36c27e8ff05c4780bf6d2fa65700f22e\"} 2.5\n"));
        assert!(text.contains("zstack_agent_jobs_running 7\n") && text.contains("zstack_hypervisor_up 1\n"));
        assert!(render(&host, None, 0).contains("zstack_hypervisor_up 0\n"));
    }
}
