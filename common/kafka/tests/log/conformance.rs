use headwater_common::log::ChangeLog;

use crate::pipeline::{Pipeline, brokers};

async fn on(test: impl AsyncFnOnce(&dyn ChangeLog)) {
    let Some(bootstrap) = brokers() else { return };
    let pipeline = Pipeline::new(bootstrap);
    test(&pipeline.connect().await).await;
    pipeline.remove().await;
}

headwater_conformance::conforms!(on);
