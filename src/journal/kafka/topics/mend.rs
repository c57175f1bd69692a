//! The commands that mend what is wrong, as an administrator of Kafka types them.

use std::fmt::Write as _;

use openssl::x509::X509;

use super::setting::Setting;
use super::wanted::Wanted;
use crate::config::model::Kafka;

/// Kafka's tools for one cluster, and whom it takes this gateway for.
#[derive(Clone, Debug)]
pub(super) struct Tools {
    brokers: String,
    /// Where brokers want to know who is there, an administrator is somebody else than a gateway.
    admin: &'static str,
    principal: String,
}

impl Tools {
    pub fn new(kafka: &Kafka) -> Self {
        let open = kafka.tls.is_none() && kafka.sasl.is_none();
        Self {
            brokers: kafka.brokers.join(","),
            admin: if open { "" } else { " --command-config admin.properties" },
            principal: principal(kafka),
        }
    }

    fn tool(&self, name: &str) -> String {
        format!("kafka-{name}.sh --bootstrap-server {}{}", self.brokers, self.admin)
    }

    /// Makes a topic as it must be.
    pub fn create(&self, wanted: &Wanted) -> String {
        let Wanted { name, partitions, replication, .. } = wanted;
        let mut command = format!(
            "{} --create --topic {name} --partitions {partitions} --replication-factor \
             {replication}",
            self.tool("topics")
        );
        for setting in &wanted.settings {
            // Writing to a String can't fail.
            let _ = write!(command, " --config {}={}", setting.name, setting.value);
        }
        command
    }

    /// Sets a setting. Lists stand in brackets.
    pub fn set(&self, topic: &str, setting: &Setting) -> String {
        let value = &setting.value;
        let value = if value.contains(',') { format!("[{value}]") } else { value.clone() };
        format!(
            "{} --alter --entity-type topics --entity-name {topic} --add-config '{}={value}'",
            self.tool("configs"),
            setting.name,
        )
    }

    /// Gives an empty topic more partitions.
    pub fn add_partitions(&self, wanted: &Wanted) -> String {
        let Wanted { name, partitions, .. } = wanted;
        format!("{} --alter --topic {name} --partitions {partitions}", self.tool("topics"))
    }

    /// Makes a topic anew, without what is in it.
    pub fn start_over(&self, wanted: &Wanted) -> String {
        let delete = format!("{} --delete --topic {}", self.tool("topics"), wanted.name);
        format!("{delete} && {}", self.create(wanted))
    }

    /// Gives each partition as many copies as are wanted: those that it has, and further brokers
    /// in turn.
    pub fn copies(&self, wanted: &Wanted, brokers: &[i32], now: &[Vec<i32>]) -> String {
        let wanted_copies = usize::from(wanted.replication);
        let partitions = now.iter().enumerate().map(|(number, replicas)| {
            let others = brokers.iter().cycle().skip(number).take(brokers.len());
            let others = others.filter(|broker| !replicas.contains(broker));
            let copies: Vec<i32> =
                replicas.iter().chain(others).take(wanted_copies).copied().collect();
            serde_json::json!({ "topic": wanted.name, "partition": number, "replicas": copies })
        });
        let plan =
            serde_json::json!({ "version": 1, "partitions": partitions.collect::<Vec<_>>() });
        let file = format!("{}.json", wanted.name);
        format!(
            "echo '{plan}' > {file} && {} --execute --additional --reassignment-json-file {file}",
            self.tool("reassign-partitions")
        )
    }

    /// Allows this gateway something: `Read`, `--topic NAME`.
    pub fn allow(&self, operation: &str, resource: &str) -> String {
        format!(
            "{} --add --allow-principal '{}' --operation {operation} {resource}",
            self.tool("acls"),
            self.principal
        )
    }
}

/// Whom brokers take this gateway for, unless they map names in a way of their own: the user that
/// logs in, else the subject of the certificate.
fn principal(kafka: &Kafka) -> String {
    if let Some(sasl) = &kafka.sasl {
        return format!("User:{}", sasl.username);
    }
    let chain = kafka.tls.as_ref().and_then(|tls| tls.client.as_ref());
    let pem = chain.and_then(|(certificate, _)| std::fs::read(certificate).ok());
    let subject = pem.and_then(|pem| X509::from_pem(&pem).ok()).map(|leaf| subject(&leaf));
    format!("User:{}", subject.as_deref().unwrap_or("ANONYMOUS"))
}

/// A subject as RFC 2253 writes it: the last part first.
fn subject(certificate: &X509) -> String {
    let mut parts: Vec<String> = certificate
        .subject_name()
        .entries()
        .filter_map(|entry| {
            let name = entry.object().nid().short_name().ok()?;
            Some(format!("{name}={}", escaped(&entry.data().to_string().ok()?)))
        })
        .collect();
    parts.reverse();
    parts.join(",")
}

fn escaped(value: &str) -> String {
    let special = [',', '+', '"', '\\', '<', '>', ';'];
    value.chars().fold(String::new(), |mut text, character| {
        if special.contains(&character) {
            text.push('\\');
        }
        text.push(character);
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{KafkaTls, Topic};
    use crate::journal::kafka::topics::testing;

    #[test]
    fn copies_are_added_to_those_that_are_there() {
        let wanted = Wanted {
            topic: Topic::Quotas,
            name: "t.quotas".into(),
            partitions: 3,
            replication: 3,
            settings: Vec::new(),
        };
        let tools = Tools::new(&testing::kafka());
        let command = tools.copies(&wanted, &[1, 2, 3, 4], &[vec![2], vec![4], vec![3, 1]]);
        for plan in [
            r#""partition":0,"replicas":[2,1,3]"#,
            r#""partition":1,"replicas":[4,2,3]"#,
            r#""partition":2,"replicas":[3,1,4]"#,
        ] {
            assert!(command.contains(plan), "{command}");
        }
    }

    #[test]
    fn a_gateway_without_a_login_is_known_by_its_certificate() {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in [
            (rcgen::DnType::OrganizationName, "Bank, of Examples"),
            (rcgen::DnType::CommonName, "gateway-1"),
        ] {
            parameters.distinguished_name.push(kind, value);
        }
        let key = rcgen::KeyPair::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.pem");
        std::fs::write(&file, parameters.self_signed(&key).unwrap().pem()).unwrap();
        let mut kafka = testing::kafka();
        assert_eq!(principal(&kafka), "User:ANONYMOUS");
        let client = Some((file, folder.path().join("gateway.key")));
        kafka.tls = Some(KafkaTls { authorities: None, client });
        assert_eq!(principal(&kafka), r"User:CN=gateway-1,O=Bank\, of Examples");
    }
}
