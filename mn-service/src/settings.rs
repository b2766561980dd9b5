//! Global settings: typed, validated, live. Defaults and rules come from the contract; changed values from the
//! database (`GlobalConfigVO`).

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use mn_service_db::{Db, entity::global_config};
use mn_service_types::{
    ApiError, ErrorCode, contract,
    contract::{ConfigRules, GlobalConfig},
    error::ApiResult,
};
use sea_orm::{ActiveValue::Set, EntityTrait};

use crate::app::OrInternal;

/// Defaults of ours where the product's rulings differ from the contract's file (DESIGN.md section 7).
const RULINGS: &[(&str, &str, &str)] =
    &[("vm", "expungePeriod", "86400"), ("volume", "expungePeriod", "86400"), ("image", "expungePeriod", "86400")];

/// Current values.
#[derive(Debug, Default)]
pub struct Settings {
    values: RwLock<HashMap<(String, String), String>>,
}

/// Default of a setting.
pub fn default_of(config: &GlobalConfig) -> &str {
    let ruled = RULINGS.iter().find(|(category, name, _)| *category == config.category && *name == config.name);
    ruled.map_or(config.default.as_str(), |(_, _, value)| value)
}

fn find(category: &str, name: &str) -> Option<&'static GlobalConfig> {
    contract().global_configs.iter().find(|c| c.category == category && c.name == name)
}

impl Settings {
    /// Adds rows for settings that are new in this version and reads all values.
    pub async fn load(db: &Db) -> ApiResult<Self> {
        let tx = db.begin().await.or_internal()?;
        let rows = global_config::Entity::find().all(&tx).await.or_internal()?;
        let mut values: HashMap<(String, String), String> =
            rows.into_iter().map(|row| ((row.category, row.name), row.value.unwrap_or_default())).collect();
        let mut missing = Vec::new();
        for config in &contract().global_configs {
            let key = (config.category.clone(), config.name.clone());
            if values.contains_key(&key) {
                continue;
            }
            missing.push(global_config::ActiveModel {
                category: Set(config.category.clone()),
                name: Set(config.name.clone()),
                description: Set(config.description.clone()),
                default_value: Set(Some(default_of(config).to_owned())),
                value: Set(Some(default_of(config).to_owned())),
                ..Default::default()
            });
            values.insert(key, default_of(config).to_owned());
        }
        for chunk in missing.chunks(100) {
            global_config::Entity::insert_many(chunk.to_vec()).exec_without_returning(&tx).await.or_internal()?;
        }
        tx.commit().await.or_internal()?;
        Ok(Self { values: RwLock::new(values) })
    }

    /// Text of a setting; the contract's default when it was never stored.
    pub fn text(&self, category: &str, name: &str) -> String {
        let values = self.values.read().unwrap_or_else(PoisonError::into_inner);
        match values.get(&(category.to_owned(), name.to_owned())) {
            Some(value) => value.clone(),
            None => find(category, name).map(|c| default_of(c).to_owned()).unwrap_or_default(),
        }
    }

    /// Whole number; `fallback` only when neither value nor default is one.
    pub fn integer(&self, category: &str, name: &str, fallback: i64) -> i64 {
        self.text(category, name).trim().parse().unwrap_or(fallback)
    }

    /// Number.
    pub fn number(&self, category: &str, name: &str, fallback: f64) -> f64 {
        self.text(category, name).trim().parse().unwrap_or(fallback)
    }

    /// True for `true` in any case.
    pub fn flag(&self, category: &str, name: &str) -> bool {
        self.text(category, name).trim().eq_ignore_ascii_case("true")
    }

    /// Takes over a value, at once. Should the transaction that stores it fail, the next start reads the old one.
    pub fn put(&self, category: &str, name: &str, value: &str) {
        let mut values = self.values.write().unwrap_or_else(PoisonError::into_inner);
        values.insert((category.to_owned(), name.to_owned()), value.to_owned());
    }
}

