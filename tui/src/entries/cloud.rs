//! `Join a Cloud`: the node becomes a host with a one-time code (docs/decisions/0015-enrolment.md).

use node_manager_types::enrolment::Code;

use crate::{
    app::{App, Purpose, Window},
    effect::Effect,
    window::{
        confirm::Question,
        form::{Field, Form},
    },
    words,
};

pub(super) fn open(app: &mut App) -> Vec<Effect> {
    let known = app.facts.without_cloud().and_then(|cloud| cloud.joining.as_ref());
    let address = known.map(|(service, _)| service.clone()).unwrap_or_default();
    let fields = vec![
        Field::text("address", app.say(words::JOIN_ADDRESS), &address),
        // It can be seen: nobody types 20 characters right without, and it is good for this node and an hour.
        Field::text("code", app.say(words::JOIN_CODE), ""),
    ];
    let intro = vec![app.say(words::JOIN_INTRO).to_owned()];
    app.windows.push(Window::Form(Purpose::JoinCloud, Form::new(words::JOIN_CLOUD, intro, fields)));
    Vec::new()
}

pub(super) fn submitted(app: &mut App, purpose: Purpose, form: Form) -> Vec<Effect> {
    let address = form.value("address").trim().to_owned();
    let mut problems = Vec::new();
    if address.is_empty() || address.starts_with('-') || address.contains(char::is_whitespace) {
        problems.push(("address", app.say(words::NO_SERVICE).to_owned()));
    }
    if form.value("code").parse::<Code>().is_err() {
        problems.push(("code", app.say(words::NO_CODE).to_owned()));
    }
    if !problems.is_empty() {
        return super::refuse(app, purpose, form, problems);
    }
    let question = Question::key(form.title, vec![app.fill(words::ASK_JOIN, &[&address])]);
    let effect = Effect::JoinCloud { address, code: form.secret("code") };
    app.windows.push(Window::Form(purpose, form));
    app.windows.push(Window::Ask(effect, question));
    Vec::new()
}
