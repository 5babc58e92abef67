use std::fs;

use headwater_local_store::give_way;

use crate::world::World;

/// By its number: `SCHED_OTHER` is 0, `SCHED_BATCH` 3.
fn policy(stat: &str) -> u32 {
    const POLICY: usize = 41;
    let (_, fields) = stat.rsplit_once(')').unwrap();
    // The third field is the first after the name.
    fields.split_whitespace().nth(POLICY - 3).unwrap().parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn the_server_does_not_inherit_that_its_starter_gives_way() {
    let (own, inherited, server) = std::thread::spawn(|| {
        give_way().unwrap();
        let own = || policy(&fs::read_to_string("/proc/thread-self/stat").unwrap());
        let inherited = std::thread::spawn(own).join().unwrap();
        let world = World::start();
        let threads = fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path());
        let stats = threads.filter_map(|thread| fs::read_to_string(thread.join("stat")).ok());
        let server: Vec<u32> = stats.filter(|stat| stat.contains("(local-store)")).map(|stat| policy(&stat)).collect();
        drop(world);
        (own(), inherited, server)
    })
    .join()
    .unwrap();
    assert_eq!((own, inherited), (3, 3));
    assert!(!server.is_empty() && server.iter().all(|policy| *policy == 0), "{server:?}");
}
