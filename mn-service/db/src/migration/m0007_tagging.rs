//! Tags and settings.

use super::table::{Kind::*, Layout, table};

pub(super) const TABLES: &[fn() -> Layout] = &[system_tag, tag_pattern, user_tag, global_config, resource_config];

fn system_tag() -> Layout {
    table("SystemTagVO")
        .key("uuid", Uuid)
        .need("resourceUuid", Uuid)
        .indexed()
        .need("resourceType", Line)
        .need("tag", Tag)
        .need("type", Line)
        .need("inherent", Flag)
        .dates()
        .index(&["tag"])
}

fn tag_pattern() -> Layout {
    table("TagPatternVO")
        .key("uuid", Uuid)
        .need("name", Line)
        .need("value", Line)
        .maybe("description", Text)
        .maybe("color", Line)
        .need("type", Line)
        .dates()
}

fn user_tag() -> Layout {
    table("UserTagVO")
        .key("uuid", Uuid)
        .need("resourceUuid", Uuid)
        .indexed()
        .need("resourceType", Line)
        .need("tag", Tag)
        .need("type", Line)
        .maybe("tagPatternUuid", Uuid)
        .part_of("TagPatternVO")
        .dates()
        .index(&["tag"])
}

fn global_config() -> Layout {
    table("GlobalConfigVO")
        .key("id", Auto)
        .need("category", Line)
        .need("name", Line)
        .maybe("description", Text)
        .maybe("defaultValue", Text)
        .maybe("value", Text)
        .unique(&["category", "name"])
}

fn resource_config() -> Layout {
    table("ResourceConfigVO")
        .key("uuid", Uuid)
        .need("resourceUuid", Uuid)
        .indexed()
        .need("resourceType", Line)
        .need("category", Line)
        .need("name", Line)
        .maybe("description", Text)
        .maybe("value", Text)
        .dates()
        .unique(&["resourceUuid", "category", "name"])
}
