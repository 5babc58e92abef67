//! A scripted server of DynamoDB Streams: what no emulator does (shards that split, end, expire, throttle, are trimmed)
//! happens here when a test says so, and reaches the real SDK over HTTP.
//!
//! Speaks DescribeStream, GetShardIterator, GetRecords and ListStreams of `DynamoDBStreams_20120810`, and DescribeTable
//! of `DynamoDB_20120810`. Refuses everything else, as DynamoDB refuses an unknown operation.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use headwater_tests::streams::{ScriptedStreams, Write};
//! let server = ScriptedStreams::start().await?;
//! server.create_table("flights", "id", None);
//! let shard = server.open_shard("flights", None);
//! server.write("flights", &shard, Write::put("a", r#"{"speed":{"N":"250"}}"#));
//! server.split("flights", &shard);
//! # Ok(()) }
//! ```

mod protocol;
mod state;

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use state::State;
pub use state::{Call, Fault, Write};

/// A running server; it stops when dropped.
pub struct ScriptedStreams {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    _stop: DropGuard,
}

impl ScriptedStreams {
    /// Listens on a free port of the loopback interface.
    pub async fn start() -> std::io::Result<ScriptedStreams> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::new()));
        let stop = CancellationToken::new();
        let (router, stopped) = (protocol::router(state.clone()), stop.clone());
        tokio::spawn(async move {
            let served = axum::serve(listener, router).with_graceful_shutdown(stopped.cancelled_owned());
            served.await.ok();
        });
        Ok(ScriptedStreams { state, address, _stop: stop.drop_guard() })
    }

    /// The endpoint for both services' clients.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A table with a stream of both images, keys of type S, no shards yet.
    pub fn create_table(&self, table: &str, partition: &str, sort: Option<&str>) {
        self.state().create_table(table, partition, sort);
    }

    /// A shard that can be read at once. Gives its id.
    pub fn open_shard(&self, table: &str, parent: Option<&str>) -> String {
        self.state().open_shard(table, parent, 0)
    }

    /// A shard that the next `listings` descriptions of the stream do not show, CHILD_SHARDS among them.
    pub fn open_late_shard(&self, table: &str, parent: Option<&str>, listings: u32) -> String {
        self.state().open_shard(table, parent, listings)
    }

    /// Closes the shard and opens two children.
    pub fn split(&self, table: &str, shard: &str) -> (String, String) {
        self.close_shard(table, shard);
        (self.open_shard(table, Some(shard)), self.open_shard(table, Some(shard)))
    }

    /// No more records; the answer with the last ones has no next iterator.
    pub fn close_shard(&self, table: &str, shard: &str) {
        self.state().shard(table, shard).closed = true;
    }

    /// The shard is no longer known.
    pub fn drop_shard(&self, table: &str, shard: &str) {
        self.state().stream(table).shards.retain(|known| known.id != shard);
    }

    /// Appends a record. Gives its sequence number.
    pub fn write(&self, table: &str, shard: &str, write: Write) -> String {
        self.state().write(table, shard, write)
    }

    /// Everything of the shard up to the sequence number is gone.
    pub fn trim(&self, table: &str, shard: &str, sequence: &str) {
        self.state().shard(table, shard).trim(sequence);
    }

    /// Every iterator given so far is expired.
    pub fn expire_iterators(&self) {
        self.state().epoch += 1;
    }

    /// The next `count` calls fail.
    pub fn fail_next(&self, call: Call, count: u32, fault: Fault) {
        self.state().faults.push((call, count, fault));
    }

    /// About this share of all calls is throttled, 0.0 to 1.0.
    pub fn throttle_share(&self, share: f64) {
        self.state().throttled_share = share;
    }

    /// GetRecords of this shard is throttled until [`ScriptedStreams::release`].
    pub fn hold(&self, table: &str, shard: &str) {
        self.state().shard(table, shard).held = true;
    }

    pub fn release(&self, table: &str, shard: &str) {
        self.state().shard(table, shard).held = false;
    }

    /// The next `count` answers of the shard are empty, whatever it holds.
    pub fn answer_empty(&self, table: &str, shard: &str, count: u32) {
        self.state().shard(table, shard).empty_answers = count;
    }

    /// Records in one answer, at most.
    pub fn page_records(&self, count: usize) {
        self.state().page_records = count;
    }

    /// Shards in one page of a description, at most.
    pub fn page_shards(&self, count: usize) {
        self.state().page_shards = count;
    }

    /// About this share of a description's pages are short although more shards follow, 0.0 to 1.0.
    pub fn partial_share(&self, share: f64) {
        self.state().partial_share = share;
    }

    /// Changes what the stream says of its records' images.
    pub fn view_type(&self, table: &str, view: &str) {
        self.state().stream(table).view = view.to_owned();
    }

    /// Switches the stream off: its open shards close, and it stays readable.
    pub fn disable_stream(&self, table: &str) {
        self.state().disable_stream(table);
    }

    /// Gives the table another stream. Gives its ARN. The old one stays readable unless it is dropped.
    pub fn replace_stream(&self, table: &str) -> String {
        self.state().replace_stream(table)
    }

    /// The table's streams but the last are no longer known.
    pub fn drop_old_streams(&self, table: &str) {
        self.state().drop_old_streams(table);
    }

    pub fn stream_arn(&self, table: &str) -> String {
        self.state().stream(table).arn.clone()
    }

    /// How often an operation was asked for, failed calls among them.
    pub fn calls(&self, call: Call) -> u64 {
        self.state().calls.get(&call).copied().unwrap_or(0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}
