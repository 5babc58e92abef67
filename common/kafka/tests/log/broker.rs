//! A broker that one test owns, with settings of its own, so that it can be frozen and killed.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use headwater_tests::servers;

pub struct Broker {
    folder: tempfile::TempDir,
    jars: String,
    child: Option<Child>,
    pub port: u16,
    /// Where `more` settings may listen.
    pub second_port: u16,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Broker {
    /// Starts one with `more` settings, which may name `{port}` (the second), `{folder}`; `format` are more arguments of
    /// the tool that formats its folder. `None` where there are no packages.
    pub fn start(more: &str, format: &[&str]) -> Option<Broker> {
        let jars = format!("{}/*", servers::kafka_packages()?);
        let [port, second_port, control] = [free_port(), free_port(), free_port()];
        let mut broker = Broker { folder: tempfile::tempdir().unwrap(), jars, child: None, port, second_port };
        let folder = broker.folder.path().display().to_string();
        let more = more.replace("{port}", &second_port.to_string()).replace("{folder}", &folder);
        let listeners = match more.contains("listener.security.protocol.map") {
            true => String::new(),
            false => format!("listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{control}\n"),
        };
        let more = more.replace("{plain}", &port.to_string()).replace("{control}", &control.to_string());
        let settings = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{control}\n{listeners}\
             controller.listener.names=CONTROLLER\nlog.dirs={folder}/data\nauto.create.topics.enable=false\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=2\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=2\nshare.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\ngroup.initial.rebalance.delay.ms=0\n\
             group.min.session.timeout.ms=1000\nbroker.session.timeout.ms=3000\nbroker.heartbeat.interval.ms=500\n\
             transaction.abort.timed.out.transaction.cleanup.interval.ms=500\nlog.cleaner.dedupe.buffer.size=8388608\n\
             {more}\n"
        );
        fs::write(broker.folder.path().join("server.properties"), settings).unwrap();
        let mut tool = broker.java("128m");
        tool.args(["kafka.tools.StorageTool", "format", "--cluster-id", "4L6g3nShT-eMCtK--X86sw", "-c"]);
        tool.arg(broker.folder.path().join("server.properties")).args(format);
        let formatted = tool.output().unwrap();
        assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
        broker.restart();
        Some(broker)
    }

    fn java(&self, heap: &str) -> Command {
        let mut java = Command::new("java");
        java.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", &format!("-Xmx{heap}")]);
        java.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", &self.jars]);
        java
    }

    /// Starts it on what it holds, and returns when it listens.
    pub fn restart(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut java = self.java("320m");
        java.arg("kafka.Kafka").arg(self.folder.path().join("server.properties"));
        java.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null());
        self.child = Some(java.spawn().unwrap());
        let patience = Instant::now() + Duration::from_secs(120);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < patience, "the broker did not start: {}", self.log());
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// `STOP` freezes it, `CONT` lets it go on.
    pub fn signal(&self, signal: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success());
    }

    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}
