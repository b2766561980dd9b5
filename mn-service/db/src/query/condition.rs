//! Conditions as clients write them (PROTOCOL.md section 8.2).

/// Comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// `!=`
    NotEqual,
    /// `>=`
    GreaterOrEqual,
    /// `<=`
    LessOrEqual,
    /// `!?=`, values separated by commas.
    NotIn,
    /// `!~=`, a pattern with `%` and `_`.
    NotLike,
    /// `~=`
    Like,
    /// `?=`
    In,
    /// `=`
    Equal,
    /// `>`
    Greater,
    /// `<`
    Less,
    /// `is null`
    IsNull,
    /// `not null`
    NotNull,
}

impl Op {
    /// In the order in which a text is searched for them: the first that occurs anywhere wins.
    pub const ALL: [Self; 12] = [
        Self::NotEqual,
        Self::GreaterOrEqual,
        Self::LessOrEqual,
        Self::NotIn,
        Self::NotLike,
        Self::Like,
        Self::In,
        Self::Equal,
        Self::Greater,
        Self::Less,
        Self::IsNull,
        Self::NotNull,
    ];

    /// How clients write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotEqual => "!=",
            Self::GreaterOrEqual => ">=",
            Self::LessOrEqual => "<=",
            Self::NotIn => "!?=",
            Self::NotLike => "!~=",
            Self::Like => "~=",
            Self::In => "?=",
            Self::Equal => "=",
            Self::Greater => ">",
            Self::Less => "<",
            Self::IsNull => "is null",
            Self::NotNull => "not null",
        }
    }

    /// The operator that this one denies, for tags: `!=` means "has no such tag".
    pub(super) fn denied(self) -> Option<Self> {
        match self {
            Self::NotEqual => Some(Self::Equal),
            Self::NotIn => Some(Self::In),
            Self::NotLike => Some(Self::Like),
            Self::IsNull => Some(Self::NotNull),
            _ => None,
        }
    }
}

/// One condition of a query.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Condition {
    /// Field, nested name or special name.
    pub name: String,
    /// Comparison.
    pub op: Op,
    /// Right side as the client wrote it; empty for null tests.
    pub value: String,
}

/// A condition without operator; the HTTP layer answers 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "condition {0:?} has no operator; write <field><operator><value> with one of != >= <= !?= !~= ~= ?= = > <, or <field> is null, <field> not null"
)]
pub struct ParseError(pub String);

impl Condition {
    /// A condition made by code.
    pub fn new(name: impl Into<String>, op: Op, value: impl Into<String>) -> Self {
        Self { name: name.into(), op, value: value.into() }
    }

    /// Reads `<name><op><value>`. The name is trimmed, the value is not.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let found = Op::ALL.iter().find_map(|op| Some((op, text.split_once(op.as_str())?)));
        let Some((&op, (name, value))) = found else { return Err(ParseError(text.to_owned())) };
        let value = if matches!(op, Op::IsNull | Op::NotNull) { "" } else { value };
        Ok(Self::new(name.trim(), op, value))
    }
}

/// Order of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sort {
    /// Field of the structure.
    pub field: String,
    /// Greatest first.
    pub descending: bool,
}

impl Sort {
    /// Reads `+field`, `field` or `-field`. A `+` that arrived as a space is trimmed.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        match text.strip_prefix('-') {
            Some(field) => Self { field: field.trim().to_owned(), descending: true },
            None => Self { field: text.trim_start_matches('+').trim().to_owned(), descending: false },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(text: &str) -> (String, Op, String) {
        let condition = Condition::parse(text).unwrap();
        (condition.name, condition.op, condition.value)
    }

    #[test]
    fn the_first_operator_of_the_list_wins_wherever_it_stands() {
        let owned = |name: &str, op, value: &str| (name.to_owned(), op, value.to_owned());
        assert_eq!(parts("name=a>=b"), owned("name=a", Op::GreaterOrEqual, "b"));
        assert_eq!(parts("name ~=%x=y%"), owned("name", Op::Like, "%x=y%"));
        assert_eq!(parts("state!?=a,b"), owned("state", Op::NotIn, "a,b"));
        assert_eq!(parts("state!~=a"), owned("state", Op::NotLike, "a"));
        assert_eq!(parts("name= padded "), owned("name", Op::Equal, " padded "));
        assert_eq!(parts("hostUuid is null"), owned("hostUuid", Op::IsNull, ""));
        assert_eq!(parts("hostUuid not null"), owned("hostUuid", Op::NotNull, ""));
        assert_eq!(parts("name=is null"), owned("name", Op::Equal, "is null"));
        assert_eq!(parts("a=b!=c"), owned("a=b", Op::NotEqual, "c"));
        assert!(Condition::parse("name").is_err());
        // `is not null` is not understood on this path: the name keeps the "is".
        assert_eq!(parts("hostUuid is not null"), owned("hostUuid is", Op::NotNull, ""));
    }

    #[test]
    fn sort_takes_a_sign_and_forgives_a_lost_plus() {
        assert_eq!(Sort::parse("-name"), Sort { field: "name".into(), descending: true });
        assert_eq!(Sort::parse(" name"), Sort { field: "name".into(), descending: false });
        assert_eq!(Sort::parse("+name"), Sort { field: "name".into(), descending: false });
    }

    proptest! {
        /// The rule of section 8.2, stated differently: nothing earlier in the list occurs in the text, the name has
        /// no occurrence of the operator, and name, operator and value make the text again.
        #[test]
        fn splitting_follows_the_rule(text in "[a-c!?~=<> ,.%]{0,12}(is null|not null)?[a-c!?~=<> ]{0,6}") {
            match Condition::parse(&text) {
                Err(ParseError(_)) => {
                    prop_assert!(Op::ALL.iter().all(|op| !text.contains(op.as_str())));
                }
                Ok(condition) => {
                    let rank = Op::ALL.iter().position(|op| *op == condition.op).unwrap();
                    prop_assert!(Op::ALL[..rank].iter().all(|op| !text.contains(op.as_str())));
                    let at = text.find(condition.op.as_str()).unwrap();
                    prop_assert_eq!(condition.name.as_str(), text[..at].trim());
                    if !matches!(condition.op, Op::IsNull | Op::NotNull) {
                        prop_assert_eq!(condition.value.as_str(), &text[at + condition.op.as_str().len()..]);
                    }
                }
            }
        }

        /// Plain names and values come back whole with every operator.
        #[test]
        fn what_is_written_is_read(name in "[a-zA-Z.]{1,20}", value in "[a-z0-9%_,.: -]{0,20}", op in 0..10_usize) {
            let op = Op::ALL[op];
            let read = Condition::parse(&format!("{name}{}{value}", op.as_str())).unwrap();
            prop_assert_eq!(read, Condition::new(name, op, value));
        }
    }
}
