//! Java-like types of the contract, parsed.

/// Type of a parameter or field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// Text; also every enum.
    Text,
    /// 32- or 64-bit integer.
    Integer,
    /// Floating point.
    Float,
    /// True or false.
    Boolean,
    /// Moment.
    Timestamp,
    /// List of the inner shape.
    List(Box<Shape>),
    /// Map from text.
    Map,
    /// A structure of the contract, by name.
    Structure(String),
    /// Anything.
    Any,
}

impl Shape {
    /// Reads a contract type such as `List<String>` or `Long`.
    pub fn parse(ty: &str) -> Self {
        match ty {
            "String" | "StateEvent" => Self::Text,
            "Integer" | "int" | "Long" | "long" | "Short" | "short" => Self::Integer,
            "Double" | "double" | "Float" | "float" => Self::Float,
            "Boolean" | "boolean" => Self::Boolean,
            "Timestamp" | "Date" => Self::Timestamp,
            "List" | "Set" => Self::List(Box::new(Self::Any)),
            "Map" | "LinkedHashMap" => Self::Map,
            "Object" => Self::Any,
            _ => {
                let inner = ["List<", "Set<"].iter().find_map(|p| ty.strip_prefix(p)?.strip_suffix('>'));
                if let Some(inner) = inner {
                    Self::List(Box::new(Self::parse(inner)))
                } else if ty.starts_with("Map<") {
                    Self::Map
                } else if crate::contract().inventory(ty).is_some() {
                    Self::Structure(ty.to_owned())
                } else if crate::contract().enum_values(ty).is_empty() {
                    Self::Any
                } else {
                    Self::Text
                }
            }
        }
    }
}

/// Primitive Java types are always present in answers, boxed ones only when they have a value.
pub fn is_primitive(ty: &str) -> bool {
    matches!(ty, "int" | "long" | "boolean" | "double" | "float" | "short")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_the_contract_have_a_shape() {
        assert_eq!(Shape::parse("List<String>"), Shape::List(Box::new(Shape::Text)));
        assert_eq!(
            Shape::parse("List<VmNicInventory>"),
            Shape::List(Box::new(Shape::Structure("VmNicInventory".into())))
        );
        assert_eq!(Shape::parse("Long"), Shape::Integer);
        assert_eq!(Shape::parse("HwMonitorStatus"), Shape::Text);
    }
}
