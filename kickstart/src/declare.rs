//! The macros that declare a command: its options, their types, and the versions that know them.

/// Declares a command with its options.
///
/// ```text
/// command! {
///     /// What it is for.
///     Name: "word" | "alias" in SUPPORT {
///         /// What it means.
///         pub field: bool = flag("--option", "--other-name" in SUPPORT);
///         /// What it means.
///         pub text: Option<String> = store("--text");
///     }
/// }
/// ```
///
/// Kinds are `flag`, `store`, `required`, `comma`, `extend`, `append` (see [`Bind`](crate::bind::Bind)), `choice` for
/// options that stand for a value each, `services` and `store_or` for options that are short for values of another,
/// `optional` for an option whose value may be left
/// out, `argument`, and `word` for what the command was begun with.
macro_rules! command {
    (
        $(#[$meta:meta])*
        $name:ident : $word:literal $(| $other:literal)* $(in $support:expr)? ; {
            $($(#[$fmeta:meta])* pub $field:ident : $type:ty = $kind:ident ( $($spec:tt)* ) ;)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
        pub struct $name {
            $($(#[$fmeta])* pub $field: $type,)*
        }

        impl $crate::options::Options for $name {
            const WORDS: &'static [&'static str] = &[$word $(, $other)*];
            const SUPPORT: $crate::version::Support = $crate::declare::support!($($support)?);

            fn options() -> Vec<&'static $crate::options::Opt<Self>> {
                #[allow(unused_mut)]
                let mut options: Vec<&'static $crate::options::Opt<Self>> = Vec::new();
                $($crate::declare::options!(options, $name, $field, $type, $kind, $($spec)*);)*
                options
            }

            fn arguments() -> Vec<&'static $crate::options::Arg<Self>> {
                #[allow(unused_mut)]
                let mut arguments: Vec<&'static $crate::options::Arg<Self>> = Vec::new();
                $($crate::declare::arguments!(arguments, $name, $field, $type, $kind, $($spec)*);)*
                arguments
            }

            #[allow(unused_variables)]
            fn set_word(&mut self, word: &str) {
                $($crate::declare::set_word!(self, word, $field, $kind);)*
            }

            #[allow(unused_variables)]
            fn word(&self) -> &'static str {
                let word = <Self as $crate::options::Options>::WORDS[0];
                $($crate::declare::get_word!(self, word, $field, $kind);)*
                word
            }
        }
    };
}
pub(crate) use command;

/// `ALWAYS` where nothing is said.
macro_rules! support {
    () => {
        $crate::version::Support::ALWAYS
    };
    ($support:expr) => {
        $support
    };
}
pub(crate) use support;

/// One option of a command.
macro_rules! option {
    ($options:ident, $name:ident, $takes:expr, $required:expr, [$($text:literal $(in $support:expr)?),+], $put:expr, $get:expr) => {{
        const OPTION: &$crate::options::Opt<$name> = &$crate::options::Opt {
            shape: $crate::options::Shape {
                names: &[$(($text, $crate::declare::support!($($support)?))),+],
                takes: $takes,
                required: $required,
            },
            put: $put,
            get: $get,
        };
        $options.push(OPTION);
    }};
}
pub(crate) use option;

/// The options of a field.
macro_rules! options {
    ($o:ident, $n:ident, $f:ident, $t:ty, argument, $($spec:tt)*) => {};
    ($o:ident, $n:ident, $f:ident, $t:ty, word, $($spec:tt)*) => {};
    ($o:ident, $n:ident, $f:ident, $t:ty, flag, $($spec:tt)+) => {
        $crate::declare::options!(@bind $o, $n, $f, $t, Flag, false, $($spec)+)
    };
    ($o:ident, $n:ident, $f:ident, $t:ty, store, $($spec:tt)+) => {
        $crate::declare::options!(@bind $o, $n, $f, $t, Store, false, $($spec)+)
    };
    ($o:ident, $n:ident, $f:ident, $t:ty, required, $($spec:tt)+) => {
        $crate::declare::options!(@bind $o, $n, $f, $t, Required, true, $($spec)+)
    };
    ($o:ident, $n:ident, $f:ident, $t:ty, comma, $($spec:tt)+) => {
        $crate::declare::options!(@bind $o, $n, $f, $t, Comma, false, $($spec)+)
    };
    ($o:ident, $n:ident, $f:ident, $t:ty, extend, $($spec:tt)+) => {
        $crate::declare::options!(@bind $o, $n, $f, $t, Extend, false, $($spec)+)
    };
    ($o:ident, $n:ident, $f:ident, $t:ty, append, $($spec:tt)+) => {
        $crate::declare::options!(@bind $o, $n, $f, $t, Append, false, $($spec)+)
    };
    ($o:ident, $n:ident, $f:ident, $t:ty, choice, $([$($text:tt)+] => $value:expr),+ $(,)?) => {
        $($crate::declare::option!(
            $o, $n, $crate::options::Takes::Nothing, false, [$($text)+],
            |this, _| { this.$f = Some($value); Ok(()) },
            |this| if this.$f == Some($value) { vec![None] } else { Vec::new() }
        );)+
    };
    ($o:ident, $n:ident, $f:ident, $t:ty, services, $first:literal $(, $text:literal => $value:literal)+) => {
        $crate::declare::options!(@bind $o, $n, $f, $t, Extend, false, $first);
        $($crate::declare::option!(
            $o, $n, $crate::options::Takes::Nothing, false, [$text],
            |this, _| { this.$f.push($value.to_owned()); Ok(()) },
            |_| Vec::new()
        );)+
    };
    ($o:ident, $n:ident, $f:ident, $t:ty, store_or, $first:literal, $text:literal => $value:expr) => {
        $crate::declare::options!(@bind $o, $n, $f, $t, Store, false, $first);
        $crate::declare::option!(
            $o, $n, $crate::options::Takes::Nothing, false, [$text],
            |this, _| { this.$f = Some($value); Ok(()) },
            |_| Vec::new()
        );
    };
    ($o:ident, $n:ident, $f:ident, $t:ty, optional, $($spec:tt)+) => {
        $crate::declare::option!(
            $o, $n, $crate::options::Takes::Maybe, false, [$($spec)+],
            |this, value| { this.$f = Some(value.map(str::to_owned)); Ok(()) },
            |this| this.$f.iter().cloned().collect()
        )
    };
    (@bind $o:ident, $n:ident, $f:ident, $t:ty, $bind:ident, $required:expr, $($spec:tt)+) => {
        $crate::declare::option!(
            $o, $n, <$crate::bind::$bind as $crate::bind::Bind<$t>>::TAKES, $required, [$($spec)+],
            |this, value| <$crate::bind::$bind as $crate::bind::Bind<$t>>::put(&mut this.$f, value),
            |this| <$crate::bind::$bind as $crate::bind::Bind<$t>>::get(&this.$f)
        )
    };
}
pub(crate) use options;

/// The argument of a field, if it is one.
macro_rules! arguments {
    ($a:ident, $n:ident, $f:ident, $t:ty, argument, $text:literal) => {{
        const ARGUMENT: &$crate::options::Arg<$n> = &$crate::options::Arg {
            name: $text,
            count: <$t as $crate::bind::Argument>::COUNT,
            put: |this, word| $crate::bind::Argument::put(&mut this.$f, word),
            get: |this| $crate::bind::Argument::get(&this.$f),
        };
        $a.push(ARGUMENT);
    }};
    ($($other:tt)*) => {};
}
pub(crate) use arguments;

/// Sets a field of kind `word`.
macro_rules! set_word {
    ($this:ident, $word:ident, $field:ident, word) => {
        if let Ok(value) = $crate::value::Scalar::read($word) {
            $this.$field = value;
        }
    };
    ($($other:tt)*) => {};
}
pub(crate) use set_word;

/// Gets the word of a field of kind `word`.
macro_rules! get_word {
    ($this:ident, $word:ident, $field:ident, word) => {
        let $word = $this.$field.word();
    };
    ($($other:tt)*) => {};
}
pub(crate) use get_word;
