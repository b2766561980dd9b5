//! L2 and L3 networks, addresses, network services.

use super::table::{Kind::*, Layout, table};

pub(super) const TABLES: &[fn() -> Layout] = &[
    l2_network,
    l2_network_cluster_ref,
    l3_network,
    l3_network_dns,
    l3_network_host_route,
    ip_range,
    reserved_ip_range,
    network_service_provider,
    network_service_type,
    network_service_provider_l2_network_ref,
    network_service_l3_network_ref,
];

fn l2_network() -> Layout {
    table("L2NetworkVO")
        .key("uuid", Uuid)
        .need("zoneUuid", Uuid)
        .refers("ZoneVO")
        .need("name", Line)
        .maybe("description", Text)
        .maybe("physicalInterface", Line)
        .need("type", Line)
        .maybe("vSwitchType", Line)
        .maybe("virtualNetworkId", Int)
        .maybe("isolated", Flag)
        .maybe("pvlan", Line)
        .maybe("vlan", Int)
        .maybe("bridge", Line)
        .dates()
}

fn l2_network_cluster_ref() -> Layout {
    table("L2NetworkClusterRefVO")
        .key("l2NetworkUuid", Uuid)
        .part_of("L2NetworkVO")
        .key("clusterUuid", Uuid)
        .part_of("ClusterVO")
        .maybe("l2ProviderType", Line)
        .dates()
}

fn l3_network() -> Layout {
    table("L3NetworkVO")
        .key("uuid", Uuid)
        .need("zoneUuid", Uuid)
        .refers("ZoneVO")
        .need("l2NetworkUuid", Uuid)
        .refers("L2NetworkVO")
        .need("name", Line)
        .maybe("description", Text)
        .need("type", Line)
        .need("state", Line)
        .maybe("dnsDomain", Line)
        .need("system", Flag)
        .need("category", Line)
        .need("ipVersion", Int)
        .need("enableIPAM", Flag)
        .maybe("isolated", Flag)
        .maybe("dhcpServerIp", Line)
        .dates()
}

fn l3_network_dns() -> Layout {
    table("L3NetworkDnsVO")
        .key("id", Auto)
        .need("l3NetworkUuid", Uuid)
        .part_of("L3NetworkVO")
        .need("dns", Line)
        .dates()
        .unique(&["l3NetworkUuid", "dns"])
}

fn l3_network_host_route() -> Layout {
    table("L3NetworkHostRouteVO")
        .key("id", Auto)
        .need("l3NetworkUuid", Uuid)
        .part_of("L3NetworkVO")
        .need("prefix", Line)
        .need("nexthop", Line)
        .dates()
        .unique(&["l3NetworkUuid", "prefix"])
}

fn ip_range() -> Layout {
    table("IpRangeVO")
        .key("uuid", Uuid)
        .need("l3NetworkUuid", Uuid)
        .refers("L3NetworkVO")
        .need("name", Line)
        .maybe("description", Text)
        .need("startIp", Line)
        .need("endIp", Line)
        .need("netmask", Line)
        .maybe("gateway", Line)
        .maybe("networkCidr", Line)
        .need("ipVersion", Int)
        .maybe("addressMode", Line)
        .need("prefixLen", Int)
        .need("ipRangeType", Line)
        .dates()
}

fn reserved_ip_range() -> Layout {
    table("ReservedIpRangeVO")
        .key("uuid", Uuid)
        .need("l3NetworkUuid", Uuid)
        .part_of("L3NetworkVO")
        .maybe("name", Line)
        .maybe("description", Text)
        .need("startIp", Line)
        .need("endIp", Line)
        .need("ipVersion", Int)
        .dates()
}

fn network_service_provider() -> Layout {
    table("NetworkServiceProviderVO")
        .key("uuid", Uuid)
        .need("name", Line)
        .maybe("description", Text)
        .need("type", Line)
        .dates()
}

fn network_service_type() -> Layout {
    table("NetworkServiceTypeVO")
        .key("networkServiceProviderUuid", Uuid)
        .part_of("NetworkServiceProviderVO")
        .key("type", Line)
}

fn network_service_provider_l2_network_ref() -> Layout {
    table("NetworkServiceProviderL2NetworkRefVO")
        .key("networkServiceProviderUuid", Uuid)
        .part_of("NetworkServiceProviderVO")
        .key("l2NetworkUuid", Uuid)
        .part_of("L2NetworkVO")
}

fn network_service_l3_network_ref() -> Layout {
    table("NetworkServiceL3NetworkRefVO")
        .key("l3NetworkUuid", Uuid)
        .part_of("L3NetworkVO")
        .key("networkServiceProviderUuid", Uuid)
        .part_of("NetworkServiceProviderVO")
        .key("networkServiceType", Line)
}
