//! The flights of 2013, as `data/README.md` describes them, decoded as they are asked for.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, PrimitiveArray, RecordBatch, StringArray};
use arrow::datatypes::{ArrowPrimitiveType, Float64Type, Int16Type, Int32Type};
use bytes::Bytes;
use headwater_sdk::Timestamp;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::error::Error;

static FLIGHTS: &[u8] = include_bytes!("../data/flights.parquet");
static AIRPORTS: &[u8] = include_bytes!("../data/airports.parquet");
static PLANES: &[u8] = include_bytes!("../data/planes.parquet");

/// How many flights the year has.
pub const FLIGHTS_OF_THE_YEAR: u64 = 336_776;

/// Rows that are decoded at a time: what bounds the memory of a replay.
const BATCH: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flight {
    /// The airline's code, such as `UA`.
    pub carrier: String,
    pub number: i16,
    /// Some cancelled flights were never given an aircraft.
    pub tailnum: Option<String>,
    /// FAA codes.
    pub origin: String,
    pub destination: String,
    pub miles: i64,
    /// The actual departure; of a cancelled flight the scheduled one.
    pub departure: Timestamp,
    /// Minutes; `None` for a cancelled flight.
    pub departure_delay: Option<i64>,
    /// `None` for a flight that was cancelled or diverted.
    pub arrival: Option<Arrival>,
    /// Minutes that the origin's clock is ahead of UTC at departure.
    pub origin_offset: i64,
    /// Minutes that the destination's clock is ahead of UTC at arrival.
    pub destination_offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub time: Timestamp,
    /// Minutes.
    pub delay: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Airport {
    pub name: String,
    /// Degrees.
    pub lat: f64,
    pub lon: f64,
    pub timezone: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plane {
    pub manufacturer: String,
    pub model: String,
    pub seats: i64,
}

/// All flights, in the order of their departure.
pub fn flights() -> Result<impl Iterator<Item = Result<Flight, Error>> + Send, Error> {
    Ok(batches(FLIGHTS)?.flat_map(|batch| match batch.and_then(|batch| flights_of(&batch)) {
        Ok(flights) => flights.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error)],
    }))
}

/// Every airport that a flight of [`flights`] names, by its FAA code.
pub fn airports() -> Result<HashMap<String, Airport>, Error> {
    let mut airports = HashMap::new();
    for batch in batches(AIRPORTS)? {
        let batch = batch?;
        let (faa, name, timezone) = (texts(&batch, "faa")?, texts(&batch, "name")?, texts(&batch, "timezone")?);
        let (lat, lon) = (numbers::<Float64Type>(&batch, "lat")?, numbers::<Float64Type>(&batch, "lon")?);
        airports.extend((0..batch.num_rows()).map(|row| {
            let (name, timezone) = (name.value(row).to_owned(), timezone.value(row).to_owned());
            (faa.value(row).to_owned(), Airport { name, lat: lat.value(row), lon: lon.value(row), timezone })
        }));
    }
    Ok(airports)
}

/// The aircraft that the register knows, by tail number.
pub fn planes() -> Result<HashMap<String, Plane>, Error> {
    let mut planes = HashMap::new();
    for batch in batches(PLANES)? {
        let batch = batch?;
        let tailnum = texts(&batch, "tailnum")?;
        let (manufacturer, model) = (texts(&batch, "manufacturer")?, texts(&batch, "model")?);
        let seats = numbers::<Int16Type>(&batch, "seats")?;
        planes.extend((0..batch.num_rows()).map(|row| {
            let (manufacturer, model) = (manufacturer.value(row).to_owned(), model.value(row).to_owned());
            (tailnum.value(row).to_owned(), Plane { manufacturer, model, seats: seats.value(row).into() })
        }));
    }
    Ok(planes)
}

fn flights_of(batch: &RecordBatch) -> Result<Vec<Flight>, Error> {
    let departure = numbers::<Int32Type>(batch, "departure")?;
    let departure_delay = numbers::<Int16Type>(batch, "dep_delay")?;
    let block = numbers::<Int16Type>(batch, "block")?;
    let arrival_delay = numbers::<Int16Type>(batch, "arr_delay")?;
    let carrier = texts(batch, "carrier")?;
    let number = numbers::<Int16Type>(batch, "flight")?;
    let tailnum = texts(batch, "tailnum")?;
    let origin = texts(batch, "origin")?;
    let destination = texts(batch, "dest")?;
    let miles = numbers::<Int16Type>(batch, "distance")?;
    let origin_offset = numbers::<Int16Type>(batch, "origin_offset")?;
    let destination_offset = numbers::<Int16Type>(batch, "dest_offset")?;

    let moment = |minute: i64| Timestamp::from_millis(minute * 60_000);
    let flight = |row| {
        let departed = i64::from(departure.value(row));
        Flight {
            carrier: carrier.value(row).to_owned(),
            number: number.value(row),
            tailnum: tailnum.is_valid(row).then(|| tailnum.value(row).to_owned()),
            origin: origin.value(row).to_owned(),
            destination: destination.value(row).to_owned(),
            miles: miles.value(row).into(),
            departure: moment(departed),
            departure_delay: departure_delay.is_valid(row).then(|| departure_delay.value(row).into()),
            arrival: block.is_valid(row).then(|| Arrival {
                time: moment(departed + i64::from(block.value(row))),
                delay: arrival_delay.value(row).into(),
            }),
            origin_offset: origin_offset.value(row).into(),
            destination_offset: destination_offset.value(row).into(),
        }
    };
    Ok((0..batch.num_rows()).map(flight).collect())
}

fn batches(file: &'static [u8]) -> Result<impl Iterator<Item = Result<RecordBatch, Error>> + Send, Error> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from_static(file))
        .and_then(|builder| builder.with_batch_size(BATCH).build())
        .map_err(|error| Error::Data(error.to_string()))?;
    Ok(reader.map(|batch| batch.map_err(|error| Error::Data(error.to_string()))))
}

fn texts<'a>(batch: &'a RecordBatch, name: &'static str) -> Result<&'a StringArray, Error> {
    batch.column_by_name(name).and_then(|column| column.as_string_opt()).ok_or_else(|| foreign(name))
}

fn numbers<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &'static str,
) -> Result<&'a PrimitiveArray<T>, Error> {
    batch.column_by_name(name).and_then(|column| column.as_primitive_opt()).ok_or_else(|| foreign(name))
}

fn foreign(column: &'static str) -> Error {
    Error::Data(format!("column {column} is missing or of another type"))
}
