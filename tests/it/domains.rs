//! Domains whose addresses lead to an organization: proven by a name server, or attested by the operator.

use std::{
    net::UdpSocket,
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

use crate::harness::{Caller, World, code};

const PASSWORD: &str = "correct horse battery staple";

/// A name server that knows TXT records alone, one text for whatever name is asked.
struct NameServer {
    address: String,
    says: Arc<Mutex<Option<String>>>,
}

impl NameServer {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let says: Arc<Mutex<Option<String>>> = Arc::default();
        let told = Arc::clone(&says);
        thread::spawn(move || {
            let mut packet = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut packet) {
                let answer = answer(&packet[..length], told.lock().unwrap().as_deref());
                let _ = socket.send_to(&answer, from);
            }
        });
        Self { address, says }
    }

    fn say(&self, text: &str) {
        *self.says.lock().unwrap() = Some(text.to_owned());
    }
}

/// RFC 1035: the question comes back, and one TXT record behind it.
fn answer(question: &[u8], text: Option<&str>) -> Vec<u8> {
    let mut end = 12;
    while question[end] != 0 {
        end += usize::from(question[end]) + 1;
    }
    let asked = &question[12..end + 5];
    let records = u16::from(text.is_some());
    let mut packet = question[..2].to_vec();
    packet.extend([0x81, if text.is_some() { 0x80 } else { 0x83 }, 0, 1]);
    packet.extend(records.to_be_bytes());
    packet.extend([0, 0, 0, 0]);
    packet.extend(asked);
    if let Some(text) = text {
        let length = u8::try_from(text.len()).unwrap();
        packet.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60]);
        packet.extend((u16::from(length) + 1).to_be_bytes());
        packet.push(length);
        packet.extend(text.as_bytes());
    }
    packet
}

fn log_in(caller: &Caller, email: &str) -> u16 {
    caller.post("/api/v2/auth/login", &json!({ "email": email, "password": PASSWORD })).status
}

fn record(shown: &Value) -> (String, Value) {
    let row = &shown["data"][0];
    (row["record"]["value"].as_str().unwrap().to_owned(), row["proven_by"].clone())
}

#[test]
fn a_domain_leads_to_its_organization_once_its_name_server_says_so_and_no_sooner() {
    let names = NameServer::start();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("threatflow.toml");
    std::fs::write(&config, format!("dns_server = \"{}\"\n", names.address)).unwrap();
    let world = World::one_node_with(&["--config", config.to_str().unwrap()]);
    let org = world.organization("acme", "professional");
    let body = json!({ "email": "ann@mail.acme.test", "password": PASSWORD, "role": "analyst" });
    assert_eq!(org.admin.post(&org.path("/users"), &body).status, 201);
    let nobody = world.anonymous();
    assert_eq!(log_in(&nobody, "ann@mail.acme.test"), 401);

    let claimed = org.admin.post(&org.path("/domains"), &json!({ "domain": "Mail.acme.test" }));
    assert_eq!(claimed.status, 201, "{}", claimed.body);
    let (text, proven_by) = record(&claimed.json);
    assert_eq!(
        (claimed.json["data"][0]["record"]["name"].as_str(), proven_by),
        (Some("_threatflow.mail.acme.test"), Value::Null)
    );
    let verify = |caller: &Caller, org: &str| {
        caller.post(&format!("/api/v2/organizations/{org}/domains/mail.acme.test/verify"), &json!({}))
    };
    assert_eq!(code(&verify(&org.admin, "acme")), "domain_not_proven");
    names.say("threatflow-domain-verification=somebody-else");
    assert_eq!(code(&verify(&org.admin, "acme")), "domain_not_proven");
    assert_eq!(log_in(&nobody, "ann@mail.acme.test"), 401);
    names.say(&text);
    let proven = verify(&org.admin, "acme");
    assert_eq!((proven.status, record(&proven.json).1), (200, json!("dns")), "{}", proven.body);
    assert_eq!(log_in(&nobody, "ann@mail.acme.test"), 200);

    // Nobody else gets it, whatever the operator of another says; given up, it leads nowhere.
    let rival = world.organization("rival", "professional");
    rival.admin.post(&rival.path("/domains"), &json!({ "domain": "mail.acme.test" }));
    assert_eq!(code(&verify(&world.platform(), "rival")), "domain_taken");
    assert_eq!(log_in(&nobody, "ann@mail.acme.test"), 200);
    let released = org.admin.send("DELETE", &org.path("/domains/mail.acme.test"), None, &[]).unwrap();
    assert_eq!(released.status, 204);
    assert_eq!(log_in(&nobody, "ann@mail.acme.test"), 401);
    assert_eq!(verify(&world.platform(), "rival").status, 200);
}

#[test]
fn the_domain_that_an_administrator_above_writes_down_leads_nowhere_until_it_is_proven() {
    let world = World::one_node();
    let parent = world.organization("parent-co", "enterprise");
    let body = json!({
        "name": "child", "slug": "child", "domain": "bank.test", "plan": "free", "billing_email": "b@bank.test",
        "parent_organization_id": parent.id, "contact_info": { "primary_contact": "Ann", "email": "a@bank.test" },
        "admin": { "email": "ann@bank.test", "password": PASSWORD },
    });
    let created = parent.admin.post("/api/v2/organizations", &body);
    assert_eq!(created.status, 201, "{}", created.body);
    assert_eq!(log_in(&world.anonymous(), "ann@bank.test"), 401);
    let child = world.anonymous().log_in("ann@bank.test", PASSWORD, "child");
    let claimed = child.post("/api/v2/organizations/child/domains", &json!({ "domain": "bank.test" }));
    assert_eq!(claimed.status, 201, "{}", claimed.body);
    let attest = "/api/v2/organizations/child/domains/bank.test/verify";
    assert_eq!(world.platform().post(attest, &json!({})).status, 200);
    assert_eq!(log_in(&world.anonymous(), "ann@bank.test"), 200);
}
