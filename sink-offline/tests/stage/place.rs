//! Where the lake of a test lies: a folder, or a bucket where the environment names a server. The same tests run on both.

use std::any::Any;
use std::sync::Arc;

use futures::TryStreamExt as _;
use headwater_common::secret::Secret;
use headwater_sink_offline::{Lake, S3};
use headwater_tests::servers;
use object_store::{ObjectStore, ObjectStoreExt as _};

#[derive(Clone, Debug)]
pub enum Place {
    Folder,
    Bucket { name: String, s3: S3 },
}

/// What a test's lake leaves behind is removed with this.
pub type Guard = Arc<dyn Any + Send + Sync>;

impl Place {
    pub fn open(&self) -> (Lake, Guard) {
        match self {
            Place::Folder => {
                let folder = tempfile::tempdir().unwrap();
                (Lake::open(folder.path().to_str().unwrap(), &S3::default()).unwrap(), Arc::new(folder))
            }
            Place::Bucket { name, s3 } => {
                let prefix = format!("test-{}", uuid::Uuid::new_v4());
                let lake = Lake::open(&format!("s3://{name}/{prefix}"), s3).unwrap();
                let guard = Prefix { store: lake.store(), prefix };
                (lake, Arc::new(guard))
            }
        }
    }

    /// The same bucket, reached in another way.
    pub fn with(&self, change: impl FnOnce(&mut S3)) -> Place {
        let Place::Bucket { name, s3 } = self else { panic!("a folder has no settings") };
        let mut s3 = s3.clone();
        change(&mut s3);
        Place::Bucket { name: name.clone(), s3 }
    }
}

/// The bucket that the environment names; without one the test has nothing to do, unless it must.
pub fn bucket() -> Option<Place> {
    let server = servers::s3()?;
    let s3 = S3 {
        endpoint: Some(server.endpoint),
        region: Some(server.region),
        access_key: Some(server.access_key),
        secret_key: Some(Secret::new(server.secret_key)),
        allow_http: true,
        ..S3::default()
    };
    Some(Place::Bucket { name: server.bucket, s3 })
}

struct Prefix {
    store: Arc<dyn ObjectStore>,
    prefix: String,
}

impl Drop for Prefix {
    fn drop(&mut self) {
        let (store, prefix) = (self.store.clone(), object_store::path::Path::from(self.prefix.as_str()));
        // The test's own runtime may be about to end.
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let found: Vec<_> = store.list(Some(&prefix)).try_collect().await.unwrap_or_default();
                for object in found {
                    store.delete(&object.location).await.ok();
                }
            });
        });
        removal.join().ok();
    }
}

/// Each of these tests, which take a place, on each kind of store.
#[macro_export]
macro_rules! on_each_store {
    ($($test:ident),+ $(,)?) => {
        mod in_a_folder {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test($crate::place::Place::Folder).await
            })+
        }
        mod in_a_bucket {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                if let Some(place) = $crate::place::bucket() {
                    super::$test(place).await
                }
            })+
        }
    };
}
