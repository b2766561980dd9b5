//! Zones, clusters, hosts and the management nodes.

use super::table::{Kind::*, Layout, table};

pub(super) const TABLES: &[fn() -> Layout] =
    &[zone, cluster, host, host_capacity, host_ipmi, host_hw_monitor_status, host_network_interface, management_node];

fn zone() -> Layout {
    table("ZoneVO")
        .key("uuid", Uuid)
        .need("name", Name)
        .maybe("description", Text)
        .need("state", Word)
        .need("type", Word)
        .need("isDefault", Flag)
        .dates()
}

fn cluster() -> Layout {
    table("ClusterVO")
        .key("uuid", Uuid)
        .need("zoneUuid", Uuid)
        .refers("ZoneVO")
        .need("name", Name)
        .maybe("description", Text)
        .need("state", Word)
        .need("hypervisorType", Word)
        .need("type", Word)
        .maybe("architecture", Word)
        .dates()
}

fn host() -> Layout {
    table("HostVO")
        .key("uuid", Uuid)
        .need("zoneUuid", Uuid)
        .refers("ZoneVO")
        .need("clusterUuid", Uuid)
        .refers("ClusterVO")
        .need("name", Name)
        .maybe("description", Text)
        .need("managementIp", Word)
        .need("hypervisorType", Word)
        .need("state", Word)
        .need("status", Word)
        .maybe("architecture", Word)
        .maybe("username", Word)
        .maybe("sshPort", Int)
        .maybe("osDistribution", Name)
        .maybe("osRelease", Name)
        .maybe("osVersion", Name)
        .maybe("secret", Text)
        .maybe("agentPort", Int)
        .maybe("agentInstance", Name)
        .maybe("agentVersion", Name)
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
        .maybe("ipmiAddress", Word)
        .maybe("ipmiUsername", Name)
        .need("ipmiPort", Int)
        .maybe("ipmiPowerStatus", Word)
        .maybe("secret", Text)
}

fn host_hw_monitor_status() -> Layout {
    table("HostHwMonitorStatusVO")
        .key("uuid", Uuid)
        .part_of("HostVO")
        .maybe("cpuStatus", Word)
        .maybe("memoryStatus", Word)
        .maybe("diskStatus", Word)
        .maybe("nicStatus", Word)
        .maybe("fanStatus", Word)
        .maybe("powerSupplyStatus", Word)
        .maybe("raidStatus", Word)
        .maybe("networkStatus", Word)
        .maybe("gpuStatus", Word)
        .maybe("temperatureStatus", Word)
}

fn host_network_interface() -> Layout {
    table("HostNetworkInterfaceVO")
        .key("uuid", Uuid)
        .need("hostUuid", Uuid)
        .part_of("HostVO")
        .maybe("bondingUuid", Uuid)
        .indexed()
        .maybe("interfaceModel", Name)
        .maybe("vendorId", Word)
        .maybe("deviceId", Word)
        .maybe("subvendorId", Word)
        .maybe("subdeviceId", Word)
        .need("interfaceName", Word)
        .maybe("interfaceType", Word)
        .maybe("speed", Big)
        .maybe("slaveActive", Flag)
        .maybe("carrierActive", Flag)
        .maybe("ipAddresses", Text)
        .maybe("gateway", Word)
        .maybe("mac", Word)
        .maybe("callBackIp", Word)
        .maybe("pciDeviceAddress", Word)
        .maybe("offloadStatus", Word)
        .maybe("virtStatus", Word)
        .maybe("description", Text)
        .dates()
        .unique(&["hostUuid", "interfaceName"])
}

fn management_node() -> Layout {
    table("ManagementNodeVO").key("uuid", Uuid).need("hostName", Name).need("joinDate", Big).need("heartBeat", Big)
}
