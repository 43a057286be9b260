//! Options whose values are the names of one of the library's enums.

use clap::builder::{PossibleValuesParser, TypedValueParser};

/// A parser that accepts the `name`s of the values in `all`.
pub(crate) fn by_name<T: Copy + Send + Sync + 'static>(
    all: &'static [T],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    let names = all.iter().map(|value| name(*value));
    PossibleValuesParser::new(names).try_map(move |given| {
        let mut values = all.iter().copied();
        let found = values.find(|value| name(*value) == given);
        found.ok_or_else(|| format!("'{given}' is not one of the possible values"))
    })
}
