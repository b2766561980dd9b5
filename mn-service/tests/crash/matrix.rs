//! What every case goes through: the program dies at every boundary of every step, every step fails, and the program dies
//! at every boundary of every undo.

use std::{collections::HashMap, ops::Index, time::Instant};

use futures::future::BoxFuture;
use mn_service_workflow::StepInfo;

use crate::{
    ground::{Call, Ground},
    picture::Picture,
};

/// Sides of a step at which the program dies: before it, between doing and recording, after recording.
const DOING: [&str; 3] = ["BeforeStep", "AfterStep", "Recorded"];
/// The same of an undo.
const UNDOING: [&str; 3] = ["BeforeUndo", "AfterUndo", "UndoRecorded"];

/// Uuids of what a case prepared, by name.
pub(crate) struct Subject(HashMap<&'static str, String>);

impl Subject {
    /// Names them.
    pub(crate) fn of<const N: usize>(named: [(&'static str, String); N]) -> Self {
        Self(HashMap::from(named))
    }

    /// One more.
    pub(crate) fn and(mut self, name: &'static str, uuid: String) -> Self {
        self.0.insert(name, uuid);
        self
    }
}

impl Index<&str> for Subject {
    type Output = str;

    fn index(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("the case prepared no {name}"))
    }
}

/// A change by one workflow, and what is right before and after it.
pub(crate) struct Case {
    /// The workflow.
    pub(crate) workflow: &'static str,
    /// Which of several changes by that workflow.
    pub(crate) what: &'static str,
    /// First step whose effect stays when a later one fails, which the workflow states as its reason for having no
    /// undo. Where it is absent, everything is as before after a failure of any step.
    pub(crate) stays: Option<&'static str>,
    /// Makes what the change needs.
    pub(crate) prepare: for<'a> fn(&'a Ground) -> BoxFuture<'a, Subject>,
    /// The change.
    pub(crate) call: for<'a> fn(&'a Ground, &'a Subject) -> BoxFuture<'a, Call>,
    /// Asserts that the change was made.
    pub(crate) done: for<'a> fn(&'a Ground, &'a Subject) -> BoxFuture<'a, ()>,
    /// Takes away what is left, whether the change was made or not.
    pub(crate) clear: for<'a> fn(&'a Ground, &'a Subject) -> BoxFuture<'a, ()>,
}

/// Steps of a workflow, from the registry.
fn steps_of(workflow: &str) -> Vec<StepInfo> {
    let registry = mn_service::resource::workflows().unwrap();
    let info = registry.workflows().into_iter().rfind(|info| info.name == workflow);
    info.unwrap_or_else(|| panic!("there is no workflow {workflow}")).steps
}

/// With the value `whole`, every boundary of every case is tried. Otherwise a choice of them: the first case of every
/// workflow, killed where a thing is done but not written down yet, which is where repeating harms; and its last step
/// fails, so that everything is undone.
const EXTENT: &str = "ZSTACK_CRASH_MATRIX";

/// What a case goes through.
struct Extent {
    doing: &'static [&'static str],
    undoing: &'static [&'static str],
    /// Every step fails, not the last one alone.
    each_fails: bool,
}

const WHOLE: Extent = Extent { doing: &DOING, undoing: &UNDOING, each_fails: true };
const CHOICE: Extent = Extent { doing: &["AfterStep"], undoing: &["AfterUndo"], each_fails: false };

/// Cases that are looked into run alone: those whose workflow or description contains what this variable says.
const ONLY: &str = "ZSTACK_CRASH_CASES";

