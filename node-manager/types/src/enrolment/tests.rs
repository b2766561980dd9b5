//! Codes and proofs.

use super::*;

fn code() -> Code {
    Code::of(std::array::from_fn(|index| u8::try_from(index * 7).unwrap()))
}

fn question() -> Question {
    Question::Connect { nonce: "00".repeat(32), host: "36c27e8ff05c4780bf6d2fa65700f22e".to_owned(), again: false }
}

#[test]
fn a_code_is_typed_as_people_type() {
    let code = code();
    let shown = code.reveal();
    assert_eq!((shown.len(), shown.split('-').count()), (24, 5), "{shown}");
    assert_eq!(shown.parse::<Code>().unwrap(), code);
    assert_eq!(format!(" {} ", shown.to_lowercase().replace('-', " ")).parse::<Code>().unwrap(), code);
    let alike = "O1IL-0000-0000-0000-0000".parse::<Code>().unwrap();
    assert_eq!(alike, "0111-0000-0000-0000-0000".parse::<Code>().unwrap());
    assert_eq!("ABCD-1".parse::<Code>(), Err(CodeError::Length(5)));
    assert_eq!("ABCD-EFGH-JKMN-PQRS-TUVW".parse::<Code>(), Err(CodeError::Character('U')));
    assert_eq!("ABCD-EFGH-JKMN-PQRS-TÄVW".parse::<Code>(), Err(CodeError::Character('Ä')));
    let secret = &shown[5..];
    assert!(!format!("{code:?} {:?}", code.key()).contains(secret), "no log shows the secret");
}

#[test]
fn every_character_of_a_code_counts() {
    let key = code().key();
    for position in 0..20 {
        let mut other: [u8; 20] = std::array::from_fn(|index| u8::try_from(index * 7).unwrap());
        other[position] = other[position].wrapping_add(1);
        assert_ne!(Code::of(other).key(), key, "{position}");
    }
    assert_eq!(Key::from_hex(&key.to_hex()).unwrap(), key);
    assert_eq!(Key::from_hex("00"), None);
}

#[test]
fn only_who_knows_the_code_and_sees_the_certificate_is_heard() {
    let (code, own, relay) = (code(), fingerprint(b"own"), fingerprint(b"relay"));
    let key = code.key();
    let asked = key.ask(&code, &own, &question()).unwrap();
    assert_eq!(asked.code, code.identifier());
    let heard = key.hear(&own, &asked).unwrap();
    assert_eq!(serde_json::from_str::<Question>(&heard).unwrap(), question());

    assert_eq!(Code::of([0; 20]).key().hear(&own, &asked), None, "another code");
    let through_relay = key.ask(&code, &relay, &question()).unwrap();
    assert_eq!(key.hear(&own, &through_relay), None, "the node sees somebody else's certificate");
    let claimed = Envelope { certificate: hex::encode(own), ..through_relay };
    assert_eq!(key.hear(&own, &claimed), None, "and a relay cannot say that it saw ours");
    let changed = Envelope { message: asked.message.replace("36c2", "36c3"), ..asked.clone() };
    assert_eq!(key.hear(&own, &changed), None);
    let broken = Envelope { proof: "no hex".to_owned(), ..asked };
    assert_eq!(key.hear(&own, &broken), None);
}

#[test]
fn an_answer_is_to_its_question_alone() {
    let (code, own) = (code(), fingerprint(b"own"));
    let key = code.key();
    let asked = key.ask(&code, &own, &question()).unwrap();
    let answer = Answer::Connected { name: "c1".to_owned() };
    let given = key.answer(&own, &asked, &answer).unwrap();
    assert_eq!(key.accept(&own, &asked, &given), Some(answer.clone()));

    assert_eq!(key.accept(&fingerprint(b"relay"), &asked, &given), None);
    let other = Question::Connect { nonce: "11".repeat(32), host: "x".to_owned(), again: false };
    let other = key.ask(&code, &own, &other).unwrap();
    assert_eq!(key.accept(&own, &other, &given), None, "the answer to another question");
    let forged = Code::of([0; 20]).key().answer(&own, &asked, &answer).unwrap();
    assert_eq!(key.accept(&own, &asked, &forged), None, "from somebody who does not know the code");
    let echoed = Envelope { message: asked.message.clone(), proof: asked.proof.clone(), ..given };
    assert_eq!(key.accept(&own, &asked, &echoed), None, "a question sent back is no answer");
}

#[test]
fn refusals_of_later_versions_are_read() {
    let later = r#"{"kind":"moon","text":"the moon is wrong"}"#;
    let refusal: Refusal = serde_json::from_str(later).unwrap();
    assert_eq!((refusal.kind, refusal.wait_seconds), (RefusalKind::Other, 0));
    assert!(RefusalKind::Wait.may_pass() && !RefusalKind::Wrong.may_pass());
}
