//! A plan on one segment: a test of each document, and the documents that it is worth to test.
//!
//! tantivy walks one list of documents and nothing else. Its own intersections and exclusions are not used: in 0.27 a
//! range below an exclusion is asked for documents backwards, which its contract rules out.

use std::ops::{Bound, RangeBounds as _};
use std::sync::Arc;

use tantivy::columnar::{BytesColumn, Column};
use tantivy::postings::SegmentPostings;
use tantivy::query::AllScorer;
use tantivy::query::doc_predicate_query::{ConstOrVariableSegmentPredicate, DocPredicate};
use tantivy::schema::IndexRecordOption;
use tantivy::{BitSet, DocId, DocSet, SegmentReader, TERMINATED, Term};

use super::plan::Plan;
use crate::geo::GeoPoint;

type Test = Box<dyn Fn(DocId) -> bool + Send + Sync>;

#[derive(Debug)]
pub(super) struct Filter(pub Arc<Plan>);

impl DocPredicate for Filter {
    type SegmentDocPredicate = Test;

    fn doc_predicate(&self, segment: &SegmentReader) -> tantivy::Result<ConstOrVariableSegmentPredicate<Test>> {
        if matches!(*self.0, Plan::All) {
            return Ok(ConstOrVariableSegmentPredicate::Const(true));
        }
        let candidates: Box<dyn DocSet> = match leading(&self.0) {
            Some(term) => match postings(segment, term)? {
                Some(postings) => Box::new(postings),
                None => return Ok(ConstOrVariableSegmentPredicate::Const(false)),
            },
            None => Box::new(AllScorer::new(segment.max_doc())),
        };
        Ok(ConstOrVariableSegmentPredicate::Variable {
            predicate: test(&self.0, segment)?,
            necessary_condition: candidates,
        })
    }
}

/// A term that every document found must have.
fn leading(plan: &Plan) -> Option<&Term> {
    match plan {
        Plan::Term(term) => Some(term),
        Plan::And(parts) => parts.iter().find_map(leading),
        _ => None,
    }
}

fn postings(segment: &SegmentReader, term: &Term) -> tantivy::Result<Option<SegmentPostings>> {
    Ok(segment.inverted_index(term.field())?.read_postings(term, IndexRecordOption::Basic)?)
}

fn test(plan: &Plan, segment: &SegmentReader) -> tantivy::Result<Test> {
    let each = |parts: &[Plan]| parts.iter().map(|part| test(part, segment)).collect::<tantivy::Result<Vec<_>>>();
    Ok(match plan {
        Plan::All => Box::new(|_| true),
        Plan::None => never(),
        Plan::And(parts) => {
            let parts = each(parts)?;
            Box::new(move |document| parts.iter().all(|part| part(document)))
        }
        Plan::Or(parts) => {
            let parts = each(parts)?;
            Box::new(move |document| parts.iter().any(|part| part(document)))
        }
        Plan::Not(part) => {
            let part = test(part, segment)?;
            Box::new(move |document| !part(document))
        }
        Plan::Term(term) => term_test(segment, term)?,
        Plan::Numbers { column, within } => match segment.fast_fields().u64_lenient(column)? {
            Some((column, _)) => numbers_test(column, *within),
            None => never(),
        },
        Plan::Dictionary { column, text, within } => {
            let columns = segment.fast_fields();
            let column: Option<BytesColumn> =
                if *text { columns.str(column)?.map(|column| (*column).clone()) } else { columns.bytes(column)? };
            match column {
                Some(column) => dictionary_test(&column, within)?,
                None => never(),
            }
        }
        Plan::Exists { column } => match segment.fast_fields().u64_lenient(column)? {
            Some((column, _)) => Box::new(move |document| column.first(document).is_some()),
            None => never(),
        },
        Plan::Circle { lat, lon, circle } => {
            let columns = segment.fast_fields();
            match (columns.column_opt::<f64>(lat)?, columns.column_opt::<f64>(lon)?) {
                (Some(lat), Some(lon)) => {
                    let circle = circle.clone();
                    Box::new(move |document| match (lat.first(document), lon.first(document)) {
                        (Some(lat), Some(lon)) => circle.holds(GeoPoint { lat, lon }),
                        _ => false,
                    })
                }
                _ => never(),
            }
        }
    })
}

fn never() -> Test {
    Box::new(|_| false)
}

fn term_test(segment: &SegmentReader, term: &Term) -> tantivy::Result<Test> {
    let Some(mut postings) = postings(segment, term)? else { return Ok(never()) };
    let mut found = BitSet::with_max_value(segment.max_doc());
    while postings.doc() != TERMINATED {
        found.insert(postings.doc());
        postings.advance();
    }
    Ok(Box::new(move |document| found.contains(document)))
}

fn numbers_test(column: Column<u64>, within: (Bound<u64>, Bound<u64>)) -> Test {
    Box::new(move |document| column.values_for_doc(document).any(|value| within.contains(&value)))
}

fn dictionary_test(column: &BytesColumn, within: &(Bound<Vec<u8>>, Bound<Vec<u8>>)) -> tantivy::Result<Test> {
    let (lower, upper) = within.clone();
    let ordinals = column.dictionary().term_bounds_to_ord(lower, upper)?;
    Ok(numbers_test(column.ords().clone(), ordinals))
}
