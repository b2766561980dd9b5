//! What a delete would do, told instead of done (`docs/deletion.md`).

use mn_service_types::{ApiError, ErrorCode, error::ApiResult};
use serde::Serialize;

use crate::cascade::{Because, Deletion, Item};

/// Kinds of effects, in the order in which they happen. On the wire: `DeletionEffect`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Kind {
    /// A VM is powered off.
    Stop,
    /// The resource stays and loses a reference.
    Detach,
    /// The resource goes to the recycle bin.
    Recycle,
    /// The resource goes.
    Delete,
}

/// One effect of a delete: `DeletionEffectInventory`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Effect {
    /// What happens.
    #[serde(rename = "effect")]
    pub kind: Kind,
    /// Resource type.
    pub resource_type: String,
    /// Name, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_name: Option<String>,
    /// Uuid.
    pub resource_uuid: String,
    /// Why.
    pub reason: String,
    /// Host of a VM that is stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_uuid: Option<String>,
    /// Field that is cleared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl Effect {
    /// An effect on a resource.
    pub fn new(kind: Kind, vo: &str, item: &Item, reason: impl Into<String>) -> Self {
        Self {
            kind,
            resource_type: vo.to_owned(),
            resource_name: item.name.clone(),
            resource_uuid: item.uuid.clone(),
            reason: reason.into(),
            host_uuid: None,
            field: None,
        }
    }
}

/// What a delete would do, and why it would be refused.
#[derive(Debug, Default)]
pub struct Preview {
    /// Effects.
    pub effects: Vec<Effect>,
    /// Rules that stand against the delete now.
    pub refusals: Vec<String>,
}

/// Reason of what the delete names itself.
pub const ASKED: &str = "the delete asks for it";

impl Preview {
    /// The effects of a plan.
    pub fn of(plan: &Deletion) -> Self {
        let because = |vo: &str, uuid: &str| plan.because.get(&(vo.to_owned(), uuid.to_owned()));
        let mut effects = Vec::new();
        for vm in &plan.stops {
            let item = Item { uuid: vm.uuid.clone(), name: vm.name.clone() };
            let reason = match because("VmInstanceVO", &vm.uuid) {
                Some(because) => format!("it runs, and {} goes", named(because)),
                None => "it runs".to_owned(),
            };
            let stop = Effect::new(Kind::Stop, "VmInstanceVO", &item, reason);
            effects.push(Effect { host_uuid: Some(vm.host_uuid.clone()), ..stop });
        }
        for (vo, columns) in &plan.detaches {
            for (column, items) in columns {
                for item in items {
                    let reason = because(vo, &item.uuid).map(|because| format!("{} goes", named(because)));
                    let detach = Effect::new(Kind::Detach, vo, item, reason.unwrap_or_else(|| ASKED.to_owned()));
                    effects.push(Effect { field: Some(column.clone()), ..detach });
                }
            }
        }
        for (vo, items) in &plan.deletes {
            for item in items {
                let reason = because(vo, &item.uuid).map(|because| format!("{} goes", named(because)));
                effects.push(Effect::new(Kind::Delete, vo, item, reason.unwrap_or_else(|| ASKED.to_owned())));
            }
        }
        Self { effects, refusals: Vec::new() }
    }

    /// Notes that a rule stands against the delete. A failure of the service itself is none and comes back.
    pub fn refuse(&mut self, rule: ApiResult<()>) -> Result<(), ApiError> {
        match rule {
            Err(error) if error.is(ErrorCode::Internal) => Err(error),
            Err(error) => {
                self.refusals.push(error.details);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

fn named(because: &Because) -> String {
    let kind = because.vo.strip_suffix("VO").unwrap_or(&because.vo);
    match &because.item.name {
        Some(name) => format!("{kind} {name} ({})", because.item.uuid),
        None => format!("{kind} {}", because.item.uuid),
    }
}
