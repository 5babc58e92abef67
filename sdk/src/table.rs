//! The table of an entity: made as its definition says, or checked against it.

use std::fmt;
use std::time::Duration;

use aws_sdk_dynamodb::error::{BuildError, ProvideErrorMetadata as _, SdkError};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType as KeyRole, ScalarAttributeType, StreamSpecification,
    StreamViewType, TableDescription, TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
};
use headwater_common::definition::{Entity, KeyAttribute, KeyType};
use headwater_common::failure::backoff;

use crate::entity::EntityStore;
use crate::error::{Error, failed};

/// How often a new table is looked at until it is active, and the pauses between the looks: two minutes in all.
const LOOKS: u32 = 60;
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// What was done to have a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ensured {
    Created,
    Existed,
}

/// Why an existing table does not serve its entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableFault {
    Key {
        declared: String,
        found: String,
    },
    NoStream {
        table: String,
    },
    StreamView {
        table: String,
        found: String,
    },
    Ttl {
        declared: String,
        found: String,
    },
    /// It was not active after two minutes.
    NotActive {
        status: String,
    },
    /// Another client made it, and it vanished.
    Vanished,
}

impl fmt::Display for TableFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let switch_on = |table: &str| {
            format!(
                "aws dynamodb update-table --table-name {table} \
                 --stream-specification StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES"
            )
        };
        match self {
            TableFault::Key { declared, found } => write!(
                f,
                "has the key ({found}) and its definition ({declared}): a table's key never changes, so correct `key`, \
                 or name another table"
            ),
            TableFault::NoStream { table } => {
                write!(f, "has no change stream, so nothing can follow it: switch it on by `{}`", switch_on(table))
            }
            TableFault::StreamView { table, found } => write!(
                f,
                "has a change stream of {found}, without new images: switch it off by `aws dynamodb update-table \
                 --table-name {table} --stream-specification StreamEnabled=false`, then on by `{}`",
                switch_on(table)
            ),
            TableFault::Ttl { declared, found } => write!(
                f,
                "has its time to live in `{found}` and its definition in `{declared}`: correct `ttl`, or switch it off \
                 and wait an hour, as DynamoDB asks for"
            ),
            TableFault::NotActive { status } => write!(f, "is {status} still: look at it in the console, try later"),
            TableFault::Vanished => f.write_str("was deleted while it was looked at: try again"),
        }
    }
}

impl EntityStore {
    /// Makes sure that the table exists with the definition's key, time to live and a change stream with new images,
    /// and is active. Creates it if it is missing; refuses one that differs, with the remedy. Of an existing table it
    /// changes one thing alone: a time to live that is declared and off is switched on.
    pub async fn ensure_table(&self) -> Result<Ensured, Error> {
        match self.describe().await? {
            Some(description) => {
                self.check(description).await?;
                Ok(Ensured::Existed)
            }
            None => self.create_table().await,
        }
    }

    /// Creates the table, on demand (`PAY_PER_REQUEST`) and with a stream of new and old images, and waits until it is
    /// active. If another client was faster, its table is checked instead.
    pub async fn create_table(&self) -> Result<Ensured, Error> {
        let mut request = self
            .client
            .create_table()
            .table_name(self.table.as_str())
            .billing_mode(BillingMode::PayPerRequest)
            .stream_specification(self.stream_specification()?);
        for (attribute, role) in key_schema(&self.entity) {
            let definition = AttributeDefinition::builder()
                .attribute_name(&attribute.name)
                .attribute_type(scalar(attribute.key_type))
                .build();
            let element = KeySchemaElement::builder().attribute_name(&attribute.name).key_type(role).build();
            request = request
                .attribute_definitions(definition.map_err(|error| self.unbuilt(error))?)
                .key_schema(element.map_err(|error| self.unbuilt(error))?);
        }
        let ensured = match request.send().await {
            Ok(_) => Ensured::Created,
            Err(error) if error.code() == Some("ResourceInUseException") => Ensured::Existed,
            Err(error) => return Err(failed("create table", &self.table, error)),
        };
        let vanished = || self.fault(TableFault::Vanished);
        let description = self.describe().await?.ok_or_else(vanished)?;
        self.check(description).await?;
        Ok(ensured)
    }

