//! Values of the architecture file, with the line where each stands.

use std::fmt;

use toml::de::DeValue;

/// Most elements of one list: no parameter has more.
const MAX_LIST: usize = 1 << 16;

/// A value.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Value>),
}

impl Value {
    /// A value of the file, or what it is instead.
    pub(crate) fn of(value: &DeValue<'_>) -> Result<Self, String> {
        Ok(match value {
            DeValue::Integer(i) => Value::Int(
                i64::from_str_radix(i.as_str(), i.radix()).map_err(|_| format!("{i} is too large"))?,
            ),
            DeValue::Float(f) => {
                Value::Float(f.as_str().parse().map_err(|_| format!("{} is no number", f.as_str()))?)
            }
            DeValue::Boolean(b) => Value::Bool(*b),
            DeValue::String(s) => Value::Text(s.to_string()),
            DeValue::Array(list) if list.len() > MAX_LIST => {
                return Err(format!("a list of {} values", list.len()));
            }
            DeValue::Array(list) => {
                Value::List(list.iter().map(|v| Value::of(v.get_ref())).collect::<Result<_, _>>()?)
            }
            DeValue::Datetime(_) => return Err("a date".to_string()),
            DeValue::Table(_) => return Err("a table".to_string()),
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Int(i) => write!(f, "{i}"),
            Value::Float(x) => write!(f, "{x:?}"),
            Value::Bool(b) => write!(f, "{b}"),
            Value::Text(s) => write!(f, "\"{}\"", super::problem::clip(s)),
            Value::List(list) => {
                let shown: Vec<String> = list.iter().take(8).map(Value::to_string).collect();
                write!(f, "[{}{}]", shown.join(", "), if list.len() > 8 { ", …" } else { "" })
            }
        }
    }
}
