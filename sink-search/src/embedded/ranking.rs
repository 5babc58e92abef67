//! The first hits of a search in its order: a collector that keeps no more than the page needs.
//!
//! Within a segment everything is compared as a number: values in their order-preserving form, texts and decimals by
//! their place in the segment's dictionary. Across segments the texts themselves are compared. The key comes last, so
//! no two documents are equal.

use std::cmp::Ordering;
use std::sync::Arc;

use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::{BytesColumn, Column};
use tantivy::{DocAddress, DocId, Score, SegmentOrdinal, SegmentReader};

use super::schema::{KEY, LIVE};
use crate::geo::GeoPoint;

/// One criterion. Missing values are last in either direction.
#[derive(Clone, Debug)]
pub(super) enum Criterion {
    Number {
        column: String,
        descending: bool,
    },
    /// Of a text or bytes.
    Dictionary {
        column: String,
        text: bool,
        descending: bool,
    },
    Distance {
        lat: String,
        lon: String,
        from: GeoPoint,
        descending: bool,
    },
}

/// The number of live documents, and the first `keep` of them.
pub(super) struct Ranking {
    criteria: Arc<[Criterion]>,
    keep: usize,
}

#[derive(Debug, Default)]
pub(super) struct Ranked {
    pub total: u64,
    best: Vec<Candidate>,
}

impl Ranked {
    pub fn addresses(&self) -> impl Iterator<Item = DocAddress> + '_ {
        self.best.iter().map(|candidate| candidate.address)
    }
}

#[derive(Debug)]
struct Candidate {
    values: Vec<Option<Comparable>>,
    address: DocAddress,
}

/// A value that means the same in every segment.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Comparable {
    Number(u64),
    Bytes(Vec<u8>),
}

impl Ranking {
    pub fn new(mut criteria: Vec<Criterion>, keep: usize) -> Ranking {
        criteria.push(Criterion::Dictionary { column: KEY.to_owned(), text: true, descending: false });
        Ranking { criteria: criteria.into(), keep }
    }

