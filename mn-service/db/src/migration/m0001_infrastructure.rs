//! Zones, clusters, hosts and the management nodes.

use super::table::{Kind::*, Layout, table};

pub(super) const TABLES: &[fn() -> Layout] =
    &[zone, cluster, host, host_capacity, host_ipmi, host_hw_monitor_status, host_network_interface, management_node];

fn zone() -> Layout {
    table("ZoneVO")
        .key("uuid", Uuid)
        .need("name", Line)
        .maybe("description", Text)
        .need("state", Line)
        .need("type", Line)
        .need("isDefault", Flag)
        .dates()
}

fn cluster() -> Layout {
    table("ClusterVO")
        .key("uuid", Uuid)
        .need("zoneUuid", Uuid)
        .refers("ZoneVO")
        .need("name", Line)
        .maybe("description", Text)
        .need("state", Line)
        .need("hypervisorType", Line)
        .need("type", Line)
        .maybe("architecture", Line)
        .dates()
}

fn host() -> Layout {
    table("HostVO")
        .key("uuid", Uuid)
        .need("zoneUuid", Uuid)
        .refers("ZoneVO")
        .need("clusterUuid", Uuid)
        .refers("ClusterVO")
        .need("name", Line)
        .maybe("description", Text)
        .need("managementIp", Line)
        .need("hypervisorType", Line)
        .need("state", Line)
        .need("status", Line)
        .maybe("architecture", Line)
        .maybe("username", Line)
        .maybe("sshPort", Int)
        .maybe("osDistribution", Line)
        .maybe("osRelease", Line)
        .maybe("osVersion", Line)
        .maybe("secret", Text)
        .maybe("agentPort", Int)
        .maybe("agentInstance", Line)
        .maybe("agentVersion", Line)
        .dates()
        .unique(&["managementIp"])
}

fn host_capacity() -> Layout {
    table("HostCapacityVO")
        .key("uuid", Uuid)
        .part_of("HostVO")
        .need("totalMemory", Big)
        .need("totalCpu", Big)
        .need("cpuNum", Int)
        .need("cpuSockets", Int)
        .need("availableMemory", Big)
        .need("availableCpu", Big)
        .need("totalPhysicalMemory", Big)
        .need("availablePhysicalMemory", Big)
}

fn host_ipmi() -> Layout {
    table("HostIpmiVO")
        .key("uuid", Uuid)
        .part_of("HostVO")
        .maybe("ipmiAddress", Line)
        .maybe("ipmiUsername", Line)
        .need("ipmiPort", Int)
        .maybe("ipmiPowerStatus", Line)
        .maybe("secret", Text)
}

fn host_hw_monitor_status() -> Layout {
    table("HostHwMonitorStatusVO")
        .key("uuid", Uuid)
        .part_of("HostVO")
        .maybe("cpuStatus", Line)
        .maybe("memoryStatus", Line)
        .maybe("diskStatus", Line)
        .maybe("nicStatus", Line)
        .maybe("fanStatus", Line)
        .maybe("powerSupplyStatus", Line)
        .maybe("raidStatus", Line)
        .maybe("networkStatus", Line)
        .maybe("gpuStatus", Line)
        .maybe("temperatureStatus", Line)
}

fn host_network_interface() -> Layout {
    table("HostNetworkInterfaceVO")
        .key("uuid", Uuid)
        .need("hostUuid", Uuid)
        .part_of("HostVO")
        .maybe("bondingUuid", Uuid)
        .indexed()
        .maybe("interfaceModel", Line)
        .maybe("vendorId", Line)
        .maybe("deviceId", Line)
        .maybe("subvendorId", Line)
        .maybe("subdeviceId", Line)
        .need("interfaceName", Line)
        .maybe("interfaceType", Line)
        .maybe("speed", Big)
        .maybe("slaveActive", Flag)
        .maybe("carrierActive", Flag)
        .maybe("ipAddresses", Text)
        .maybe("gateway", Line)
        .maybe("mac", Line)
        .maybe("callBackIp", Line)
        .maybe("pciDeviceAddress", Line)
        .maybe("offloadStatus", Line)
        .maybe("virtStatus", Line)
        .maybe("description", Text)
        .dates()
        .unique(&["hostUuid", "interfaceName"])
}

fn management_node() -> Layout {
    table("ManagementNodeVO").key("uuid", Uuid).need("hostName", Line).need("joinDate", Big).need("heartBeat", Big)
}
