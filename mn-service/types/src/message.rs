//! Parameters of the APIs we implement, as types. A test holds every field against the contract, so a misspelt or
//! invented parameter cannot compile its way onto the wire.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Parameters of one API.
pub trait Message: DeserializeOwned + Serialize + Send + Sync + 'static {
    /// API name in the contract.
    const API: &'static str;
}

/// Declares messages: `Name { field: Type, ... }`. Field names are the contract's in snake case.
#[macro_export]
macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $ty:ty),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
            #[serde(rename_all = "camelCase")]
            #[allow(missing_docs)]
            pub struct $name { $(#[serde(default)] pub $field: $ty,)* }
            impl $crate::message::Message for $name {
                const API: &'static str = stringify!($name);
            }
        )*
    };
}

/// Serialised field names of a struct, asked of its `Deserialize` implementation.
pub fn fields<T: DeserializeOwned>() -> Vec<&'static str> {
    struct Lister<'a>(&'a mut Vec<&'static str>);
    impl<'de> serde::Deserializer<'de> for Lister<'_> {
        type Error = serde::de::value::Error;
        fn deserialize_struct<V: serde::de::Visitor<'de>>(
            self,
            _name: &'static str,
            fields: &'static [&'static str],
            _visitor: V,
        ) -> Result<V::Value, Self::Error> {
            self.0.extend_from_slice(fields);
            Err(serde::de::Error::custom("only the names were wanted"))
        }
        fn deserialize_any<V: serde::de::Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Self::Error> {
            Err(serde::de::Error::custom("not a struct"))
        }
        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }
    let mut names = Vec::new();
    let _only_names = T::deserialize(Lister(&mut names));
    names
}

/// Tags that any creating call may carry.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Tags {
    /// System tags.
    pub system_tags: Vec<String>,
    /// User tags.
    pub user_tags: Vec<String>,
}
