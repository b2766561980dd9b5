//! Tags and settings.

use super::table::{Kind::*, Layout, table};

pub(super) const TABLES: &[fn() -> Layout] = &[system_tag, tag_pattern, user_tag, global_config, resource_config];

fn system_tag() -> Layout {
    table("SystemTagVO")
        .key("uuid", Uuid)
        .need("resourceUuid", Uuid)
        .indexed()
        .need("resourceType", Word)
        .need("tag", Tag)
        .need("type", Word)
        .need("inherent", Flag)
        .dates()
        .index(&["tag"])
}

fn tag_pattern() -> Layout {
    table("TagPatternVO")
        .key("uuid", Uuid)
        .need("name", Name)
        .need("value", Name)
        .maybe("description", Text)
        .maybe("color", Word)
        .need("type", Word)
        .dates()
}

fn user_tag() -> Layout {
    table("UserTagVO")
        .key("uuid", Uuid)
        .need("resourceUuid", Uuid)
        .indexed()
        .need("resourceType", Word)
        .need("tag", Tag)
        .need("type", Word)
        .maybe("tagPatternUuid", Uuid)
        .part_of("TagPatternVO")
        .dates()
        .index(&["tag"])
}

fn global_config() -> Layout {
    table("GlobalConfigVO")
        .key("id", Auto)
        .need("category", Word)
        .need("name", Word)
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
        .need("resourceType", Word)
        .need("category", Word)
        .need("name", Word)
        .maybe("description", Text)
        .maybe("value", Text)
        .dates()
        .unique(&["resourceUuid", "category", "name"])
}
