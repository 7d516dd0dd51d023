//! Real Collectors that the agent knows, and that know the agent.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, ensure};
use integration::{
    Agent,
    agent::Rights,
    collector::{Collector, To},
    command,
    json_sink::JsonSink,
    poll,
    ports::free_address,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use serde_json::{Value, json};

const ENCRYPTED: &str = include_str!("../configs/encrypted.yaml");

/// How long a request takes through three programs, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Collector, agent, Collector, each end known to the other; then the agent's certificate and the token are replaced while log records
/// pass: what is shown from then on is the new one, and neither a record nor a connection is lost.
#[test]
fn a_certificate_is_replaced_while_data_passes() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let certificates = Certificates::new(folder.path())?;
    certificates.certify("agent", "first")?;
    certificates.certify("collector", "collector")?;
    fs::write(folder.path().join("tokens"), "first\nsecond\n")?;
    let file = |name: &str| folder.path().join(name).display().to_string();
    let [ca, cert, key] = ["ca.pem", "collector.pem", "collector.key"].map(file);

    let sink = JsonSink::start()?;
    let behind = Collector::sending_with(
        free_address()?,
        &format!("tls: {{ cert_file: {cert}, key_file: {key}, client_ca_file: {ca} }}"),
        To::Json(&sink.url()),
    )?;
    let otlp = free_address()?;
    let (otlp_text, next) = (otlp.to_string(), behind.grpc().to_string());
    let variables = [
        ("RIDLEY_OTLP", Path::new(&otlp_text)),
        ("RIDLEY_COLLECTOR", Path::new(&next)),
        ("RIDLEY_CERTIFICATES", folder.path()),
    ];
    let agent = Agent::launch(ENCRYPTED, Rights::All, &variables)?;
    let exporter = |token: &str| {
        format!(
            "tls: {{ ca_file: {ca}, cert_file: {cert}, key_file: {key}, server_name_override: localhost }}, \
             headers: {{ authorization: Bearer {token} }}"
        )
    };
    let front = Collector::sending_with(free_address()?, "", To::GrpcWith(&otlp_text, &exporter("first")))?;
    let send = |front: &Collector, n: usize| -> anyhow::Result<()> {
        let call = ureq::post(format!("http://{}/v1/logs", front.http()));
        let sent = call.header("Content-Type", "application/json").send(numbered_log(n).to_string());
        sent.with_context(|| format!("the Collector does not take number {n}")).map(drop)
    };
    let arrive = |n: usize| {
        poll::until(PATIENCE, || {
            let mut arrived: Vec<_> = sink.taken("/v1/logs").iter().flat_map(numbers_of).collect();
            arrived.sort_unstable();
            ensure!(arrived == (0..n).collect::<Vec<_>>(), "{} have arrived: {arrived:?}", arrived.len());
            Ok(())
        })
        .with_context(|| format!("the agent said:\n{}", agent.log()))
    };
    (0..50).try_for_each(|n| send(&front, n))?;
    arrive(50)?;
    ensure!(shown(&otlp_text)?.contains("first"), "it shows {}", shown(&otlp_text)?);
    let connected = connections(otlp.port())?;

    certificates.certify("agent", "second")?;
    (50..100).try_for_each(|n| send(&front, n))?;
    poll::until(PATIENCE, || {
        let shown = shown(&otlp_text)?;
        ensure!(shown.contains("second"), "it shows {shown}");
        Ok(())
    })?;
    (100..150).try_for_each(|n| send(&front, n))?;
    arrive(150)?;
    ensure!(!connected.is_empty(), "the Collector is not connected");
    ensure!(connections(otlp.port())? == connected, "the Collector's connection has not lasted");

    // A token that is no longer known is refused; another goes on.
    fs::write(folder.path().join("tokens"), "second\n")?;
    poll::until(PATIENCE, || {
        send(&front, 9999)?;
        let scraped = agent.scrape()?;
        let refused = scraped.series("ridley_otlp_refused_requests_total");
        ensure!(refused.map(|(_, value)| value).sum::<f64>() > 0.0, "nothing was refused");
        Ok(())
    })?;
    let taken = sink.taken("/v1/logs").iter().flat_map(numbers_of).filter(|it| *it != 9999).count();
    ensure!(taken == 150, "{taken} were taken");
    let other = Collector::sending_with(free_address()?, "", To::GrpcWith(&otlp_text, &exporter("second")))?;
    send(&other, 150)?;
    poll::until(PATIENCE, || {
        let arrived: Vec<_> = sink.taken("/v1/logs").iter().flat_map(numbers_of).collect();
        ensure!(arrived.contains(&150), "it has not arrived");
        Ok(())
    })?;
    agent.stop().map(drop)
}

/// Whom a server's certificate names.
fn shown(address: &str) -> anyhow::Result<String> {
    let said =
        command::run("sh", &["-c", &format!("openssl s_client -connect {address} 2>&1 </dev/null || true")])?;
    let line = said.lines().find(|it| it.starts_with("subject="));
    line.map(str::to_owned).with_context(|| format!("openssl said:\n{said}"))
}

/// The ends of connections to a port.
fn connections(port: u16) -> anyhow::Result<Vec<String>> {
    let filter = format!("sport = :{port}");
    let listed = command::run("ss", &["-tnH", "state", "established", &filter])?;
    let mut ends: Vec<_> =
        listed.lines().filter_map(|it| it.split_whitespace().nth(3)).map(str::to_owned).collect();
    ends.sort_unstable();
    Ok(ends)
}

fn numbered_log(n: usize) -> Value {
    let record = json!({"body": {"stringValue": n.to_string()}});
    json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]})
}

fn numbers_of(request: &Value) -> Vec<usize> {
    let resources = request["resourceLogs"].as_array().into_iter().flatten();
    let scopes = resources.flat_map(|it| it["scopeLogs"].as_array().into_iter().flatten());
    let records = scopes.flat_map(|it| it["logRecords"].as_array().into_iter().flatten());
    records.filter_map(|it| it["body"]["stringValue"].as_str()?.parse().ok()).collect()
}

/// Who signs certificates, and where they are.
struct Certificates<'a> {
    authority: CertifiedIssuer<'static, KeyPair>,
    folder: &'a Path,
}

impl<'a> Certificates<'a> {
    fn new(folder: &'a Path) -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        fs::write(folder.join("ca.pem"), authority.pem())?;
        Ok(Self { authority, folder })
    }

    /// Writes a certificate of `localhost` that names somebody, and its key.
    fn certify(&self, file: &str, name: &str) -> anyhow::Result<()> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(["localhost".to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.authority)?;
        fs::write(self.folder.join(format!("{file}.pem")), certificate.pem())?;
        fs::write(self.folder.join(format!("{file}.key")), key.serialize_pem())?;
        Ok(())
    }
}
