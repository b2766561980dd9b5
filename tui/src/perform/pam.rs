//! The password of root, through PAM: whatever the node's operator has configured there holds here as well.

use std::{
    cell::RefCell,
    ffi::{OsStr, OsString},
    rc::Rc,
};

use nonstick::{
    AuthnFlags, AuthtokFlags, ConversationAdapter, ErrorCode, Result as PamResult, Transaction, TransactionBuilder,
};

use crate::{effect::Denied, secret::Secret};

/// Whose password it is.
const USER: &str = "root";

/// Gives the modules the passwords that they ask for, and keeps what they say.
struct Answers {
    /// Given for as long as it has not been asked for once: the present password.
    old: RefCell<Option<Secret>>,
    /// Given afterwards.
    new: Option<Secret>,
    said: Rc<RefCell<Vec<String>>>,
}

impl ConversationAdapter for Answers {
    fn prompt(&self, _: impl AsRef<OsStr>) -> PamResult<OsString> {
        // Whose password it is has been said; other questions have no answer here.
        Err(ErrorCode::ConversationError)
    }

    fn masked_prompt(&self, _: impl AsRef<OsStr>) -> PamResult<OsString> {
        let old = self.old.borrow_mut().take();
        let answer = old.as_ref().or(self.new.as_ref()).ok_or(ErrorCode::ConversationError)?;
        Ok(OsString::from(answer.reveal()))
    }

    fn error_msg(&self, message: impl AsRef<OsStr>) {
        self.said.borrow_mut().push(message.as_ref().to_string_lossy().into_owned());
    }

    fn info_msg(&self, message: impl AsRef<OsStr>) {
        self.error_msg(message);
    }
}

/// Looks whether this is the password (OS-TUI-031).
pub(super) fn authenticate(service: &str, password: &Secret) -> Result<(), Denied> {
    let answers = Answers { old: RefCell::new(Some(password.clone())), new: None, said: Rc::default() };
    let unknown = |error: ErrorCode| Denied::Unknown(format!("the password cannot be looked at: {error}"));
    let mut transaction = TransactionBuilder::new_with_service(service)
        .username(USER)
        .build(answers.into_conversation())
        .map_err(unknown)?;
    let accepted = transaction
        .authenticate(AuthnFlags::empty())
        .and_then(|()| transaction.account_management(AuthnFlags::empty()));
    match accepted {
        Ok(()) => Ok(()),
        // The password was right; it is to be changed, which is an entry here.
        Err(ErrorCode::NewAuthTokRequired) => Ok(()),
        Err(ErrorCode::AuthenticationError | ErrorCode::UserUnknown | ErrorCode::MaxTries) => Err(Denied::Wrong),
        Err(error) => Err(unknown(error)),
    }
}

/// Changes the password (OS-TUI-051 to 053). The present one is looked at first: root could do without.
pub(super) fn change(service: &str, old: &Secret, new: &Secret) -> Result<String, String> {
    match authenticate(service, old) {
        Ok(()) => {}
        Err(Denied::Wrong) => return Err("The present password is wrong. Nothing was changed.".to_owned()),
        Err(Denied::Unknown(why)) => return Err(why),
    }
    let said = Rc::new(RefCell::new(Vec::new()));
    let answers = Answers { old: RefCell::new(None), new: Some(new.clone()), said: Rc::clone(&said) };
    let changed = TransactionBuilder::new_with_service(service)
        .username(USER)
        .build(answers.into_conversation())
        .and_then(|mut transaction| transaction.change_authtok(AuthtokFlags::empty()));
    let said = said.borrow().join("\n");
    match changed {
        // Another present password may have been asked for by a rule of the node: then the new one was given as it.
        Err(error) => Err(format!("{said}\nThe password was not changed: {error}").trim_start().to_owned()),
        Ok(()) => match authenticate(service, new) {
            Ok(()) => Ok(format!("{said}\nThe password of root was changed.").trim_start().to_owned()),
            Err(_) => Err("The system says that the password was changed, but does not accept the new one.".to_owned()),
        },
    }
}
