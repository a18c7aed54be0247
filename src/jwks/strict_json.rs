//! Reads JSON in which no object has a name twice: of two members with one name, one reader takes the first and another the
//! last, so that two verifiers could see two different keys (RFC 7517, section 4; RFC 8259, section 4).

use std::fmt;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};

/// A value none of whose objects has a name twice, at any depth.
pub(super) struct StrictValue(pub(super) Value);

/// What the error of serde_json says where a name appears twice.
pub(super) const TWICE: &str = "a name appears twice";

impl<'de> Deserialize<'de> for StrictValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Values).map(Self)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(StrictValue(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut names = Map::new();
        while let Some((name, StrictValue(value))) = object.next_entry::<String, StrictValue>()? {
            if names.insert(name, value).is_some() {
                return Err(A::Error::custom(TWICE));
            }
        }
        Ok(Value::Object(names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_appears_twice_is_refused_at_any_depth() {
        let read = |text: &str| serde_json::from_str::<StrictValue>(text).map(|read| read.0);
        let good = r#"{"a":[{"b":1},{"b":-1.5}],"c":{"a":null,"d":[true,"x"]}}"#;
        let plain: Value = serde_json::from_str(good).unwrap();
        assert_eq!(read(good).unwrap(), plain);
        for twice in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":[{"b":1,"b":2}]}"#,
            r#"[[{"c":{"\u0061":1,"a":2}}]]"#,
        ] {
            let error = read(twice).unwrap_err().to_string();
            assert!(error.contains(TWICE), "{twice}: {error}");
        }
    }
}