/// Takes cases through everything.
pub(crate) async fn run(mut cases: Vec<Case>) {
    let mut extent = if std::env::var(EXTENT).is_ok_and(|value| value == "whole") { WHOLE } else { CHOICE };
    match std::env::var(ONLY) {
        Ok(only) => {
            cases.retain(|case| case.workflow.contains(&only) || case.what.contains(&only));
            extent = WHOLE;
        }
        Err(_) if !extent.each_fails => cases.dedup_by_key(|case| case.workflow),
        Err(_) => {}
    }
    let mut ground = Ground::new().await;
    ground.agrees("a new cloud").await;
    let clean = ground.picture().await;
    for case in &cases {
        let begun = Instant::now();
        let steps = steps_of(case.workflow);
        let mut treatments = 0;
        for step in &steps {
            for phase in extent.doing {
                killed_while_doing(&mut ground, &clean, case, step, phase).await;
                treatments += 1;
            }
        }
        for (index, step) in steps.iter().enumerate() {
            let last = index + 1 == steps.len();
            let sides: &[&str] = match step.no_undo_because {
                _ if !extent.each_fails => &DOING[..usize::from(last)],
                Some(_) => &DOING[..1],
                None => &DOING[..2],
            };
            for phase in sides {
                let back = case.is_as_before(&steps, index, phase);
                failing(&ground, &clean, case, step, phase, back).await;
                treatments += 1;
            }
        }
        let Some((last, earlier)) = steps.split_last() else { continue };
        let back = case.is_as_before(&steps, earlier.len(), DOING[0]);
        for step in steps.iter().filter(|step| step.no_undo_because.is_none()) {
            for phase in extent.undoing {
                killed_while_undoing(&mut ground, &clean, case, last, step, phase, back).await;
                treatments += 1;
            }
        }
        let each = begun.elapsed() / treatments;
        println!("{} {}: {treatments} treatments of {} ms", case.workflow, case.what, each.as_millis());
    }
}

impl Case {
    /// Whether nothing may be left of it when the step at `index` fails on that side.
    fn is_as_before(&self, steps: &[StepInfo], index: usize, phase: &str) -> bool {
        let Some(stays) = self.stays else { return true };
        let last = steps.iter().position(|step| step.name == stays);
        let last = last.unwrap_or_else(|| panic!("{} has no step {stays}", self.workflow));
        index < last || (index == last && phase == DOING[0])
    }
}

async fn killed_while_doing(ground: &mut Ground, clean: &Picture, case: &Case, step: &StepInfo, phase: &str) {
    let point = format!("{}/{}/{phase}", case.workflow, step.name);
    let name = format!("{} killed at {point}", case.what);
    let subject = (case.prepare)(ground).await;
    let call = (case.call)(ground, &subject).await;
    ground.place.arm(&[format!("crash {point}")]);
    let outcome = ground.call_through_death(call, &name).await;
    assert!(outcome.is_ok(), "{name}: {outcome:?}\n{}", ground.place.tail());
    ground.agrees(&name).await;
    (case.done)(ground, &subject).await;
    cleared(ground, clean, case, &subject, &name).await;
}

async fn failing(ground: &Ground, clean: &Picture, case: &Case, step: &StepInfo, phase: &str, back: bool) {
    let point = format!("{}/{}/{phase}", case.workflow, step.name);
    let name = format!("{} failing at {point}", case.what);
    let subject = (case.prepare)(ground).await;
    let call = (case.call)(ground, &subject).await;
    let before = ground.picture().await;
    ground.place.arm(&[format!("fail {point}")]);
    let outcome = ground.call(call).await;
    ground.place.disarm();
    assert!(outcome.is_err(), "{name}: {outcome:?}");
    undone(ground, &before, back, &name).await;
    cleared(ground, clean, case, &subject, &name).await;
}

async fn killed_while_undoing(
    ground: &mut Ground,
    clean: &Picture,
    case: &Case,
    last: &StepInfo,
    step: &StepInfo,
    phase: &str,
    back: bool,
) {
    let point = format!("{}/{}/{phase}", case.workflow, step.name);
    let name = format!("{} killed at {point}", case.what);
    let subject = (case.prepare)(ground).await;
    let call = (case.call)(ground, &subject).await;
    let before = ground.picture().await;
    let failure = format!("fail {}/{}/BeforeStep", case.workflow, last.name);
    ground.place.arm(&[failure, format!("crash {point}")]);
    let outcome = ground.call_through_death(call, &name).await;
    assert!(outcome.is_err(), "{name}: {outcome:?}");
    undone(ground, &before, back, &name).await;
    cleared(ground, clean, case, &subject, &name).await;
}

async fn undone(ground: &Ground, before: &Picture, back: bool, name: &str) {
    ground.agrees(name).await;
    if back {
        let changes = ground.picture().await.since(before);
        assert!(changes.is_empty(), "{name} is not as before:\n{}", changes.join("\n"));
    }
}

async fn cleared(ground: &Ground, clean: &Picture, case: &Case, subject: &Subject, name: &str) {
    (case.clear)(ground, subject).await;
    ground.agrees(&format!("{name}, cleared")).await;
    let left = ground.picture().await.since(clean);
    assert!(left.is_empty(), "{name} left behind:\n{}", left.join("\n"));
}