    async fn check(&self, mut description: TableDescription) -> Result<(), Error> {
        let mut looks = 0;
        while !matches!(description.table_status, Some(TableStatus::Active | TableStatus::Updating)) {
            if looks == LOOKS {
                let status = description.table_status.map_or("UNKNOWN".to_owned(), |status| status.to_string());
                return Err(self.fault(TableFault::NotActive { status }));
            }
            tokio::time::sleep(backoff(looks, FIRST_PAUSE, LONGEST_PAUSE, rand::random())).await;
            looks += 1;
            description = self.describe().await?.ok_or_else(|| self.fault(TableFault::Vanished))?;
        }
        if let Some(fault) = mismatch(&self.entity, &description) {
            return Err(self.fault(fault));
        }
        match &self.entity.ttl {
            Some(attribute) => self.ensure_ttl(attribute).await,
            None => Ok(()),
        }
    }

    async fn ensure_ttl(&self, declared: &str) -> Result<(), Error> {
        let sent = self.client.describe_time_to_live().table_name(self.table.as_str()).send().await;
        let output = sent.map_err(|error| failed("describe time to live", &self.table, error))?;
        let found = output.time_to_live_description;
        let on = found.as_ref().is_some_and(|ttl| {
            matches!(ttl.time_to_live_status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling))
        });
        match found.and_then(|ttl| ttl.attribute_name).filter(|_| on) {
            Some(found) if found == declared => return Ok(()),
            Some(found) => return Err(self.fault(TableFault::Ttl { declared: declared.to_owned(), found })),
            None => {}
        }
        let specification = TimeToLiveSpecification::builder().enabled(true).attribute_name(declared).build();
        let sent = self
            .client
            .update_time_to_live()
            .table_name(self.table.as_str())
            .time_to_live_specification(specification.map_err(|error| self.unbuilt(error))?)
            .send()
            .await;
        sent.map(|_| ()).map_err(|error| failed("update time to live", &self.table, error))
    }

    async fn describe(&self) -> Result<Option<TableDescription>, Error> {
        match self.client.describe_table().table_name(self.table.as_str()).send().await {
            Ok(output) => Ok(output.table),
            Err(error) if error.code() == Some("ResourceNotFoundException") => Ok(None),
            Err(error) => Err(failed("describe table", &self.table, error)),
        }
    }

    fn stream_specification(&self) -> Result<StreamSpecification, Error> {
        let specification =
            StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewAndOldImages);
        specification.build().map_err(|error| self.unbuilt(error))
    }

    fn fault(&self, fault: TableFault) -> Error {
        Error::Table { table: self.table.clone(), fault }
    }

    fn unbuilt(&self, error: BuildError) -> Error {
        use aws_sdk_dynamodb::operation::create_table::CreateTableError;
        failed("create table", &self.table, SdkError::<CreateTableError, ()>::construction_failure(error))
    }
}

fn key_schema(entity: &Entity) -> impl Iterator<Item = (&KeyAttribute, KeyRole)> {
    let sort = entity.key.sort.as_ref().map(|sort| (sort, KeyRole::Range));
    std::iter::once((&entity.key.partition, KeyRole::Hash)).chain(sort)
}

fn scalar(key_type: KeyType) -> ScalarAttributeType {
    match key_type {
        KeyType::String => ScalarAttributeType::S,
        KeyType::Number => ScalarAttributeType::N,
        KeyType::Binary => ScalarAttributeType::B,
    }
}

/// What keeps an existing table from serving the entity.
fn mismatch(entity: &Entity, description: &TableDescription) -> Option<TableFault> {
    let declared: Vec<String> = key_schema(entity)
        .map(|(attribute, role)| format!("{} {} {role}", attribute.name, scalar(attribute.key_type)))
        .collect();
    let type_of = |name: &str| {
        let mut definitions = description.attribute_definitions().iter();
        definitions
            .find(|definition| definition.attribute_name == name)
            .map_or("?", |found| found.attribute_type.as_str())
    };
    let found: Vec<String> = description
        .key_schema()
        .iter()
        .map(|element| format!("{} {} {}", element.attribute_name, type_of(&element.attribute_name), element.key_type))
        .collect();
    if declared != found {
        return Some(TableFault::Key { declared: declared.join(", "), found: found.join(", ") });
    }
    let table = entity.table().to_string();
    let stream = description.stream_specification.as_ref().filter(|stream| stream.stream_enabled);
    match stream.map(|stream| stream.stream_view_type.as_ref()) {
        None => Some(TableFault::NoStream { table }),
        Some(Some(StreamViewType::NewAndOldImages | StreamViewType::NewImage)) => None,
        Some(other) => {
            let found = other.map_or("unknown view", StreamViewType::as_str).to_owned();
            Some(TableFault::StreamView { table, found })
        }
    }
}
