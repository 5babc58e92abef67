//! Leaves out the rows of current whose key has a newer change in the tail.
//!
//! A function instead of a join: it holds the tail's keys and nothing of current, whatever the planner thinks of the
//! sizes of the two.

use std::any::type_name;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::datatypes::DataType;
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// True for a row of `key` that none of `changed` replaces.
pub fn unchanged(key: Expr, changed: HashSet<Box<str>>) -> Expr {
    let signature = Signature::exact(vec![DataType::Utf8], Volatility::Immutable);
    ScalarUDF::new_from_impl(Unchanged { changed: Arc::new(changed), signature }).call(vec![key])
}

#[derive(Debug)]
struct Unchanged {
    changed: Arc<HashSet<Box<str>>>,
    signature: Signature,
}

impl PartialEq for Unchanged {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.changed, &other.changed)
    }
}

impl Eq for Unchanged {}

impl Hash for Unchanged {
    fn hash<H: Hasher>(&self, state: &mut H) {
        type_name::<Self>().hash(state);
        Arc::as_ptr(&self.changed).hash(state);
    }
}

impl ScalarUDFImpl for Unchanged {
    fn name(&self) -> &str {
        "unchanged_since_current"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(keys) = arguments.args.first() else { return exec_err!("a key is missing") };
        let keys = keys.to_array(arguments.number_rows)?;
        let Some(keys) = keys.as_string_opt::<i32>() else { return exec_err!("a key is {}", keys.data_type()) };
        let unchanged: BooleanArray = keys.iter().map(|key| key.map(|key| !self.changed.contains(key))).collect();
        Ok(ColumnarValue::Array(Arc::new(unchanged)))
    }
}