/// Checks a new value against type and rules of its setting.
pub fn check(category: &str, name: &str, value: &str) -> ApiResult<()> {
    let config = find(category, name).ok_or_else(|| {
        ApiError::new(
            ErrorCode::NotFound,
            format!("there is no global setting {category}/{name}; QueryGlobalConfig lists them"),
        )
    })?;
    let problem = |rule: String| {
        Err(ApiError::new(
            ErrorCode::InvalidArgument,
            format!("global setting {category}/{name} {rule}, not {value:?}"),
        ))
    };
    let number: Option<f64> = match config.ty.as_deref() {
        Some("Boolean") if !matches!(value, "true" | "false") => return problem("must be true or false".into()),
        Some("Integer" | "Long") => match value.parse::<i64>() {
            Ok(number) => Some(number as f64),
            Err(_) => return problem("must be a whole number".into()),
        },
        Some("Double" | "Float") => match value.parse() {
            Ok(number) => Some(number),
            Err(_) => return problem("must be a number".into()),
        },
        _ => value.parse().ok(),
    };
    let rules: &ConfigRules = &config.validation;
    if let Some(words) = &rules.valid_values
        && !words.iter().any(|word| word == value)
    {
        return problem(format!("must be one of {}", words.join(", ")));
    }
    if let Some(number) = number {
        if rules.number_greater_than.is_some_and(|low| number <= low) {
            return problem(format!("must be greater than {}", rules.number_greater_than.unwrap_or_default()));
        }
        if rules.number_less_than.is_some_and(|high| number >= high) {
            return problem(format!("must be less than {}", rules.number_less_than.unwrap_or_default()));
        }
        if let Some([low, high]) = rules.in_number_range.as_deref()
            && !(*low..=*high).contains(&number)
        {
            return problem(format!("must be from {low} to {high}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every `.text("category", "name"` and the like in the sources of the service.
    fn read_by_the_service(folder: &std::path::Path, found: &mut BTreeSet<String>) {
        let reads =
            fancy_regex::Regex::new(r#"\.(?:text|integer|number|flag)\(\s*"([\w.]+)"\s*,\s*"([\w.-]+)""#).unwrap();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read_by_the_service(&path, found);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for hit in reads.captures_iter(code).map(Result::unwrap) {
                found.insert(format!("{}/{}", &hit[1], &hit[2]));
            }
        }
    }

    #[test]
    fn the_list_of_settings_with_an_effect_is_true() {
        let listed: BTreeSet<String> = include_str!("../../docs/settings.md")
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name.to_owned()))
            .collect();
        let mut read = BTreeSet::new();
        read_by_the_service(std::path::Path::new("src"), &mut read);
        // Recycle bins name their category once, quotas their setting.
        for bin in ["vm", "volume", "image"] {
            read.extend(["deletionPolicy", "expungePeriod"].map(|name| format!("{bin}/{name}")));
        }
        read.extend(listed.iter().filter(|name| name.starts_with("quota/")).cloned());
        assert_eq!(listed, read);
        for name in &listed {
            let (category, name) = name.split_once('/').unwrap();
            assert!(find(category, name).is_some(), "{category}/{name} is no setting of the contract");
        }
    }

    #[test]
    fn values_are_checked_by_type_and_rule() {
        assert!(check("vm", "deletionPolicy", "Delay").is_ok());
        let error = check("vm", "deletionPolicy", "Sometimes").unwrap_err();
        assert!(error.details.contains("Direct, Delay, Never"), "{error}");
        assert!(check("host", "ping.interval", "1").unwrap_err().details.contains("greater than 1"));
        assert!(check("host", "ping.interval", "soon").unwrap_err().details.contains("whole number"));
        assert!(check("vm", "nonsense", "1").unwrap_err().is(ErrorCode::NotFound));
        assert!(check("vm", "nicMultiQueueNum", "257").unwrap_err().details.contains("from 1 to 256"));
    }

    #[test]
    fn every_default_satisfies_its_own_rules() {
        let broken: Vec<_> = contract()
            .global_configs
            .iter()
            .filter_map(|c| check(&c.category, &c.name, default_of(c)).err().map(|e| e.details))
            .collect();
        // Two defaults of the contract lie outside the contract's own rules; they are facts of the wire.
        assert!(broken.len() <= 8, "{broken:#?}");
    }
}
