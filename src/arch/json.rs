//! Registers in JSON: each field by its name. Numbers are written as [`Number`]
//! writes them, lists of numbers as arrays, bytes as a string of hex digits.
#![forbid(unsafe_code)]

/// Wraps the definition of a struct of registers. With the feature `serde` the
/// struct can be read from and written to JSON. All fields are optional, and
/// unknown names are refused.
macro_rules! json_struct {
    (
        $(#[$attribute:meta])*
        pub struct $Name:ident {
            $($(#[$field_attribute:meta])* pub $field:ident: $Type:ty,)*
        }
    ) => {
        $(#[$attribute])*
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
        pub struct $Name {
            $(
                $(#[$field_attribute])*
                #[cfg_attr(feature = "serde", serde(with = "crate::arch::json"))]
                pub $field: $Type,
            )*
        }

        #[cfg(feature = "serde")]
        impl $crate::arch::json::Value for $Name {
            fn write<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serde::Serialize::serialize(self, serializer)
            }

            fn read<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                serde::Deserialize::deserialize(deserializer)
            }
        }
    };
}
pub(super) use json_struct;

#[cfg(feature = "serde")]
pub(super) use value::{Value, deserialize, serialize};

#[cfg(feature = "serde")]
mod value {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::abi::number::Number;

    /// The type of a field of a struct of registers.
    pub(in crate::arch) trait Value: Sized {
        fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
        fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
    }

    /// Serializes a field, for `#[serde(with = …)]`.
    pub(in crate::arch) fn serialize<T: Value, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.write(serializer)
    }

    /// Deserializes a field, for `#[serde(with = …)]`.
    pub(in crate::arch) fn deserialize<'de, T: Value, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        T::read(deserializer)
    }

    macro_rules! number {
        ($($Type:ty)*) => {$(
            impl Value for $Type {
                fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    Number(*self).serialize(serializer)
                }

                fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    Ok(Number::deserialize(deserializer)?.0)
                }
            }
        )*};
    }

    number! { u16 u32 u64 u128 }

    /// A value inside another.
    struct Json<T>(T);

    impl<T: Value> Serialize for Json<&T> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.write(serializer)
        }
    }

    impl<'de, T: Value> Deserialize<'de> for Json<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            T::read(deserializer).map(Self)
        }
    }

    impl<T: Value, const N: usize> Value for [T; N] {
        fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(self.iter().map(Json))
        }

        fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let items = Vec::<Json<T>>::deserialize(deserializer)?;
            let items: Vec<T> = items.into_iter().map(|item| item.0).collect();
            items.try_into().map_err(|items: Vec<T>| {
                D::Error::invalid_length(items.len(), &format!("{N} elements").as_str())
            })
        }
    }

    impl<T: Value> Value for Option<T> {
        fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.as_ref().map(Json).serialize(serializer)
        }

        fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Ok(Option::<Json<T>>::deserialize(deserializer)?.map(|item| item.0))
        }
    }

    impl Value for Vec<u8> {
        fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use std::fmt::Write;
            let mut text = String::with_capacity(2 * self.len());
            for byte in self {
                // Writing to a String cannot fail.
                let _ = write!(text, "{byte:02x}");
            }
            serializer.serialize_str(&text)
        }

        fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            let pairs = text.as_bytes().chunks(2);
            let byte = |pair: &[u8]| match *pair {
                [high, low] => {
                    let digit = |c: u8| (c as char).to_digit(16);
                    Some((digit(high)? << 4 | digit(low)?) as u8)
                }
                _ => None,
            };
            let bytes: Option<Self> = pairs.map(byte).collect();
            bytes.ok_or_else(|| D::Error::custom("bytes are pairs of hex digits"))
        }
    }
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    #![allow(clippy::unwrap_used, unreachable_pub)]

    json_struct! {
        #[derive(Debug, Default, PartialEq)]
        pub struct Inner {
            pub base: u64,
        }
    }

    json_struct! {
        #[derive(Debug, Default, PartialEq)]
        pub struct Outer {
            pub narrow: u16,
            pub wide: u128,
            pub list: [u32; 3],
            pub bytes: Vec<u8>,
            pub maybe: Option<Vec<u8>>,
            pub inner: Inner,
        }
    }

    #[test]
    fn every_type_of_field_comes_back() {
        let value = Outer {
            narrow: 0xffff,
            wide: u128::MAX,
            list: [1, 2, u32::MAX],
            bytes: vec![0, 0xab],
            maybe: Some(vec![1]),
            inner: Inner { base: 0x1000 },
        };
        let text = serde_json::to_string(&value).unwrap();
        assert_eq!(
            text,
            r#"{"narrow":"0xffff","wide":"0xffffffffffffffffffffffffffffffff","list":["0x1","0x2","0xffffffff"],"bytes":"00ab","maybe":"01","inner":{"base":"0x1000"}}"#
        );
        assert_eq!(serde_json::from_str::<Outer>(&text).unwrap(), value);
        assert_eq!(
            serde_json::from_str::<Outer>(r#"{"maybe": null}"#).unwrap(),
            Outer::default()
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        for (json, word) in [
            (r#"{"narow": 1}"#, "narow"),
            (r#"{"inner": {"bose": 1}}"#, "bose"),
            (r#"{"narrow": 65536}"#, "16 bits"),
            (r#"{"list": [1, 2]}"#, "3 elements"),
            (r#"{"list": [1, 2, "0x100000000"]}"#, "32 bits"),
            (r#"{"bytes": "abc"}"#, "hex"),
            (r#"{"bytes": "+1"}"#, "hex"),
            (r#"{"narrow": 1, "narrow": 2}"#, "duplicate"),
        ] {
            let error = serde_json::from_str::<Outer>(json).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
