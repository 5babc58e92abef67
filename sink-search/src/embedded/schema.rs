//! How a mapping lies in tantivy: one column or term list for each field, named by its place and not by the attribute,
//! whose name may hold anything.

use tantivy::schema::{
    BytesOptions, FAST, Field, IndexRecordOption, NumericOptions, STORED, Schema, SchemaBuilder, TextFieldIndexing,
    TextOptions,
};
use tantivy::tokenizer::{DEFAULT_TOKENIZER_NAME, RAW_TOKENIZER_NAME};

use crate::mapping::{Form, Mapping};

pub(super) const KEY: &str = "key";
pub(super) const VERSION: &str = "version";
pub(super) const LIVE: &str = "live";
pub(super) const PRESENT: &str = "present";

/// The fields of every index and those of the mapping, in its order.
pub(super) struct Layout {
    pub schema: Schema,
    /// The key's text: what versions are looked up by, scanned by and told apart by.
    pub key: Field,
    pub version: Field,
    /// False for a tombstone.
    pub live: Field,
    /// The item's JSON, stored only.
    pub item: Field,
    /// Places of the mapping's fields that have no column and are there nevertheless.
    pub present: Field,
    pub places: Vec<Place>,
}

/// Where a field of the mapping lies.
pub(super) enum Place {
    /// Terms and a column; sorted, ranged and found by either.
    Keyword(Column),
    /// Terms only.
    Words(Field),
    /// A column only: ranges scan it faster than terms could be written.
    Whole(Column),
    Double(Column),
    Exact(Column),
    Point {
        lat: Column,
        lon: Column,
    },
    Opaque,
}

pub(super) struct Column {
    pub field: Field,
    pub name: String,
}

impl Layout {
    pub fn of(mapping: &Mapping) -> Layout {
        let mut builder = Schema::builder();
        let key = builder.add_text_field(KEY, keyword());
        let version = builder.add_u64_field(VERSION, FAST);
        let live = builder.add_bool_field(LIVE, FAST);
        let item = builder.add_text_field("item", STORED);
        let present = builder.add_u64_field(PRESENT, FAST);
        let fields = mapping.fields().iter().enumerate();
        let places = fields.map(|(at, field)| place(&mut builder, at, field.form())).collect();
        Layout { schema: builder.build(), key, version, live, item, present, places }
    }
}

fn place(builder: &mut SchemaBuilder, at: usize, form: Form) -> Place {
    let name = format!("f{at}");
    let column = |field, name| Column { field, name };
    match form {
        Form::Keyword => Place::Keyword(column(builder.add_text_field(&name, keyword()), name)),
        Form::Text => Place::Words(builder.add_text_field(&name, words())),
        Form::Whole => Place::Whole(column(builder.add_i64_field(&name, NumericOptions::default().set_fast()), name)),
        Form::Double => Place::Double(column(builder.add_f64_field(&name, FAST), name)),
        Form::Exact => Place::Exact(column(builder.add_bytes_field(&name, BytesOptions::default().set_fast()), name)),
        Form::Point => {
            let mut degrees = |axis: &str| {
                let name = format!("{name}_{axis}");
                column(builder.add_f64_field(&name, FAST), name)
            };
            Place::Point { lat: degrees("lat"), lon: degrees("lon") }
        }
        Form::Opaque => Place::Opaque,
    }
}

fn keyword() -> TextOptions {
    let terms = TextFieldIndexing::default()
        .set_tokenizer(RAW_TOKENIZER_NAME)
        .set_index_option(IndexRecordOption::Basic)
        .set_fieldnorms(false);
    TextOptions::default().set_indexing_options(terms).set_fast(RAW_TOKENIZER_NAME)
}

/// Nothing is scored, so neither counts nor lengths are kept.
fn words() -> TextOptions {
    let terms = TextFieldIndexing::default()
        .set_tokenizer(DEFAULT_TOKENIZER_NAME)
        .set_index_option(IndexRecordOption::Basic)
        .set_fieldnorms(false);
    TextOptions::default().set_indexing_options(terms)
}
