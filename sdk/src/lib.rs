//! What producers use: typed, validated writes to the online store, where the newest event time wins.
//!
//! Promises: what is written agrees with the feature definitions; of two writes of an item the one with the later
//! event time stays, whatever order they arrive in; a write that was tried again counts once; every error says what
//! to do by [`Error::kind`]. Assumes that writers of one item use this crate or keep to its event-time rule. Refuses
//! attributes that no definition names (unless [`Settings::unknown_attributes`] admits them) and items above 400 KB.
//!
//! Ties: of two different writes with *equal* event times the first stays and the second is told [`Put::Older`]. So
//! give one `update` all features of an event. The exact same write again is told [`Put::Applied`]: it has been.
//!
//! A deleted item leaves nothing behind: a write that is older than the delete brings the item back. Where writers
//! may be late, write a feature that says "gone" instead, or let the time to live remove the item.
//!
//! ```no_run
//! use headwater_sdk::{FeatureStore, ItemBuilder, Put, Timestamp};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let entities = headwater_common::definition::load("definitions".as_ref())?;
//! let store = FeatureStore::connect(Some("http://127.0.0.1:8000"), entities).await?;
//! let aircraft = store.entity("aircraft")?;
//! let item = ItemBuilder::new().set("tail", "N14228").set("delay", 12.5).set("flights", 3);
//! let at = Timestamp::from_millis(1_357_034_400_000);
//! match aircraft.put(item, at).await? {
//!     Put::Applied => println!("written"),
//!     Put::Older => println!("the table already holds a later state"),
//! }
//! let one = aircraft.get("N14228").await?;
//! let many = aircraft.batch_get(["N14228", "N24211"]).await?;
//! # Ok(())
//! # }
//! ```

mod batch;
mod connect;
mod convert;
mod entity;
mod error;
mod item;
mod key;
mod newest;
mod size;
mod store;
mod table;
mod validate;

pub use headwater_common::clock::Timestamp;
pub use headwater_common::definition::Entity;
pub use headwater_common::number::Number;
pub use headwater_common::value::{Item, Value};

pub use crate::connect::sdk_config;
pub use crate::convert::{Unreadable, from_attribute, from_attributes, to_attribute, to_attributes};
pub use crate::entity::{Delete, EntityStore};
pub use crate::error::{AttributeFault, Error, Invalid};
pub use crate::item::{Changes, GeoPoint, IntoValue, ItemBuilder, keyword_set, number_set};
pub use crate::key::Key;
pub use crate::newest::Put;
pub use crate::size::{MAX_ITEM_BYTES, item_bytes};
pub use crate::store::{FeatureStore, Settings};
pub use crate::table::{Ensured, TableFault};