    fn compare(&self, one: &Candidate, other: &Candidate) -> Ordering {
        let values = one.values.iter().zip(&other.values).zip(self.criteria.iter());
        values
            .map(|((one, other), criterion)| match (one, other) {
                (Some(one), Some(other)) if criterion.descending() => other.cmp(one),
                (Some(one), Some(other)) => one.cmp(other),
                (one, other) => one.is_none().cmp(&other.is_none()),
            })
            .find(|ordering| ordering.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

impl Criterion {
    fn descending(&self) -> bool {
        match self {
            Criterion::Number { descending, .. }
            | Criterion::Dictionary { descending, .. }
            | Criterion::Distance { descending, .. } => *descending,
        }
    }

    fn open(&self, segment: &SegmentReader) -> tantivy::Result<Source> {
        let columns = segment.fast_fields();
        Ok(match self {
            Criterion::Number { column, .. } => match columns.u64_lenient(column)? {
                Some((column, _)) => Source::Number(column),
                None => Source::Missing,
            },
            Criterion::Dictionary { column, text: true, .. } => {
                columns.str(column)?.map_or(Source::Missing, |column| Source::Dictionary((*column).clone()))
            }
            Criterion::Dictionary { column, .. } => columns.bytes(column)?.map_or(Source::Missing, Source::Dictionary),
            Criterion::Distance { lat, lon, from, .. } => {
                match (columns.column_opt::<f64>(lat)?, columns.column_opt::<f64>(lon)?) {
                    (Some(lat), Some(lon)) => Source::Distance { lat, lon, from: *from },
                    _ => Source::Missing,
                }
            }
        })
    }
}

enum Source {
    Number(Column<u64>),
    Dictionary(BytesColumn),
    Distance { lat: Column<f64>, lon: Column<f64>, from: GeoPoint },
    Missing,
}

impl Source {
    /// The document's value as a number that rises with it, within this segment.
    fn value(&self, document: DocId) -> Option<u64> {
        match self {
            Source::Number(column) => column.first(document),
            Source::Dictionary(column) => column.ords().first(document),
            // The bits of doubles that are not negative rise with them.
            Source::Distance { lat, lon, from } => {
                let point = GeoPoint { lat: lat.first(document)?, lon: lon.first(document)? };
                Some(from.distance(point).to_bits())
            }
            Source::Missing => None,
        }
    }

    fn comparable(&self, value: u64) -> tantivy::Result<Comparable> {
        let Source::Dictionary(column) = self else { return Ok(Comparable::Number(value)) };
        let mut bytes = Vec::new();
        column.ord_to_bytes(value, &mut bytes)?;
        Ok(Comparable::Bytes(bytes))
    }
}

/// A value within one segment, in the wanted direction: missing ones compare last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    missing: bool,
    value: u64,
}

impl Rank {
    fn of(value: Option<u64>, descending: bool) -> Rank {
        match value {
            Some(value) => Rank { missing: false, value: if descending { !value } else { value } },
            None => Rank { missing: true, value: 0 },
        }
    }

    fn value(self, descending: bool) -> Option<u64> {
        (!self.missing).then_some(if descending { !self.value } else { self.value })
    }
}

impl Collector for Ranking {
    type Fruit = Ranked;
    type Child = SegmentRanking;

    fn for_segment(&self, segment: SegmentOrdinal, reader: &SegmentReader) -> tantivy::Result<SegmentRanking> {
        let sources = self.criteria.iter().map(|criterion| criterion.open(reader)).collect::<Result<Vec<_>, _>>()?;
        Ok(SegmentRanking {
            segment,
            live: reader.fast_fields().bool(LIVE)?,
            sources,
            criteria: self.criteria.clone(),
            keep: self.keep,
            total: 0,
            best: Vec::new(),
            worst: None,
            scratch: Vec::new(),
        })
    }

    fn requires_scoring(&self) -> bool {
        false
    }

    fn merge_fruits(&self, fruits: Vec<tantivy::Result<Ranked>>) -> tantivy::Result<Ranked> {
        let mut merged = Ranked::default();
        for fruit in fruits {
            let fruit = fruit?;
            merged.total += fruit.total;
            merged.best.extend(fruit.best);
        }
        merged.best.sort_by(|one, other| self.compare(one, other));
        merged.best.truncate(self.keep);
        Ok(merged)
    }
}

pub(super) struct SegmentRanking {
    segment: SegmentOrdinal,
    live: Column<bool>,
    sources: Vec<Source>,
    criteria: Arc<[Criterion]>,
    keep: usize,
    total: u64,
    /// At most twice as many as are kept.
    best: Vec<(Vec<Rank>, DocId)>,
    /// What a document must beat.
    worst: Option<Vec<Rank>>,
    scratch: Vec<Rank>,
}

impl SegmentRanking {
    fn cut(&mut self) {
        self.best.sort_unstable();
        self.best.truncate(self.keep);
        self.worst = self.best.last().map(|(ranks, _)| ranks.clone());
    }
}

impl SegmentCollector for SegmentRanking {
    type Fruit = tantivy::Result<Ranked>;

    fn collect(&mut self, document: DocId, _: Score) {
        if self.live.first(document) != Some(true) {
            return;
        }
        self.total += 1;
        if self.keep == 0 {
            return;
        }
        self.scratch.clear();
        for (source, criterion) in self.sources.iter().zip(self.criteria.iter()) {
            self.scratch.push(Rank::of(source.value(document), criterion.descending()));
        }
        if self.worst.as_ref().is_some_and(|worst| self.scratch >= *worst) {
            return;
        }
        self.best.push((self.scratch.clone(), document));
        if self.best.len() >= self.keep.saturating_mul(2) {
            self.cut();
        }
    }

    fn harvest(mut self) -> tantivy::Result<Ranked> {
        self.cut();
        let candidate = |(ranks, document): &(Vec<Rank>, DocId)| {
            let each = ranks.iter().zip(&self.sources).zip(self.criteria.iter());
            let values = each
                .map(|((rank, source), criterion)| {
                    rank.value(criterion.descending()).map(|value| source.comparable(value)).transpose()
                })
                .collect::<tantivy::Result<_>>()?;
            Ok(Candidate { values, address: DocAddress::new(self.segment, *document) })
        };
        let best = self.best.iter().map(candidate).collect::<tantivy::Result<_>>()?;
        Ok(Ranked { total: self.total, best })
    }
}
