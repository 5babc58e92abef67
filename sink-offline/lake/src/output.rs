//! Rows as text, exactly: JSON for programs, a table for people.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, Schema};
use arrow::error::ArrowError;
use arrow::json::EncoderOptions;
use arrow::json::writer::{Encoder, EncoderFactory, LineDelimited, NullableEncoder, WriterBuilder};
use arrow::util::pretty::pretty_format_batches_with_schema;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// One JSON object for each row: decimals and longs with every digit, moments in RFC 3339, binary in base64, NULL as null.
pub fn json_lines(batches: &[RecordBatch], out: impl std::io::Write) -> Result<(), ArrowError> {
    let builder = WriterBuilder::new().with_explicit_nulls(true).with_encoder_factory(Arc::new(BinaryAsBase64));
    let mut writer = builder.build::<_, LineDelimited>(out);
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()
}

/// A table with a heading, which it has without rows, too.
pub fn text_table(schema: &Schema, batches: &[RecordBatch]) -> Result<String, ArrowError> {
    pretty_format_batches_with_schema(Arc::new(schema.clone()), batches).map(|table| table.to_string())
}

#[derive(Debug)]
struct BinaryAsBase64;

impl EncoderFactory for BinaryAsBase64 {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        match array.data_type() {
            DataType::Binary => {
                let encoder = Box::new(Base64Encoder(array.as_binary::<i32>().clone()));
                Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
            }
            _ => Ok(None),
        }
    }
}

struct Base64Encoder(arrow::array::BinaryArray);

impl Encoder for Base64Encoder {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(BASE64.encode(self.0.value(row)).as_bytes());
        out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        ArrayRef, BinaryArray, Decimal128Array, Int64Array, ListBuilder, StringBuilder, StructArray,
        TimestampMicrosecondArray,
    };
    use arrow::datatypes::Field;

    use super::*;

    #[test]
    fn json_keeps_every_digit_and_says_null() {
        let decimal = Decimal128Array::from(vec![Some(12_345_678_901_234_567_890_123_456_789_012_345_678), None]);
        let mut list = ListBuilder::new(StringBuilder::new());
        list.append_value([Some("a\"b"), None]);
        list.append_null();
        let lat: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![Some(1.5), None]));
        let place = StructArray::from(vec![(Arc::new(Field::new("lat", DataType::Float64, true)), lat)]);
        let moments = TimestampMicrosecondArray::from(vec![1_357_034_400_123_456, 0]).with_timezone("UTC");
        let columns: [(&str, ArrayRef); 6] = [
            ("d", Arc::new(decimal.with_precision_and_scale(38, 2).unwrap())),
            ("n", Arc::new(Int64Array::from(vec![9_007_199_254_740_993, i64::MIN]))),
            ("t", Arc::new(moments)),
            ("l", Arc::new(list.finish())),
            ("b", Arc::new(BinaryArray::from(vec![Some(b"\x00\xff".as_slice()), None]))),
            ("p", Arc::new(place)),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap();
        let mut out = Vec::new();
        json_lines(&[batch], &mut out).unwrap();
        let expected = concat!(
            r#"{"d":123456789012345678901234567890123456.78,"n":9007199254740993,"t":"2013-01-01T10:00:00.123456Z","#,
            r#""l":["a\"b",null],"b":"AP8=","p":{"lat":1.5}}"#,
            "\n",
            r#"{"d":null,"n":-9223372036854775808,"t":"1970-01-01T00:00:00Z","l":null,"b":null,"p":{"lat":null}}"#,
            "\n",
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_table_without_rows_has_its_heading() {
        let schema = Schema::new(vec![Field::new("tail", DataType::Utf8, true)]);
        assert!(text_table(&schema, &[]).unwrap().contains("| tail |"));
    }
}
