//! A Delta table at one version as DataFusion scans it: exactly the files that the log names.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{Statistics, ToDFSchema, project_schema};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use headwater_sink_offline::lake::TableLocation;
use object_store::path::Path;
use parquet::arrow::arrow_reader::RowSelection;

use super::prune::{may_match, partition_value};
use crate::table::state::DataFile;

/// Under which the lake's store is registered.
pub const STORE: &str = "lake://tables";

/// A file to scan, whole or some of its rows.
#[derive(Clone)]
pub struct ScanFile {
    pub file: DataFile,
    pub rows: Option<RowSelection>,
}

/// Some files of one table. A column that a file lacks is null.
pub struct FilesTable {
    root: Path,
    schema: TableSchema,
    files: Vec<ScanFile>,
}

impl fmt::Debug for FilesTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FilesTable({}, {} files)", self.root, self.files.len())
    }
}

impl FilesTable {
    /// `schema` has all columns; those of `partitions` are taken from the log and come last.
    pub fn new(
        location: &TableLocation,
        schema: &Schema,
        partitions: &[String],
        files: Vec<ScanFile>,
    ) -> Result<FilesTable> {
        let root = Path::from_url_path(location.url.path()).map_err(|error| DataFusionError::External(error.into()))?;
        let (of_log, of_files): (Vec<_>, Vec<_>) =
            schema.fields().iter().cloned().partition(|field| partitions.contains(field.name()));
        let schema = TableSchema::builder(Arc::new(Schema::new(of_files))).with_table_partition_cols(of_log).build();
        Ok(FilesTable { root, schema, files })
    }

    fn partitioned(&self, scan: &ScanFile) -> Result<PartitionedFile> {
        let path = Path::from_url_path(&scan.file.path).map_err(|error| DataFusionError::External(error.into()))?;
        let path = self.root.parts().chain(path.parts()).collect::<Path>();
        let value = |field: &Arc<Field>| partition_value(&scan.file, field.name(), field.data_type());
        let values = self.schema.table_partition_cols().iter().map(value).collect();
        let file = PartitionedFile::new("", scan.file.size);
        let mut file =
            PartitionedFile { object_meta: object_store::ObjectMeta { location: path, ..file.object_meta }, ..file }
                .with_partition_values(values);
        if let Some(rows) = &scan.rows {
            file = file.with_extension(ParquetRowSelection::new(rows.clone()));
        }
        Ok(file)
    }

    /// Rows, exact where every file says so.
    fn statistics(&self, files: &[&ScanFile]) -> Statistics {
        let rows = |scan: &&ScanFile| match &scan.rows {
            Some(rows) => Some(rows.row_count()),
            None => scan.file.rows.map(|rows| rows as usize),
        };
        let total: Option<usize> = files.iter().map(rows).sum();
        let unknown = Statistics::new_unknown(self.schema.table_schema());
        Statistics { num_rows: total.map_or(Precision::Absent, Precision::Exact), ..unknown }
    }
}

#[async_trait]
impl TableProvider for FilesTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.schema.table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // Files and pages are left out by them; rows are still checked.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = self.schema.table_schema();
        let mut files: Vec<&ScanFile> = self.files.iter().collect();
        let mut source = ParquetSource::new(self.schema.clone()).with_pushdown_filters(true);
        if let Some(filter) = conjunction(filters.to_vec()) {
            let df_schema = Arc::clone(schema).to_dfschema()?;
            let predicate = state.create_physical_expr(filter, &df_schema)?;
            let data: Vec<&DataFile> = files.iter().map(|scan| &scan.file).collect();
            let mut kept = may_match(&data, schema, &predicate).into_iter();
            files.retain(|_| kept.next().unwrap_or(true));
            source = source.with_predicate(predicate);
        }
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(project_schema(schema, projection)?)));
        }
        let statistics = self.statistics(&files);
        let partitioned = files.into_iter().map(|scan| self.partitioned(scan)).collect::<Result<Vec<_>>>()?;
        let groups = FileGroup::new(partitioned).split_files(state.config().target_partitions());
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::parse(STORE)?, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

/// Whole files.
pub fn whole<'a>(files: impl Iterator<Item = &'a DataFile>) -> Vec<ScanFile> {
    files.map(|file| ScanFile { file: file.clone(), rows: None }).collect()
}
