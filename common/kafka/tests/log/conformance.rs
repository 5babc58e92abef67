use headwater_common::log::ChangeLog;
use headwater_tests::servers;

use crate::pipeline::Pipeline;

async fn on(test: impl AsyncFnOnce(&dyn ChangeLog)) {
    let Some(bootstrap) = servers::kafka() else { return };
    let pipeline = Pipeline::new(bootstrap);
    test(&pipeline.connect().await).await;
    pipeline.remove().await;
}

headwater_conformance::conforms!(on);
