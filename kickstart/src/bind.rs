//! How options and arguments are stored in the fields of a command.

use crate::{
    options::{Count, Takes},
    value::{Scalar, comma_split},
};

/// How a kind of option stores its values in a field of type `F`.
pub(crate) trait Bind<F> {
    const TAKES: Takes;
    fn put(field: &mut F, value: Option<&str>) -> Result<(), String>;
    fn get(field: &F) -> Vec<Option<String>>;
}

/// There or not.
pub(crate) struct Flag;
/// One value; the last one counts.
pub(crate) struct Store;
/// A value that must be there.
pub(crate) struct Required;
/// Values between commas; the last list counts.
pub(crate) struct Comma;
/// Values between commas; all lists count.
pub(crate) struct Extend;
/// A value each time.
pub(crate) struct Append;

impl Bind<bool> for Flag {
    const TAKES: Takes = Takes::Nothing;

    fn put(field: &mut bool, _value: Option<&str>) -> Result<(), String> {
        *field = true;
        Ok(())
    }

    fn get(field: &bool) -> Vec<Option<String>> {
        if *field { vec![None] } else { Vec::new() }
    }
}

impl<V: Scalar> Bind<Option<V>> for Store {
    const TAKES: Takes = Takes::Value;

    fn put(field: &mut Option<V>, value: Option<&str>) -> Result<(), String> {
        *field = Some(V::read(value.unwrap_or_default())?);
        Ok(())
    }

    fn get(field: &Option<V>) -> Vec<Option<String>> {
        field.iter().map(|value| Some(value.write())).collect()
    }
}

impl<V: Scalar> Bind<V> for Required {
    const TAKES: Takes = Takes::Value;

    fn put(field: &mut V, value: Option<&str>) -> Result<(), String> {
        *field = V::read(value.unwrap_or_default())?;
        Ok(())
    }

    fn get(field: &V) -> Vec<Option<String>> {
        vec![Some(field.write())]
    }
}

fn each<V: Scalar>(value: Option<&str>) -> Result<Vec<V>, String> {
    comma_split(value.unwrap_or_default()).map(V::read).collect()
}

fn list<V: Scalar>(values: &[V]) -> Vec<Option<String>> {
    if values.is_empty() {
        return Vec::new();
    }
    vec![Some(values.iter().map(V::write).collect::<Vec<_>>().join(","))]
}

impl<V: Scalar> Bind<Vec<V>> for Comma {
    const TAKES: Takes = Takes::Value;

    fn put(field: &mut Vec<V>, value: Option<&str>) -> Result<(), String> {
        *field = each(value)?;
        Ok(())
    }

    fn get(field: &Vec<V>) -> Vec<Option<String>> {
        list(field)
    }
}

impl<V: Scalar> Bind<Vec<V>> for Extend {
    const TAKES: Takes = Takes::Value;

    fn put(field: &mut Vec<V>, value: Option<&str>) -> Result<(), String> {
        field.extend(each(value)?);
        Ok(())
    }

    fn get(field: &Vec<V>) -> Vec<Option<String>> {
        list(field)
    }
}

impl<V: Scalar> Bind<Vec<V>> for Append {
    const TAKES: Takes = Takes::Value;

    fn put(field: &mut Vec<V>, value: Option<&str>) -> Result<(), String> {
        field.push(V::read(value.unwrap_or_default())?);
        Ok(())
    }

    fn get(field: &Vec<V>) -> Vec<Option<String>> {
        field.iter().map(|value| Some(value.write())).collect()
    }
}

/// How an argument is stored in a field.
pub(crate) trait Argument {
    const COUNT: Count;
    fn put(&mut self, word: &str) -> Result<(), String>;
    fn get(&self) -> Vec<String>;
}

impl<V: Scalar> Argument for Vec<V> {
    const COUNT: Count = Count::Many;

    fn put(&mut self, word: &str) -> Result<(), String> {
        self.push(V::read(word)?);
        Ok(())
    }

    fn get(&self) -> Vec<String> {
        self.iter().map(V::write).collect()
    }
}

impl<V: Scalar> Argument for Option<V> {
    const COUNT: Count = Count::Maybe;

    fn put(&mut self, word: &str) -> Result<(), String> {
        *self = Some(V::read(word)?);
        Ok(())
    }

    fn get(&self) -> Vec<String> {
        self.iter().map(V::write).collect()
    }
}

macro_rules! one_word {
    ($($type:ty),+) => {
        $(impl Argument for $type {
            const COUNT: Count = Count::One;

            fn put(&mut self, word: &str) -> Result<(), String> {
                *self = Self::read(word)?;
                Ok(())
            }

            fn get(&self) -> Vec<String> {
                vec![self.write()]
            }
        })+
    };
}
one_word!(String, crate::value::Secret, crate::value::MountPoint);
