//! Every kind of query against its definition, on a few hundred items of every shape.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_common::value::Item;
use headwater_sink_search::SearchIndex;
use headwater_sink_search::index::{Flush, Progress};
use headwater_sink_search::query::{MAX_LIMIT, Search};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::generate::{delete, entity, key, put, random_item, random_query, random_sort};
use crate::naive;

/// Fills the index in several flushes and asks it at random.
pub async fn any_query_finds_what_its_definition_says(index: &dyn SearchIndex, seed: u64, queries: usize) {
    let (entity, mut rng) = (entity(), StdRng::seed_from_u64(seed));
    let mut items: BTreeMap<String, Item> = BTreeMap::new();
    for flush in 1..=8_u64 {
        let mut operations = Vec::new();
        for _ in 0..60 {
            let item = random_item(&mut rng);
            let version = flush * 1000 + operations.len() as u64;
            items.insert(key(&item).to_text(), item.clone());
            operations.push(put(item, version));
        }
        let gone = items.values().nth(rng.random_range(0..items.len())).unwrap().clone();
        items.remove(&key(&gone).to_text());
        let (id, seq) = (gone.get("id").unwrap(), gone.get("seq").unwrap());
        operations.push(delete(id.as_str().unwrap(), seq.as_number().unwrap().as_str(), flush * 1000 + 900));
        index.apply(Arc::new(Flush { operations, progress: Progress::default() })).await.unwrap();
    }
    let items: Vec<Item> = items.into_values().collect();
    for round in 0..queries {
        let (query, sort) = (random_query(&mut rng, 3), random_sort(&mut rng));
        let (offset, limit) = if round % 3 == 0 { (rng.random_range(0..40), 20) } else { (0, MAX_LIMIT) };
        let search = Search { query, sort, offset, limit };
        let (total, wanted) = naive::search(&entity, &items, &search);
        let answer = index.search(&search).await.unwrap();
        assert_eq!(answer.total, total, "seed {seed}, query {round}: {search:?}");
        let found: Vec<_> = answer.hits.iter().map(|hit| key(&hit.item).to_text()).collect();
        let wanted: Vec<_> = wanted.into_iter().map(|item| key(item).to_text()).collect();
        assert_eq!(found, wanted, "seed {seed}, query {round}: {search:?}");
    }
}
